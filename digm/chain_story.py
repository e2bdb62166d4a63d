"""What happened in the contracts, in words: "Adagio lost 20 % of its stake: 3 rounds missed".

A sentence has its people and tracks apart (`{who}`, `{other}`, `{track}`): who prints it knows their names, and
those come from strangers. What an event does not say itself (a stake before it was cut, whom a copy replaces,
who stayed silent in a round) is taken from what the events before it made (`ChainPins`).
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from digm.chain_pins import ELDER, NO_KEY, ChainPins
from digm.chain_sentences import Sentence as Sentence
from digm.chain_sentences import Token
from digm.chain_sentences import amount as amount
from digm.chain_sentences import day as day
from digm.chain_story_sales import SALES_TELLERS

KEPT = 300
KEPT_MARKS = 24


class Mark(StrEnum):
    """What came of a round for one node."""

    PASSED = "passed"
    MISSED = "missed"
    SLASHED = "slashed"


@dataclass(frozen=True)
class Told:
    """A sentence and where it is from.

    Attributes:
        sequence: of the journal's step. `block`: in which it happened.
        event: its name in the contract.
        is_undone: the chain took it back.
    """

    sequence: int
    block: int
    event: str
    sentence: Sentence
    is_undone: bool = False


class Story:
    """The latest of what happened, and the latest rounds of each node.

    Attributes:
        told: oldest first.
        marks: account -> round -> what came of it, oldest first.

    Args:
        tokens: address -> what people call the token.
    """

    def __init__(self, tokens: Mapping[str, str]) -> None:
        self._tokens = tokens
        self.told: deque[Told] = deque(maxlen=KEPT)
        self.marks: dict[str, dict[int, Mark]] = {}
        self._replaced: tuple[str, int, str] = ("", 0, "")

    def take(
        self, sequence: int, block: int, transaction: str, name: str, said: Mapping[str, Any], before: ChainPins
    ) -> list[Told]:
        """One more event.

        Args:
            before: orders and nodes as they were before it.
        """
        found = [Told(sequence, block, name, one) for one in self._sentences(transaction, name, said, before)]
        self._mark(name, said, before)
        self.told.extend(found)
        return found

    def undo(self, sequence: int, undone: Iterable[Told]) -> list[Told]:
        """The chain took back what was told so."""
        found = [replace(one, sequence=sequence, is_undone=True) for one in undone]
        self.told.extend(found)
        return found

    def _sentences(
        self, transaction: str, name: str, said: Mapping[str, Any], before: ChainPins
    ) -> list[Sentence]:
        if name == "PinEvicted":
            self._replaced = (transaction, said["order_id"], said["node"])
        if name == "PinAccepted" and self._replaced[:2] == (transaction, said["order_id"]):
            track = _track(before, said["order_id"])
            form = "{who} keeps {track} in the place of {other}"
            return [Sentence(form, said["node"], self._replaced[2], track)]
        teller = _TELLERS.get(name)
        return teller(said, before, self._token) if teller is not None else []

    def _token(self, address: str) -> str:
        return self._tokens.get(address, "tokens")

    def _mark(self, name: str, said: Mapping[str, Any], before: ChainPins) -> None:
        if name == "AuditPassed":
            self._put(said["node"], said["round"], Mark.PASSED)
        elif name == "Slashed":
            self._put(said["node"], before.round, Mark.SLASHED)
        elif name == "RoundOpened":
            for node in _silent(before):
                self._put(node, before.round, Mark.MISSED)

    def _put(self, node: str, number: int, mark: Mark) -> None:
        marks = self.marks.setdefault(node, {})
        marks[number] = mark
        while len(marks) > KEPT_MARKS:
            del marks[next(iter(marks))]


def _silent(pins: ChainPins) -> list[str]:
    """Who had to answer in the latest round, and did not: to be asked when the next one opens."""
    return [
        node.address
        for node in pins.nodes.values()
        if node.copies and not node.is_jailed and node.last_round < pins.round
    ]


def _track(pins: ChainPins, order_id: int) -> bytes:
    order = pins.orders.get(order_id)
    return order.track if order is not None else b""


def _stake(pins: ChainPins, node: str, token: Token) -> str:
    known = pins.nodes.get(node)
    return token(known.token) if known is not None else "tokens"


def _of(order_id: int, pins: ChainPins) -> str:
    return f"order {order_id} of {{track}}" if _track(pins, order_id) else f"order {order_id}"


# -- the registry


def _published(said: Mapping[str, Any], _pins: ChainPins, _token: Token) -> list[Sentence]:
    size = f"{said['chunk_count']:,} chunks, {said['byte_size'] / 1e6:,.1f} MB"
    return [Sentence(f"{{who}} published {{track}}: {size}", said["artist"], track=said["track"])]


def _replaced(said: Mapping[str, Any], _pins: ChainPins, _token: Token) -> list[Sentence]:
    return [Sentence("A new edition took the place of {track}", track=said["track"])]


def _revised(said: Mapping[str, Any], _pins: ChainPins, _token: Token) -> list[Sentence]:
    return [Sentence(f"The manifest of {{track}} was revised: version {said['version']}", track=said["track"])]


def _withdrawn(said: Mapping[str, Any], _pins: ChainPins, _token: Token) -> list[Sentence]:
    return [Sentence("{track} was withdrawn", track=said["track"])]


def _offered(said: Mapping[str, Any], _pins: ChainPins, _token: Token) -> list[Sentence]:
    return [Sentence("{track} was offered to {who}", said["to"], track=said["track"])]


def _transferred(said: Mapping[str, Any], _pins: ChainPins, _token: Token) -> list[Sentence]:
    form = "{who} took over {track} from {other}"
    return [Sentence(form, said["receiver"], said["sender"], said["track"])]


def _split(said: Mapping[str, Any], _pins: ChainPins, _token: Token) -> list[Sentence]:
    for_good = ", for good" if said["is_final"] else ""
    form = f"The revenue of {{track}} is split among {len(said['payees'])}{for_good}"
    return [Sentence(form, track=said["track"])]


def _bound(said: Mapping[str, Any], _pins: ChainPins, _token: Token) -> list[Sentence]:
    is_gone = said["key"] == NO_KEY
    form = "{who} named no artist's key any more" if is_gone else "{who} named the key that signs its manifests"
    return [Sentence(form, said["artist"])]


# -- stakes


def _joined(said: Mapping[str, Any], _pins: ChainPins, token: Token) -> list[Sentence]:
    kind = "an Eldernode" if said["node_class"] == ELDER else "a COLD L3 node"
    stake = f"{amount(said['stake'])} {token(said['token'])}"
    return [Sentence(f"{{who}} became {kind} with a stake of {stake}", said["node"])]


def _added(said: Mapping[str, Any], pins: ChainPins, token: Token) -> list[Sentence]:
    more = f"{amount(said['amount'])} {_stake(pins, said['node'], token)}"
    return [Sentence(f"{{who}} added {more} to its stake", said["node"])]


def _leaving(said: Mapping[str, Any], pins: ChainPins, token: Token) -> list[Sentence]:
    part = f"{amount(said['amount'])} {_stake(pins, said['node'], token)}"
    return [Sentence(f"{{who}} asked {part} of its stake back, for {day(said['ready_at'])}", said["node"])]


def _collected(said: Mapping[str, Any], pins: ChainPins, token: Token) -> list[Sentence]:
    part = f"{amount(said['amount'])} {_stake(pins, said['node'], token)}"
    return [Sentence(f"{{who}} took {part} of its stake out", said["node"])]


# -- orders


def _ordered(said: Mapping[str, Any], _pins: ChainPins, _token: Token) -> list[Sentence]:
    copies = f"{said['replicas']} cop{'y' if said['replicas'] == 1 else 'ies'}"
    terms = f"until {day(said['ends_at'])}: {amount(said['escrow'])} PARA in escrow"
    form = f"{{who}} ordered {copies} of {{track}} {terms}"
    return [Sentence(form, said["owner"], track=said["track"])]


def _extended(said: Mapping[str, Any], pins: ChainPins, _token: Token) -> list[Sentence]:
    more = f"{amount(said['added'])} PARA more in escrow"
    form = f"O{_of(said['order_id'], pins)[1:]} lasts until {day(said['ends_at'])} now: {more}"
    return [Sentence(form, track=_track(pins, said["order_id"]))]


def _cancelled(said: Mapping[str, Any], pins: ChainPins, _token: Token) -> list[Sentence]:
    order = pins.orders.get(said["order_id"])
    form = f"{{who}} cancelled {_of(said['order_id'], pins)}: it ends {day(said['ends_at'])}"
    return [Sentence(form, order.owner if order else "", track=_track(pins, said["order_id"]))]


def _closed(said: Mapping[str, Any], pins: ChainPins, _token: Token) -> list[Sentence]:
    order = pins.orders.get(said["order_id"])
    form = f"{{who}} got {amount(said['refund'])} PARA back from {_of(said['order_id'], pins)}, which is closed"
    return [Sentence(form, order.owner if order else "", track=_track(pins, said["order_id"]))]


# -- copies


def _copy(form: str, is_bad: bool = False) -> "Teller":
    def tell(said: Mapping[str, Any], pins: ChainPins, _token: Token) -> list[Sentence]:
        return [Sentence(form, said["node"], track=_track(pins, said["order_id"]), is_bad=is_bad)]

    return tell


def _accepted(said: Mapping[str, Any], pins: ChainPins, _token: Token) -> list[Sentence]:
    order, held = pins.orders.get(said["order_id"]), len(pins.holders(said["order_id"])) + 1
    of_all = f": {held} of {order.replicas}" if order is not None else ""
    form = f"{{who}} keeps a copy of {{track}}{of_all}"
    return [Sentence(form, said["node"], track=_track(pins, said["order_id"]))]


def _settled(said: Mapping[str, Any], pins: ChainPins, _token: Token) -> list[Sentence]:
    form = f"{{who}} earned {amount(said['amount'])} PARA with {{track}}"
    return [Sentence(form, said["node"], track=_track(pins, said["order_id"]))]


def _given_back(said: Mapping[str, Any], pins: ChainPins, token: Token) -> list[Sentence]:
    cost = f"{amount(said['cost'])} {_stake(pins, said['node'], token)}"
    form = f"{{who}} gave its copy of {{track}} back early, for {cost} of its stake"
    return [Sentence(form, said["node"], track=_track(pins, said["order_id"]), is_bad=True)]


# -- audits


def _opened(said: Mapping[str, Any], pins: ChainPins, _token: Token) -> list[Sentence]:
    opened = Sentence(f"Round {said['round']} of audits was opened by {{who}}", said["sealer"])
    return [*(_missed(node, pins) for node in _silent(pins)), opened]


def _missed(node: str, pins: ChainPins) -> Sentence:
    in_a_row = pins.round - pins.nodes[node].last_round
    row = f", {in_a_row} in a row" if in_a_row > 1 else ""
    return Sentence(f"{{who}} missed round {pins.round}{row}", node, is_bad=True)


def _passed(said: Mapping[str, Any], pins: ChainPins, _token: Token) -> list[Sentence]:
    after = said["missed_before"]
    behind = f", after {_rounds(after)} missed" if after else ""
    form = f"{{who}} proved in round {said['round']} that it has {{track}}{behind}"
    return [Sentence(form, said["node"], track=_track(pins, said["order_id"]))]


def _slashed(said: Mapping[str, Any], pins: ChainPins, token: Token) -> list[Sentence]:
    known = pins.nodes.get(said["node"])
    whole = known.stake + known.leaving if known is not None else 0
    part = f"{100 * said['cut'] / whole:.0f} %" if whole else f"{amount(said['cut'])} tokens"
    lost = f"{amount(said['cut'])} {_stake(pins, said['node'], token)}"
    form = f"{{who}} lost {part} of its stake: {_rounds(said['missed'])} missed"
    detail = f" ({lost}; in jail until {day(said['jailed_until'])}; reported by {{other}})"
    return [Sentence(form + detail, said["node"], said["reporter"], is_bad=True)]


def _rounds(count: int) -> str:
    return f"{count} round{'' if count == 1 else 's'}"


def _unjailed(said: Mapping[str, Any], _pins: ChainPins, _token: Token) -> list[Sentence]:
    return [Sentence("{who} is out of jail", said["node"])]


# -- payments


def _withdrew(said: Mapping[str, Any], _pins: ChainPins, token: Token) -> list[Sentence]:
    paid = f"{amount(said['amount'])} {token(said['token'])}"
    return [Sentence(f"{{who}} was paid {paid}", said["account"])]


def _burnt(said: Mapping[str, Any], _pins: ChainPins, token: Token) -> list[Sentence]:
    return [Sentence(f"{amount(said['amount'])} {token(said['token'])} that had been slashed were burnt")]


def _sold(sentence: Callable[[Mapping[str, Any], Token], Sentence]) -> "Teller":
    def tell(said: Mapping[str, Any], _pins: ChainPins, token: Token) -> list[Sentence]:
        return [sentence(said, token)]

    return tell


Teller = Callable[[Mapping[str, Any], ChainPins, Token], list[Sentence]]
# Transfers and approvals of tokens say nothing that these do not.
_TELLERS: dict[str, Teller] = {
    "TrackPublished": _published,
    "TrackReplaced": _replaced,
    "ManifestRevised": _revised,
    "TrackWithdrawn": _withdrawn,
    "TrackOffered": _offered,
    "TrackTransferred": _transferred,
    "SplitSet": _split,
    "ArtistKeyBound": _bound,
    "NodeJoined": _joined,
    "StakeAdded": _added,
    "StakeLeaving": _leaving,
    "StakeCollected": _collected,
    "PinOrdered": _ordered,
    "OrderExtended": _extended,
    "OrderCancelled": _cancelled,
    "OrderClosed": _closed,
    "PinAccepted": _accepted,
    "PinSettled": _settled,
    "PinReleased": _copy("{who} gave up its copy of {track}, as the order is over"),
    "PinEvicted": _copy("{who} lost its place with {track}", is_bad=True),
    "PinGivenBack": _given_back,
    "RoundOpened": _opened,
    "AuditPassed": _passed,
    "Slashed": _slashed,
    "Unjailed": _unjailed,
    "Withdrawn": _withdrew,
    "SlashedBurnt": _burnt,
    **{name: _sold(sentence) for name, sentence in SALES_TELLERS.items()},
}
STORIES = frozenset(_TELLERS)
"""The events of which there is something to say."""
