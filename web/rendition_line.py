"""One rendition of a track: what is fetched of it, how far its keys reach, and the sound that comes out.

A track has one of these at a time (web.track); when the line's speed asks for another rendition, another one
takes its place. What was played of the first stays in the source buffer.
"""

from dataclasses import dataclass
from typing import Any, Protocol

from digm.chunks import FRAME_BYTES, FRAME_PLAINTEXT_BYTES
from digm.grants import Grant
from digm.manifest import Manifest, Rendition
from digm.scheduler import GATEWAY, NoSource, Scheduler, chunk_spans
from web import browser, unlock
from web.assembly import Assembly
from web.browser import JsBytes, now_s
from web.downloads import Downloads
from web.gateway import Gateway
from web.limits import Limits
from web.store import ChunkCache


@dataclass(frozen=True, slots=True)
class Sound:
    """Plaintext of a chunk.

    Attributes:
        end: at which byte of the chunk's plaintext it ends.
    """

    data: JsBytes
    end: int


class LineOwner(Protocol):
    """Who is told what becomes of a rendition's chunks."""

    def line_changed(self) -> None:
        """A frame that is waited for came, or the keys: there may be something to play."""

    def line_wrong(self, chunk: int) -> None:
        """Of a chunk that is not the artist's something may have been appended early."""

    def line_in_trouble(self, trouble: NoSource) -> None:
        """A chunk that is needed now cannot be had."""

    def line_stats(self) -> None:
        """Numbers changed that people look at."""


