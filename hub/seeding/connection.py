"""One WebRTC connection of the seeding peer: aiortc outside, the sans-IO peer session inside."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from aiortc import RTCDataChannel

from digm.errors import DigmError, PeerFault
from digm.ids import short
from digm.peer_events import Closed, Event, PeerReady, UploadDropped, UploadWanted
from digm.peer_session import PeerSession
from digm.peer_states import DEFAULT_SETTINGS, UNLIMITED_BYTES_PER_S, SessionSettings
from digm.signalling import Candidate, IceServer
from digm.token_bucket import TokenBucket
from digm.wire import Reason
from hub.seeding.chunk_cache import ChunkCache
from hub.seeding.held_tracks import SeedTrack
from hub.seeding.metrics import FAULTS, REQUESTS, UPLOADED
from hub.seeding.negotiation import Negotiation, as_bytes
from hub.seeding.settings import SeedLimits

log = structlog.get_logger()


@dataclass(frozen=True)
class Giving:
    """What all connections of the process share: the bytes, the rate, the slots."""

    cache: ChunkCache
    bucket: TokenBucket
    slots: asyncio.Semaphore
    limits: SeedLimits
    session: SessionSettings = DEFAULT_SETTINGS


class SeedConnection:
    """Offers to one peer, or answers its offer, and gives it chunks of one track until either side ends it.

    Args:
        peer: the other one's id, as the hub proved it.
        ice_servers: from the hub's welcome.
    """

    def __init__(self, track: SeedTrack, peer: str, ice_servers: tuple[IceServer, ...], giving: Giving) -> None:
        self._track = track
        self._giving = giving
        self._log = log.bind(peer_id=short(peer), track_root=short(track.track_root))
        self._negotiation = Negotiation(ice_servers, self._on_channel, self.stop)
        self._wake = asyncio.Event()
        self._opened = asyncio.Event()
        self._is_over = False
        self._channel: RTCDataChannel | None = None
        self._session: PeerSession | None = None
        self._wanted: deque[UploadWanted] = deque()
        self._loads: dict[int, asyncio.Task[None]] = {}
        self._slots_held: set[int] = set()
        self._chunks: dict[int, bytes] = {}
        self._moved_at = time.monotonic()

    async def answer(self, offer_sdp: str, send_answer: Callable[[str], object]) -> None:
        """Answer an offer, serve until the end, clean up. Never raises because of the peer."""
        await self._run(lambda: self._negotiation.answer(offer_sdp, send_answer))

    async def offer(self, send_offer: Callable[[str], object]) -> None:
        """Make an offer, serve until the end, clean up. Never raises because of the peer."""
        patience_s = self._giving.limits.answer_timeout_s
        await self._run(lambda: self._negotiation.offer(send_offer, patience_s))

    def take_answer(self, answer_sdp: str) -> None:
        """The peer's answer to our offer; a second one is ignored."""
        self._negotiation.take_answer(answer_sdp)

    async def _run(self, negotiate: Callable[[], Awaitable[None]]) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                async with asyncio.timeout(self._giving.limits.connect_timeout_s):
                    await negotiate()
                    taking = tasks.create_task(self._negotiation.take_candidates(), name="seed-candidates")
                    await self._opened.wait()
                try:
                    await self._serve(tasks)
                finally:
                    taking.cancel()
                    for load in list(self._loads.values()):
                        load.cancel()
        except* TimeoutError:
            self._log.info("peer_not_reached")
        except* PeerFault as faults:
            self._log.info("description_refused", error=str(faults.exceptions[0]))
        finally:
            await self._close()

    def add_candidate(self, candidate: Candidate) -> None:
        """A trickled candidate of the peer; more than any honest peer has are dropped."""
        self._negotiation.add_candidate(candidate)

    def drain(self) -> None:
        """Take no request any more; the connection ends when what is being sent has been sent."""
        if self._session is None:
            self.stop()
            return
        self._session.drain()
        self._wake.set()

    def stop(self) -> None:
        """End it now."""
        self._is_over = True
        self._opened.set()
        self._negotiation.take_answer(None)  # nobody waits for one any more
        self._wake.set()

    @property
    def is_drained(self) -> bool:
        return self._is_over or self._session is None or self._session.is_drained

    def _on_channel(self, channel: RTCDataChannel) -> None:
        giving, track = self._giving, self._track
        self._channel = channel
        self._session = PeerSession(
            track.track_root, track.renditions, track.held, time.monotonic(),
            settings=giving.session, bucket=giving.bucket,
        )  # fmt: skip
        channel.bufferedAmountLowThreshold = giving.limits.buffered_low_bytes
        channel.on("message", self._on_message)
        channel.on("bufferedamountlow", self._wake.set)
        channel.on("close", self.stop)
        self._opened.set()

    def _on_message(self, message: bytes | str) -> None:
        assert self._session is not None
        self._handle(self._session.receive(as_bytes(message), time.monotonic()))
        self._wake.set()

    def _handle(self, events: list[Event]) -> None:
        assert self._session is not None
        for event in events:
            match event:
                case PeerReady():
                    self._log.info("peer_ready")
                    slots = self._giving.session.upload_slots + self._giving.session.upload_queue
                    rate = int(self._giving.bucket.rate_per_s) or UNLIMITED_BYTES_PER_S
                    self._session.offer_rate(rate, slots)
                case UploadWanted():
                    self._wanted.append(event)
                case UploadDropped(request_id):
                    self._let_go(request_id, "dropped")
                case Closed(code, fault):
                    if fault is not None:
                        FAULTS.labels(code).inc()
                        self._log.info("peer_at_fault", code=code)
                    self.stop()

    async def _serve(self, tasks: asyncio.TaskGroup) -> None:
        """Send what is to be sent, whenever something happened or a deadline came."""
        session = self._session
        while session is not None and not self._is_over:
            self._wake.clear()
            self._handle(session.tick(time.monotonic()))
            while self._wanted:
                wanted = self._wanted.popleft()
                load = tasks.create_task(self._load(session, wanted), name="seed-load")
                self._loads[wanted.request_id] = load
            has_room = self._send(session)
            now = time.monotonic()
            if has_room or not self._chunks:
                self._moved_at = now
            elif now - self._moved_at > self._giving.limits.stall_s:
                self._log.info("peer_stalled")
                return
            await self._until(session.next_deadline(now, has_room), now)

    async def _until(self, deadline: float | None, now: float) -> None:
        waits_s = [deadline - now] if deadline is not None else []
        if self._chunks:
            waits_s.append(1.0)  # to notice a stall
        try:
            async with asyncio.timeout(max(0.001, min(waits_s)) if waits_s else None):
                await self._wake.wait()
        except TimeoutError:
            return

    def _send(self, session: PeerSession) -> bool:
        """Fill the channel up to the high-water mark. Returns whether it has room for more."""
        channel = self._channel
        if channel is None or channel.readyState != "open":
            return False
        for message in session.to_send():
            channel.send(message)
        while piece := session.next_piece(channel.bufferedAmount, time.monotonic()):
            channel.send(piece.header + self._chunks[piece.request_id][piece.start : piece.end])
            UPLOADED.inc(piece.end - piece.start)
            self._moved_at = time.monotonic()  # a buffer that is full again took something
            if piece.is_last:
                self._let_go(piece.request_id, "served")
                self._wake.set()  # the next request may move up
        return channel.bufferedAmount < self._giving.session.buffered_high_bytes

    async def _load(self, session: PeerSession, wanted: UploadWanted) -> None:
        """Get a slot of the process and the bytes of a chunk, or say why not."""
        refusal: Reason | None = None
        try:
            async with asyncio.timeout(self._giving.limits.slot_patience_s):
                await self._giving.slots.acquire()
            self._slots_held.add(wanted.request_id)
            name = self._track.chunk_hash(wanted.rendition, wanted.chunk)
            self._chunks[wanted.request_id] = await self._giving.cache.read(name)
        except TimeoutError:
            refusal = Reason.NO_SLOT
        except DigmError as error:
            refusal = Reason.NOT_HELD
            session.gone(wanted.rendition, wanted.chunk)  # or it would ask again, and call us a liar
            self._log.warning(
                "chunk_not_given", rendition=wanted.rendition, chunk=wanted.chunk, code=error.code
            )
        finally:
            if self._loads.get(wanted.request_id) is asyncio.current_task():
                del self._loads[wanted.request_id]
        if refusal is None:
            session.upload_ready(wanted.request_id)
        else:
            self._let_go(wanted.request_id, refusal.name.lower())
            self._handle(session.refuse(wanted.request_id, refusal))
        self._wake.set()

    def _let_go(self, request_id: int, result: str) -> None:
        REQUESTS.labels(result).inc()
        if load := self._loads.pop(request_id, None):
            load.cancel()
        self._chunks.pop(request_id, None)
        if request_id in self._slots_held:
            self._slots_held.discard(request_id)
            self._giving.slots.release()

    async def _close(self) -> None:
        self.stop()
        if self._session is not None:
            self._handle(self._session.channel_closed())
        await self._negotiation.close()
        self._log.debug("connection_closed")
