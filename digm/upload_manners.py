"""How a listener gives without noticing it: whether, how much, and how fast to whom. Sans-IO.

`UploadManners` has the reasons not to give, in protocol.md's order, and the cap over all connections; `Pacer`
is one connection's: it keeps what waits in the channel, and in the routers behind it, below a tenth of a
second, as LEDBAT does (RFC 6817), so that giving never makes the listener's own link slow.
"""

from dataclasses import dataclass
from enum import Enum

from digm.token_bucket import TokenBucket
from digm.wire import MAX_MESSAGE_BYTES, MAX_PAYLOAD_BYTES


@dataclass(frozen=True)
class MannersSettings:
    """The numbers; each with where it comes from."""

    battery_least: float = 0.2  # protocol.md: below 20 % and not charging
    reserve_s: float = 3.0  # protocol.md: no upload while less than this is buffered
    target_delay_s: float = 0.1  # RFC 6817: TARGET is at most 100 ms
    base_history_s: float = 120.0  # RFC 6817: BASE_HISTORY, minutes; routes change
    least_bytes_per_s: float = 48_000.0  # a piece in 1.4 s: below that the asker counts silence
    most_buffered_bytes: int = 262_144  # the session's own high-water mark
    least_buffered_bytes: int = 32_768  # below half a message nothing would ever flow
    growth: float = 1.25  # of an allowed rate, for each round trip that is short again


class Why(Enum):
    """Whether we give, and if not, why not."""

    SHARING = "sharing"
    SWITCHED_OFF = "switched_off"
    SAVE_DATA = "save_data"
    METERED = "metered"
    BATTERY_LOW = "battery_low"
    OWN_PLAYBACK = "own_playback"


class UploadManners:
    """What holds for all connections of a page.

    Attributes:
        is_on: the listener's switch.
        saves_data: the browser's Save-Data.
        is_metered: a cellular connection.
        battery: charge, 0.0 to 1.0; None where it is unknown or charging.
        bucket: the cap over all connections; shared with their sessions.
    """

    def __init__(self, now: float, settings: MannersSettings = MannersSettings()) -> None:
        self.is_on = True
        self.saves_data = False
        self.is_metered = False
        self.battery: float | None = None
        self.bucket = TokenBucket(0, MAX_MESSAGE_BYTES, now)
        self._settings = settings

    def set_cap(self, bytes_per_s: float) -> None:
        """0 is no cap. A burst is a quarter of a second, but always one whole message."""
        self.bucket.rate_per_s = max(0.0, bytes_per_s)
        self.bucket.burst = max(MAX_MESSAGE_BYTES, bytes_per_s / 4)

    @property
    def standing(self) -> Why:
        """The reason that lasts, if there is one: peers are told not to ask."""
        if not self.is_on:
            return Why.SWITCHED_OFF
        if self.saves_data:
            return Why.SAVE_DATA
        if self.is_metered:
            return Why.METERED
        if self.battery is not None and self.battery < self._settings.battery_least:
            return Why.BATTERY_LOW
        return Why.SHARING

    def verdict(self, buffered_s: float | None) -> Why:
        """Whether a piece may go out now.

        Args:
            buffered_s: what can be played without a byte more; None while nothing plays, or all is there.
        """
        if self.standing is Why.SHARING and buffered_s is not None and buffered_s < self._settings.reserve_s:
            return Why.OWN_PLAYBACK
        return self.standing


class Pacer:
    """What one connection may take without queues growing.

    Two delays are watched: what waits in the channel (its bufferedAmount over the rate at which it drains), and
    the growth of the round trip over its smallest, which is what waits in routers on the way.
    """

    def __init__(self, now: float, settings: MannersSettings = MannersSettings()) -> None:
        self._settings = settings
        self._bucket = TokenBucket(0, MAX_MESSAGE_BYTES, now)
        self._drain_per_s: float | None = None
        self._sent = 0
        self._looked_at = now
        self._buffered = 0
        self._base: list[tuple[float, float]] = []

    @property
    def allowed_buffer_bytes(self) -> int:
        """How much may wait in the channel: 100 ms of what it drains."""
        rules = self._settings
        if self._drain_per_s is None:
            return rules.most_buffered_bytes
        wanted = self._drain_per_s * rules.target_delay_s
        return int(min(rules.most_buffered_bytes, max(rules.least_buffered_bytes, wanted)))

    @property
    def rate_per_s(self) -> float:
        """What round trips allow; 0 is no limit."""
        return self._bucket.rate_per_s

    def has_room(self, buffered_bytes: int, now: float) -> bool:
        """Whether one more message may go into a channel in which `buffered_bytes` wait."""
        self._look(buffered_bytes, now)
        if buffered_bytes and buffered_bytes >= self.allowed_buffer_bytes:
            return False
        return self._bucket.ready_at(MAX_PAYLOAD_BYTES, now) <= now

    def sent(self, size: int, now: float) -> None:
        """A piece went into the channel."""
        self._bucket.take(size, now)
        self._sent += size

    def round_trip(self, rtt_s: float, now: float) -> None:
        """A measured round trip; one every second or two is enough.

        Shrinks the allowed rate in proportion to the delay that is too much, lets it grow again otherwise, and
        lifts it once it is far above what the channel ever drained.
        """
        rules = self._settings
        self._base = [(at, rtt) for at, rtt in self._base if now - at < rules.base_history_s]
        self._base.append((now, rtt_s))
        queued_s = rtt_s - min(rtt for _, rtt in self._base)
        drained = self._drain_per_s or 0.0
        rate = self._bucket.rate_per_s or drained
        if queued_s > rules.target_delay_s and rate:
            self._bucket.rate_per_s = max(rules.least_bytes_per_s, rate * rules.target_delay_s / queued_s)
        elif self._bucket.rate_per_s:
            grown = self._bucket.rate_per_s * rules.growth
            self._bucket.rate_per_s = 0.0 if grown > 4 * max(drained, rules.least_bytes_per_s) else grown

    def _look(self, buffered_bytes: int, now: float) -> None:
        """Measure how fast the channel drains, while something waits in it."""
        elapsed = now - self._looked_at
        if elapsed < 0.02:
            return
        drained = self._sent - (buffered_bytes - self._buffered)
        if self._buffered + self._sent > 0 and drained >= 0 and buffered_bytes:
            rate = drained / elapsed
            before = self._drain_per_s
            self._drain_per_s = rate if before is None else before + 0.3 * (rate - before)
        self._looked_at, self._buffered, self._sent = now, buffered_bytes, 0
