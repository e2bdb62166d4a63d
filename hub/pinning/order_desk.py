"""Where pin orders come in: the latest of each artist for each track, what nodes answered, who holds copies.

A node's `Pinner` keeps copies by it; a hub, which keeps none, shows artists how far their orders are. An order
that was placed here lies on the disk (fsynced) before anybody hears of it, and is said again until it is held
by as many as it asks for; a cancelling one until it is over, for nodes that were away. What nodes answered is
kept, too: they do not say it again.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import structlog

from digm.announcements import Announcement
from digm.audits import Health
from digm.errors import DigmError, PeerFault, Unavailable
from digm.ids import short
from digm.pinning import (
    ANSWER_KIND,
    ORDER_KIND,
    AnswerState,
    Decline,
    OrderBook,
    PinAnswer,
    PinOrder,
    parse_pin_answer,
    parse_pin_order,
)
from digm.placement import Promises
from digm.token_bucket import TokenBucket
from hub.peer_rate import PeerRate
from hub.pinning.herald import Herald
from hub.pinning.network import ChunkCounts, Network
from hub.pinning.records import KeptAnswer, Records
from hub.signatures import verify

log = structlog.get_logger()
FIRST_REPEAT_S = 15.0  # then twice as long each time, up to `repeat_s`
CORRECTED_EVERY_S = 60.0  # who says an order that is out of date is told the newer one
REPEATS_PER_S, REPEATS_AT_ONCE = 2.0, 20.0
# On the stream: each costs a signature and a line on the disk. An artist asks a node once for each track.
PER_PEER_S, PER_PEER_AT_ONCE = 2.0, 60.0
ALL_S, ALL_AT_ONCE = 50.0, 200.0
MOST_UNKEPT = 10_000  # answers that wait for the disk


@dataclass
class Ordered:
    """An order that counts, and what goes on about it.

    Attributes:
        heard_at: when it came, or came again.
        said_at, times_said, newcomers: our own repeating.
        is_outdated_elsewhere: somebody still says an earlier order in its place.
    """

    order: PinOrder
    said_at: float
    heard_at: float
    is_placed_here: bool = False
    promises: Promises = field(default_factory=Promises)
    times_said: int = 0
    newcomers: int = 0
    is_outdated_elsewhere: bool = False


@dataclass(frozen=True)
class OrderProgress:
    """How far an order is, as it looks from here; node keys.

    Attributes:
        holders: who announces a whole copy that is kept for it, and has not failed our audits.
        promised: who accepted, has still time, and is there.
        gone: who accepted, has still time, and is not there any more.
        declined: who said no, and why.
        broken: who accepted and did not deliver in time.
        lost: who said that it holds a copy and is no holder now.
    """

    order: PinOrder
    holders: frozenset[bytes]
    promised: frozenset[bytes]
    gone: frozenset[bytes]
    declined: dict[bytes, Decline]
    broken: frozenset[bytes]
    lost: frozenset[bytes]

    @property
    def is_held(self) -> bool:
        """Whether there are as many copies as were ordered."""
        return len(self.holders) >= self.order.desired_replicas


class OrderDesk:
    """The orders that one process knows. Call `start` once.

    Attributes:
        orders: by order id, those that count; cancelling ones, too.

    Args:
        repeat_s: so often is an order said again at the most.
        health: how a node stands with our auditor; a failed node's copy is no copy.
        chunk_counts: what a whole copy is, where we know it.
    """

    def __init__(
        self,
        network: Network,
        herald: Herald,
        records: Records,
        repeat_s: float = 600.0,
        health: Callable[[bytes], Health] = lambda _node: Health.UNPROVEN,
        now: Callable[[], float] = time.time,
        chunk_counts: ChunkCounts = lambda _root, _manifest: None,
    ) -> None:
        self.book = OrderBook()
        self.orders: dict[bytes, Ordered] = {}
        self._network, self._herald, self._records = network, herald, records
        self._repeat_s, self._health, self._now = repeat_s, health, now
        self._chunk_counts = chunk_counts
        self._changed: list[PinOrder] = []
        self._answered: dict[tuple[bytes, bytes], KeptAnswer] = {}
        self._forgotten: list[bytes] = []
        self._remembered: set[bytes] = set()
        self._awaited_until = 0.0
        self._keeping = asyncio.Lock()
        self._pace = TokenBucket(REPEATS_PER_S, REPEATS_AT_ONCE, now())
        self._rate = PeerRate(PER_PEER_S, PER_PEER_AT_ONCE, ALL_S, ALL_AT_ONCE, now())

    async def start(self) -> None:
        """Take up the orders that were known, and listen."""
        over = []
        for document, is_placed_here in await asyncio.to_thread(self._records.orders):
            try:
                self.take(document, is_placed_here)
            except DigmError as fault:  # over since, mostly
                log.info("kept_order_dropped", code=fault.code)
                over.append(document)
        self._changed.clear()
        await asyncio.to_thread(self._records.drop_orders, over)
        await self._take_up_answers()
        self._herald.listeners[ORDER_KIND] = self.hear_order
        self._herald.listeners[ANSWER_KIND] = self.hear_answer

    def hear_order(self, document: bytes) -> None:
        """An order out of the gossip. Raises PeerFault where it is not valid."""
        self.take(document)

    def hear_answer(self, document: bytes) -> None:
        """A node's answer. Raises PeerFault where it is not valid."""
        answer = parse_pin_answer(document, self._now(), verify)
        item = self.orders.get(answer.order_id)
        if item is not None and item.promises.record(answer, self._now()):
            place = (answer.order_id, answer.node)
            is_ours = answer.node == self._herald.node_key  # we may think otherwise after a restart
            if not is_ours and (place in self._answered or len(self._answered) < MOST_UNKEPT):
                self._answered[place] = KeptAnswer(*place, document, self._now())

    def take(self, document: bytes, is_placed_here: bool = False) -> PinOrder:
        """Take an order in; it is on the disk after `keep_changes`.

        Raises:
            PeerFault: it is not valid, or not the latest. CallerFault: the book is full.
        """
        now_s = self._now()
        order = parse_pin_order(document, now_s, verify)
        known = self.book.latest(order.artist, order.track_root)
        if known != order:
            try:
                self.book.add(order, now_s)
            except PeerFault:
                newer = self.orders.get(known.order_id) if known else None
                if newer is not None:
                    newer.is_outdated_elsewhere = True
                raise
            self.orders[order.order_id] = Ordered(order, now_s, now_s, is_placed_here)
            self._changed.append(order)
        item = self.orders.get(order.order_id)
        if item is not None:  # else it is over, and not forgotten yet
            item.heard_at = now_s
            if is_placed_here and not item.is_placed_here:
                item.is_placed_here = True
                self._changed.append(order)
        return order

    async def asked(self, peer: str, document: bytes) -> PinOrder:
        """Take in what a node sent on a stream, and keep it.

        Raises:
            Unavailable: `too_many_requests`, with `retry_after_s`; `records_failed`.
            PeerFault, CallerFault: as `take`.
        """
        self._rate.take(peer, self._now())
        order = self.take(document)
        await self.keep_changes()
        return order

    async def place(self, document: bytes) -> PinOrder:
        """Give an order to the network: of an artist who asks us, say. After this it is kept, and will be said.

        Raises:
            PeerFault: it is not valid; CallerFault: the book is full.
            Unavailable: `records_failed`: it was not kept.
        """
        order = self.take(document, is_placed_here=True)
        await self.keep_changes()
        item = self.orders.get(order.order_id)
        if item is not None and not item.times_said:
            try:
                await self._say(item)
            except Unavailable as fault:
                item.said_at = 0.0  # as soon as it goes
                log.info("order_not_said_yet", order_id=short(order.order_id), code=fault.code)
        return order

    async def keep_changes(self) -> None:
        """Have on the disk what was taken in.

        Raises:
            Unavailable: `records_failed`; the next call tries again.
        """
        async with self._keeping:
            if self._changed:
                await self._keep_orders()
            if self._answered:
                answers = list(self._answered.values())
                await asyncio.to_thread(self._records.keep_answers, answers)
                for item in answers:
                    if self._answered[item.order_id, item.node] is item:  # else there was a later one meanwhile
                        del self._answered[item.order_id, item.node]
            if self._forgotten:
                forgotten = list(self._forgotten)
                await asyncio.to_thread(self._records.drop_answers, forgotten)
                del self._forgotten[: len(forgotten)]

    async def _keep_orders(self) -> None:
        changed = list(self._changed)
        placed_here = {
            order.order_id
            for order in changed
            if (item := self.orders.get(order.order_id)) and item.is_placed_here
        }
        await asyncio.to_thread(self._records.keep_orders, changed, placed_here)
        del self._changed[: len(changed)]

    async def _take_up_answers(self) -> None:
        """What nodes answered before our start. They may be silent until they have heard that we are there."""
        strays = set()
        for answer, heard_at in await asyncio.to_thread(_kept_answers, self._records):
            item = self.orders.get(answer.order_id)
            if item is None:
                strays.add(answer.order_id)
            else:
                item.promises.record(answer, heard_at)
                self._remembered.add(answer.node)
        self._awaited_until = self._now() + self._herald.presence_s
        await asyncio.to_thread(self._records.drop_answers, strays)

    def over(self) -> list[Ordered]:
        """The orders that count no more; `forget` takes them out."""
        now_s = self._now()
        return [
            item
            for item in self.orders.values()
            if now_s >= item.order.expires_at
            or self.book.latest(item.order.artist, item.order.track_root) != item.order
        ]

    def forget(self, item: Ordered) -> None:
        """Take one out."""
        if self.orders.pop(item.order.order_id, None) is not None:
            self._forgotten.append(item.order.order_id)

    async def sweep(self) -> None:
        """Forget what could not be replayed any more, on the disk, too. Raises Unavailable `records_failed`."""
        over = self.book.sweep(self._now())
        if over:
            await asyncio.to_thread(self._records.drop_orders, [order.document for order in over])

    async def repeat(self, item: Ordered, holders: set[bytes], is_ours: bool) -> None:
        """Say an order again if it is time.

        Args:
            is_ours: it falls to us to say it for newcomers, although it is held.
        Raises:
            Unavailable: `backbone_down`, ...; the next call tries again.
        """
        now_s, order = self._now(), item.order
        is_wanting = item.is_placed_here and (order.is_cancelling or len(holders) < order.desired_replicas)
        is_outdated = item.is_placed_here and item.is_outdated_elsewhere
        if not (is_ours or is_wanting or is_outdated):
            return
        pause_s = self._repeat_s
        if is_wanting:
            pause_s = min(pause_s, FIRST_REPEAT_S * 2 ** min(max(0, item.times_said - 1), 16))
        if is_outdated:
            pause_s = min(pause_s, CORRECTED_EVERY_S)
        is_due = now_s >= item.said_at + pause_s or (is_wanting and item.newcomers != self._herald.newcomers)
        if is_due and self._pace.take(1, now_s):
            await self._say(item)

    async def _say(self, item: Ordered) -> None:
        await self._network.publish(item.order.document)
        item.said_at, item.newcomers = self._now(), self._herald.newcomers
        item.times_said, item.is_outdated_elsewhere = item.times_said + 1, False

    # -- who

    def progress(self, item: Ordered) -> OrderProgress:
        """How far an order is."""
        now_s, holders = self._now(), self.holders(item.order)
        accepted = item.promises.promised(holders, now_s)
        promised = self.promised(item, holders)
        said_held = {
            node
            for node, state in item.promises.states().items()
            if state is AnswerState.HELD and not self._is_awaited(node, now_s)
        }
        return OrderProgress(
            item.order,
            frozenset(holders),
            frozenset(promised),
            frozenset(accepted - promised),
            {node: why for node, why in item.promises.declined(now_s).items() if node not in holders},
            frozenset(item.promises.broken(now_s) - holders),
            frozenset(said_held - holders),
        )

    def promised(self, item: Ordered, holders: Collection[bytes]) -> set[bytes]:
        """Who is about to hold it. Who accepted and is gone may come back, but is not waited for."""
        now_s, ledger = self._now(), self._herald.ledger
        return {
            node
            for node in item.promises.promised(holders, now_s)
            if ledger.is_present(node, now_s) or self._is_awaited(node, now_s)
        }

    def _is_awaited(self, node: bytes, now_s: float) -> bool:
        """Whether it answered before our start, and had no time yet to be heard again."""
        is_silent = self._herald.ledger.heard_at(node) is None
        return is_silent and now_s < self._awaited_until and node in self._remembered

    def holders(self, order: PinOrder) -> set[bytes]:
        """Who has a copy that counts: whole, of this manifest, kept for this order, and not failed by us."""
        counts = self._chunk_counts(order.track_root, order.manifest_hash)
        return {claim.node for claim in self.claims(order.track_root) if _is_copy(claim, order, counts)}

    def claims(self, track_root: bytes) -> list[Announcement]:
        """Who claims chunks of a track and has not failed our audits."""
        claims = self._herald.ledger.of_track(track_root, self._now())
        return [claim for claim in claims if self._health(claim.node) is not Health.FAILED]


def _kept_answers(records: Records) -> list[tuple[PinAnswer, float]]:
    """Answers and when they were heard. Their signatures were checked then, and the file is ours."""
    found = []
    for document, heard_at in records.answers():
        with contextlib.suppress(PeerFault):
            found.append((parse_pin_answer(document, heard_at, lambda *_: True), heard_at))
    return found


def _is_copy(claim: Announcement, order: PinOrder, counts: Mapping[int, int] | None) -> bool:
    is_for_it = claim.manifest_hash == order.manifest_hash and order.order_id in claim.pinned_for
    return is_for_it and claim.is_copy(counts)
