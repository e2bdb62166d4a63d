"""Frames on libp2p streams (trio side): whole messages of a bounded size. See digm.backbone_messages."""

from collections.abc import Sequence
from types import TracebackType

import trio
from libp2p.abc import INetStream
from libp2p.network.stream.exceptions import StreamEOF, StreamError

from digm.backbone_messages import FrameReader, encode_frame, frame_prefix
from digm.errors import PeerFault, Unavailable

READ_BYTES = 262_144
CLOSE_WITHIN_S = 2.0


class FrameStream:
    """One stream, as frames. Left in a `with`, it is closed, or reset when something went wrong.

    Args:
        most_bytes: of a frame that the peer may send.
    """

    def __init__(self, stream: INetStream, most_bytes: int) -> None:
        self._stream = stream
        self._frames = FrameReader(most_bytes)

    async def read(self) -> bytes:
        """The next frame.

        Raises:
            PeerFault: `frame_prefix`, `frame_too_large`.
            Unavailable: `stream_ended`.
        """
        while (frame := self._frames.next()) is None:
            try:
                data = await self._stream.read(READ_BYTES)
            except StreamEOF as error:
                raise Unavailable("stream_ended", "The node ended the stream.") from error
            except (StreamError, OSError) as error:
                raise Unavailable("stream_ended", f"The stream broke: {error!r:.80}.") from error
            if not data:
                raise Unavailable("stream_ended", "The node ended the stream.")
            self._frames.feed(data)
        return frame

    async def write(self, payload: bytes) -> None:
        """Send one frame.

        Raises:
            Unavailable: `stream_ended`.
        """
        await self._write(encode_frame(payload))

    async def write_all(self, payloads: Sequence[Sequence[bytes | memoryview]]) -> None:
        """Send frames at once, each given in parts, so that large ones are copied once. Raises like `write`."""
        parts: list[bytes | memoryview] = []
        for payload in payloads:
            parts += (frame_prefix(sum(map(len, payload))), *payload)
        await self._write(b"".join(parts))

    async def _write(self, data: bytes) -> None:
        try:
            await self._stream.write(data)
        except (StreamError, OSError) as error:
            raise Unavailable("stream_ended", f"The stream broke: {error!r:.80}.") from error

    async def __aenter__(self) -> "FrameStream":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self.end(is_well=kind is None)

    async def end(self, *, is_well: bool) -> None:
        """Close the stream when all is well, or reset it."""
        with trio.move_on_after(CLOSE_WITHIN_S) as scope:
            scope.shield = True
            await (self._stream.close() if is_well else reset(self._stream))


async def reset(stream: INetStream) -> None:
    """End a stream both ways, whatever state it is in."""
    try:
        await stream.reset()
    except Exception as error:  # the library's own streams raise many kinds; all of them mean: it is gone
        _ = error


def peer_of(stream: INetStream) -> str:
    """Who is at the other end."""
    return str(stream.muxed_conn.peer_id)


def fault_or_gone(error: BaseException) -> PeerFault | Unavailable | None:
    """The first of our own errors in a (group of) errors."""
    if isinstance(error, PeerFault | Unavailable):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next((found for inner in error.exceptions if (found := fault_or_gone(inner))), None)
    return None
