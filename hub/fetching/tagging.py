"""Writes what the manifest says of a track into the file, the way that players look for it (mutagen)."""

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

from mutagen.flac import FLAC, Picture
from mutagen.id3 import APIC, ID3, TALB, TCON, TDRC, TIT2, TPE1, TRCK, TSRC, TXXX
from mutagen.mp4 import MP4, MP4Cover
from mutagen.oggopus import OggOpus

from digm.json_reader import MAX_TEXT
from digm.manifest import Manifest
from hub.media.faults import clean_text

# mutagen is typed here and there only: strict typing would refuse to call the rest.
_FLAC: Any = FLAC
_PICTURE: Any = Picture
_OGG: Any = OggOpus
_MP4: Any = MP4
_MP4_COVER: Any = MP4Cover
_ID3: Any = ID3
_APIC: Any = APIC
_TXXX: Any = TXXX
_TEXT_FRAMES: tuple[tuple[Any, str], ...] = (
    (TIT2, "title"), (TPE1, "artist"), (TALB, "album"), (TRCK, "track_number"),
    (TDRC, "year"), (TCON, "genre"), (TSRC, "isrc"),
)  # fmt: skip
_FRONT_COVER = 3
_JPEG, _PNG = "image/jpeg", "image/png"


def write_tags(path: Path, suffix: str, manifest: Manifest, cover: bytes | None) -> None:
    """Add title, artist and the others, and the cover; the sound is not touched.

    Args:
        path: of a whole file.
        suffix: of the name that it will have, which says what it is.
        cover: the picture, verified.
    Raises:
        OSError: the disk. mutagen.MutagenError: the file is not what it should be.
    """
    texts: dict[str, Any] = {
        name: clean_text(text, MAX_TEXT)
        for name in ("title", "artist", "album", "genre", "isrc", "licence")
        if (text := getattr(manifest, name)) is not None
    }
    manifest = replace(manifest, **texts)
    writer = {".flac": _flac, ".opus": _ogg, ".ogg": _ogg, ".mp3": _id3}.get(suffix.lower(), _mp4)
    writer(path, manifest, cover)


def _comments(manifest: Manifest) -> dict[str, str]:
    """Vorbis comments, as FLAC and Ogg have them."""
    values = {
        "title": manifest.title,
        "artist": manifest.artist,
        "album": manifest.album,
        "tracknumber": manifest.track_number,
        "date": manifest.year,
        "genre": manifest.genre,
        "isrc": manifest.isrc,
        "license": manifest.licence,
    }
    return {name: str(value) for name, value in values.items() if value is not None}


def _picture(manifest: Manifest, cover: bytes) -> Any:
    picture = _PICTURE()
    picture.data, picture.type = cover, _FRONT_COVER
    picture.mime = manifest.cover.media_type if manifest.cover else _JPEG
    return picture


def _flac(path: Path, manifest: Manifest, cover: bytes | None) -> None:
    file = _FLAC(path)
    file.update(_comments(manifest))
    if cover is not None:
        file.add_picture(_picture(manifest, cover))
    file.save()


def _ogg(path: Path, manifest: Manifest, cover: bytes | None) -> None:
    file = _OGG(path)
    file.update(_comments(manifest))
    if cover is not None:
        block = _picture(manifest, cover).write()
        file["metadata_block_picture"] = base64.b64encode(block).decode()
    file.save()


def _mp4(path: Path, manifest: Manifest, cover: bytes | None) -> None:
    file = _MP4(path)
    texts = {
        "\xa9nam": manifest.title,
        "\xa9ART": manifest.artist,
        "\xa9alb": manifest.album,
        "\xa9day": manifest.year,
        "\xa9gen": manifest.genre,
        "cprt": manifest.licence,
    }
    if file.tags is None:
        file.add_tags()
    tags = file.tags
    for name, value in texts.items():
        if value is not None:
            tags[name] = [str(value)]
    if manifest.track_number is not None:
        tags["trkn"] = [(manifest.track_number, 0)]
    if manifest.isrc is not None:
        tags["----:com.apple.iTunes:ISRC"] = [manifest.isrc.encode()]
    if cover is not None:
        is_png = manifest.cover is not None and manifest.cover.media_type == _PNG
        tags["covr"] = [_MP4_COVER(cover, MP4Cover.FORMAT_PNG if is_png else MP4Cover.FORMAT_JPEG)]
    file.save()


def _id3(path: Path, manifest: Manifest, cover: bytes | None) -> None:
    tags = _ID3()
    for frame, name in _TEXT_FRAMES:
        if (value := getattr(manifest, name)) is not None:
            tags.add(frame(encoding=3, text=str(value)))
    if manifest.licence is not None:
        tags.add(_TXXX(encoding=3, desc="LICENSE", text=manifest.licence))
    if cover is not None and manifest.cover is not None:
        tags.add(_APIC(encoding=3, mime=manifest.cover.media_type, type=_FRONT_COVER, data=cover))
    tags.save(path)
