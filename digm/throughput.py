"""How many bytes a second this listener gets from all of its sources together, while it is getting any."""

import math

_FAST_S, _SLOW_S = 3.0, 9.0  # half-lives as hls.js and dash.js have them for recorded music


class Throughput:
    """Two moving averages, one quick to fall, one slow to rise; the smaller one counts (as in hls.js).

    Time in which nothing was asked for does not count: it says nothing about the line.
    """

    def __init__(self) -> None:
        self._since: float | None = None
        self._bytes = 0
        self._busy_s = 0.0
        self._averages = [0.0, 0.0]

    def begin(self, now: float) -> None:
        """The first of several fetches was started."""
        if self._since is None:
            self._since = now

    def add(self, received_bytes: int) -> None:
        self._bytes += received_bytes

    def pause(self, now: float) -> None:
        """The last fetch ended."""
        self._sample(now)
        self._since = None

    def bytes_per_s(self, now: float) -> float | None:
        """None before a quarter of a second of transfer."""
        if self._since is not None and now - self._since >= 0.25:
            self._sample(now)
        if self._busy_s < 0.25:
            return None
        return min(
            average / (1.0 - math.pow(0.5, self._busy_s / half_s))
            for average, half_s in zip(self._averages, (_FAST_S, _SLOW_S), strict=True)
        )

    def _sample(self, now: float) -> None:
        if self._since is None:
            return
        seconds = now - self._since
        if seconds <= 0:
            return
        rate = self._bytes / seconds
        for index, half_s in enumerate((_FAST_S, _SLOW_S)):
            weight = math.pow(0.5, seconds / half_s)
            self._averages[index] = rate * (1.0 - weight) + weight * self._averages[index]
        self._busy_s += seconds
        self._since, self._bytes = now, 0
