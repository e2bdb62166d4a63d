"""The fetches that are under way, for the scheduler: by id, by chunk, by source."""

from collections.abc import Iterator
from dataclasses import dataclass

from digm import chunk_mask
from digm.chunks import FRAME_BYTES
from digm.sources import Source


@dataclass(slots=True)
class RunningFetch:
    """Consecutive frames of one chunk on their way from one source.

    Attributes:
        heard_at: when the last byte came.
        is_far: it was started for later; what is needed now may take its place.
    """

    fetch_id: int
    source: Source
    chunk: int
    first_frame: int
    frame_count: int
    started_at: float
    heard_at: float
    is_far: bool
    received_bytes: int = 0

    @property
    def left_bytes(self) -> int:
        return self.frame_count * FRAME_BYTES - self.received_bytes

    @property
    def _next_frame(self) -> int:
        """Frames come in order. The last one counts only when the shell says that all has come."""
        return self.first_frame + min(self.received_bytes // FRAME_BYTES, self.frame_count - 1)

    @property
    def arrived(self) -> int:
        """Frames that came whole (digm.chunk_mask)."""
        return chunk_mask.span(self.first_frame, self._next_frame)

    @property
    def awaited(self) -> int:
        """Frames that have not come, or not whole."""
        return chunk_mask.span(self._next_frame, self.first_frame + self.frame_count)


class RunningFetches:
    """Every fetch that was started and has not ended.

    Attributes:
        chunks: those that have at least one fetch (digm.chunk_mask).
    """

    def __init__(self) -> None:
        self.chunks = 0
        self._fetches: dict[int, RunningFetch] = {}
        self._by_chunk: dict[int, list[RunningFetch]] = {}
        self._next_id = 1

    def __len__(self) -> int:
        return len(self._fetches)

    def __iter__(self) -> Iterator[RunningFetch]:
        """All, oldest first; they may be removed meanwhile."""
        return iter(list(self._fetches.values()))

    def start(
        self, source: Source, chunk: int, first_frame: int, frame_count: int, now: float, is_far: bool
    ) -> RunningFetch:
        fetch = RunningFetch(self._next_id, source, chunk, first_frame, frame_count, now, now, is_far)
        self._next_id += 1
        self._fetches[fetch.fetch_id] = fetch
        self._by_chunk.setdefault(chunk, []).append(fetch)
        self.chunks |= 1 << chunk
        source.fetches[fetch.fetch_id] = fetch
        source.asked(now)
        return fetch

    def get(self, fetch_id: int) -> RunningFetch | None:
        return self._fetches.get(fetch_id)

    def remove(self, fetch_id: int, now: float) -> RunningFetch | None:
        """Forget a fetch. Returns it, or None when it is unknown: cancelled, or over already."""
        fetch = self._fetches.pop(fetch_id, None)
        if fetch is None:
            return None
        of_chunk = self._by_chunk[fetch.chunk]
        of_chunk.remove(fetch)
        if not of_chunk:
            del self._by_chunk[fetch.chunk]
            self.chunks &= ~(1 << fetch.chunk)
        fetch.source.paused(now)
        was_first = next(iter(fetch.source.fetches)) == fetch_id
        del fetch.source.fetches[fetch_id]
        if was_first and (following := next(iter(fetch.source.fetches.values()), None)):
            # A peer answers the oldest request first: the next one's turn begins, it was not silent before.
            following.heard_at = max(following.heard_at, now)
        return fetch

    def of_chunk(self, chunk: int) -> list[RunningFetch]:
        """The fetches of a chunk, oldest first; not to be changed."""
        return self._by_chunk.get(chunk, _NONE)

    def awaited(self, chunk: int) -> int:
        """Frames of a chunk that some fetch is still to bring (digm.chunk_mask)."""
        frames = 0
        for fetch in self.of_chunk(chunk):
            frames |= fetch.awaited
        return frames

    def silent_since(self, fetch: RunningFetch) -> float:
        """When a fetch was last heard of; one that waits behind an older one of its peer is not silent."""
        first = next(iter(fetch.source.fetches.values()))
        return max(first.heard_at, fetch.heard_at)


_NONE: list[RunningFetch] = []
