"""What this page holds of one track: verified ciphertext, in memory, bounded.

Only chunks whose SHA-256 matched get in, so everything in here may be played and given to others.
"""

from collections.abc import Sequence

from digm.bitfield import Bitfield
from digm.manifest import Rendition
from web.browser import JsBytes

# About 12 minutes of lossless audio; the page gives no more of its visitor's memory than that.
DEFAULT_LIMIT_BYTES = 96 * 1024 * 1024


class ChunkCache:
    """Verified chunks by (rendition, chunk); the one that was not used longest goes first.

    Attributes:
        held: what is in it, per rendition; shared with the peer sessions, which read it live.
    """

    def __init__(self, renditions: Sequence[Rendition], limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self.held = {rendition.id: Bitfield(rendition.chunk_count) for rendition in renditions}
        self._chunks: dict[tuple[int, int], JsBytes] = {}
        self._limit_bytes = limit_bytes
        self._total_bytes = 0

    def put(self, rendition: int, chunk: int, data: JsBytes) -> list[tuple[int, int]]:
        """Keep a chunk that was verified. Returns the places of those that had to go for it."""
        evicted: list[tuple[int, int]] = []
        if (rendition, chunk) in self._chunks:
            return evicted
        self._chunks[rendition, chunk] = data
        self.held[rendition].add(chunk)
        self._total_bytes += len(data)
        while self._total_bytes > self._limit_bytes and len(self._chunks) > 1:
            (oldest_rendition, oldest_chunk) = oldest = next(iter(self._chunks))
            self._total_bytes -= len(self._chunks.pop(oldest))
            self.held[oldest_rendition].discard(oldest_chunk)
            evicted.append(oldest)
        return evicted

    def get(self, rendition: int, chunk: int) -> JsBytes | None:
        data = self._chunks.pop((rendition, chunk), None)
        if data is not None:
            self._chunks[rendition, chunk] = data  # used last now
        return data

    def __contains__(self, place: tuple[int, int]) -> bool:
        return place in self._chunks
