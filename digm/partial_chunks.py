"""Chunks of which some frames are there, for the scheduler: which frames, and who sent them."""

from collections.abc import Iterable, Sequence


class PartialChunks:
    """Frames that came and are not verified yet.

    Args:
        frames: how many frames each chunk has.
    """

    def __init__(self, frames: Sequence[int]) -> None:
        self._frames = frames
        self._have: dict[int, set[int]] = {}
        self._senders: dict[int, set[str]] = {}

    def received(self, chunk: int, frames: Iterable[int], sender: str) -> None:
        self._have.setdefault(chunk, set()).update(frames)
        self._senders.setdefault(chunk, set()).add(sender)

    def is_whole(self, chunk: int) -> bool:
        return len(self._have.get(chunk, ())) == self._frames[chunk]

    def missing(self, chunk: int) -> tuple[int, int]:
        """First frame and count of the smallest range that has all that is missing."""
        have = self._have.get(chunk, set())
        missing = [frame for frame in range(self._frames[chunk]) if frame not in have]
        return missing[0], missing[-1] + 1 - missing[0]

    def senders(self, chunk: int) -> frozenset[str]:
        return frozenset(self._senders.get(chunk, ()))

    def forget(self, chunk: int) -> frozenset[str]:
        """Forget a chunk's frames. Returns who sent them."""
        self._have.pop(chunk, None)
        return frozenset(self._senders.pop(chunk, ()))
