"""What WAV and AIFF headers declare, read before a demuxer sees them, to refuse early and to miss nothing.

FFmpeg plays what is there and does not say that something is missing; the declared length is what tells.
"""

import math
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from hub.media.faults import MediaFault

# What a program writes into the size field when it streams to a pipe and cannot go back: ffmpeg 0xFFFFFFFF,
# sox 0x7FFFF000 and above, others 0.
_STREAMED_SIZE_MIN = 0x7FFF_F000
_SIZE_IS_ELSEWHERE = 0xFFFF_FFFF
_MAX_CHUNKS = 10_000
_MAX_HEADER_CHUNK_BYTES = 4096


class Declared(NamedTuple):
    """What a header promises. `samples` is None where it makes no promise."""

    channels: int
    sample_rate: int
    samples: int | None


class _Chunk(NamedTuple):
    name: bytes
    size: int
    start: int


def _chunks(file: BinaryIO, first: int, size_format: str) -> Iterator[_Chunk]:
    at = first
    for _ in range(_MAX_CHUNKS):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return
        size = struct.unpack(size_format, head[4:])[0]
        yield _Chunk(head[:4], size, at + 8)
        at += 8 + size + (size & 1)


def _body(file: BinaryIO, chunk: _Chunk, least: int) -> bytes:
    file.seek(chunk.start)
    body = file.read(min(chunk.size, _MAX_HEADER_CHUNK_BYTES))
    if len(body) < least:
        raise MediaFault("truncated_file", what="its header is not whole")
    return body


def read_wav(file: BinaryIO, start: int, file_size: int) -> Declared:
    """Read a RIFF, RF64 or BW64 header (EBU Tech 3306).

    Raises:
        MediaFault: `truncated_file`, `damaged_file`.
    """
    file.seek(start)
    is_64_bit = file.read(4) != b"RIFF"
    data_size_64: int | None = None
    channels = sample_rate = block_bytes = 0
    for chunk in _chunks(file, start + 12, "<I"):
        if chunk.name == b"ds64":
            data_size_64 = struct.unpack("<Q", _body(file, chunk, 16)[8:16])[0]
        elif chunk.name == b"fmt ":
            channels, sample_rate, _, block_bytes = struct.unpack("<HIIH", _body(file, chunk, 16)[2:14])
        elif chunk.name == b"data":
            if not (channels and sample_rate and block_bytes):
                raise MediaFault("damaged_file", what="its header says nothing about the sound")
            size: int | None = chunk.size
            if is_64_bit and chunk.size == _SIZE_IS_ELSEWHERE:
                size = data_size_64
            elif _is_streamed(chunk, file_size):
                size = None
            _refuse_missing(size, file_size - chunk.start)
            return Declared(channels, sample_rate, None if size is None else size // block_bytes)
    raise MediaFault("truncated_file", what="the sound itself is missing")


def _is_streamed(chunk: _Chunk, file_size: int) -> bool:
    ends_too_late = chunk.start + chunk.size > file_size
    return chunk.size == 0 or (chunk.size >= _STREAMED_SIZE_MIN and ends_too_late)


def _refuse_missing(declared: int | None, there: int) -> None:
    if declared is not None and declared > there:
        percent = 100 * max(there, 0) // declared
        raise MediaFault("truncated_file", what=f"{percent} % of the declared sound is there")


def _extended_float(data: bytes) -> float:
    """An 80-bit IEEE 754 extended number, as AIFF keeps its sample rate."""
    exponent, mantissa = struct.unpack(">HQ", data)
    return math.ldexp(mantissa, (exponent & 0x7FFF) - 16383 - 63)


def read_aiff(file: BinaryIO, start: int, file_size: int) -> Declared:
    """Read an AIFF or AIFF-C header.

    Raises:
        MediaFault: `truncated_file`, `damaged_file`.
    """
    declared: Declared | None = None
    has_sound = False
    for chunk in _chunks(file, start + 12, ">I"):
        if chunk.name == b"COMM":
            body = _body(file, chunk, 18)
            channels, samples = struct.unpack(">HI", body[:6])
            rate = _extended_float(body[8:18])
            if not 0 < rate < 1e7 or channels == 0:
                raise MediaFault("damaged_file", what="its header says nothing about the sound")
            declared = Declared(channels, round(rate), samples)
        elif chunk.name == b"SSND":
            has_sound = True
            _refuse_missing(chunk.size, file_size - chunk.start)
    if declared is None or (declared.samples and not has_sound):
        raise MediaFault("truncated_file", what="the sound itself is missing")
    return declared
