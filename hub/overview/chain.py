"""The chain as the operator's page shows it: orders, nodes with their stake, rounds, and what happened lately.

Put together from what the follower knows (`hub.chain.state`), with names from the backbone (operators, whose
node and account name each other) and the catalogue (titles that the artist's key signed). No clock, no socket.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from digm.announcements import Announcement
from digm.chain_pins import COLD, NodeOnChain, PinOrderOnChain
from digm.ids import to_hex
from digm.node_ids import peer_id
from hub.chain.standings import node_of, standing_of
from hub.chain.state import ChainState, FoundTrack
from hub.overview.network import Published, printable

MOST_ORDERS = 200
MOST_NODES = 200
MOST_EVENTS = 200
SHOWN_ROUNDS = 16


class OrderState(StrEnum):
    """How a pin order stands."""

    OPEN = "open"
    FULL = "full"
    CANCELLED = "cancelled"
    OVER = "over"
    CLOSED = "closed"


@dataclass(frozen=True)
class OrderRow:
    """A pin order. Amounts are units (10^-18) as text, dates seconds since 1970 on the chain's clock.

    Attributes:
        track: the track's id on the chain, 64 hex digits.
        track_root: None where the registry does not know the track.
        title: None where this hub does not list it.
        holders: names of the nodes that have a place of it.
    """

    order_id: int
    track: str
    track_root: str | None
    title: str | None
    owner: str
    holders: tuple[str, ...]
    held: int
    wanted: int
    escrow: str
    paid: str
    ends_at: int
    state: OrderState


@dataclass(frozen=True)
class NodeRow:
    """A node as the contract knows it.

    Attributes:
        name: its operator where the node and the account name each other, else the account, shortened.
        peer_id: None where no node of the backbone says that this is its account.
        stake: with what is leaving. slashed: what was cut, ever.
        last_proof: the latest round that it proved; 0: none.
        rounds: round -> `passed`, `missed` or `slashed`, the latest ones, oldest first.
    """

    account: str
    name: str
    peer_id: str | None
    node_class: str
    token: str
    stake: str
    misses_in_a_row: int
    points: int
    slashed: str
    times_slashed: int
    jailed_until: int | None
    copies: int
    passed: int
    last_proof: int
    rounds: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EventRow:
    """A sentence about what happened. `is_undone`: the chain took it back."""

    sequence: int
    block: int
    event: str
    words: str
    is_bad: bool
    is_undone: bool


@dataclass(frozen=True)
class ChainView:
    """What the page shows.

    Attributes:
        chain_id: None where no contracts are known.
        servers: hosts alone: what stands behind them in a URL may be a secret.
        head: newest block. counted: the newest of which events count.
        trouble: the code of what keeps us from the newest; empty: nothing.
        round, epoch: the latest; 0 where there is none.
        points_limit: at so many points a node is slashed; None: not known yet.
        running: orders that are neither over nor closed.
    """

    chain_id: int | None = None
    servers: tuple[str, ...] = ()
    head: int = 0
    counted: int = 0
    is_current: bool = False
    trouble: str = ""
    addresses: Mapping[str, str] = field(default_factory=dict)
    round: int = 0
    epoch: int = 0
    points_limit: int | None = None
    running: int = 0
    orders: tuple[OrderRow, ...] = ()
    nodes: tuple[NodeRow, ...] = ()
    events: tuple[EventRow, ...] = ()


class Names:
    """Who is who, as far as it can be believed.

    Args:
        present: what nodes announced.
        published: what the catalogue says, by track root in hex.
    """

    def __init__(
        self, state: ChainState, present: Iterable[Announcement], published: Mapping[str, Published]
    ) -> None:
        self._tracks = {found.said.track: found for found in (*state.tracks, *state.withdrawn)}
        self._published = published
        self._operators: dict[str, tuple[str, str]] = {}
        artists: dict[str, set[str]] = {}
        for found in state.tracks:
            listed = published.get(to_hex(found.said.track_root))
            key = to_hex(found.artist_key) if found.artist_key is not None else None
            if listed is not None and listed.artist and listed.artist_key == key:
                artists.setdefault(found.said.artist, set()).add(printable(listed.artist))
        # Somebody who publishes for several, a label perhaps, is none of them.
        self._artists = {account: min(names) for account, names in artists.items() if len(names) == 1}
        for said in present:
            node = node_of(state, said.node, said.account)
            if node is not None:
                self._operators[node.address] = (printable(said.operator), peer_id(said.node))

    def account(self, address: str) -> str:
        """Of a node its operator, of an artist what the artist's key signed; else the address, shortened."""
        known = self._operators.get(address)
        return known[0] if known else self._artists.get(address, f"{address[:6]}…{address[-4:]}")

    def peer_id(self, address: str) -> str | None:
        known = self._operators.get(address)
        return known[1] if known else None

    def found(self, track: bytes) -> FoundTrack | None:
        return self._tracks.get(track)

    def title(self, track: bytes) -> str | None:
        """Of a track whose account the key named that signed the title which the catalogue has."""
        found = self._tracks.get(track)
        if found is None or found.artist_key is None:
            return None
        listed = self._published.get(to_hex(found.said.track_root))
        is_the_same = listed is not None and listed.artist_key == to_hex(found.artist_key)
        return printable(listed.title) if listed is not None and is_the_same else None

    def track(self, track: bytes) -> str:
        """For a sentence."""
        title, found = self.title(track), self.found(track)
        if title is not None:
            return f"“{title}”"
        return f"track {to_hex(found.said.track_root)[:8]}" if found is not None else "a track"


