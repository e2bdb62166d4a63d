"""The fetches that are under way, for the scheduler."""

from collections.abc import Iterator
from dataclasses import dataclass

from digm.sources import Source


@dataclass(slots=True)
class RunningFetch:
    """One chunk on its way from one source."""

    fetch_id: int
    source: Source
    chunk: int
    started_at: float
    heard_at: float
    first_frame: int
    frame_count: int
    received_bytes: int = 0

    @property
    def frames(self) -> frozenset[int]:
        return frozenset(range(self.first_frame, self.first_frame + self.frame_count))


class RunningFetches:
    """By fetch id, oldest first."""

    def __init__(self) -> None:
        self._fetches: dict[int, RunningFetch] = {}
        self._next_id = 1

    def __len__(self) -> int:
        return len(self._fetches)

    def __iter__(self) -> Iterator[RunningFetch]:
        return iter(list(self._fetches.values()))

    def start(self, source: Source, chunk: int, now: float, first: int, count: int) -> RunningFetch:
        fetch = RunningFetch(self._next_id, source, chunk, now, now, first, count)
        self._fetches[fetch.fetch_id] = fetch
        self._next_id += 1
        return fetch

    def get(self, fetch_id: int) -> RunningFetch | None:
        return self._fetches.get(fetch_id)

    def remove(self, fetch_id: int) -> RunningFetch | None:
        """Forget a fetch. Returns it, or None when it is unknown: cancelled, or over already."""
        return self._fetches.pop(fetch_id, None)

    def of_source(self, source: Source) -> list[RunningFetch]:
        return [fetch for fetch in self._fetches.values() if fetch.source is source]

    def of_chunk(self, chunk: int) -> list[RunningFetch]:
        return [fetch for fetch in self._fetches.values() if fetch.chunk == chunk]

    def heard_in_turn_at(self, fetch: RunningFetch) -> float:
        """When a fetch was last heard of, or its turn began.

        A peer answers the oldest request first: the younger ones are not silent, they wait.
        """
        older = (f.heard_at for f in self.of_source(fetch.source) if f.fetch_id <= fetch.fetch_id)
        return max(fetch.source.busy_since, *older)
