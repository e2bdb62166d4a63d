"""What is played after what: a list of tracks, an order, repeat. No sound, no bytes, no browser.

    queue = PlayQueue(tracks, random=random.random)
    index = queue.after(index)      # None: the music ends here

A track is named by its place in the list; the order in which places are played is shuffled or not.
"""

from collections.abc import Callable, Sequence
from enum import Enum


class Repeat(Enum):
    """What happens at the end of a track or of the queue."""

    OFF = "off"
    ONE = "one"
    ALL = "all"


class PlayQueue:
    """An order over a list of tracks.

    Attributes:
        tracks: roots, 64 hex digits each; one may be there several times.
        repeat: may be set at any time.
        is_shuffled: whether the order is mixed.

    Args:
        random: 0.0 <= x < 1.0, for shuffling.
    """

    def __init__(self, tracks: Sequence[str], *, random: Callable[[], float]) -> None:
        self.tracks = list(tracks)
        self.repeat = Repeat.OFF
        self.is_shuffled = False
        self._random = random
        self._order = list(range(len(self.tracks)))
        self._unplayable: set[int] = set()

    @property
    def order(self) -> list[int]:
        """The places in the order in which they are played."""
        return list(self._order)

    def shuffle(self, is_on: bool, current: int) -> None:
        """Mix the order, the current track first; or put it back."""
        self.is_shuffled = is_on
        self._order = list(range(len(self.tracks)))
        if not is_on:
            return
        self._order.remove(current)
        for last in range(len(self._order) - 1, 0, -1):  # Fisher and Yates
            other = int(self._random() * (last + 1))
            self._order[last], self._order[other] = self._order[other], self._order[last]
        self._order.insert(0, current)

    def leave_out(self, index: int) -> None:
        """A track that cannot be played is not come to again."""
        self._unplayable.add(index)

    def after(self, index: int, *, is_asked: bool = False) -> int | None:
        """What comes after a track by itself, or because the listener asked for the next one.

        Who asks for the next track does not want the same again, and comes round at the end if it repeats.
        """
        if self.repeat is Repeat.ONE and not is_asked and index not in self._unplayable:
            return index
        return self._step(index, 1, is_round=self.repeat is not Repeat.OFF)

    def before(self, index: int) -> int | None:
        """What came before a track in the order."""
        return self._step(index, -1, is_round=self.repeat is Repeat.ALL)

    def _step(self, index: int, by: int, *, is_round: bool) -> int | None:
        count, at = len(self._order), self._order.index(index)
        for step in range(1, count + 1):
            place = at + by * step
            if not is_round and not 0 <= place < count:
                return None
            found = self._order[place % count]
            if found not in self._unplayable:
                return found
        return None
