"""yamux, libp2p's `/yamux/1.0.0`, after hashicorp/yamux's spec.md, with bounds on a peer (trio side).

py-libp2p's own takes a handful of locks for each frame, gives a stream up whose reader pauses for five seconds,
takes SYN after SYN, and only warns of a peer that sends beyond its window. Here one task reads a connection and
another writes it: a call that is cancelled leaves no half frame behind, and reading never waits for writing.
Who breaks the rules loses the connection; an honest peer cannot tell the difference.
"""

import struct
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
import trio
from libp2p.abc import ISecureConn
from libp2p.connection_types import ConnectionType
from libp2p.peer.id import ID
from libp2p.security.noise.io import MAX_PLAINTEXT_LENGTH
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable, MuxedStreamError
from multiaddr import Multiaddr  # type: ignore[import-untyped]

from digm.errors import PeerFault
from hub.backbone.settings import BackboneSettings
from hub.backbone.yamux_stream import (
    ACK,
    BATCH_BYTES,
    DATA,
    GO_AWAY,
    PING,
    RST,
    SYN,
    WINDOW,
    Connection,
    YamuxStream,
)

log = structlog.get_logger()
HEADER = struct.Struct("!BBHII")  # version, kind, flags, stream, length
FRAME_BYTES = MAX_PLAINTEXT_LENGTH - HEADER.size  # a frame fills one noise message
MOST_OPENED = 256  # streams of ours on one connection
MOST_REPLIES = 4_096  # frames without data that the peer does not take off our hands
FIRST_PING_S, PING_EVERY_S = 0.5, 30.0
GOODBYE_S = 0.5
CLOSE_WITHIN_S = 2.0


