"""Which rendition of a track to fetch, by the speed of the line and what is buffered, sans-IO.

    choice = RenditionChoice([rendition.bit_rate for rendition in playable], settings)
    index = choice.choose(scheduler.bytes_per_s(now), buffered_s, now)      # once per chunk, or on timeupdate

Two rules, together as in dash.js (Spiteri et al., "From theory to practice", 2018: DYNAMIC). While little is
buffered the measured throughput decides: the best rendition that needs less than `safety` of it. With a long
buffer BOLA decides (Spiteri et al. 2016, utility of the logarithm of the bit rate), which needs no measurement
and so does not swing with it. Up only when the same or a better one was meant for `up_after_s` without a break;
down at once, but only when the buffer would run dry: a buffer is there to be used.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class RenditionSettings:
    """The numbers; each with where it comes from."""

    safety: float = 0.7  # hls.js: abrBandWidthUpFactor 0.7
    short_buffer_s: float = 10.0  # dash.js: below this DYNAMIC goes by throughput
    up_after_s: float = 10.0  # two chunks and a half: one quick chunk from a neighbour is no faster line
    rest_after_down_s: float = 20.0  # what was too much a moment ago is not tried again soon
    dry_within_s: float = 20.0  # a buffer that will not last so long counts as about to run dry
    down_below_s: float = 2.0  # a lighter one when there is no other way; until then the sources may recover
    bola_buffer_s: float = 30.0  # where BOLA means the best one: the player keeps 30 s in the element


class RenditionChoice:
    """Chooses between encodings of the same track.

    Args:
        bit_rates: bits per second, the best rendition (and the largest) first, as the manifest has them.
        start: index of the rendition that is playing now.
    """

    def __init__(
        self, bit_rates: Sequence[int], settings: RenditionSettings = RenditionSettings(), *, start: int = 0
    ) -> None:
        self._rates = [max(1, rate) / 8 for rate in bit_rates]  # bytes per second
        self._settings = settings
        self._current = start
        self._better_since: float | None = None
        self._down_at = -math.inf

    @property
    def current(self) -> int:
        return self._current

    def choose(self, measured_bytes_per_s: float | None, buffered_s: float, now: float) -> int:
        """The index to go on with.

        Args:
            measured_bytes_per_s: from all sources together; None while it is not known: nothing changes.
            buffered_s: what can be played without another byte.
        """
        if measured_bytes_per_s is None:
            return self._current
        meant = self._meant(measured_bytes_per_s, buffered_s)
        if meant > self._current:
            self._better_since = None
            if self._will_run_dry(measured_bytes_per_s, buffered_s):
                self._down_at = now
                self._current = meant
        elif meant == self._current or now - self._down_at < self._settings.rest_after_down_s:
            self._better_since = None
        elif self._better_since is None:
            self._better_since = now
        elif now - self._better_since >= self._settings.up_after_s:
            # One step at a time: the next one has to show itself on this one.
            self._better_since = None
            self._current = self._next_better()
        return self._current

    def _meant(self, measured: float, buffered_s: float) -> int:
        by_speed = self._best_below(measured * self._settings.safety)
        if buffered_s < self._settings.short_buffer_s:
            return by_speed
        # Music has few renditions, far apart: BOLA does not go beyond what the line is known to carry at all.
        return max(self._by_buffer(buffered_s), self._best_below(measured))

    def _best_below(self, bytes_per_s: float) -> int:
        """The best rendition that needs at most so much, or else the smallest."""
        fitting = [(rate, -index) for index, rate in enumerate(self._rates) if rate <= bytes_per_s]
        if fitting:
            return -max(fitting)[1]
        return min(range(len(self._rates)), key=self._rates.__getitem__)

    def _by_buffer(self, buffered_s: float) -> int:
        """BOLA-BASIC: the rendition with the largest (V * (utility + gp) - buffer) / size."""
        least, most = min(self._rates), max(self._rates)
        if least == most:
            return self._current
        utilities = [math.log(rate / least) for rate in self._rates]
        short_s, full_s = self._settings.short_buffer_s, self._settings.bola_buffer_s
        # Two conditions (dash.js): at short_s the smallest is chosen, at full_s nothing is worth waiting for.
        gain = (math.log(most / least) + 1.0) / (full_s / short_s - 1.0)
        weight = short_s / gain
        scores = [
            (weight * (utility + gain) - buffered_s) / rate
            for utility, rate in zip(utilities, self._rates, strict=True)
        ]
        return scores.index(max(scores))

    def _will_run_dry(self, measured: float, buffered_s: float) -> bool:
        """Whether the current rendition comes more slowly than it is heard, and the buffer will not hide it."""
        settings = self._settings
        lost_per_s = 1.0 - 0.9 * measured / self._rates[self._current]
        return buffered_s <= settings.down_below_s and buffered_s < settings.dry_within_s * lost_per_s

    def _next_better(self) -> int:
        better = [(rate, index) for index, rate in enumerate(self._rates) if rate > self._rates[self._current]]
        return min(better)[1] if better else self._current