def chain_view(state: ChainState, servers: Sequence[str], names: Names, now_s: float) -> ChainView:
    """Put it together.

    Args:
        servers: hosts of the RPC servers.
        now_s: seconds since 1970; only for which orders are over.
    """
    pins = state.pins
    newest = list(reversed(pins.orders.values()))
    running = [order for order in newest if not _is_over(order, now_s)]
    over = [order for order in newest if _is_over(order, now_s)] if len(running) < MOST_ORDERS else []
    nodes = sorted((_node(state, node, names) for node in pins.nodes.values()), key=_place)
    return ChainView(
        chain_id=state.deployed.chain_id if state.deployed is not None else None,
        servers=tuple(servers),
        head=state.head,
        counted=max(0, state.counted),
        is_current=state.is_current,
        trouble=state.trouble,
        addresses=dict(state.deployed.addresses) if state.deployed is not None else {},
        round=pins.round,
        epoch=state.epoch or 0,
        points_limit=state.rules.get("points_limit"),
        running=len(running),
        orders=tuple(_order(state, order, names, now_s) for order in [*running, *over][:MOST_ORDERS]),
        nodes=tuple(nodes[:MOST_NODES]),
        events=_events(state, names),
    )


def _place(row: NodeRow) -> tuple[bool, bool, str, str]:
    """Those with something to keep first, then those whom somebody here knows."""
    return not row.copies and row.jailed_until is None, row.peer_id is None, row.name, row.account


def _order(state: ChainState, order: PinOrderOnChain, names: Names, now_s: float) -> OrderRow:
    found, holders = names.found(order.track), state.pins.holders(order.order_id)
    return OrderRow(
        order_id=order.order_id,
        track=to_hex(order.track),
        track_root=to_hex(found.said.track_root) if found is not None else None,
        title=names.title(order.track),
        owner=names.account(order.owner),
        holders=tuple(map(names.account, holders)),
        held=len(holders),
        wanted=order.replicas,
        escrow=str(order.escrow),
        paid=str(order.paid_out),
        ends_at=order.ends_at,
        state=_state(order, len(holders), now_s),
    )


def _is_over(order: PinOrderOnChain, now_s: float) -> bool:
    return order.is_closed or order.ends_at <= now_s


def _state(order: PinOrderOnChain, held: int, now_s: float) -> OrderState:
    if order.is_closed:
        return OrderState.CLOSED
    if order.ends_at <= now_s:
        return OrderState.OVER
    if order.is_cancelled:
        return OrderState.CANCELLED
    return OrderState.FULL if held >= order.replicas else OrderState.OPEN


def _node(state: ChainState, node: NodeOnChain, names: Names) -> NodeRow:
    standing, marks = standing_of(state, node), state.marks.get(node.address, {})
    return NodeRow(
        account=node.address,
        name=names.account(node.address),
        peer_id=names.peer_id(node.address),
        node_class="cold" if node.node_class == COLD else "elder",
        token=standing.token,
        stake=str(standing.stake),
        misses_in_a_row=standing.misses_in_a_row,
        points=standing.points,
        slashed=str(standing.slashed),
        times_slashed=node.slashed,
        jailed_until=standing.jailed_until,
        copies=node.copies,
        passed=node.passed,
        last_proof=node.last_passed,
        rounds={
            number: mark.value for number, mark in marks.items() if number > state.pins.round - SHOWN_ROUNDS
        },
    )


def _events(state: ChainState, names: Names) -> tuple[EventRow, ...]:
    """The newest first."""
    return tuple(
        EventRow(
            sequence=told.sequence,
            block=told.block,
            event=told.event,
            words=told.sentence.say(names.account, names.track),
            is_bad=told.sentence.is_bad,
            is_undone=told.is_undone,
        )
        for told in reversed(state.told[-MOST_EVENTS:])
    )