class RenditionLine:
    """One rendition being fetched and unlocked.

    Attributes:
        limits: how far its keys reach.
        scheduler, downloads: what is fetched, and from whom.
        cache_bytes: what went into the source buffer from the cache.
    """

    def __init__(
        self, manifest: Manifest, rendition: Rendition, cache: ChunkCache, gateway: Gateway, owner: LineOwner
    ) -> None:
        self.rendition = rendition
        self.limits = Limits(manifest, rendition)
        self.cache_bytes = 0
        self._cache = cache
        self._owner = owner
        self._taken: set[int] = set()
        self._early: set[int] = set()
        self._awaited: int | None = None
        self._left_out: set[int] = set()
        self.scheduler = Scheduler(
            chunk_spans(rendition),
            now_s(),
            held=cache.held[rendition.id],
            has_gateway=bool(gateway),
            expects_peers=browser.has_peer_connections(),
        )
        self.downloads = Downloads(
            rendition, self.scheduler, cache, gateway,
            on_frames=self._on_frames,
            on_chunk=self._on_chunk,
            on_wrong=self._on_wrong,
            on_trouble=owner.line_in_trouble,
            find_forged=self._find_forged,
        )  # fmt: skip

    def unlock(self, grant: Grant | None, *, saves_data: bool) -> None:
        """Take the keys.

        What they do not open is fetched like everything else, so that a key that comes later opens what is
        there. Who saves data leaves it out.
        """
        self.limits.grant = grant
        left_out = set(self.limits.locked_chunks()) if saves_data else set()
        for chunk in left_out ^ self._left_out:
            if self.holds(chunk):
                continue
            if chunk in left_out:
                self.scheduler.hold(chunk)
            else:
                self.scheduler.drop(chunk)
        self._left_out = left_out

    def adopt(self, pieces: list[Any], received_bytes: int, seconds: float) -> None:
        """Go on from the head start, with the frames that it fetched (static/digm-first-sound.js).

        Args:
            received_bytes, seconds: how much it got from the gateway, and how long that took.
        """
        if received_bytes and seconds:
            self.scheduler.learn_rate(GATEWAY, received_bytes, seconds)
        for piece in pieces:
            if piece.end > piece.first:
                data = JsBytes(piece.data)[piece.first * FRAME_BYTES : piece.end * FRAME_BYTES]
                self.downloads.adopt(piece.chunk, piece.first, data)
                self._early.add(piece.chunk)
                if piece.end == self.rendition.chunk_frames(piece.chunk):
                    self.taken(piece.chunk)

    def holds(self, chunk: int) -> bool:
        """Whether a chunk is here, verified."""
        return (self.rendition.id, chunk) in self._cache

    def entrance(self, moment_s: float, preroll_s: float) -> tuple[int, tuple[int, int]]:
        """Where to begin decoding for a moment of the track: the chunk, and (byte, units) in it.

        Args:
            preroll_s: how much earlier than the moment, if what that takes is here.
        """
        rendition = self.rendition
        chunk = rendition.chunk_at(moment_s - preroll_s)
        if chunk < rendition.chunk_at(moment_s) and not self.holds(chunk):
            chunk, preroll_s = rendition.chunk_at(moment_s), 0.0
        places = rendition.fragments[chunk]
        at_or_before = [place for place in places if rendition.presented_s(place[1]) <= moment_s - preroll_s]
        return chunk, at_or_before[-1] if at_or_before else places[0]

    def plaintext_bytes(self, chunk: int) -> int:
        """How long the plaintext of a chunk is."""
        return self.rendition.chunk_frames(chunk) * FRAME_PLAINTEXT_BYTES

    async def sound(self, chunk: int, at: int, *, may_be_early: bool) -> Sound | None:
        """Plaintext of a chunk from a byte on; None while the chunk or its key is missing.

        Args:
            may_be_early: what is there of a chunk that is not whole will do, frame by frame.
        """
        self._awaited = None
        key = self.limits.key_for(chunk)
        if key is None:
            return None
        if (data := await self._cache.load(self.rendition.id, chunk)) is not None:
            opened = await unlock.open_chunk(self.rendition, chunk, data, key, at)
            return Sound(opened, self.plaintext_bytes(chunk))
        if may_be_early:
            self._awaited = chunk
            return await self._early_sound(chunk, at, key)
        return None

    async def _early_sound(self, chunk: int, at: int, key: bytes) -> Sound | None:
        first = at // FRAME_PLAINTEXT_BYTES
        sealed = self.downloads.early_frames(chunk, first)
        if sealed is None:
            return None
        opened = await unlock.open_frames(self.rendition, chunk, first, sealed, key)
        good = len(opened) // FRAME_PLAINTEXT_BYTES
        if good < len(sealed) // FRAME_BYTES:
            await self.downloads.frame_refused(chunk, first + good)
        if not good:
            return None
        self._early.add(chunk)
        return Sound(opened[at - first * FRAME_PLAINTEXT_BYTES :], (first + good) * FRAME_PLAINTEXT_BYTES)

    def taken(self, chunk: int) -> None:
        """A chunk went into the source buffer; the second time it is the cache that gave it."""
        if chunk in self._taken or self.downloads.origins.get(chunk, [(0, "")])[0][1] == "cache":
            self.cache_bytes += self.rendition.chunk_bytes(chunk)
            self._owner.line_stats()
        self._taken.add(chunk)

    def origins(self) -> list[list[Any]]:
        """[from second, to second, origin] of everything that is here."""
        return [
            span
            for chunk, runs in sorted(self.downloads.origins.items())
            if self.holds(chunk)
            for span in self._origin_spans(chunk, runs)
        ]

    def _origin_spans(self, chunk: int, runs: list[tuple[int, str]]) -> list[list[Any]]:
        """[from second, to second, origin] of the parts of a chunk."""
        spans: list[list[Any]] = []
        at_s, end_s = self.rendition.chunk_start_s(chunk), self.rendition.chunk_end_s(chunk)
        frame_s = (end_s - at_s) / self.rendition.chunk_frames(chunk)
        for frames, origin in runs:
            spans.append([at_s, at_s + frames * frame_s, origin])
            at_s += frames * frame_s
        return spans

    # -- what downloads tell

    def _on_frames(self, chunk: int) -> None:
        if chunk == self._awaited:
            self._owner.line_changed()

    def _on_wrong(self, chunk: int) -> None:
        if chunk in self._early:
            self._owner.line_wrong(chunk)

    async def _find_forged(self, chunk: int, assembly: Assembly) -> frozenset[str]:
        """Who sent frames that do not open."""
        key = self.limits.key_for(chunk)
        culprits = set()
        for number, frame in assembly.frames.items() if key is not None else ():
            assert key is not None
            if not len(await unlock.open_frames(self.rendition, chunk, number, frame.data, key)):
                culprits.add(frame.source)
        return frozenset(culprits)

    def _on_chunk(self, chunk: int) -> None:
        self._early.discard(chunk)
        self._owner.line_changed()
        self._owner.line_stats()
