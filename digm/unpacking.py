"""From the plaintext of chunks back to access units: what digm.packing put in, without the filling.

The artist signed these bytes, which does not make them right: sizes are checked before they are believed.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from digm.errors import PeerFault
from digm.manifest import Rendition
from digm.media import Sample
from digm.mpeg_frames import parse_header

_DATA_OFFSET, _FIRST_FLAGS, _DURATION, _SIZE, _FLAGS, _COMPOSITION = 0x1, 0x4, 0x100, 0x200, 0x400, 0x800
_ID3_HEADER_BYTES = 10


def access_units(rendition: Rendition, plaintexts: Iterable[bytes]) -> Iterator[list[Sample]]:
    """The access units of each chunk, in order.

    Raises:
        PeerFault: `media_malformed`.
    """
    read = _mpeg_audio if rendition.config.codec == "mp3" else _fragments
    defaults = _track_defaults(rendition.init) if rendition.init else _Defaults(0, 0)
    for plaintext in plaintexts:
        yield list(read(plaintext, defaults))


def boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The boxes between two offsets as (kind, offset of the payload, end).

    Raises:
        PeerFault: `media_malformed`.
    """
    at = start
    while at < end:
        if at + 8 > end:
            raise _malformed("a box is cut off")
        size, kind = struct.unpack_from(">I4s", data, at)
        header = 8
        if size == 1 and at + 16 <= end:
            size, header = struct.unpack_from(">Q", data, at + 8)[0], 16
        if size == 0:
            size = end - at
        if size < header or at + size > end:
            raise _malformed("a box does not fit into where it lies")
        yield kind, at + header, at + size
        at += size


def find_box(data: bytes, *path: bytes) -> bytes:
    """The payload of the first box at a path such as `moov`, `trak`; empty where there is none.

    Raises:
        PeerFault: `media_malformed`.
    """
    start, end = 0, len(data)
    for wanted in path:
        found = next(((s, e) for kind, s, e in boxes(data, start, end) if kind == wanted), None)
        if found is None:
            return b""
        start, end = found
    return data[start:end]


@dataclass(frozen=True)
class _Defaults:
    """Of an access unit that does not say it itself (`trex`, `tfhd`)."""

    duration: int
    size: int


def _track_defaults(init: bytes) -> _Defaults:
    extends = find_box(init, b"moov", b"mvex", b"trex")
    if len(extends) < 20:
        return _Defaults(0, 0)
    return _Defaults(*struct.unpack_from(">II", extends, 12))


def _fragments(plaintext: bytes, defaults: _Defaults) -> Iterator[Sample]:
    """ISO/IEC 14496-12 §8.8: `moof` and `mdat`, again and again; everything else is skipped."""
    taken = 0
    for sample in _runs(plaintext, defaults):
        # Many runs may name the same bytes: a chunk of 1 MiB could become a terabyte.
        taken += len(sample.payload)
        if taken > len(plaintext):
            raise _malformed("its access units are more than the chunk holds")
        yield sample


def _runs(plaintext: bytes, defaults: _Defaults) -> Iterator[Sample]:
    at = 0
    for kind, start, end in boxes(plaintext, 0, len(plaintext)):
        if kind == b"moof":
            for inner, inner_start, inner_end in boxes(plaintext, start, end):
                if inner == b"traf":
                    yield from _track_fragment(plaintext, at, inner_start, inner_end, defaults)
        at = end


def _track_fragment(
    plaintext: bytes, moof_at: int, start: int, end: int, defaults: _Defaults
) -> Iterator[Sample]:
    for kind, at, box_end in boxes(plaintext, start, end):
        if kind == b"tfhd":
            defaults = _fragment_defaults(plaintext[at:box_end], defaults)
        elif kind == b"trun":
            yield from _run(plaintext, moof_at, plaintext[at:box_end], defaults)


def _fragment_defaults(header: bytes, defaults: _Defaults) -> _Defaults:
    flags = _flags_of(header)
    at = 8 + (8 if flags & 0x1 else 0) + (4 if flags & 0x2 else 0)
    values = {"duration": defaults.duration, "size": defaults.size}
    for bit, name in ((0x8, "duration"), (0x10, "size")):
        if flags & bit:
            values[name] = _u32(header, at)
            at += 4
    return _Defaults(**values)


def _run(plaintext: bytes, moof_at: int, run: bytes, defaults: _Defaults) -> Iterator[Sample]:
    flags, count = _flags_of(run), _u32(run, 4)
    if not flags & _DATA_OFFSET:
        raise _malformed("a run does not say where its data begins")
    data_at = moof_at + _u32(run, 8)
    at = 12 + (4 if flags & _FIRST_FLAGS else 0)
    for _ in range(count):
        duration, size = defaults.duration, defaults.size
        if flags & _DURATION:
            duration, at = _u32(run, at), at + 4
        if flags & _SIZE:
            size, at = _u32(run, at), at + 4
        at += 4 * bool(flags & _FLAGS) + 4 * bool(flags & _COMPOSITION)
        if not size or data_at + size > len(plaintext):
            raise _malformed("an access unit does not lie in its chunk")
        yield Sample(plaintext[data_at : data_at + size], duration)
        data_at += size


def _flags_of(box: bytes) -> int:
    return _u32(box, 0) & 0xFF_FFFF


def _u32(data: bytes, at: int) -> int:
    if at + 4 > len(data):
        raise _malformed("a box is too short")
    return int.from_bytes(data[at : at + 4], "big")


def _mpeg_audio(plaintext: bytes, _defaults: _Defaults) -> Iterator[Sample]:
    """MPEG frames, one behind the other, and the ID3v2 tag that fills the chunk up."""
    at = 0
    while at < len(plaintext):
        if plaintext[at : at + 3] == b"ID3":
            groups = plaintext[at + 6 : at + _ID3_HEADER_BYTES]
            at += _ID3_HEADER_BYTES + sum(byte << 7 * (3 - place) for place, byte in enumerate(groups))
            continue
        header = parse_header(plaintext, at)
        if header is None or at + header.size > len(plaintext):
            raise _malformed("what should be an MPEG frame is none")
        yield Sample(plaintext[at : at + header.size], header.samples)
        at += header.size


def _malformed(what: str) -> PeerFault:
    return PeerFault("media_malformed", f"The sound of this track cannot be taken out of its chunks: {what}.")
