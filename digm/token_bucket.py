"""A token bucket: the one rate limit of the house. `now` is an argument, like everywhere in digm."""


class TokenBucket:
    """Lets `rate_per_s` units a second through, and `burst` at once after a rest.

    Args:
        rate_per_s: units a second; 0 means no limit.
        burst: what a full bucket holds; a single take may not be larger.
        now: seconds on any steady clock.
    """

    __slots__ = ("_at", "_level", "burst", "rate_per_s")

    def __init__(self, rate_per_s: float, burst: float, now: float) -> None:
        self.rate_per_s = rate_per_s
        self.burst = burst
        self._level = burst
        self._at = now

    def take(self, amount: float, now: float) -> bool:
        """Take `amount` units if they are there. A clock that went back changes nothing."""
        if not self.rate_per_s:
            return True
        self._fill(now)
        if amount > self._level:
            return False
        self._level -= amount
        return True

    def ready_at(self, amount: float, now: float) -> float:
        """When `take(amount)` will succeed, if nobody else takes; `now` when it already would."""
        if not self.rate_per_s:
            return now
        self._fill(now)
        return now + max(0.0, min(amount, self.burst) - self._level) / self.rate_per_s

    def _fill(self, now: float) -> None:
        self._level = min(self.burst, self._level + max(0.0, now - self._at) * self.rate_per_s)
        self._at = max(self._at, now)
