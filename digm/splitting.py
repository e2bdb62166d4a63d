"""One chunk over several sources: who sends which of its frames."""

from collections.abc import Sequence

from digm import chunk_mask
from digm.chunks import FRAME_BYTES


def shares(frames: int, waits_s: Sequence[float], rates: Sequence[float]) -> list[int]:
    """How many of some frames each source should send, so that all are done at about the same time.

    Args:
        waits_s: how long each source is busy with other things.
        rates: bytes per second of each.
    Returns:
        counts in the order of the sources, 0 where one would only hold up the rest; their sum is `frames`.
    """
    counts = [0] * len(rates)
    for _ in range(frames):
        done_s = [
            wait_s + (count + 1) * FRAME_BYTES / rate
            for wait_s, count, rate in zip(waits_s, counts, rates, strict=True)
        ]
        counts[done_s.index(min(done_s))] += 1
    return counts


def tail(frames: int, rate: float, helper_rate: float) -> tuple[int, int]:
    """The end of a run of frames that a helper should take from a source that goes on with the front.

    Args:
        frames: consecutive ones that the source still has to send (digm.chunk_mask), not empty.
        rate: of the source; 0 when it sends nothing.
    Returns:
        (first frame, count), count at least 1.
    """
    first = chunk_mask.lowest(frames)
    total = frames.bit_count()
    keeps = min(total - 1, int(total * rate / (rate + helper_rate)))
    return first + keeps, total - keeps
