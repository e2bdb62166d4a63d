"""Sets of chunks, or of frames of a chunk, as one integer each: bit n is number n.

A set operation over 1,600 chunks costs about as much as adding two numbers, where a loop over them would cost
a hundred times that; the scheduler runs on the page's only thread, beside the sound.
"""

from digm.bitfield import Bitfield

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def span(first: int, end: int) -> int:
    """Numbers `first <= n < end`; empty when there are none."""
    return ((1 << (end - first)) - 1) << first if end > first else 0


def lowest(mask: int) -> int:
    """The smallest number in a set that is not empty."""
    return (mask & -mask).bit_length() - 1


def lowest_from(mask: int, start: int) -> int:
    """The smallest number from `start` on, or else the smallest of all; of a set that is not empty."""
    behind = mask >> start
    return start + lowest(behind) if behind else lowest(mask)


def first_missing(mask: int, start: int) -> int:
    """The first number from `start` on that is not in the set."""
    behind = mask >> start
    return start + lowest(behind + 1)


def numbers(mask: int) -> list[int]:
    """All numbers of a set, ascending."""
    found = []
    while mask:
        bit = mask & -mask
        found.append(bit.bit_length() - 1)
        mask ^= bit
    return found


def runs(mask: int) -> list[tuple[int, int]]:
    """The set as (first, count) of consecutive numbers."""
    found = []
    while mask:
        first = lowest(mask)
        end = first_missing(mask, first)
        found.append((first, end - first))
        mask &= ~span(first, end)
    return found


def of_bitfield(field: Bitfield) -> int:
    """The chunks of a bitfield, whose highest bit of the first byte is chunk 0."""
    return int.from_bytes(field.encode().translate(_REVERSED), "little")
