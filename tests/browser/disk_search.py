"""Finds keys and music on disk images: everything secret, as it may have been written down, at every offset.

What is secret is cut into words of eight bytes, and every eight bytes of every file are looked up among them:
a run of secret bytes is found wherever it begins, also when only a part of it was written.
"""

import base64
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

WORD = 8
# As much in a row is no accident: 64 bits where hex was written, and more everywhere else.
RUN = 16
TABLE_BITS = 24
LEAST_SPREAD = 5  # of the bytes of a word; fillers and headers repeat themselves
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Finding:
    """A secret where it has no business.

    Attributes:
        offset: in the file; -1 for a file's name.
    """

    path: Path
    offset: int
    what: str


class Secrets:
    """What is looked for. Add everything, then search."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._starts: list[int] = []
        self._names: list[str] = []
        self._bytes = 0
        self._index: _Index | None = None

    def add_key(self, name: str, key: bytes) -> None:
        """A key, as bytes and in every way in which programs write bytes down."""
        for way, written in spellings(key).items():
            self._add(f"{name}, {way}", written)

    def add_music(self, name: str, data: bytes) -> None:
        """Sound, encoded or not: nobody writes that down as text."""
        self._add(name, data)

    def _add(self, name: str, data: bytes) -> None:
        self._index = None
        self._names.append(name)
        self._starts.append(self._bytes)
        padded = data + bytes(-len(data) % WORD)
        self._parts.append(padded)
        self._bytes += len(padded)

    def name_at(self, offset: int) -> str:
        return self._names[int(np.searchsorted(self._starts, offset, side="right")) - 1]

    def search(self, folders: Iterable[Path]) -> list[Finding]:
        """Every file of some folders, and the files' names; at most one finding of each secret in a file."""
        if self._index is None:
            self._index = _Index(b"".join(self._parts))
        return [finding for folder in folders for finding in self._search(folder, self._index)]

    def _search(self, folder: Path, index: "_Index") -> Iterator[Finding]:
        for path in files_of(folder):
            name = np.frombuffer(os.fsencode(path.name), dtype=np.uint8)
            first = {self.name_at(place): -1 for _, place in index.find(name)}
            for offset, place in index.find(np.fromfile(path, dtype=np.uint8)):
                first.setdefault(self.name_at(place), offset)
            yield from (Finding(path, offset, what) for what, offset in first.items())


def files_of(folder: Path) -> list[Path]:
    """All of it that has bytes: hidden files, journals and temporary ones too."""
    found = [Path(root, name) for root, _, names in os.walk(folder) for name in names]
    return [path for path in sorted(found) if path.is_file() and not path.is_symlink()]


def spellings(key: bytes) -> dict[str, bytes]:
    """How a key looks where somebody wrote it down."""
    numbers = [str(byte) for byte in key]
    found = {
        "raw": key,
        "hex": key.hex().encode(),
        "upper-case hex": key.hex().upper().encode(),
        "numbers": ",".join(numbers).encode(),
        "spaced numbers": ", ".join(numbers).encode(),
        "as Python prints it": repr(key)[2:-1].encode(),
        "backwards": key[::-1],
    }
    # In the middle of something longer that was written as base64, a key looks in three ways.
    for before in range(3):
        padded = bytes(before) + key + bytes(-(before + len(key)) % 3)
        inner = slice(-(-before * 8 // 6), (before + len(key)) * 8 // 6)
        found[f"base64 after {before}"] = base64.b64encode(padded)[inner]
        found[f"base64url after {before}"] = base64.urlsafe_b64encode(padded)[inner]
    return found


class _Index:
    """The words of everything secret, sorted; a table in front of them says no to nearly all others."""

    def __init__(self, secret: bytes) -> None:
        self._secret: Bytes = np.frombuffer(secret, dtype=np.uint8)
        words = self._secret.view("<u8")
        spread = (np.diff(np.sort(self._secret.reshape(-1, WORD), axis=1), axis=1) != 0).sum(axis=1) + 1
        (telling,) = np.nonzero(spread >= LEAST_SPREAD)
        order = telling[np.argsort(words[telling], kind="stable")]
        self._words, self._places = words[order], order * WORD
        self._table = np.zeros(1 << TABLE_BITS, dtype=bool)
        self._table[self._hash(self._words)] = True

    @staticmethod
    def _hash(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        return (words * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - TABLE_BITS)

    def find(self, data: Bytes) -> Iterator[tuple[int, int]]:
        """Where secret bytes are: (offset in the data, offset among the secrets)."""
        for shift in range(min(WORD, max(0, len(data) - WORD + 1))):
            words = data[shift : len(data) - (len(data) - shift) % WORD].view("<u8")
            (likely,) = np.nonzero(self._table[self._hash(words)])
            low = np.searchsorted(self._words, words[likely], side="left")
            high = np.searchsorted(self._words, words[likely], side="right")
            for at in np.flatnonzero(high > low):
                offset = shift + WORD * int(likely[at])
                # The same word may stand in several places; the run around it in one of them.
                for place in self._places[low[at] : high[at]]:
                    if self._run(data, offset, int(place)) >= RUN:
                        yield offset, int(place)
                        break

    def _run(self, data: Bytes, offset: int, place: int) -> int:
        """How many bytes around a word are the same, up to twice as many as it takes."""
        before = min(offset, place, RUN)
        after = min(len(data) - offset, len(self._secret) - place, RUN)
        here = data[offset - before : offset + after]
        there = self._secret[place - before : place + after]
        (wrong,) = np.nonzero(here != there)
        first = wrong[wrong < before].max(initial=-1)
        last = wrong[wrong >= before].min(initial=before + after)
        return int(last - first - 1)
