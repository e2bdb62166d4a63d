"""One stream of a yamux connection (trio side): its windows and its ends. hub.backbone.yamux has the frames."""

from abc import abstractmethod
from types import TracebackType

import trio
from libp2p.abc import IMuxedConn, IMuxedStream
from libp2p.stream_muxer.exceptions import (
    MuxedStreamClosed,
    MuxedStreamEOF,
    MuxedStreamError,
    MuxedStreamReset,
)

DATA, WINDOW, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8

WINDOW_BYTES = 262_144  # the specification's, of every new stream
MOST_WINDOW_BYTES = 2_097_152  # 20 MB/s at a round trip of 100 ms
BATCH_BYTES = 270_336  # at once: four DATA messages; two such are far below the 1 MiB of a WebSocket message
STALLED_S = 20.0  # without a byte of window; who reads at all gives some within seconds


class Connection(IMuxedConn):
    """What a stream needs of its connection."""

    streams: "dict[int, YamuxStream]"

    @abstractmethod
    def say(self, kind: int, flags: int, number: int, value: int = 0) -> None:
        """Send a frame without data, in its turn."""

    @abstractmethod
    async def send(self, number: int, data: memoryview) -> None:
        """Send data of a stream, within its window; returns when it is gone, or the connection is over."""

    @abstractmethod
    def get_remote_address(self) -> tuple[str, int] | None:
        """Host and port."""


class YamuxStream(IMuxedStream):
    """One stream. Either way it is open until its own end, or a reset of both.

    Attributes:
        unread: what came and was not read yet.
        window: what the peer may still send.
    """

    def __init__(self, connection: "Connection", number: int, is_initiator: bool) -> None:
        self._connection = self.muxed_conn = connection
        self.stream_id = number
        self.is_initiator = is_initiator
        self.unread = bytearray()
        self.window = self._target = WINDOW_BYTES
        self._released = 0  # read, and not yet given back to the peer's window
        self._credit = WINDOW_BYTES  # what we may still send
        self._arrived, self._room = trio.lowlevel.ParkingLot(), trio.lowlevel.ParkingLot()
        self.has_sent_all = False
        self.has_all = False
        self.is_reset = False

    async def read(self, n: int | None = None) -> bytes:
        """At most `n` bytes, at least one; None: all that are here.

        Raises:
            MuxedStreamEOF: the peer has sent all. MuxedStreamReset: nothing comes any more.
        """
        if n == 0:
            return b""
        while not self.unread:
            if self.has_all:
                raise MuxedStreamEOF("The peer has sent all.")
            if self.is_reset:
                raise MuxedStreamReset("The stream was reset.")
            await self._arrived.park()
        if n is None or n < 0 or n >= len(self.unread):
            data, self.unread = bytes(self.unread), bytearray()
        else:
            data = bytes(memoryview(self.unread)[:n])
            del self.unread[:n]
        self._release(len(data))
        return data

    def _release(self, count: int) -> None:
        """Let the peer send on: half a window at a time, and a wider one to who has filled it so far."""
        self._released += count
        if self.has_all or self.is_reset or self._released < self._target // 2:
            return
        wider = min(2 * self._target, MOST_WINDOW_BYTES)
        more, self._released, self._target = self._released + wider - self._target, 0, wider
        self.window += more
        self._connection.say(WINDOW, 0, self.stream_id, more)

    async def write(self, data: bytes) -> None:
        """All of it, as the peer's window lets it; returns when the system has it.

        Raises:
            MuxedStreamReset, MuxedStreamClosed, MuxedStreamError: the peer takes nothing.
        """
        left = memoryview(data)
        while left:
            if self.has_sent_all:
                raise MuxedStreamClosed("We have ended this stream.")
            if self.is_reset:
                raise MuxedStreamReset("The stream was reset.")
            if not self._credit:
                await self._wait_for_room()
                continue
            size = min(len(left), self._credit, BATCH_BYTES)
            self._credit -= size
            await self._connection.send(self.stream_id, left[:size])
            left = left[size:]

    async def _wait_for_room(self) -> None:
        with trio.move_on_after(STALLED_S) as patience:
            await self._room.park()
        if patience.cancelled_caught:
            raise MuxedStreamError(f"The peer has read nothing for {STALLED_S:g} s.")

    async def close(self) -> None:
        """We have sent all; what the peer still sends can be read."""
        if not self.has_sent_all and not self.is_reset:
            self.has_sent_all = True
            self._connection.say(WINDOW, FIN, self.stream_id)
            self._settle()
        await trio.lowlevel.checkpoint()

    async def reset(self) -> None:
        """No more, either way."""
        if not self.is_reset and not (self.has_all and self.has_sent_all):
            self._connection.say(WINDOW, RST, self.stream_id)
        self.fail()
        await trio.lowlevel.checkpoint()

    # -- what the peer does

    def arrived(self, data: memoryview) -> None:
        """Within the window: the connection has looked."""
        if not self.is_reset:
            self.unread += data
            self._arrived.unpark_all()

    def credited(self, more: int) -> None:
        """The peer takes so many bytes more."""
        self._credit += more
        self._room.unpark_all()

    def flagged(self, flags: int) -> None:
        """FIN: the peer has sent all. RST: it wants no more of this."""
        if flags & RST:
            self.fail()
        elif flags & FIN:
            self.has_all = True
            self._arrived.unpark_all()
            self._settle()

    def fail(self) -> None:
        """Over, both ways. What came before the peer's end can still be read."""
        self.is_reset = True
        if not self.has_all:
            self.unread.clear()
        self._arrived.unpark_all()
        self._room.unpark_all()
        self._settle()

    def _settle(self) -> None:
        if self.is_reset or (self.has_all and self.has_sent_all):
            self._connection.streams.pop(self.stream_id, None)

    # -- what the library asks of a stream besides

    def set_deadline(self, ttl: int) -> None:
        raise NotImplementedError("Waits are bounded with trio's cancel scopes.")

    def get_remote_address(self) -> tuple[str, int] | None:
        return self._connection.get_remote_address()

    async def __aenter__(self) -> "YamuxStream":
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        await self.close()
