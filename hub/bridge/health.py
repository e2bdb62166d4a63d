"""How somebody out there did lately, as a number: answers, silence, and how long an answer took."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")
DEAD_AFTER = 3  # failures in a row
_LEARNS = 0.3  # share of the newest outcome; some five of them make up most of the figure
_UNKNOWN, _UNKNOWN_LATENCY_S = 0.5, 0.25
_HALVED_BY_S = 0.25  # a source that answers so late is worth half of one that answers at once


@dataclass
class Health:
    """Of one node or gateway.

    Attributes:
        reliability: 0.0 to 1.0, recent outcomes counting most.
        latency_s: of its answers, smoothed; None: it never answered.
        checked_at: when it was last asked; 0: never.
    """

    reliability: float = _UNKNOWN
    latency_s: float | None = None
    failures: int = 0
    checked_at: float = 0.0

    def answered(self, latency_s: float, now_s: float) -> None:
        before = latency_s if self.latency_s is None else self.latency_s
        self.latency_s = before + _LEARNS * (latency_s - before)
        self.reliability += _LEARNS * (1 - self.reliability)
        self.failures, self.checked_at = 0, now_s

    def failed(self, now_s: float) -> None:
        self.reliability -= _LEARNS * self.reliability
        self.failures += 1
        self.checked_at = now_s

    @property
    def is_dead(self) -> bool:
        """Whether it is left out, until it answers again."""
        return self.failures >= DEAD_AFTER

    def score(self, share: float) -> float:
        """0.0 to 1.0: how good a source it is.

        Args:
            share: part of the track that it holds, 0.0 to 1.0.
        """
        latency_s = _UNKNOWN_LATENCY_S if self.latency_s is None else self.latency_s
        return round(self.reliability * share / (1 + latency_s / _HALVED_BY_S), 4)


class Bounded(OrderedDict[K, V], Generic[K, V]):
    """A dict of the `most` entries that were written last."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        while len(self) > self._most:
            self.popitem(last=False)
