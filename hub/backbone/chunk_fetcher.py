"""Chunks of other nodes over `/digm/peer/1.0.0` (trio side): streams that are kept for the next chunk.

The asking side knows only a track root, a place and a size: the shape of the track it takes from the giver's
HELLO. What comes is not verified here: the caller knows the hash.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import trio

from digm.backbone_messages import decode_answer, track_root_of
from digm.bitfield import Bitfield
from digm.chunks import FRAME_BYTES, MAX_CHUNK_BYTES
from digm.errors import CallerFault, PeerFault, Unavailable
from digm.peer_messages import Data, Flag, Hello, Reject, Request
from digm.wire import decode, encode
from hub.backbone.streams import FrameStream

# A stream costs four round trips before its first chunk, and one of the giver's 64 places while it is open.
KEPT_S = 2.0
MOST_KEPT = 8  # of one track and node; a fetch asks a node for two to four chunks at a time

OnProgress = Callable[[int], object]
OpenStream = Callable[[str], Awaitable[FrameStream]]
Task = Callable[[], Awaitable[None]]


class ChunkStream:
    """The asking side of one stream: the chunks of one track, one after the other.

    Attributes:
        availability: what the node said that it holds, by rendition id: its HELLO.
        kept_since: of `trio.current_time`, while nobody uses it.
    """

    def __init__(self, frames: FrameStream, track_root: bytes) -> None:
        self._frames = frames
        self._root = track_root
        self._request_id = 0
        self.availability: Mapping[int, Bitfield] = {}
        self.kept_since = 0.0

    async def greet(self) -> None:
        """HELLO, both ways.

        Raises:
            Unavailable: `peer_refused`, `stream_ended`. PeerFault: it breaks the rules of the session.
        """
        await self._frames.write(track_root_of(self._root))
        decode_answer(await self._frames.read())
        hello = decode(await self._frames.read())
        if not isinstance(hello, Hello) or hello.track_root != self._root:
            raise PeerFault("wrong_track", "The node did not open with the HELLO of this track.")
        self.availability = hello.availability
        nothing = {number: Bitfield(field.count) for number, field in self.availability.items()}
        await self._frames.write(encode(Hello(self._root, nothing, Flag(0))))

    def holds(self, rendition: int, chunk: int) -> bool:
        """When the node said so: it may have got more since."""
        return chunk in self.availability.get(rendition, ())

    async def fetch(self, rendition: int, chunk: int, size: int, on_progress: OnProgress) -> bytes:
        """One chunk, whole. Raises like `ChunkFetcher.fetch`."""
        self._request_id += 1
        frames = -(-size // FRAME_BYTES)
        await self._frames.write(encode(Request(self._request_id, rendition, chunk, 0, frames)))
        received = bytearray()
        while len(received) < size:
            message = decode(memoryview(await self._frames.read()))
            if isinstance(message, Reject):
                reason = message.reason.name.lower()
                raise Unavailable(
                    "chunk_rejected", f"The node does not give the chunk: {reason}.", reason=reason
                )
            if not isinstance(message, Data):
                continue  # HAVE, GONE, RATE: of no matter for one chunk
            if message.request_id != self._request_id or message.offset != len(received):
                raise PeerFault("data_out_of_order", "Data came that is not the piece that comes next.")
            received += message.payload
            on_progress(len(received))
        if len(received) != size:
            raise PeerFault("data_out_of_order", f"{len(received)} bytes came where {size} were asked for.")
        return bytes(received)

    async def close(self) -> None:
        """No more chunks are wanted."""
        await self._frames.end(is_well=True)

    async def reset(self) -> None:
        """What still comes is not wanted."""
        await self._frames.end(is_well=False)


class ChunkFetcher:
    """Chunks of any node and track. Each stream is used by one caller at a time.

    Args:
        open_stream: of `/digm/peer` to a node.
        spawn: starts a task that lives no longer than libp2p.
    """

    def __init__(self, open_stream: OpenStream, spawn: Callable[[Task], object]) -> None:
        self._open_stream = open_stream
        self._spawn = spawn
        self._kept: dict[tuple[str, bytes], list[ChunkStream]] = {}

    async def availability(self, peer: str, track_root: bytes) -> Mapping[int, Bitfield]:
        """What a node says just now that it holds of a track, by rendition id.

        Raises:
            Unavailable: `peer_unreachable`, `peer_refused`, `stream_ended`.
            PeerFault: it breaks the rules of the session.
        """
        stream = ChunkStream(await self._open_stream(peer), track_root)
        async with self._using(stream, (peer, track_root)):
            await stream.greet()
        return stream.availability

    async def fetch(
        self, peer: str, track_root: bytes, rendition: int, chunk: int, size: int, on_progress: OnProgress
    ) -> bytes:
        """One chunk, whole; not verified.

        Args:
            on_progress: told how many bytes have come.
        Raises:
            Unavailable: `peer_unreachable`, `peer_refused`, `not_held`, `chunk_rejected`, `stream_ended`.
            PeerFault: it breaks the rules of the session.
            CallerFault: `bad_chunk_size`.
        """
        if not 1 <= size <= MAX_CHUNK_BYTES:
            raise CallerFault("bad_chunk_size", f"A chunk has 1 to {MAX_CHUNK_BYTES} bytes, not {size}.")
        key = (peer, track_root)
        while kept := self._kept.get(key):
            stream = kept.pop()
            if not stream.holds(rendition, chunk):
                await stream.close()  # a new one says what the node has got since
                continue
            try:
                async with self._using(stream, key):
                    return await stream.fetch(rendition, chunk, size, on_progress)
            except Unavailable as ended:
                if ended.code != "stream_ended":  # the node closed it meanwhile, or was started again
                    raise
        stream = ChunkStream(await self._open_stream(peer), track_root)
        async with self._using(stream, key):
            await stream.greet()
            if not stream.holds(rendition, chunk):
                raise Unavailable("not_held", "The node does not hold this chunk.")
            return await stream.fetch(rendition, chunk, size, on_progress)

    @asynccontextmanager
    async def _using(self, stream: ChunkStream, key: tuple[str, bytes]) -> AsyncIterator[None]:
        """Keep it afterwards, or reset it: of a fetch that was cancelled the bytes still come."""
        try:
            yield
        except BaseException:
            await stream.reset()
            raise
        if not self._kept:
            self._spawn(self._end_unused)
        kept = self._kept.setdefault(key, [])
        if len(kept) < MOST_KEPT:
            stream.kept_since = trio.current_time()
            kept.append(stream)
        else:
            await stream.close()

    async def _end_unused(self) -> None:
        """End what nobody has used for a while. Runs while there is any."""
        while self._kept:
            await trio.sleep(KEPT_S / 4)
            before = trio.current_time() - KEPT_S
            for key, kept in list(self._kept.items()):
                for stream in kept:
                    if stream.kept_since < before:
                        self._spawn(stream.close)
                kept[:] = [stream for stream in kept if stream.kept_since >= before]
                if not kept:
                    del self._kept[key]
