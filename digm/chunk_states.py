"""What is there of every chunk: held, whole but not checked yet, or some of its frames (for the scheduler)."""

from collections.abc import Iterable, Sequence

from digm import chunk_mask


class ChunkStates:
    """Sets of chunks and frames (digm.chunk_mask).

    Attributes:
        held: verified and at hand.
        missing: neither held nor whole.
        alone: chunks that came wrong from several sources at once: the next time one source sends all of it,
            so that it is known who was at fault.

    Args:
        frames: how many frames each chunk has.
        held: chunks to start with.
    """

    def __init__(self, frames: Sequence[int], held: Iterable[int]) -> None:
        self._frames = frames
        self._full = chunk_mask.span(0, len(frames))
        self.held = 0
        self.missing = self._full
        self.alone: set[int] = set()
        self._arrived: dict[int, int] = {}
        self._senders: dict[int, set[str]] = {}
        for chunk in held:
            self.hold(chunk)

    @property
    def is_complete(self) -> bool:
        return self.held == self._full

    def frames(self, chunk: int) -> int:
        """All frames of a chunk."""
        return chunk_mask.span(0, self._frames[chunk])

    def arrived(self, chunk: int) -> int:
        """Frames of a missing chunk that are there."""
        return self._arrived.get(chunk, 0)

    def senders(self, chunk: int) -> frozenset[str]:
        """Who sent the frames that are there."""
        return frozenset(self._senders.get(chunk, ()))

    def add(self, chunk: int, frames: int, sender: str) -> None:
        """Frames came, not checked yet. Those of a chunk that is not missing are not looked at."""
        frames &= self.frames(chunk)
        if not frames or not self.missing >> chunk & 1:
            return
        arrived = self.arrived(chunk) | frames
        self._arrived[chunk] = arrived
        self._senders.setdefault(chunk, set()).add(sender)
        if arrived == self.frames(chunk):
            self.missing &= ~(1 << chunk)

    def forget(self, chunk: int) -> frozenset[str]:
        """Forget the frames of a chunk that is not held: it is missing, all of it. Returns who sent them."""
        self._arrived.pop(chunk, None)
        if not self.held >> chunk & 1:
            self.missing |= 1 << chunk
        return frozenset(self._senders.pop(chunk, ()))

    def hold(self, chunk: int) -> None:
        """A chunk is verified and at hand."""
        self.held |= 1 << chunk
        self.missing &= ~(1 << chunk)
        self._arrived.pop(chunk, None)
        self._senders.pop(chunk, None)
        self.alone.discard(chunk)

    def drop(self, chunk: int) -> None:
        """A chunk, or what there was of it, is not at hand any more."""
        self.held &= ~(1 << chunk)
        self.forget(chunk)
