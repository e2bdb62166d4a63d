"""Reading a chain's events in stretches, although the chain may take its newest blocks back.

After each stretch its last block is kept as an anchor. While the newest anchor is in the chain, all that was
read is. When it is not, the newest one that still is tells from where to read again: if one anchor is in the
chain, all older ones are, so it is found by halving. No I/O here: who asks which server is `hub.chain`'s
business.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from digm.errors import CallerFault


@dataclass(frozen=True)
class Anchor:
    """A block up to which everything was read. `hash`: lower-case hex with 0x."""

    number: int
    hash: str


class ForkSearch:
    """Finds the newest anchor that is still in the chain.

    Args:
        anchors: oldest first.
    """

    def __init__(self, anchors: Sequence[Anchor]) -> None:
        if any(one.number >= other.number for one, other in pairwise(anchors)):
            raise CallerFault("bad_argument", "Anchors are in the order of their blocks.")
        self._anchors = anchors
        # Those before _low are in the chain, those from _high on are not.
        self._low, self._high = 0, len(anchors)

    @property
    def question(self) -> Anchor | None:
        """Which one to ask for next; None: it is found."""
        return self._anchors[(self._low + self._high) // 2] if self._low < self._high else None

    def answer(self, is_in_chain: bool) -> None:
        """What came of asking for `question`."""
        middle = (self._low + self._high) // 2
        if is_in_chain:
            self._low = middle + 1
        else:
            self._high = middle

    @property
    def newest(self) -> Anchor | None:
        """Once there is no question: the newest that is in the chain; None where none is."""
        return self._anchors[self._low - 1] if self._low else None


@dataclass
class Pace:
    """How many blocks are asked for at once: fewer when a server finds it too much, then more again."""

    blocks: int = 2_000
    most: int = 10_000

    def was_too_much(self) -> bool:
        """Whether less can be asked for."""
        if self.blocks == 1:
            return False
        self.blocks = max(1, self.blocks // 4)
        return True

    def was_fine(self) -> None:
        self.blocks = min(self.most, self.blocks * 2)


def next_stretch(first: int, head: int, confirmations: int, blocks: int) -> tuple[int, int] | None:
    """Which blocks to read next.

    A stretch never crosses from what is deep enough to what is not: its last block becomes an anchor, and what
    was acted on is to be below one.

    Args:
        first: the lowest that was not read yet.
        head: the newest there is.
        confirmations: from how many blocks on, its own among them, a block counts as deep.
    Returns:
        first and last block, both included; None: there is nothing new.
    """
    if first > head:
        return None
    last = min(head, first + blocks - 1)
    deep = head - confirmations + 1
    return first, deep if first <= deep < last else last
