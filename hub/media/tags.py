"""Tags and the cover picture as mutagen finds them: untrusted text that becomes short, clean lines."""

import base64
import re
import struct
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

import mutagen
from mutagen.aiff import AIFF
from mutagen.apev2 import APEExtValue, APETextValue, APEv2
from mutagen.flac import FLAC, Picture
from mutagen.id3 import ID3
from mutagen.mp3 import MP3
from mutagen.mp4 import MP4
from mutagen.oggflac import OggFLAC
from mutagen.oggopus import OggOpus
from mutagen.oggvorbis import OggVorbis
from mutagen.wave import WAVE

from digm.plain_text import clean_text
from hub.media.report import MAX_TEXT_CHARS, TagsReport

_READERS = {
    "flac": (FLAC,),
    "mp3": (MP3,),
    "mov": (MP4,),
    "ogg": (OggVorbis, OggOpus, OggFLAC),
    "wav": (WAVE,),
    "aiff": (AIFF,),
}
# Names in Vorbis comments, ID3v2.4, MP4 and as FFmpeg calls them (RIFF INFO).
_VORBIS = {
    "title": ("title",),
    "artist": ("artist", "albumartist"),
    "album": ("album",),
    "track_number": ("tracknumber",),
    "year": ("date", "year"),
    "genre": ("genre",),
    "isrc": ("isrc",),
    "licence": ("license", "licence"),
}
_ID3 = {
    "title": ("TIT2",),
    "artist": ("TPE1", "TPE2"),
    "album": ("TALB",),
    "track_number": ("TRCK",),
    "year": ("TDRC", "TDOR", "TDRL"),
    "genre": ("TCON",),
    "isrc": ("TSRC",),
    "licence": ("WCOP", "TXXX:LICENSE", "TXXX:License"),
}
_MP4 = {
    "title": ("\xa9nam",),
    "artist": ("\xa9ART", "aART"),
    "album": ("\xa9alb",),
    "track_number": ("trkn",),
    "year": ("\xa9day",),
    "genre": ("\xa9gen",),
    "isrc": ("----:com.apple.iTunes:ISRC",),
    "licence": ("----:com.apple.iTunes:LICENSE",),
}
_APE = _VORBIS | {"track_number": ("track",), "year": ("year",)}
_FFMPEG = _VORBIS | {"track_number": ("track",)}
_FRONT_COVER = 3
_APE_COVERS = ("cover art (front)", "cover art (other)")
_ISRC = re.compile(r"[A-Z]{2}[A-Z0-9]{3}[0-9]{7}")
_MAX_VALUES = 8
# What mutagen lets out on damaged tags. A recording is not refused because of them.
_BROKEN_TAGS = (
    mutagen.MutagenError,
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    struct.error,
    TypeError,
    ValueError,
)


def read_file(file: BinaryIO, demuxer: str) -> mutagen.FileType | None:
    """Whatever mutagen makes of the file; None if it has no tags that can be read."""
    for reader in _READERS.get(demuxer, ()):
        file.seek(0)
        try:
            return reader(file)  # type: ignore[no-untyped-call]
        except _BROKEN_TAGS:
            continue
    return None


def read_ape(file: BinaryIO, demuxer: str) -> Mapping[str, object]:
    """The APEv2 tag that some programs put behind an MP3: lists of text, or bytes; empty if there is none."""
    if demuxer != "mp3":
        return {}
    file.seek(0)
    try:
        found: Any = APEv2(file)  # type: ignore[no-untyped-call]
        return {
            name.lower(): list(value) if isinstance(value, APETextValue) else bytes(value.value)
            for name, value in found.items()
            if not isinstance(value, APEExtValue)
        }
    except _BROKEN_TAGS:
        return {}


