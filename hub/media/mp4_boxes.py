"""What the boxes of an MP4 file say that FFmpeg does not hand on exactly (ISO/IEC 14496-12).

Edit lists, because the encoder delay stands in them; sample entries, because they tell protection; the sizes
of the outermost boxes, because they tell whether the file is whole.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from hub.media.faults import MediaFault

_MAX_MOOV_BYTES = 128 << 20
_MAX_DEPTH = 8
_MAX_BOXES = 20_000
_CONTAINERS = {b"trak", b"mdia", b"minf", b"stbl", b"edts"}
# What FairPlay and Common Encryption (ISO/IEC 23001-7) put in the place of the codec.
_PROTECTED_ENTRIES = {b"drms", b"enca", b"drmi", b"encv", b"p608"}


@dataclass
class Mp4Track:
    """One track. `edits`: (duration in the movie's timescale, start in the track's); start -1 is silence."""

    track_id: int = 0
    handler: bytes = b""
    timescale: int = 0
    entries: list[bytes] = field(default_factory=list)
    edits: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class Mp4Header:
    """The `moov` box."""

    timescale: int = 0
    is_fragmented: bool = False
    tracks: list[Mp4Track] = field(default_factory=list)

    def track(self, track_id: int) -> Mp4Track | None:
        """The track with that id."""
        return next((track for track in self.tracks if track.track_id == track_id), None)


def _boxes(data: bytes | memoryview, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Each box as (type, start of its body, its end)."""
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        body = start + 8
        if size == 1 and start + 16 <= end:
            size, body = struct.unpack_from(">Q", data, start + 8)[0], start + 16
        elif size == 0:
            size = end - start
        if size < body - start or start + size > end:
            raise MediaFault("damaged_file", what="one of its boxes does not fit into the next")
        yield kind, body, start + size
        start += size


def _read_moov(file: BinaryIO, file_size: int) -> bytes:
    at, moov = 0, None
    for _ in range(_MAX_BOXES):
        if at + 8 > file_size:
            break
        file.seek(at)
        head = file.read(16)
        size, kind = struct.unpack_from(">I4s", head)
        header_bytes = 8
        if size == 1 and len(head) == 16:
            size, header_bytes = struct.unpack_from(">Q", head, 8)[0], 16
        elif size == 0:
            size = file_size - at
        if size < header_bytes or not all(32 <= byte < 127 or byte == 0xA9 for byte in kind):
            if moov is not None:
                break  # Zeros behind the last box: players do not mind either.
            raise MediaFault("damaged_file", what="its outermost boxes do not follow one another")
        if at + size > file_size:
            raise MediaFault("truncated_file", what="its last box is not whole")
        if kind == b"moov" and moov is None:
            if size > _MAX_MOOV_BYTES:
                raise MediaFault("damaged_file", what="its header is larger than 128 MiB")
            file.seek(at + header_bytes)
            moov = file.read(size - header_bytes)
        at += size
    if moov is None:
        raise MediaFault("truncated_file", what="its header, the moov box, is missing")
    return moov


def _read_edits(data: memoryview, body: int) -> list[tuple[int, int]]:
    version, count = data[body], struct.unpack_from(">I", data, body + 4)[0]
    entry = struct.Struct(">QqI" if version == 1 else ">IiI")
    return [entry.unpack_from(data, body + 8 + i * entry.size)[:2] for i in range(min(count, 1000))]


def _fill_track(track: Mp4Track, data: memoryview, start: int, end: int, depth: int) -> None:
    for kind, body, box_end in _boxes(data, start, end):
        if kind in _CONTAINERS and depth < _MAX_DEPTH:
            _fill_track(track, data, body, box_end, depth + 1)
        elif kind == b"tkhd":
            track.track_id = struct.unpack_from(">I", data, body + (20 if data[body] == 1 else 12))[0]
        elif kind == b"mdhd":
            track.timescale = struct.unpack_from(">I", data, body + (20 if data[body] == 1 else 12))[0]
        elif kind == b"hdlr":
            track.handler = bytes(data[body + 8 : body + 12])
        elif kind == b"elst":
            track.edits = _read_edits(data, body)
        elif kind == b"stsd":
            track.entries = [entry for entry, _, _ in _boxes(data, body + 8, box_end)]


def read_mp4(file: BinaryIO, file_size: int) -> Mp4Header:
    """Read the header of an MP4, M4A or QuickTime file.

    Raises:
        MediaFault: `truncated_file`, `damaged_file`, `drm_protected`.
    """
    data = memoryview(_read_moov(file, file_size))
    header = Mp4Header()
    try:
        for kind, body, end in _boxes(data, 0, len(data)):
            if kind == b"mvhd":
                header.timescale = struct.unpack_from(">I", data, body + (20 if data[body] == 1 else 12))[0]
            elif kind == b"mvex":
                header.is_fragmented = True
            elif kind == b"trak":
                track = Mp4Track()
                _fill_track(track, data, body, end, 0)
                header.tracks.append(track)
    except (struct.error, IndexError) as error:
        raise MediaFault("damaged_file", what="its header ends too early") from error
    if any(entry in _PROTECTED_ENTRIES for track in header.tracks for entry in track.entries):
        raise MediaFault("drm_protected")
    return header
