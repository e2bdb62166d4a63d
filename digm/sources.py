"""What the scheduler knows of each source: what it holds, how fast it is, how long it rests after a failure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from digm.chunks import FRAME_BYTES

if TYPE_CHECKING:
    from digm.running_fetches import RunningFetch

_RATE_WEIGHT = 0.5  # of the newest measurement of a chunk's size: a home uplink changes within a few chunks
_WEIGHED_BYTES = 8 * FRAME_BYTES
_SHORTEST_S = 0.001


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
        chunks: what it holds (digm.chunk_mask).
        slots: requests that it takes at once.
        bytes_per_s: measured while it had something to send; None before.
        answer_s: from a request to its first byte, when nothing was in front of it; None before.
        is_proven: a chunk of which it sent a part had the right hash.
        wrong_chunks: chunks with a wrong hash since the last right one.
        fetches: under way, oldest first.
    """

    name: str
    chunks: int
    slots: int
    bytes_per_s: float | None = None
    answer_s: float | None = None
    is_proven: bool = False
    is_banned: bool = False
    wrong_chunks: set[int] = field(default_factory=set)
    rest: Rest = field(default_factory=Rest)
    chunk_rests: dict[int, Rest] = field(default_factory=dict)
    fetches: "dict[int, RunningFetch]" = field(default_factory=dict)
    _measured_at: float = 0.0
    _unmeasured_bytes: int = 0
    _is_answering: bool = False

    def holds(self, chunk: int) -> bool:
        return bool(self.chunks >> chunk & 1)

    def usable_at(self, chunk: int) -> float:
        """From when on it may be asked for a chunk."""
        chunk_rest = self.chunk_rests.get(chunk)
        return max(self.rest.until, chunk_rest.until) if chunk_rest else self.rest.until

    @property
    def owed_bytes(self) -> int:
        """What it was asked for and has not sent yet."""
        return sum(fetch.left_bytes for fetch in self.fetches.values())

    def rate(self, assumed_bytes_per_s: float, now: float) -> float:
        """Bytes per second that may be counted on now: as measured, or less if it owes and does not send."""
        rate = self.bytes_per_s or assumed_bytes_per_s
        silent_s = now - self._measured_at
        if self.fetches and silent_s > 0.0:
            rate = min(rate, (self._unmeasured_bytes + FRAME_BYTES) / silent_s)
        return rate

    # -- measuring: the time in which it had nothing to send for us does not count

    def asked(self, now: float) -> None:
        """A fetch was started."""
        if len(self.fetches) == 1:
            self._measured_at = now
            self._unmeasured_bytes = 0
            self._is_answering = False

    def heard(self, received_bytes: int, now: float) -> None:
        """So many more bytes came."""
        if not self._is_answering:
            self._is_answering = True
            waited_s = now - self._measured_at
            before = self.answer_s
            # What came with the first byte took time as well: a first report of a whole frame is not latency.
            if received_bytes < FRAME_BYTES:
                self.answer_s = waited_s if before is None else (before + waited_s) / 2
                self._measured_at = now
                return
        self._unmeasured_bytes += received_bytes
        if self._unmeasured_bytes >= 2 * FRAME_BYTES:
            self._measure(now)

    def paused(self, now: float) -> None:
        """A fetch ended, well or not: what came since the last measurement counts."""
        if self._unmeasured_bytes >= FRAME_BYTES:
            self._measure(now)

    def learn_rate(self, received_bytes: int, seconds: float) -> None:
        rate = received_bytes / max(_SHORTEST_S, seconds)
        before = self.bytes_per_s
        if before is None:
            self.bytes_per_s = rate
            return
        weight = 1.0 - (1.0 - _RATE_WEIGHT) ** (received_bytes / _WEIGHED_BYTES)
        self.bytes_per_s = before + weight * (rate - before)

    def _measure(self, now: float) -> None:
        self.learn_rate(self._unmeasured_bytes, now - self._measured_at)
        self._measured_at = now
        self._unmeasured_bytes = 0

    # -- trust

    def succeeded(self, chunk: int) -> None:
        """The chunk was right: what went wrong before is forgiven."""
        self.is_proven = True
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
