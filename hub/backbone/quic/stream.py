"""One stream of a QUIC connection, as py-libp2p reads and writes it (trio side)."""

from contextlib import suppress
from typing import TYPE_CHECKING

import trio
from libp2p.abc import IMuxedStream
from libp2p.stream_muxer.exceptions import MuxedStreamClosed, MuxedStreamEOF, MuxedStreamReset

if TYPE_CHECKING:
    from hub.backbone.quic.connection import QuicMuxer

STEP_BYTES = 64 * 1024
# Written and not yet acknowledged: a writer waits above the one until it is below the other.
MOST_UNSENT_BYTES, FEW_UNSENT_BYTES = 256 * 1024, 128 * 1024
STALLED_S = 30.0  # a peer that takes less than 4 KiB/s is not read to


class QuicStream(IMuxedStream):
    """Made by its connection; `feed` and the other synchronous methods are the connection's to call."""

    def __init__(self, connection: "QuicMuxer", stream_id: int) -> None:
        self.muxed_conn: QuicMuxer = connection
        self.stream_id = stream_id
        self.unread = bytearray()
        self.is_left = False  # closed or reset here: what still comes is thrown away
        self._is_ended = False  # the peer has said all
        self._is_broken = False
        self._is_mute = False  # nothing more can be written
        self._news = trio.Event()
        self._room = trio.Event()

    # -- for the connection

    def feed(self, data: bytes, is_last: bool) -> None:
        """What came, in order."""
        if not self.is_left:
            self.unread += data
        self._is_ended = self._is_ended or is_last
        self._news.set()

    def stop(self) -> None:
        """The peer takes nothing more."""
        self._is_mute = True
        self._room.set()

    def break_off(self) -> None:
        """The peer has reset it, or the connection is over."""
        self._is_broken = self._is_mute = True
        self._news.set()
        self._room.set()

    def look_for_room(self) -> None:
        """The peer may have acknowledged something."""
        if not self._room.is_set() and self._unsent() <= FEW_UNSENT_BYTES:
            self._room.set()

    # -- for py-libp2p

    async def read(self, n: int | None = None) -> bytes:
        """What has come, at most `n` bytes; waits for the first one.

        Raises:
            MuxedStreamEOF: the peer has said all. MuxedStreamReset: the stream or the connection is broken.
        """
        await trio.lowlevel.checkpoint()
        while not self.unread:
            if self._is_ended:
                raise MuxedStreamEOF("The peer has said all.")
            if self._is_broken or self.is_left:
                raise MuxedStreamReset("The stream is broken.")
            if self._news.is_set():
                self._news = trio.Event()
            await self._news.wait()
        size = len(self.unread) if n is None or n < 0 else n
        data = bytes(memoryview(self.unread)[:size])
        del self.unread[:size]
        self.muxed_conn.was_read(len(data))
        return data

    async def write(self, data: bytes) -> None:
        """Send; returns when little enough of it waits here.

        Raises:
            MuxedStreamClosed: nothing can be written any more. MuxedStreamReset: the peer takes nothing.
        """
        await trio.lowlevel.checkpoint()
        for start in range(0, len(data), STEP_BYTES):
            if self._unsent() >= MOST_UNSENT_BYTES:
                await self._wait_for_room()
            if self._is_mute:
                raise MuxedStreamClosed("The stream takes nothing more.")
            self.muxed_conn.send(self.stream_id, data[start : start + STEP_BYTES])

    async def close_write(self) -> None:
        """Say that this was all; reading goes on."""
        self._say_last()
        await trio.lowlevel.checkpoint()

    async def close(self) -> None:
        """Be done with it, as go-libp2p is: what was written still arrives, what still comes is not wanted."""
        self._say_last()
        self._leave()
        await trio.lowlevel.checkpoint()

    async def reset(self) -> None:
        """Break it off, both ways."""
        self.break_off()
        if not self.is_left:
            self.muxed_conn.break_off(self.stream_id)
        self._leave()
        await trio.lowlevel.checkpoint()

    def set_deadline(self, ttl: int) -> None:
        """Not kept: who waits here has a time-out of its own."""

    def get_remote_address(self) -> tuple[str, int] | None:
        """Where the peer is."""
        return self.muxed_conn.get_remote_address()

    async def __aenter__(self) -> "QuicStream":
        return self

    # -- inside

    def _unsent(self) -> int:
        return self.muxed_conn.unsent(self.stream_id)

    async def _wait_for_room(self) -> None:
        if self._room.is_set():
            self._room = trio.Event()
        with trio.move_on_after(STALLED_S) as scope:
            await self._room.wait()
        if scope.cancelled_caught:
            await self.reset()
            raise MuxedStreamReset("The peer takes nothing.")

    def _say_last(self) -> None:
        if not self._is_mute:
            self._is_mute = True
            with suppress(MuxedStreamClosed):  # then it has been said by the end of the connection
                self.muxed_conn.send(self.stream_id, b"", is_last=True)

    def _leave(self) -> None:
        if not self.is_left:
            self.is_left = True
            self.unread.clear()
            self.muxed_conn.leave(self.stream_id)
            self._news.set()