class Yamux(Connection):
    """All streams of one connection.

    Attributes:
        streams: open at least one way, by number: odd ones were opened by who called.
        on_close: set by the library; awaited when the connection is over.
        event_closed: set when the socket is closed.
    """

    def __init__(self, conn: ISecureConn, peer_id: ID, settings: BackboneSettings | None = None) -> None:
        self._secured = conn
        self.peer_id = peer_id
        self._settings = settings or BackboneSettings()
        self.streams: dict[int, YamuxStream] = {}
        self._next_number = 1 if conn.is_initiator else 2
        backlog = self._settings.most_streams_per_connection
        self._new, self._accepted = trio.open_memory_channel[YamuxStream](backlog)
        self._head = b""  # of the next frame, as far as it is here
        self._body_left = 0
        self._body_of: YamuxStream | None = None
        self._body_flags = 0
        self._to_send = deque[tuple[list[bytes | memoryview], trio.Event | None]]()
        self._wanted = trio.lowlevel.ParkingLot()
        self._replies = 0
        self._pinged_at = self._rtt = 0.0
        self._ping = 0
        self._is_over = False
        self.on_close: Callable[[], Awaitable[Any]] | None = None
        self.event_started, self.event_closed = trio.Event(), trio.Event()

    # -- from start to end

    async def start(self) -> None:
        """Read and write until the connection ends, by whomever."""
        try:
            async with trio.open_nursery() as tasks:

                async def run(part: Callable[[], Awaitable[None]]) -> None:
                    try:
                        await part()
                    except PeerFault as fault:
                        log.warning("muxer_fault", peer_id=str(self.peer_id), code=fault.code)
                    except Exception as error:  # of socket, TLS, WebSocket or noise: each has its own
                        log.debug("connection_broke", peer_id=str(self.peer_id), error=f"{error!r:.120}")
                    tasks.cancel_scope.cancel()

                for part in (self._read_all, self._write_all, self._measure):
                    tasks.start_soon(run, part)
                self.event_started.set()
        finally:
            await self._end()
        if self.on_close is not None:
            await self.on_close()

    async def close(self) -> None:
        """Say goodbye, and end the connection."""
        if not self._is_over and self.event_started.is_set():
            said = trio.Event()
            self._queue([HEADER.pack(0, GO_AWAY, 0, 0, 0)], said)
            with trio.move_on_after(GOODBYE_S):
                await said.wait()
        await self._end()

    async def _end(self) -> None:
        self._is_over = True
        for stream in list(self.streams.values()):
            stream.fail()
        for _, sent in self._to_send:
            if sent is not None:
                sent.set()
        self._to_send.clear()
        self._new.close()
        try:
            with trio.move_on_after(CLOSE_WITHIN_S) as scope:
                scope.shield = True
                await self._secured.close()
        except Exception as error:  # it is gone already
            _ = error
        finally:
            self.event_closed.set()

    @property
    def is_initiator(self) -> bool:
        return self._secured.is_initiator

    @property
    def is_established(self) -> bool:
        return self.event_started.is_set() and not self._is_over

    @property
    def is_closed(self) -> bool:
        return self.event_closed.is_set()

    def rtt(self) -> float:
        """Round trip in seconds, smoothed; 0 before it is known."""
        return self._rtt

    def get_transport_addresses(self) -> list[Multiaddr]:
        return self._secured.get_transport_addresses()

    def get_connection_type(self) -> ConnectionType:
        return self._secured.get_connection_type()

    def get_remote_address(self) -> tuple[str, int] | None:
        return self._secured.get_remote_address()

    # -- streams

    async def open_stream(self) -> YamuxStream:
        """A new stream of ours. Raises MuxedStreamError: the connection is over, or has enough of them."""
        await trio.lowlevel.checkpoint()
        ours = sum(stream.is_initiator and not stream.has_sent_all for stream in self.streams.values())
        if self._is_over or ours >= MOST_OPENED:
            raise MuxedStreamError("The connection is over." if self._is_over else "Too many streams are open.")
        stream = YamuxStream(self, self._next_number, True)
        self._next_number += 2
        self.streams[stream.stream_id] = stream
        self.say(WINDOW, SYN, stream.stream_id)
        return stream

    async def accept_stream(self) -> YamuxStream:
        """The next stream that the peer opened. Raises MuxedConnUnavailable: the connection is over."""
        async for stream in self._accepted:
            if not stream.is_reset:
                return stream
        raise MuxedConnUnavailable("The connection is over.")

    def _opened(self, number: int) -> YamuxStream | None:
        """The peer opens a stream; None when it has enough of them."""
        if number in self.streams or not number or number % 2 == self._next_number % 2:
            raise PeerFault("muxer_stream", f"The peer may not open stream {number}.")
        theirs = sum(not stream.is_initiator for stream in self.streams.values())
        stream = YamuxStream(self, number, False)
        try:
            if theirs >= self._settings.most_streams_per_connection:
                raise trio.WouldBlock
            self._new.send_nowait(stream)
        except trio.WouldBlock:
            self.say(WINDOW, RST, number)
            return None
        self.streams[number] = stream
        self.say(WINDOW, ACK, number)
        return stream

    # -- reading

    async def _read_all(self) -> None:
        while data := await self._secured.read():
            self._take(memoryview(data))
            if self._replies > MOST_REPLIES:
                raise PeerFault("muxer_flood", "The peer asks and does not read what it asked for.")

    def _take(self, data: memoryview) -> None:
        """Frames, wherever they were cut."""
        while data:
            if self._body_left:
                piece = data[: self._body_left]
                self._body_left -= len(piece)
                if self._body_of is not None:
                    self._body_of.arrived(piece)
                    if not self._body_left:
                        self._body_of.flagged(self._body_flags)
                data = data[len(piece) :]
                continue
            missing = HEADER.size - len(self._head)
            self._head += data[:missing]
            data = data[missing:]
            if len(self._head) == HEADER.size:
                head, self._head = self._head, b""
                self._on_frame(*HEADER.unpack(head))

    def _on_frame(self, version: int, kind: int, flags: int, number: int, length: int) -> None:
        if version or kind > GO_AWAY:
            raise PeerFault("muxer_frame", f"There are no frames of version {version}, type {kind}.")
        if kind == GO_AWAY:
            raise MuxedConnUnavailable(f"The peer says goodbye ({length}).")
        if kind == PING:
            self._on_ping(flags, length)
            return
        stream = self._opened(number) if flags & SYN else self.streams.get(number)
        if kind == DATA and length:
            # What still comes for a stream that is over here was on its way when it ended.
            self._body_of, self._body_flags, self._body_left = stream, flags, length
            if stream is not None:
                self._claim(stream, length)
        elif stream is not None:
            if kind == WINDOW:
                stream.credited(length)
            stream.flagged(flags)

    def _claim(self, stream: YamuxStream, length: int) -> None:
        """Room for data that was announced."""
        stream.window -= length
        unread = sum(len(each.unread) for each in self.streams.values())
        if stream.window < 0 or unread + length > self._settings.most_buffered_bytes:
            raise PeerFault("muxer_overrun", "The peer sends beyond its window.")

    def _on_ping(self, flags: int, value: int) -> None:
        if flags & SYN:
            self.say(PING, ACK, 0, value)
        elif flags & ACK and value == self._ping and self._pinged_at:
            took = trio.current_time() - self._pinged_at
            self._rtt = (self._rtt + took) / 2 if self._rtt else took
            self._pinged_at = 0.0

    async def _measure(self) -> None:
        await trio.sleep(FIRST_PING_S)
        while True:
            self._ping += 1
            self._pinged_at = trio.current_time()
            self.say(PING, SYN, 0, self._ping)
            await trio.sleep(PING_EVERY_S)

    # -- writing

    def say(self, kind: int, flags: int, number: int, value: int = 0) -> None:
        """Send a frame without data, in its turn."""
        self._replies += 1
        self._queue([HEADER.pack(0, kind, flags, number, value)])

    async def send(self, number: int, data: memoryview) -> None:
        """Send data of a stream, within its window; returns when it is gone, or the connection is over."""
        parts: list[bytes | memoryview] = []
        for at in range(0, len(data), FRAME_BYTES):
            piece = data[at : at + FRAME_BYTES]
            parts += (HEADER.pack(0, DATA, 0, number, len(piece)), piece)
        sent = trio.Event()
        self._queue(parts, sent)
        await sent.wait()

    def _queue(self, parts: list[bytes | memoryview], sent: trio.Event | None = None) -> None:
        if self._is_over:
            if sent is not None:
                sent.set()
            return
        self._to_send.append((parts, sent))
        self._wanted.unpark()

    async def _write_all(self) -> None:
        while True:
            while not self._to_send:
                await self._wanted.park()
            parts, sent, size = list[bytes | memoryview](), list[trio.Event](), 0
            while self._to_send and size < BATCH_BYTES:
                some, event = self._to_send.popleft()
                parts += some
                size += sum(map(len, some))
                if event is None:
                    self._replies -= 1
                else:
                    sent.append(event)
            await self._secured.write(b"".join(parts))
            for event in sent:
                event.set()
