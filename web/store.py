"""What this page holds of one track: verified ciphertext, in memory and on the disk of its visitor, bounded.

Only chunks whose SHA-256 matched get in, and what comes back from the disk is hashed again, so everything that
is given out here may be played and given to others. The disk is shared by all tracks and tabs (docs/decisions/
0014); where there is none, memory alone does it.
"""

import asyncio
from collections.abc import Callable, Sequence

from digm.bitfield import Bitfield
from digm.manifest import Rendition
from web import browser
from web.browser import JsBytes

# About 12 minutes of lossless audio; the page gives no more of its visitor's memory than that.
DEFAULT_LIMIT_BYTES = 96 * 1024 * 1024

Place = tuple[int, int]
"""(rendition, chunk)"""


class ChunkCache:
    """Verified chunks by (rendition, chunk); the one that was not used longest leaves the memory first.

    Attributes:
        held: what is in it, per rendition; shared with the peer sessions, which read it live.
        on_lost: told of a chunk that was held and no longer is.
    """

    def __init__(self, renditions: Sequence[Rendition], limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self.held = {rendition.id: Bitfield(rendition.chunk_count) for rendition in renditions}
        self.on_lost: Callable[[int, int], None] = lambda rendition, chunk: None
        self._names = {
            (rendition.id, chunk): name
            for rendition in renditions
            for chunk, name in enumerate(rendition.chunk_hashes)
        }
        self._places = {name: place for place, name in self._names.items()}
        self._chunks: dict[Place, JsBytes] = {}
        self._on_disk: set[Place] = set()
        self._loading: dict[Place, asyncio.Future[JsBytes | None]] = {}
        self._writing: set[asyncio.Task[None]] = set()
        self._limit_bytes = limit_bytes
        self._total_bytes = 0

    async def open(self) -> None:
        """Learn what an earlier visit left on the disk; `held` is right from then on."""
        names = list(self._names.values())
        for place, is_there in zip(self._names, await browser.held_chunks(names), strict=True):
            if is_there:
                self._on_disk.add(place)
                self.held[place[0]].add(place[1])

    def put(self, rendition: int, chunk: int, data: JsBytes) -> None:
        """Keep a chunk that was verified; it goes to the disk by and by."""
        place = rendition, chunk
        if place in self._chunks:
            return
        self._remember(place, data)
        if place not in self._on_disk:
            task = asyncio.ensure_future(self._write(place, data))
            self._writing.add(task)
            task.add_done_callback(self._writing.discard)

    def get(self, rendition: int, chunk: int) -> JsBytes | None:
        """A chunk that is in memory."""
        data = self._chunks.pop((rendition, chunk), None)
        if data is not None:
            self._chunks[rendition, chunk] = data  # used last now
        return data

    async def load(self, rendition: int, chunk: int) -> JsBytes | None:
        """A chunk that is held, wherever it is. None when it is not, or is not what it was any more."""
        place = rendition, chunk
        data = self.get(rendition, chunk)
        if data is not None or place not in self._on_disk:
            return data
        if (loading := self._loading.get(place)) is None:
            loading = self._loading[place] = asyncio.ensure_future(self._read(place))
        return await asyncio.shield(loading)

    def __contains__(self, place: Place) -> bool:
        return place in self._chunks or place in self._on_disk

    # -- memory and disk

    def _remember(self, place: Place, data: JsBytes) -> None:
        self._chunks[place] = data
        self.held[place[0]].add(place[1])
        self._total_bytes += len(data)
        while self._total_bytes > self._limit_bytes and len(self._chunks) > 1:
            oldest = next(iter(self._chunks))
            self._total_bytes -= len(self._chunks.pop(oldest))
            self._check_held(oldest)

    async def _read(self, place: Place) -> JsBytes | None:
        try:
            data = await browser.cached_chunk(self._names[place])
        finally:
            del self._loading[place]
        if data is None:
            self._on_disk.discard(place)
            self._check_held(place)
        elif place not in self._chunks:
            self._remember(place, data)
        return data

    async def _write(self, place: Place, data: JsBytes) -> None:
        is_kept, evicted = await browser.keep_chunk(self._names[place], data)
        if is_kept:
            self._on_disk.add(place)
        for name in evicted:
            if gone := self._places.get(name):
                self._on_disk.discard(gone)
                self._check_held(gone)

    def _check_held(self, place: Place) -> None:
        if place not in self and place[1] in self.held[place[0]]:
            self.held[place[0]].discard(place[1])
            self.on_lost(*place)
