"""Giving chunks over `/digm/peer/1.0.0` (trio side): the peer session of the player, a message a frame.

hub.backbone.chunk_fetcher is the asking side.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import structlog
import trio

from digm.backbone_messages import Status, encode_answer, encode_refusal, track_root_of
from digm.bitfield import Bitfield
from digm.errors import DigmError
from digm.ids import short
from digm.manifest import Rendition
from digm.peer_events import Closed, Event, UploadDropped, UploadWanted
from digm.peer_messages import Reason
from digm.peer_session import PeerSession
from hub.backbone.streams import FrameStream, fault_or_gone

log = structlog.get_logger()
IDLE_S = 60.0  # a stream on which nobody asks and nothing is given
PIECES_AT_ONCE = 4  # 256 KiB: CANCEL takes effect within them


class HeldTrack(Protocol):
    """A track that can be given away; hub.seeding.held_tracks.SeedTrack is one."""

    @property
    def renditions(self) -> Sequence[Rendition]:
        """The manifest's."""
        ...

    @property
    def held(self) -> Mapping[int, Bitfield]:
        """By rendition id; read live."""
        ...

    def chunk_hash(self, rendition: int, chunk: int) -> str:
        """Its name in the store, in hex."""
        ...


FindTrack = Callable[[bytes], Awaitable[HeldTrack | None]]
ReadChunk = Callable[[str], Awaitable[bytes]]


async def serve_chunks(frames: FrameStream, peer: str, find: FindTrack, read: ReadChunk) -> None:
    """Be the giving side of one stream until the other side ends it, breaks a rule or falls silent."""
    track_root = track_root_of(await frames.read())
    track = await find(track_root)
    if track is None:
        await frames.write(encode_refusal(Status.NOT_HERE, "track_not_held"))
        return
    await frames.write(encode_answer(b""))
    await _Giving(frames, peer, track_root, track, read).run()


class _Giving:
    """One session. A single task writes; one reads; one for each chunk loads it."""

    def __init__(
        self, frames: FrameStream, peer: str, track_root: bytes, track: HeldTrack, read: ReadChunk
    ) -> None:
        self._frames = frames
        self._track = track
        self._read = read
        self._session = PeerSession(track_root, track.renditions, track.held, time.monotonic())
        self._chunks: dict[int, bytes] = {}
        self._wake = trio.Event()
        self._is_over = False
        self._heard_at = time.monotonic()
        self._log = log.bind(peer_id=peer, track_root=short(track_root))

    async def run(self) -> None:
        """Raises Unavailable `stream_ended`."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._receive)
                await self._give()
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            known = fault_or_gone(group)
            if known is None:
                raise
            if known.code != "stream_ended":  # the other side had enough
                raise known from group

    async def _receive(self) -> None:
        while not self._is_over:
            message = await self._frames.read()
            self._heard_at = time.monotonic()
            self._handle(self._session.receive(message, self._heard_at))
            self._wake.set()

    async def _give(self) -> None:
        session = self._session
        while not self._is_over:
            self._wake = trio.Event()
            now = time.monotonic()
            self._handle(session.tick(now))
            for message in session.to_send():
                await self._frames.write(message)
            # A few pieces at a time: a write waits for the peer's window, and CANCEL is seen between two.
            if pieces := self._next_pieces(now):
                await self._frames.write_all(pieces)
                self._heard_at = time.monotonic()
                continue
            if now - self._heard_at > IDLE_S:
                return
            await self._sleep(session.next_deadline(now), now)

    def _next_pieces(self, now: float) -> list[Sequence[bytes | memoryview]]:
        pieces: list[Sequence[bytes | memoryview]] = []
        while len(pieces) < PIECES_AT_ONCE and (piece := self._session.next_piece(0, now)):
            chunk = memoryview(self._chunks[piece.request_id])
            pieces.append((piece.header, chunk[piece.start : piece.end]))
            if piece.is_last:
                del self._chunks[piece.request_id]
        return pieces

    async def _sleep(self, deadline: float | None, now: float) -> None:
        until = min(self._heard_at + IDLE_S + 0.1, deadline if deadline is not None else now + IDLE_S)
        with trio.move_on_after(max(0.001, until - now)):
            await self._wake.wait()

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case UploadWanted():
                    self._nursery.start_soon(self._load, event)
                case UploadDropped(request_id):
                    self._chunks.pop(request_id, None)
                case Closed(code, fault):
                    self._is_over = True
                    if fault is not None:
                        self._log.info("peer_at_fault", code=code)

    async def _load(self, wanted: UploadWanted) -> None:
        try:
            name = self._track.chunk_hash(wanted.rendition, wanted.chunk)
            self._chunks[wanted.request_id] = await self._read(name)
            self._session.upload_ready(wanted.request_id)
        except DigmError as error:
            self._log.warning("chunk_not_given", chunk=wanted.chunk, code=error.code)
            self._session.gone(wanted.rendition, wanted.chunk)
            self._handle(self._session.refuse(wanted.request_id, Reason.NOT_HELD))
        self._wake.set()
