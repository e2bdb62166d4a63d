"""What the scheduler knows of each source: what it holds, how fast it is, how long it rests after a failure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from digm.bitfield import Bitfield

_RATE_WEIGHT = 0.5  # of the newest measurement: a home uplink changes within a few chunks


@dataclass(slots=True)
class Rest:
    """A source that failed is left alone until `until`; each failure in a row doubles the time."""

    until: float = 0.0
    failures: int = 0

    def extend(self, now: float, first_s: float, most_s: float) -> None:
        doubled_s: float = first_s * 2.0 ** min(self.failures, 16)
        self.until = now + min(most_s, doubled_s)
        self.failures += 1


@dataclass(slots=True)
class Source:
    """The gateway or one peer.

    Attributes:
        availability: what it holds, read live; None: everything (the gateway).
        slots: requests that it takes at once.
        bytes_per_s: measured; None before the first chunk.
        busy_since: when the bytes that come now began to come.
        wrong_chunks: chunks with a wrong hash since the last right one.
    """

    name: str
    availability: Bitfield | None
    slots: int
    bytes_per_s: float | None = None
    busy_since: float = 0.0
    is_banned: bool = False
    wrong_chunks: set[int] = field(default_factory=set)
    rest: Rest = field(default_factory=Rest)
    chunk_rests: dict[int, Rest] = field(default_factory=dict)

    def holds(self, chunk: int) -> bool:
        return self.availability is None or chunk in self.availability

    def usable_at(self, chunk: int) -> float:
        """From when on it may be asked for a chunk."""
        chunk_rest = self.chunk_rests.get(chunk)
        return max(self.rest.until, chunk_rest.until if chunk_rest else 0.0)

    def measured(self, received_bytes: int, started_at: float, now: float) -> None:
        """A whole chunk came. Time that it spent behind another chunk of the same source does not count."""
        seconds = max(0.001, now - max(started_at, self.busy_since))
        self.busy_since = now
        rate = received_bytes / seconds
        before = self.bytes_per_s
        self.bytes_per_s = rate if before is None else before + _RATE_WEIGHT * (rate - before)

    def succeeded(self, chunk: int) -> None:
        """The chunk was right: what went wrong before is forgiven."""
        self.rest = Rest()
        self.chunk_rests.pop(chunk, None)
        self.wrong_chunks.clear()

    def rest_for_chunk(self, chunk: int, now: float, first_s: float, most_s: float) -> None:
        self.chunk_rests.setdefault(chunk, Rest()).extend(now, first_s, most_s)


@dataclass(slots=True)
class Trouble:
    """What went wrong so far with one chunk that is still missing."""

    since: float
    attempts: int = 0
    reasons: dict[str, str] = field(default_factory=dict)

    def add(self, source: str, reason: str) -> None:
        self.attempts += 1
        self.reasons[source] = reason

    def snapshot(self) -> Mapping[str, str]:
        return dict(self.reasons)
