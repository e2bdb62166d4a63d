"""Keeps the copies that artists order: takes orders, answers, fetches, repairs, and lets go when they end.

A node says `held` only when every chunk was checked against its hash and lies fsynced in the store. Who shall
hold what is the same sum on every node (`digm.placement`), so orders need no broker and no leader.
"""

import asyncio
import contextlib
import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from digm.announcements import Announcement
from digm.audits import Health
from digm.backbone_messages import PIN
from digm.errors import CallerFault, DigmError, PeerFault, Unavailable
from digm.ids import short, to_hex
from digm.node_ids import peer_id
from digm.pinning import (
    MAX_ORDER_BYTES,
    AnswerState,
    Decline,
    PinAnswer,
    PinOrder,
    encode_pin_answer,
    parse_pin_answer,
)
from digm.placement import LOSS_GRACE_S, STEP_S, Candidate, Promises, RepairPlan, placement, surplus
from hub.pinning.fetching import TrackFetcher
from hub.pinning.herald import Herald
from hub.pinning.network import Identity, Network, Store
from hub.pinning.order_desk import OrderDesk, Ordered, OrderProgress
from hub.pinning.records import Records
from hub.signatures import verify

log = structlog.get_logger()
PROTOCOL = PIN.name
_Present = Mapping[bytes, Candidate]
_REASONS = {"no_source": Decline.NO_SOURCE, "pin_order_mismatch": Decline.MISMATCH}


@dataclass(frozen=True)
class PinSettings:
    """How this node keeps copies.

    Attributes:
        is_taking: False declines every order.
        artists: only these Ed25519 keys; everybody if None.
        most_tracks: pinned at once for others.
        settle_s: so long after the start it only listens: who holds what is not known yet.
        promise_s: so long may fetching take before others step in.
        decline_s: so long others need not ask again,
        no_source_s: and so long where nobody gave the track, each further time twice as long: who has it may
            just be coming back.
        repeat_s: so often a holder says the order again, for nodes that are new.
    """

    is_taking: bool = True
    artists: frozenset[bytes] | None = None
    most_tracks: int = 100_000
    step_s: float = STEP_S
    grace_s: float = LOSS_GRACE_S
    settle_s: float = 90.0
    promise_s: int = 1800
    decline_s: int = 600
    no_source_s: int = 20
    repeat_s: float = 600.0
    parallel_tracks: int = 2


@dataclass
class _Pinned:
    """What this node does about one order.

    Attributes:
        fruitless: how often in a row nobody gave the track.
    """

    item: Ordered
    plan: RepairPlan
    task: asyncio.Task[None] | None = None
    fruitless: int = 0

    @property
    def order(self) -> PinOrder:
        return self.item.order

    @property
    def promises(self) -> Promises:
        return self.item.promises

    @property
    def is_busy(self) -> bool:
        return self.task is not None and not self.task.done()


