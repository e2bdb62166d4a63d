"""Availability bitfields: which chunks of one rendition somebody holds.

Chunk 0 is the most significant bit of byte 0 (as BitTorrent's BEP 3 has it); the bits after the last chunk are
zero. The exact length is checked, because a bitfield is the first thing a stranger sends.
"""

from collections.abc import Iterable, Iterator
from typing import SupportsBytes

from digm.chunks import MAX_CHUNKS
from digm.errors import CallerFault, PeerFault


class Bitfield:
    """A set of chunk numbers in `0 <= chunk < count`, as dense as it goes over the wire.

    Args:
        count: chunks in the rendition, 0 to MAX_CHUNKS.
        chunks: the numbers to start with.
    Raises:
        CallerFault: `bad_chunk_count`, or `bad_chunk` when a number is out of range.
    """

    __slots__ = ("_bits", "_held", "count")

    def __init__(self, count: int, chunks: Iterable[int] = ()) -> None:
        if not 0 <= count <= MAX_CHUNKS:
            raise CallerFault("bad_chunk_count", f"A rendition has 0 to {MAX_CHUNKS} chunks, not {count}.")
        self.count = count
        self._bits = bytearray(bitfield_bytes(count))
        self._held = 0
        for chunk in chunks:
            self.add(chunk)

    @classmethod
    def full(cls, count: int) -> "Bitfield":
        """A bitfield that holds every chunk."""
        return cls(count, range(count))

    @classmethod
    def decode(cls, data: "bytes | bytearray | memoryview | SupportsBytes", count: int) -> "Bitfield":
        """Read a bitfield that a peer sent for a rendition of `count` chunks.

        Raises:
            PeerFault: `bitfield_length` when it is not exactly ceil(count / 8) bytes, `bitfield_padding` when a
                bit after the last chunk is set.
        """
        raw = bytes(data)
        if count > MAX_CHUNKS or len(raw) != bitfield_bytes(count):
            raise PeerFault("bitfield_length", f"A bitfield of {len(raw)} bytes does not fit {count} chunks.")
        if count % 8 and raw[-1] & (0xFF >> count % 8):
            raise PeerFault("bitfield_padding", "A bitfield has bits set after its last chunk.")
        field = cls(count)
        field._bits[:] = raw
        field._held = sum(byte.bit_count() for byte in raw)
        return field

    def encode(self) -> bytes:
        """The ceil(count / 8) bytes for the wire."""
        return bytes(self._bits)

    def add(self, chunk: int) -> bool:
        """Add a chunk.

        Returns:
            True when it was not held before.
        Raises:
            CallerFault: `bad_chunk`, out of range.
        """
        self._check(chunk)
        mask = 0x80 >> chunk % 8
        if self._bits[chunk // 8] & mask:
            return False
        self._bits[chunk // 8] |= mask
        self._held += 1
        return True

    def discard(self, chunk: int) -> bool:
        """Remove a chunk. Returns True when it was held. Raises CallerFault `bad_chunk` when out of range."""
        self._check(chunk)
        mask = 0x80 >> chunk % 8
        if not self._bits[chunk // 8] & mask:
            return False
        self._bits[chunk // 8] &= ~mask
        self._held -= 1
        return True

    def __contains__(self, chunk: int) -> bool:
        return 0 <= chunk < self.count and bool(self._bits[chunk // 8] & (0x80 >> chunk % 8))

    def __iter__(self) -> Iterator[int]:
        return (chunk for chunk in range(self.count) if chunk in self)

    def __len__(self) -> int:
        """Chunks held (not the chunks that there are: that is `count`)."""
        return self._held

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bitfield) and (self.count, self._bits) == (other.count, other._bits)

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"Bitfield({self._held} of {self.count})"

    @property
    def is_full(self) -> bool:
        return self._held == self.count

    @property
    def share(self) -> float:
        """Part of the chunks that is held, 0.0 to 1.0; what `announce` carries."""
        return self._held / self.count if self.count else 0.0

    def _check(self, chunk: int) -> None:
        if not 0 <= chunk < self.count:
            raise CallerFault("bad_chunk", f"Chunk {chunk} is outside 0..{self.count - 1}.")


def bitfield_bytes(count: int) -> int:
    """Bytes that the bitfield of `count` chunks takes on the wire."""
    return (count + 7) // 8
