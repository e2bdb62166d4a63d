"""What time the chain's next block will have, at least."""

import time
from collections.abc import Callable

import structlog

log = structlog.get_logger()
ODD_S = 3_600.0


class ChainClock:
    """The contracts go by the time of blocks, and the newest one that we know may be old: our server may lag.

    So the time since it was first seen is added, and this machine's clock counts where it is ahead of that. A
    clock that is wrong in that direction costs deliveries that are nearly late, and gives nothing away.

    Args:
        monotonic, wall: seconds; since 1970 the second.
    """

    def __init__(
        self, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        self._monotonic, self._wall = monotonic, wall
        self._block_s, self._seen_at = 0, 0.0
        self._has_warned = False

    def now_s(self, block_s: int) -> float:
        """Seconds since 1970.

        Args:
            block_s: the time of the newest block.
        """
        if block_s != self._block_s:
            self._block_s, self._seen_at = block_s, self._monotonic()
        chain_s = block_s + self._monotonic() - self._seen_at
        ahead_s = self._wall() - chain_s
        if ahead_s > ODD_S and not self._has_warned:
            self._has_warned = True
            log.warning(
                "clock_ahead_of_chain",
                seconds=round(ahead_s),
                advice="check this machine's clock, and whether the chain's server is up to date",
            )
        return max(chain_s, self._wall())