class Pinner:
    """The pins of one node. Call `start` once, and `tick` every few seconds.

    Attributes:
        desk: the orders, and how far they are.

    Args:
        health: how a node stands with our auditor; a failed node's copy is no copy.
        is_jailed: whether a node sits in the jail of the chain's contract: it is asked last.
    """

    def __init__(
        self,
        network: Network,
        identity: Identity,
        store: Store,
        herald: Herald,
        records: Records,
        settings: PinSettings | None = None,
        health: Callable[[bytes], Health] = lambda _node: Health.UNPROVEN,
        now: Callable[[], float] = time.time,
        is_jailed: Callable[[Announcement], bool] = lambda _said: False,
    ) -> None:
        self._network, self._identity, self._store, self._herald = network, identity, store, herald
        self._is_jailed = is_jailed
        self._settings, self._health, self._now = settings or PinSettings(), health, now
        self._chunk_counts: dict[bytes, dict[int, int]] = {}  # by manifest hash, of the tracks that we keep
        self.desk = OrderDesk(
            network, herald, records, self._settings.repeat_s, health, now,
            lambda _root, manifest: self._chunk_counts.get(manifest),
        )  # fmt: skip
        self.desk.book.claimed = self._claimed
        self._me = identity.node_key
        self._pinned: dict[bytes, _Pinned] = {}
        self._turns = asyncio.Semaphore(self._settings.parallel_tracks)
        self._listening_until = math.inf

    async def start(self) -> None:
        """Take up the orders that were known, listen, and answer on the stream."""
        self._listening_until = self._now() + self._settings.settle_s
        await self.desk.start()
        self._network.serve(
            PIN.name, self._on_request, most_bytes=MAX_ORDER_BYTES, timeout_s=PIN.timeout_s, parallel=16
        )

    async def stop(self) -> None:
        """Stop fetching; what was fetched stays."""
        tasks = [item.task for item in self._pinned.values() if item.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def idle(self) -> None:
        """Return when nothing is being fetched."""
        while tasks := [item.task for item in self._pinned.values() if item.task is not None and item.is_busy]:
            await asyncio.gather(*tasks, return_exceptions=True)

    async def place(self, document: bytes) -> PinOrder:
        """Give an order to the network; see `OrderDesk.place`."""
        return await self.desk.place(document)

    def progress(self) -> list[OrderProgress]:
        """How far each order is."""
        orders = [item for item in self.desk.orders.values() if not item.order.is_cancelling]
        return [self.desk.progress(item) for item in orders]

    async def tick(self) -> None:
        """Look at every order once: step in, repair, repeat, let go.

        Raises:
            Unavailable: backbone, disk or records fail just now; the next call goes on.
        """
        await self.desk.keep_changes()
        await asyncio.to_thread(self._store.end_expired_pins)
        await self.desk.sweep()
        over, mine = self.desk.over(), await asyncio.to_thread(self._my_pins)
        for ended in over:
            pinned, name = self._of(ended), to_hex(ended.order.order_id)
            if name in mine or pinned.task is not None:
                await self._let_go(pinned)
            self._pinned.pop(ended.order.order_id, None)
            self._chunk_counts.pop(ended.order.manifest_hash, None)
            self.desk.forget(ended)
        if self._now() < self._listening_until:
            return
        present = self._present()
        for item in list(self.desk.orders.values()):
            if item.order.is_cancelling:
                await self.desk.repeat(item, set(), is_ours=False)
            else:
                await self._look(self._of(item), to_hex(item.order.order_id) in mine, present)
            await asyncio.sleep(0)  # there may be thousands, and streams to be answered meanwhile

    # -- orders

    def _of(self, item: Ordered) -> _Pinned:
        known = self._pinned.get(item.order.order_id)
        if known is None:
            settings = self._settings
            known = _Pinned(item, RepairPlan(item.order, self._me, settings.step_s, settings.grace_s))
            self._pinned[item.order.order_id] = known
        return known

    async def _on_request(self, peer: str, request: bytes) -> bytes:
        """An order on the stream; the answer is signed. Raises as `OrderDesk.asked`."""
        order = await self.desk.asked(peer, request)
        known = self.desk.orders.get(order.order_id)
        if known is None or order.is_cancelling:
            return self._answer(order, AnswerState.DECLINED, Decline.NOT_NEEDED)
        item, holders = self._of(known), self.desk.holders(order)
        if self._me in holders:
            return self._answer(order, AnswerState.HELD)
        promised = self.desk.promised(item.item, holders)
        if not item.is_busy and len(holders | promised) >= order.desired_replicas:
            return self._answer(order, AnswerState.DECLINED, Decline.NOT_NEEDED)
        reason = None if item.is_busy else await self._why_not(order)
        if reason is not None:
            return self._answer(order, AnswerState.DECLINED, reason)
        return await self._accept(item)

    # -- one order

    async def _look(self, item: _Pinned, is_mine: bool, present: _Present) -> None:
        order, now_s = item.order, self._now()
        if is_mine and order.manifest_hash not in self._chunk_counts:
            await self._learn_counts(order)
        holders, out = self.desk.holders(order), item.promises.out(now_s)
        promised = self.desk.promised(item.item, holders)
        if is_mine:
            await self._keep_holding(item, holders)
        elif not item.is_busy:
            passed_over = out - holders - {self._me}
            candidates = [able for node, able in present.items() if node not in passed_over]
            item.plan.look(holders, promised, candidates, now_s)
            if item.plan.is_due(now_s) and self._me not in out:
                reason = await self._why_not(order)
                await (self._accept(item) if reason is None else self._decline(item, reason))
        await self._repeat(item, holders, present)

    async def _learn_counts(self, order: PinOrder) -> None:
        with contextlib.suppress(Unavailable):  # it is just being let go
            held = await asyncio.to_thread(self._store.availability, to_hex(order.track_root))
            counts = {rendition: field.count for rendition, field in held.items()}
            self._chunk_counts[order.manifest_hash] = counts

    async def _keep_holding(self, item: _Pinned, holders: set[bytes]) -> None:
        """Fetch again what was lost here; let go if enough others hold it for certain."""
        if not item.is_busy and self._me not in holders:
            item.task = self._start_fetching(item)
            return
        proven = [
            Candidate.of(claim)
            for claim in self._herald.ledger.of_track(item.order.track_root, self._now())
            if claim.node == self._me or (claim.node in holders and self._health(claim.node) is Health.HEALTHY)
        ]
        if self._me in surplus(item.order, proven):
            log.info("pin_not_needed", track_root=short(item.order.track_root), holders=len(proven))
            await self._let_go(item)
            await self._decline(item, Decline.NOT_NEEDED)

    async def _repeat(self, item: _Pinned, holders: set[bytes], present: _Present) -> None:
        is_ours = False
        if self._me in holders:  # it falls to the first of those who hold it
            nodes = placement(item.order.track_root, present.values())
            is_ours = next((node for node in nodes if node in holders), None) == self._me
        await self.desk.repeat(item.item, holders, is_ours)

    async def _why_not(self, order: PinOrder) -> Decline | None:
        settings = self._settings
        if not settings.is_taking or (settings.artists is not None and order.artist not in settings.artists):
            return Decline.POLICY
        if len(await asyncio.to_thread(self._my_pins)) >= settings.most_tracks:
            return Decline.POLICY
        return None if await asyncio.to_thread(self._store.free_bytes) > 0 else Decline.NO_SPACE

    async def _accept(self, item: _Pinned) -> bytes:
        if not item.is_busy:
            item.task = self._start_fetching(item)
        return await self._say(item, AnswerState.ACCEPTED)

    def _start_fetching(self, item: _Pinned) -> asyncio.Task[None]:
        return asyncio.create_task(self._fetch(item), name=f"pin-{short(item.order.track_root)}")

    async def _fetch(self, item: _Pinned) -> None:
        order = item.order
        fetcher = TrackFetcher(self._network, self._store, order, lambda: self._claimants(order.track_root))
        try:
            async with self._turns:
                await fetcher.hold_manifest()
                await self._learn_counts(order)
                root, name = to_hex(order.track_root), to_hex(order.order_id)
                await asyncio.to_thread(self._store.pin, root, name, order.expires_at)
                await fetcher.hold_chunks()
                await fetcher.hold_cover()
            item.fruitless = 0
            await self._herald.announce()
            await self._say(item, AnswerState.HELD)
            log.info("track_pinned", track_root=short(order.track_root), order_id=short(order.order_id))
        except (CallerFault, PeerFault, Unavailable) as fault:
            log.warning("track_not_pinned", track_root=short(order.track_root), code=fault.code)
            await self._give_up(item, _REASONS.get(fault.code, Decline.NO_SPACE))
        except Exception:  # our bug: the others are told at least, so that one of them steps in
            log.exception("pinning_failed", track_root=short(order.track_root))
            await self._give_up(item, Decline.NO_SOURCE)

    async def _give_up(self, item: _Pinned, reason: Decline) -> None:
        item.fruitless += reason is Decline.NO_SOURCE
        try:
            await self._let_go(item)
            if reason is Decline.MISMATCH:
                self.desk.book.drop(item.order)
            await self._decline(item, reason)
        except DigmError as fault:
            log.warning("decline_not_sent", track_root=short(item.order.track_root), code=fault.code)

    async def _let_go(self, item: _Pinned) -> None:
        if item.task is not None and item.task is not asyncio.current_task():
            item.task.cancel()
        root, name = to_hex(item.order.track_root), to_hex(item.order.order_id)
        await asyncio.to_thread(self._store.unpin, root, name)

    async def _decline(self, item: _Pinned, reason: Decline) -> bytes:
        return await self._say(item, AnswerState.DECLINED, reason)

    async def _say(self, item: _Pinned, state: AnswerState, reason: Decline | None = None) -> bytes:
        document = self._answer(item.order, state, reason, item.fruitless)
        item.promises.record(parse_pin_answer(document, self._now(), verify), self._now())
        await self._network.publish(document)
        return document

    def _answer(
        self, order: PinOrder, state: AnswerState, reason: Decline | None = None, fruitless: int = 0
    ) -> bytes:
        decline_s = self._settings.decline_s
        if reason is Decline.NO_SOURCE:
            decline_s = min(decline_s, self._settings.no_source_s << min(max(fruitless - 1, 0), 16))
        lifetimes = {AnswerState.ACCEPTED: self._settings.promise_s, AnswerState.DECLINED: decline_s}
        issued_at = int(self._now())
        valid_until = issued_at + lifetimes.get(state, 86_400)
        answer = PinAnswer(self._me, order.order_id, state, reason, issued_at, valid_until)
        return encode_pin_answer(answer, self._identity.sign)

    # -- who

    def _claimants(self, track_root: bytes) -> list[str]:
        claims = self.desk.claims(track_root)
        random.shuffle(claims)  # not all who make a copy from the same one
        claims.sort(key=lambda claim: (self._is_jailed(claim), -claim.share))
        return [peer_id(claim.node) for claim in claims if claim.node != self._me]

    def _present(self) -> _Present:
        """Who is there. It walks over all that is announced: once for all orders, not once for each."""
        return {said.node: Candidate.of(said) for said in self._herald.ledger.present(self._now())}

    def _claimed(self) -> set[bytes] | None:
        """The tracks of which somebody claims chunks; None: we have not heard of enough yet."""
        now_s, ledger = self._now(), self._herald.ledger
        if now_s < self._listening_until:
            return None
        return {claim.track_root for node in ledger.nodes(now_s) for claim in ledger.of_node(node, now_s)}

    def _my_pins(self) -> set[str]:
        return {pin.pinned_by for pin in self._store.pins()}
