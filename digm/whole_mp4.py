"""An MP4 file of one piece (ISO/IEC 14496-12): what a page gets in fragments, with tables and an edit list.

The sample entry is the one of the rendition's init segment. The movie's clock is the track's, so that the edit
list cuts delay and padding off to the sample.
"""

import struct
from collections.abc import Callable
from typing import BinaryIO

from digm.errors import PeerFault
from digm.manifest import Rendition
from digm.media import Sample
from digm.mp4 import TRACK_ID, box, full_box
from digm.tags import NO_TAGS, Tags, user_data
from digm.unpacking import find_box

_UNITY_MATRIX = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_MOST_32 = 0xFFFF_FFFF
_LARGE_SIZE_HEADER_BYTES = 16


class WholeMp4Writer:
    """`ftyp`, the access units in one `mdat`, and then `moov` with where each of them lies.

    Args:
        file: empty, open for writing, seekable.
    Raises:
        PeerFault: `media_malformed`, the init segment has no sample entry.
    """

    def __init__(self, file: BinaryIO, rendition: Rendition, tags: Tags = NO_TAGS) -> None:
        self._file = file
        self._tags = tags
        self._rendition = rendition
        stsd = find_box(rendition.init, b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
        if not stsd:
            raise PeerFault("media_malformed", "The track's init segment does not describe its sound.")
        self._stsd = box(b"stsd", stsd)
        self._sizes: list[int] = []
        self._durations: list[int] = []
        self._chunks: list[tuple[int, int]] = []  # offset, access units
        file.write(box(b"ftyp", b"M4A ", bytes(4), b"M4A ", b"isom", b"iso2", b"mp42"))
        self._mdat_at = file.tell()
        file.write(bytes(_LARGE_SIZE_HEADER_BYTES))

    def add(self, samples: list[Sample]) -> None:
        """Access units, in order."""
        if not samples:
            return
        self._chunks.append((self._file.tell(), len(samples)))
        self._sizes += [len(sample.payload) for sample in samples]
        self._durations += [sample.duration for sample in samples]
        self._file.write(b"".join(sample.payload for sample in samples))

    def close(self) -> None:
        """Write the tables, and the size of what is in front of them."""
        end = self._file.tell()
        self._file.write(self._movie())
        self._file.seek(self._mdat_at)
        self._file.write(struct.pack(">I4sQ", 1, b"mdat", end - self._mdat_at))
        self._file.seek(0, 2)

    def _movie(self) -> bytes:
        config = self._rendition.config
        total = sum(self._durations)
        heard = max(0, total - config.delay - config.padding)
        header = _timed(
            b"mvhd", 0, total,
            lambda wide: _clock(wide, heard, timescale=config.timescale)
            + struct.pack(">IH10x", 0x10000, 0x0100)
            + _UNITY_MATRIX + bytes(24) + struct.pack(">I", TRACK_ID + 1),
        )  # fmt: skip
        enabled_in_movie = 0x000003
        track_header = _timed(
            b"tkhd", enabled_in_movie, total,
            lambda wide: _clock(wide, heard, track_id=TRACK_ID)
            + struct.pack(">8xhhHxx", 0, 0, 0x0100) + _UNITY_MATRIX + bytes(8),
        )  # fmt: skip
        edit = _timed(
            b"elst", 0, total,
            lambda wide: struct.pack(">IQqHH" if wide else ">IIiHH", 1, heard, config.delay, 1, 0),
        )  # fmt: skip
        media_header = _timed(
            b"mdhd", 0, total,
            lambda wide: _clock(wide, total, timescale=config.timescale) + struct.pack(">HH", 0x55C4, 0),
        )  # fmt: skip
        handler = full_box(b"hdlr", 0, 0, bytes(4), b"soun", bytes(12), b"DIGM\0")
        data_here = box(b"dinf", full_box(b"dref", 0, 0, struct.pack(">I", 1), full_box(b"url ", 0, 1)))
        sound = box(b"minf", full_box(b"smhd", 0, 0, bytes(4)), data_here, box(b"stbl", *self._tables()))
        media = box(b"mdia", media_header, handler, sound)
        return box(
            b"moov", header, box(b"trak", track_header, box(b"edts", edit), media), user_data(self._tags)
        )

    def _tables(self) -> tuple[bytes, ...]:
        times = _run_lengths(self._durations)
        per_chunk = _changes([count for _, count in self._chunks])
        offsets = [offset for offset, _ in self._chunks]
        is_large = bool(offsets) and offsets[-1] > _MOST_32
        return (
            self._stsd,
            full_box(b"stts", 0, 0, _counted(b"".join(struct.pack(">II", n, d) for n, d in times), len(times))),
            full_box(
                b"stsc", 0, 0,
                _counted(b"".join(struct.pack(">III", at + 1, n, 1) for at, n in per_chunk), len(per_chunk)),
            ),
            full_box(
                b"stsz", 0, 0,
                struct.pack(">II", 0, len(self._sizes)), struct.pack(f">{len(self._sizes)}I", *self._sizes),
            ),
            full_box(
                b"co64" if is_large else b"stco", 0, 0,
                _counted(struct.pack(f">{len(offsets)}{'Q' if is_large else 'I'}", *offsets), len(offsets)),
            ),
        )  # fmt: skip


def _timed(kind: bytes, flags: int, largest: int, fields: Callable[[bool], bytes]) -> bytes:
    """A box whose times have 32 bits, or 64 where they need them."""
    wide = largest > _MOST_32
    return full_box(kind, 1 if wide else 0, flags, fields(wide))


def _clock(wide: bool, duration: int, *, timescale: int | None = None, track_id: int | None = None) -> bytes:
    """Creation and modification time (untold), then the timescale or the track's id, and a duration."""
    time = "Q" if wide else "I"
    if track_id is not None:
        return struct.pack(f">{time}{time}II{time}", 0, 0, track_id, 0, duration)
    return struct.pack(f">{time}{time}I{time}", 0, 0, timescale or 1, duration)


def _counted(entries: bytes, count: int) -> bytes:
    return struct.pack(">I", count) + entries


def _run_lengths(values: list[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for value in values:
        if runs and runs[-1][1] == value:
            runs[-1] = (runs[-1][0] + 1, value)
        else:
            runs.append((1, value))
    return runs


def _changes(values: list[int]) -> list[tuple[int, int]]:
    """Where a value differs from the one before it."""
    return [(at, value) for at, value in enumerate(values) if at == 0 or values[at - 1] != value]
