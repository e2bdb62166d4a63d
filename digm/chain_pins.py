"""What the contract `Pinning` says of orders, copies, stakes and audits, told from its events in order.

The same sums as in the contract, as far as events tell them: a node's stake after what was cut, how many rounds
in a row it has missed. What events do not tell (credits, rules, the time) is asked of the contract.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

MISSES_IN_A_ROW = 3
"""So many and the node can be slashed."""
KEPT_ROUNDS = 256
ELDER, COLD = 1, 2
NO_KEY = bytes(32)


class Ending(StrEnum):
    """How a copy ended."""

    RELEASED = "released"
    EVICTED = "evicted"
    GIVEN_BACK = "given_back"


@dataclass(frozen=True)
class PinOrderOnChain:
    """An order for copies of a track.

    Attributes:
        track: the track's id on the chain (`ChainTrack.track`).
        ends_at: seconds since 1970 on the chain's clock.
        rate: PARA (10^-18) a second for one copy.
        paid_in: what was put into escrow in all. paid_out: of that, to nodes. refunded: to the owner.
        block: where it was ordered; 0: not known.
        is_closed: nothing is left in escrow, and nobody holds a copy for it.
    """

    order_id: int
    track: bytes
    owner: str
    replicas: int
    ends_at: int
    rate: int
    paid_in: int
    paid_out: int = 0
    refunded: int = 0
    block: int = 0
    is_cancelled: bool = False
    is_closed: bool = False

    @property
    def escrow(self) -> int:
        """What is left of it."""
        return self.paid_in - self.paid_out - self.refunded


@dataclass(frozen=True)
class CopyOnChain:
    """A place of an order that a node took.

    Attributes:
        since: block; 0: not known.
        paid: PARA (10^-18) that was credited for it. proven_s: for so many seconds.
        ended: None: it stands.
    """

    order_id: int
    node: str
    since: int = 0
    paid: int = 0
    proven_s: int = 0
    ended: Ending | None = None
    ended_in: int = 0


@dataclass(frozen=True)
class NodeOnChain:
    """A node and its conduct.

    Attributes:
        address: its account, with checksum.
        node_class: `ELDER` or `COLD`.
        token: address of what its stake is in. stake, leaving: in units of it, after what was cut.
        node_key: the Ed25519 key that it named; believed only if that key names this account in turn.
        last_round: up to which round nothing is missed or all was counted.
        points: as its last proof left them. carried_misses: rounds that were missed before its last copy ended,
            and are not in `points` yet.
        jailed_until: seconds since 1970 on the chain's clock; 0: it is free. Only `Unjailed` ends it.
        slashed: how often; slashed_amount: of its token, in all.
        passed: rounds in all; last_passed: the latest of them, 0: none.
        copies: how many places it has now.
    """

    address: str
    node_class: int
    token: str
    stake: int
    node_key: bytes
    leaving: int = 0
    leaving_at: int = 0
    last_round: int = 0
    points: int = 0
    carried_misses: int = 0
    jailed_until: int = 0
    slashed: int = 0
    slashed_amount: int = 0
    passed: int = 0
    last_passed: int = 0
    copies: int = 0

    @property
    def is_jailed(self) -> bool:
        return self.jailed_until != 0


@dataclass(frozen=True)
class RoundOnChain:
    """A round that was opened. `sealer`: who put down its seed."""

    number: int
    epoch: int
    seed: bytes
    sealer: str
    block: int = 0


@dataclass
class ChainPins:
    """Orders, copies and nodes after some events.

    Attributes:
        orders: by id. nodes: by account. rounds: the latest ones, oldest first.
        copies: by order and node; of several by one node for one order the latest.
    """

    orders: dict[int, PinOrderOnChain] = field(default_factory=dict)
    nodes: dict[str, NodeOnChain] = field(default_factory=dict)
    copies: dict[int, dict[str, CopyOnChain]] = field(default_factory=dict)
    rounds: deque[RoundOnChain] = field(default_factory=lambda: deque(maxlen=KEPT_ROUNDS))

    @classmethod
    def of(cls, events: Iterable[tuple[str, Mapping[str, Any], int]]) -> "ChainPins":
        """After all of these: name, arguments and block each. What was taken back is not among them."""
        found = cls()
        for name, arguments, block in events:
            found.apply(name, arguments, block)
        return found

    def apply(self, name: str, arguments: Mapping[str, Any], block: int = 0) -> None:
        """One more event; one that is not of `Pinning` changes nothing."""
        handler = _HANDLERS.get(name)
        if handler is not None:
            handler(self, arguments, block)

    def copy(self) -> "ChainPins":
        """The same, which further events do not change: for another thread."""
        copies = {number: dict(held) for number, held in self.copies.items()}
        return ChainPins(dict(self.orders), dict(self.nodes), copies, deque(self.rounds, maxlen=KEPT_ROUNDS))

    # -- what there is

    @property
    def round(self) -> int:
        """Number of the latest round; 0: there was none yet."""
        return self.rounds[-1].number if self.rounds else 0

    def holders(self, order_id: int) -> list[str]:
        """Who has a place of an order now."""
        return [one.node for one in self.copies.get(order_id, {}).values() if one.ended is None]

    def orders_of(self, node: str) -> list[int]:
        """The orders of which a node has a place now, oldest first."""
        return [number for number, held in self.copies.items() if node in held and held[node].ended is None]

    def running(self, now_s: int) -> list[PinOrderOnChain]:
        """Orders that are not over at a time of the chain's clock."""
        return [one for one in self.orders.values() if one.ends_at > now_s and not one.is_closed]

    def missed(self, node: str, epoch: int | None = None) -> int:
        """How many rounds in a row a node has missed, the latest that is over included.

        Args:
            epoch: the chain's; None: the latest round is taken for still open, as it may be answered yet.
        """
        known = self.nodes.get(node)
        if known is None or known.is_jailed or not known.copies or not self.rounds:
            return 0
        latest = self.rounds[-1]
        closed = latest.number - (epoch is None or latest.epoch == epoch)
        return max(0, closed - known.last_round)

    def by_key(self, node_key: bytes) -> list[NodeOnChain]:
        """Accounts that name this Ed25519 key; anybody can name anybody's."""
        return [one for one in self.nodes.values() if one.node_key == node_key != NO_KEY]

    # -- stakes

    def _joined(self, said: Mapping[str, Any], _block: int) -> None:
        before = self.nodes.get(said["node"])
        fresh = NodeOnChain(
            address=said["node"],
            node_class=said["node_class"],
            token=said["token"],
            stake=said["stake"],
            node_key=said["node_key"],
        )
        if before is not None:  # who left and came back has the past that it had
            fresh = replace(
                before,
                node_class=fresh.node_class,
                token=fresh.token,
                stake=fresh.stake,
                node_key=fresh.node_key,
            )
        self.nodes[fresh.address] = fresh

    def _stake_added(self, said: Mapping[str, Any], _block: int) -> None:
        known = self.nodes.get(said["node"])
        if known is not None:
            self._change(known, stake=known.stake + said["amount"])

    def _stake_leaving(self, said: Mapping[str, Any], _block: int) -> None:
        known = self.nodes.get(said["node"])
        if known is not None:
            amount = said["amount"]
            self._change(
                known,
                stake=known.stake - amount,
                leaving=known.leaving + amount,
                leaving_at=said["ready_at"],
            )

    def _stake_collected(self, said: Mapping[str, Any], _block: int) -> None:
        known = self.nodes.get(said["node"])
        if known is not None:
            self._change(known, leaving=0)

    def _change(self, known: NodeOnChain, **changes: Any) -> None:
        self.nodes[known.address] = replace(known, **changes)

    def _cut(self, known: NodeOnChain, cut: int) -> dict[str, int]:
        """From the stake first, then from what is leaving."""
        from_stake = min(cut, known.stake)
        return {
            "stake": known.stake - from_stake,
            "leaving": known.leaving - min(known.leaving, cut - from_stake),
        }

    # -- orders

    def _ordered(self, said: Mapping[str, Any], block: int) -> None:
        self.orders[said["order_id"]] = PinOrderOnChain(
            order_id=said["order_id"],
            track=said["track"],
            owner=said["owner"],
            replicas=said["replicas"],
            ends_at=said["ends_at"],
            rate=said["rate"],
            paid_in=said["escrow"],
            block=block,
        )

    def _change_order(self, order_id: int, **changes: Any) -> None:
        if order_id in self.orders:
            self.orders[order_id] = replace(self.orders[order_id], **changes)

    def _extended(self, said: Mapping[str, Any], _block: int) -> None:
        known = self.orders.get(said["order_id"])
        if known is not None:
            self._change_order(known.order_id, ends_at=said["ends_at"], paid_in=known.paid_in + said["added"])

    def _cancelled(self, said: Mapping[str, Any], _block: int) -> None:
        self._change_order(said["order_id"], ends_at=said["ends_at"], is_cancelled=True)

    def _closed(self, said: Mapping[str, Any], _block: int) -> None:
        known = self.orders.get(said["order_id"])
        if known is not None:
            self._change_order(known.order_id, refunded=known.refunded + said["refund"], is_closed=True)

    # -- copies

    def _accepted(self, said: Mapping[str, Any], block: int) -> None:
        order_id, node = said["order_id"], said["node"]
        self.copies.setdefault(order_id, {})[node] = CopyOnChain(order_id, node, since=block)
        known = self.nodes.get(node)
        if known is not None:
            # Duty begins with the round after its first copy.
            last_round = known.last_round if known.copies else self.round
            self._change(known, copies=known.copies + 1, last_round=last_round)

    def _settled(self, said: Mapping[str, Any], _block: int) -> None:
        copy, order = self._copy(said), self.orders.get(said["order_id"])
        if copy is not None:
            paid, proven_s = copy.paid + said["amount"], copy.proven_s + said["proven_s"]
            self.copies[copy.order_id][copy.node] = replace(copy, paid=paid, proven_s=proven_s)
        if order is not None:
            self._change_order(order.order_id, paid_out=order.paid_out + said["amount"])

    def _copy(self, said: Mapping[str, Any]) -> CopyOnChain | None:
        return self.copies.get(said["order_id"], {}).get(said["node"])

    def _end(self, said: Mapping[str, Any], block: int, how: Ending) -> None:
        copy, known = self._copy(said), self.nodes.get(said["node"])
        if copy is None or copy.ended is not None:
            return
        self.copies[copy.order_id][copy.node] = replace(copy, ended=how, ended_in=block)
        if known is None:
            return
        missed = 0
        if known.copies == 1 and not known.is_jailed:
            # Its last copy: duty ends, and what was missed stays on its account. No round can be open for it
            # then (`challenge_open`), so all that are not answered are over.
            missed = max(0, self.round - known.last_round)
        self._change(
            known,
            copies=known.copies - 1,
            last_round=known.last_round + missed,
            carried_misses=known.carried_misses + missed,
        )

    def _released(self, said: Mapping[str, Any], block: int) -> None:
        self._end(said, block, Ending.RELEASED)

    def _evicted(self, said: Mapping[str, Any], block: int) -> None:
        self._end(said, block, Ending.EVICTED)

    def _given_back(self, said: Mapping[str, Any], block: int) -> None:
        self._end(said, block, Ending.GIVEN_BACK)
        known = self.nodes.get(said["node"])
        if known is not None:
            self._change(known, **self._cut(known, said["cost"]))

    # -- rounds

    def _opened(self, said: Mapping[str, Any], block: int) -> None:
        self.rounds.append(RoundOnChain(said["round"], said["epoch"], said["seed"], said["sealer"], block))

    def _passed(self, said: Mapping[str, Any], _block: int) -> None:
        known = self.nodes.get(said["node"])
        if known is not None:
            self._change(
                known,
                last_round=said["round"],
                points=said["points"],
                carried_misses=0,
                passed=known.passed + 1,
                last_passed=said["round"],
            )

    def _slashed(self, said: Mapping[str, Any], _block: int) -> None:
        known = self.nodes.get(said["node"])
        if known is not None:
            self._change(
                known,
                **self._cut(known, said["cut"]),
                points=0,
                carried_misses=0,
                last_round=self.round,
                jailed_until=said["jailed_until"],
                slashed=known.slashed + 1,
                slashed_amount=known.slashed_amount + said["cut"],
            )

    def _unjailed(self, said: Mapping[str, Any], _block: int) -> None:
        known = self.nodes.get(said["node"])
        if known is not None:
            self._change(known, jailed_until=0, last_round=self.round)


_HANDLERS: dict[str, Callable[[ChainPins, Mapping[str, Any], int], None]] = {
    "NodeJoined": ChainPins._joined,
    "StakeAdded": ChainPins._stake_added,
    "StakeLeaving": ChainPins._stake_leaving,
    "StakeCollected": ChainPins._stake_collected,
    "PinOrdered": ChainPins._ordered,
    "OrderExtended": ChainPins._extended,
    "OrderCancelled": ChainPins._cancelled,
    "OrderClosed": ChainPins._closed,
    "PinAccepted": ChainPins._accepted,
    "PinSettled": ChainPins._settled,
    "PinReleased": ChainPins._released,
    "PinEvicted": ChainPins._evicted,
    "PinGivenBack": ChainPins._given_back,
    "RoundOpened": ChainPins._opened,
    "AuditPassed": ChainPins._passed,
    "Slashed": ChainPins._slashed,
    "Unjailed": ChainPins._unjailed,
}
