"""A QUIC connection as py-libp2p's multiplexed connection (trio side; RFC 9000, specs/quic).

aioquic does the protocol without sockets. Here are who the peer is, the streams' readers and writers, and the
clock. What touches aioquic is synchronous and ends in `settle`, so that nothing comes between.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
import trio
from aioquic.quic import events
from libp2p.abc import IMuxedConn
from libp2p.connection_types import ConnectionType
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable, MuxedStreamClosed
from multiaddr import Multiaddr  # type: ignore[import-untyped]

from digm.errors import PeerFault
from hub.backbone.quic.bounded import GRANT_BYTES, KEEP_ALIVE_S, BoundedQuic
from hub.backbone.quic.certificates import peer_of
from hub.backbone.quic.stream import STALLED_S, QuicStream

log = structlog.get_logger()
NOBODY = ID(b"\0")
GRAIN_S = 0.0002
REFUSED = 1  # application error code: not who was called


class QuicMuxer(IMuxedConn):
    """One connection, either side.

    Args:
        send: a datagram to an address; never raises.
        expected: who was called; None: whoever calls us.
        where: the peer's address.
    Attributes:
        event_known: it is known whose connection this is, or it is over.
        on_ids: told a connection id that is ours from now on (True) or no more (False).
        on_over: told once, at the end.
    """

    def __init__(
        self, quic: BoundedQuic, send: Callable[[bytes, Any], None], expected: ID | None, where: Multiaddr
    ) -> None:
        self._quic = quic
        self._send = send
        self._expected = expected
        self._where = where
        self.peer_id = NOBODY if expected is None else expected
        self.event_started = trio.Event()
        self.event_known = trio.Event()
        self.event_closed = trio.Event()
        self.on_close: Callable[[], Awaitable[None]] | None = None  # py-libp2p's; accept_stream tells it
        self.on_ids: Callable[[bytes, bool], None] = lambda _id, _is_ours: None
        self.on_over: Callable[[], None] = lambda: None
        self._is_verified = False
        self._streams: dict[int, QuicStream] = {}
        self._accepted: deque[QuicStream] = deque()
        self._arrived = trio.Event()
        self._openable = trio.Event()
        self._read_bytes = 0
        self._ping_at = trio.current_time() + KEEP_ALIVE_S
        self._sleep = trio.CancelScope()

    # -- the connection itself

    def receive(self, data: bytes, address: Any) -> None:
        """A datagram came; `settle` follows when there are no more of them. Never raises."""
        if self.event_closed.is_set():
            return
        try:
            self._quic.receive_datagram(data, address, trio.current_time())
        except Exception as error:
            self._fail(error)

    def settle(self) -> None:
        """What came goes to its readers, what is to be sent is sent. Never raises."""
        if self.event_closed.is_set():
            return
        try:
            while (event := self._quic.next_event()) is not None:
                self._take(event)
            self._grant()
            for data, address in self._quic.datagrams_to_send(trio.current_time()):
                self._send(data, address)
            for stream in self._streams.values():
                stream.look_for_room()
            if self._quic.may_open:
                self._openable.set()
        except Exception as error:
            self._fail(error)
        if self._quic.is_over:
            self._end()
        else:
            self._sleep.deadline = self._due()

    async def run(self) -> None:
        """The connection's clock, until it is over."""
        while not self.event_closed.is_set():
            # A timer that stays due, because floats cannot tell two times apart, must not be an endless loop.
            deadline = max(self._due(), trio.current_time() + GRAIN_S)
            with trio.CancelScope(deadline=deadline) as self._sleep:
                await self.event_closed.wait()
            now = trio.current_time()
            if now >= self._ping_at:
                self._quic.send_ping(0)
                self._ping_at = now + KEEP_ALIVE_S
            timer = self._quic.get_timer()
            if timer is not None and now >= timer:
                self._quic.handle_timer(now)
            self.settle()

    # -- for the streams

    def send(self, stream_id: int, data: bytes, *, is_last: bool = False) -> None:
        """Raises MuxedStreamClosed."""
        if self.event_closed.is_set():
            raise MuxedStreamClosed("The connection is over.")
        try:
            self._quic.send_stream_data(stream_id, data, is_last)
        except (ValueError, RuntimeError, AssertionError) as error:
            raise MuxedStreamClosed(str(error)) from error
        self.settle()

    def unsent(self, stream_id: int) -> int:
        """Bytes of a stream that the peer does not have yet."""
        return self._quic.unacknowledged(stream_id)

    def was_read(self, size: int) -> None:
        """Readers have taken something: now and then the peer is told that it may send more."""
        self._read_bytes += size
        if self._read_bytes >= GRANT_BYTES:
            self._read_bytes = 0
            self.settle()

    def leave(self, stream_id: int) -> None:
        """Nobody reads a stream any more."""
        if not self.event_closed.is_set() and not self._quic.is_received(stream_id):
            self._quic.stop_stream(stream_id, 0)
        self.settle()

    def break_off(self, stream_id: int) -> None:
        """Nothing more is written on a stream, and what was is not wanted."""
        if not self.event_closed.is_set() and not self._quic.is_forgotten(stream_id):
            self._quic.reset_stream(stream_id, 0)

    # -- for py-libp2p

    @property
    def is_initiator(self) -> bool:
        return self._expected is not None

    @property
    def is_established(self) -> bool:
        return self._is_verified and not self.is_closed

    @property
    def is_closed(self) -> bool:
        return self.event_closed.is_set()

    async def start(self) -> None:
        """py-libp2p wants to hear that it may begin; the connection has begun."""
        self.event_started.set()

    @property
    def is_senseless(self) -> bool:
        """It began with a datagram that could not be read."""
        return self._quic.is_untouched

    def drop(self) -> None:
        """End it without a word."""
        self._end()

    def hang_up(self) -> None:
        """Safe to call twice."""
        if not self.event_closed.is_set():
            self._quic.close()
            self.settle()
            self._end()

    async def close(self) -> None:
        """py-libp2p's hanging up."""
        self.hang_up()
        await trio.lowlevel.checkpoint()

    @property
    def why_over(self) -> str:
        """As the side that ended it says."""
        return self._quic.why_over

    async def open_stream(self) -> QuicStream:
        """Waits until the peer takes another one. Raises MuxedConnUnavailable."""
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(STALLED_S):
            while self.is_established and not self._quic.may_open:
                if self._openable.is_set():  # others may wait, too
                    self._openable = trio.Event()
                await self._openable.wait()
        if not self.is_established or not self._quic.may_open:
            raise MuxedConnUnavailable("The connection is over, or full.")
        number = self._quic.get_next_available_stream_id()
        self._quic.send_stream_data(number, b"")  # takes the number
        stream = self._streams[number] = QuicStream(self, number)
        return stream

    async def accept_stream(self) -> QuicStream:
        """Raises MuxedConnUnavailable: it is over."""
        await trio.lowlevel.checkpoint()
        while not self._accepted:
            if self.event_closed.is_set():
                raise MuxedConnUnavailable("The connection is over.")
            if self._arrived.is_set():
                self._arrived = trio.Event()
            await self._arrived.wait()
        return self._accepted.popleft()

    def rtt(self) -> float:
        """Seconds; 0 before the first round trip."""
        return self._quic.rtt_s

    def get_remote_address(self) -> tuple[str, int] | None:
        address = self._quic.get_peer_address()
        return None if address is None else (address[0], address[1])

    def get_transport_addresses(self) -> list[Multiaddr]:
        return [self._where]

    def get_connection_type(self) -> ConnectionType:
        return ConnectionType.DIRECT

    # -- inside

    def _take(self, event: events.QuicEvent) -> None:
        match event:
            case events.HandshakeCompleted():
                self._verify()
            case events.ConnectionIdIssued(connection_id=name):
                self.on_ids(name, True)
            case events.ConnectionIdRetired(connection_id=name):
                self.on_ids(name, False)
            case events.StreamDataReceived(stream_id=number, data=data, end_stream=is_last):
                if stream := self._stream(number):
                    stream.feed(data, is_last)
            case events.StreamReset(stream_id=number):
                if stream := self._streams.get(number):
                    stream.break_off()
            case events.StopSendingReceived(stream_id=number):
                if stream := self._streams.get(number):
                    stream.stop()

    def _verify(self) -> None:
        try:
            peer = peer_of(self._quic.peer_certificates())
        except PeerFault as fault:
            log.info("quic_peer_refused", code=fault.code, reason=fault.message)
            self._quic.close(error_code=REFUSED, reason_phrase=fault.code)
            return
        if self._expected not in (None, peer):
            self._quic.close(error_code=REFUSED, reason_phrase="Peer ID mismatch")
            return
        self.peer_id, self._is_verified = peer, True
        self.event_known.set()

    def _stream(self, number: int) -> QuicStream | None:
        stream = self._streams.get(number)
        is_theirs = bool(number & 1) == self.is_initiator
        if stream is None and is_theirs and self._is_verified:
            stream = self._streams[number] = QuicStream(self, number)
            # Those that aioquic has done with count until their readers have, too.
            if sum(not other.is_left for other in self._streams.values()) > 2 * self._quic.most_streams:
                stream.is_left = True
                self._quic.reset_stream(number, 0)
                if not self._quic.is_received(number):
                    self._quic.stop_stream(number, 0)
            else:
                self._accepted.append(stream)
                self._arrived.set()
        return stream

    def _grant(self) -> None:
        for number, stream in list(self._streams.items()):
            if self._quic.is_forgotten(number) and (stream.is_left or not stream.unread):
                del self._streams[number]
        self._quic.raise_windows(
            {number: len(stream.unread) for number, stream in self._streams.items() if not stream.is_left}
        )

    def _due(self) -> float:
        timer = self._quic.get_timer()
        return self._ping_at if timer is None else min(timer, self._ping_at)

    def _fail(self, error: Exception) -> None:
        log.warning("quic_connection_failed", peer_id=str(self.peer_id), error=f"{error!r:.200}")
        self._quic.close(error_code=REFUSED, reason_phrase="failed")
        self._end()

    def _end(self) -> None:
        if self.event_closed.is_set():
            return
        self.event_closed.set()
        self.event_known.set()
        for stream in self._streams.values():
            stream.break_off()
        self._arrived.set()
        self._openable.set()
        self.on_over()