def _texts(value: object) -> list[str]:
    """What one tag says, whatever it is made of."""
    if isinstance(value, bytes):
        return [value.decode("utf-8", "replace")]
    if hasattr(value, "genres"):
        return [str(genre) for genre in value.genres]
    if hasattr(value, "text"):
        return [str(text) for text in value.text]
    if hasattr(value, "url"):
        return [str(value.url)]
    if isinstance(value, tuple):
        return [str(value[0])] if value else []
    if isinstance(value, list):
        return [text for item in value[:_MAX_VALUES] for text in _texts(item)]
    return [str(value)]


def _first_of(tags: Mapping[str, object], names: Iterable[str]) -> str | None:
    for name in names:
        try:
            value = tags[name]
        except (KeyError, ValueError):
            continue
        texts = [clean_text(text, MAX_TEXT_CHARS) for text in _texts(value)[:_MAX_VALUES]]
        if joined := clean_text(", ".join(text for text in texts if text), MAX_TEXT_CHARS):
            return joined
    return None


def _number(text: str | None, largest: int) -> int | None:
    found = re.match(r"\s*([0-9]{1,6})", text or "")
    number = int(found.group(1)) if found else 0
    return number if 1 <= number <= largest else None


def _isrc(text: str | None) -> str | None:
    found = _ISRC.search((text or "").upper().replace("-", "").replace(" ", ""))
    return found.group() if found else None


def clean_tags(
    read: mutagen.FileType | None, ape: Mapping[str, object], metadata: Mapping[str, str], file_title: str
) -> TagsReport:
    """The tags worth publishing.

    Args:
        read: from `read_file`.
        ape: from `read_ape`, for what the tags in front of it leave open.
        metadata: what FFmpeg found, for what mutagen does not know (RIFF INFO).
        file_title: the title if the tags name none.
    """
    tags: Mapping[str, object] = read.tags if read is not None and read.tags is not None else {}
    names = _MP4 if isinstance(read, MP4) else _ID3 if isinstance(tags, ID3) else _VORBIS
    fallback = {key.lower(): value for key, value in metadata.items()}
    sources = ((tags, names), (ape, _APE), (fallback, _FFMPEG))
    said = {
        field: next((text for held, called in sources if (text := _first_of(held, called[field]))), None)
        for field in names
    }
    return TagsReport(
        title=said["title"] or clean_text(file_title, MAX_TEXT_CHARS) or None,
        artist=said["artist"],
        album=said["album"],
        track_number=_number(said["track_number"], 9999),
        year=_number(said["year"], 9999),
        genre=said["genre"],
        isrc=_isrc(said["isrc"]),
        licence=said["licence"],
    )


def _vorbis_pictures(tags: Mapping[str, object]) -> list[Picture]:
    pictures = []
    values = tags.get("metadata_block_picture") or []
    for text in (values if isinstance(values, list) else [])[:_MAX_VALUES]:
        try:
            pictures.append(Picture(base64.b64decode(text)))  # type: ignore[no-untyped-call]
        except (ValueError, mutagen.MutagenError):
            continue
    return pictures


def ape_cover(ape: Mapping[str, object]) -> bytes | None:
    """The picture in an APEv2 tag: a file name, a zero byte, the picture itself."""
    for name in _APE_COVERS:
        value = ape.get(name)
        if isinstance(value, bytes):
            return value.partition(b"\0")[2]
    return None


def embedded_cover(read: mutagen.FileType | None) -> bytes | None:
    """The front cover, or the first picture if none says that it is the front."""
    if read is None or read.tags is None:
        return None
    if isinstance(read, MP4):
        covers = read.tags.get("covr") or []
        return bytes(covers[0]) if covers else None
    if isinstance(read.tags, ID3):
        pictures = read.tags.getall("APIC")
    else:
        pictures = [*getattr(read, "pictures", []), *_vorbis_pictures(read.tags)]
    pictures.sort(key=lambda picture: int(picture.type) != _FRONT_COVER)
    return bytes(pictures[0].data) if pictures else None
