"""Which peers hold which chunks, counted so that the rarest chunk is found without looking at every one."""

from digm import chunk_mask


class Holders:
    """Chunks of the peers that can be asked, as sets (digm.chunk_mask).

    `_by_count[n]` has the chunks that at least n + 1 peers hold: one peer more or less moves only sets.
    """

    def __init__(self) -> None:
        self._by_peer: dict[str, int] = {}
        self._by_count: list[int] = []

    @property
    def anybody(self) -> int:
        """Chunks that somebody holds."""
        return self._by_count[0] if self._by_count else 0

    def add(self, peer: str, chunks: int) -> None:
        """A peer that is not there yet, and all that it holds."""
        self._by_peer[peer] = 0
        self._by_count.append(0)
        self.gain(peer, chunks)

    def remove(self, peer: str) -> None:
        if (chunks := self._by_peer.get(peer)) is not None:
            self.lose(peer, chunks)
            del self._by_peer[peer]
            self._by_count.pop()

    def gain(self, peer: str, chunks: int) -> None:
        """More chunks of a peer that is there; otherwise nothing happens."""
        if peer not in self._by_peer:
            return
        rising = chunks & ~self._by_peer[peer]
        self._by_peer[peer] |= rising
        for count, mask in enumerate(self._by_count):
            self._by_count[count] = mask | rising
            rising &= mask
            if not rising:
                break

    def lose(self, peer: str, chunks: int) -> None:
        """Chunks that a peer turned out not to hold."""
        falling = chunks & self._by_peer.get(peer, 0)
        if not falling:
            return
        self._by_peer[peer] &= ~falling
        for count in range(len(self._by_count) - 1, -1, -1):
            fallen = self._by_count[count] & falling
            self._by_count[count] &= ~fallen
            falling &= ~fallen

    def count(self, chunk: int) -> int:
        """How many peers hold a chunk."""
        return sum(mask >> chunk & 1 for mask in self._by_count)

    def rarest(self, wanted: int, pivot: int) -> int | None:
        """The wanted chunk that the fewest peers hold; None when nobody holds any.

        Args:
            pivot: among equally rare ones, the first from here on: each listener has its own, so that they do
                not all fetch the same chunk first.
        """
        for count, mask in enumerate(self._by_count):
            above = self._by_count[count + 1] if count + 1 < len(self._by_count) else 0
            if found := mask & ~above & wanted:
                return chunk_mask.lowest_from(found, pivot)
        return None
