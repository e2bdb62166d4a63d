"""Decides what a file is by its first bytes, never by its name.

Only formats on the list reach FFmpeg, and FFmpeg is told which one: a playlist or a concat script named `.flac`
is never given to the demuxers that would open further files.
"""

from collections.abc import Callable
from typing import BinaryIO, NamedTuple

from digm.mpeg_frames import HEADER_BYTES, parse_header
from hub.media.faults import MediaFault

_HEAD_BYTES = 64
_SEARCH_BYTES = 64 << 10
_FRAMES_IN_A_ROW = 3

_STRANGERS = (
    (b"\x1aE\xdf\xa3", "a Matroska or WebM file"),
    (b"0&\xb2u\x8ef\xcf\x11", "a Windows Media file"),
    (b"caff", "a CAF file"),
    (b"riff", "a Wave64 file"),
    (b"wvpk", "a WavPack file"),
    (b"MAC ", "a Monkey's Audio file"),
    (b"DSD ", "a DSD file"),
    (b"FRM8", "a DSD file"),
    (b"#!AMR", "an AMR file"),
    (b"MThd", "a MIDI file"),
    (b"ADIF", "an AAC file with an ADIF header"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
)
_VIDEO_STARTS = (b"FLV\x01", b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3")
_MP4_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")


class Recognised(NamedTuple):
    """The name of FFmpeg's demuxer, and where the audio starts (behind ID3v2 tags)."""

    demuxer: str
    start: int


def _id3v2_bytes(head: bytes) -> int:
    if len(head) < 10 or not head.startswith(b"ID3"):
        return 0
    size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    return size + (20 if head[5] & 0x10 else 10)


def _behind_id3v2(file: BinaryIO) -> int:
    start = 0
    for _ in range(8):
        file.seek(start)
        size = _id3v2_bytes(file.read(10))
        if not size:
            break
        start += size
    return start


def adts_frame_bytes(data: bytes, at: int) -> int:
    """The length of the ADTS frame that starts there (ISO/IEC 14496-3 §1.A.2.2), 0 if none does."""
    if len(data) < at + 7 or data[at] != 0xFF or data[at + 1] & 0xF6 != 0xF0:
        return 0
    return (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5


def _mpeg_frame_bytes(data: bytes, at: int) -> int:
    header = parse_header(data, at)
    return header.size if header else 0


_FRAME_MEASURES = (("aac", adts_frame_bytes), ("mp3", _mpeg_frame_bytes))


def _frames_follow(data: bytes, at: int, measure: Callable[[bytes, int], int], is_whole: bool) -> bool:
    for _ in range(_FRAMES_IN_A_ROW):
        size = measure(data, at)
        if size <= HEADER_BYTES:
            return False
        at += size
        # A short file may end after its first frame.
        if at >= len(data):
            return is_whole
    return True


def _find_frames(file: BinaryIO, start: int, size: int) -> Recognised | None:
    """MP3 and ADTS have no magic number: they show by several frames in a row."""
    file.seek(start)
    data = file.read(2 * _SEARCH_BYTES)
    is_whole = start + len(data) == size
    at = data.find(b"\xff")
    while 0 <= at < _SEARCH_BYTES:
        for demuxer, measure in _FRAME_MEASURES:
            if _frames_follow(data, at, measure, is_whole):
                return Recognised(demuxer, start + at)
        at = data.find(b"\xff", at + 1)
    return None


def _by_magic(head: bytes) -> str | None:
    kind = head[8:12]
    if head.startswith(b"fLaC"):
        return "flac"
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and kind == b"WAVE":
        return "wav"
    if head.startswith(b"FORM") and kind in (b"AIFF", b"AIFC"):
        return "aiff"
    if head.startswith(b"OggS"):
        return "ogg"
    return "mov" if head[4:8] in _MP4_FIRST_BOXES else None


def _refuse_strangers(head: bytes) -> None:
    if head.startswith(_VIDEO_STARTS) or (head.startswith(b"RIFF") and head[8:12] == b"AVI "):
        raise MediaFault("video_file")
    for magic, what in _STRANGERS:
        if head.startswith(magic):
            raise MediaFault("unsupported_format", what=what)


def recognise(file: BinaryIO, size: int) -> Recognised:
    """Find out which demuxer the file needs.

    Raises:
        MediaFault: `empty_file`, `video_file`, `unsupported_format`.
    """
    if size == 0:
        raise MediaFault("empty_file")
    start = _behind_id3v2(file)
    file.seek(start)
    head = file.read(_HEAD_BYTES)
    if demuxer := _by_magic(head):
        return Recognised(demuxer, start)
    _refuse_strangers(head)
    if found := _find_frames(file, start, size):
        return found
    is_text = bool(head) and all(byte in b"\t\n\r" or byte >= 32 for byte in head)
    raise MediaFault("unsupported_format", what="text" if is_text else "data of an unknown kind")
