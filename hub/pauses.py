"""When to try again what failed: soon at first, later and later while it goes on failing."""

from collections.abc import Callable, Collection
from typing import Generic, TypeVar

Key = TypeVar("Key")
MOST_KEPT = 4_096


class Pauses(Generic[Key]):
    """A pause for each of many things. Bounded: the longest known is forgotten for the newest.

    Args:
        first_s: after the first failure; each further one doubles it,
        longest_s: up to this.
        clock: in seconds, never going back.
    """

    def __init__(self, first_s: float, longest_s: float, clock: Callable[[], float]) -> None:
        self._first_s, self._longest_s, self._clock = first_s, longest_s, clock
        self._pauses: dict[Key, tuple[float, float]] = {}  # key -> (not before, the pause that led to it)

    def left_s(self, key: Key) -> float:
        """How long to wait; 0: not at all."""
        return max(0.0, self._pauses[key][0] - self._clock()) if key in self._pauses else 0.0

    def failed(self, key: Key) -> None:
        """It failed just now."""
        _, pause_s = self._pauses.pop(key, (0.0, 0.0))
        pause_s = min(self._longest_s, max(self._first_s, 2 * pause_s))
        self._pauses[key] = self._clock() + pause_s, pause_s
        if len(self._pauses) > MOST_KEPT:
            del self._pauses[next(iter(self._pauses))]

    def forget(self, key: Key) -> None:
        """It worked, or something is different: the next failure counts as the first."""
        self._pauses.pop(key, None)

    def keep_only(self, keys: Collection[Key]) -> None:
        """Forget all others."""
        self._pauses = {key: pause for key, pause in self._pauses.items() if key in keys}
