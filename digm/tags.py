"""What the manifest says of a track, as the blocks in which files of each kind carry it to music players.

| file | block | described in |
| --- | --- | --- |
| FLAC | VORBIS_COMMENT, PICTURE | RFC 9639 §8.6, §8.8 |
| Ogg Opus | OpusTags, the picture in it as base64 | RFC 7845 §5.2 |
| MP3 | ID3v2.4 | id3.org, id3v2.4.0-frames |
| MP4 | `udta` with `meta` and `ilst` | QuickTime File Format, Metadata; iTunes' names |
"""

import base64
import struct
from dataclasses import dataclass, field

from digm.json_reader import MAX_TEXT
from digm.manifest import Manifest
from digm.mp4 import box, full_box
from digm.plain_text import clean_text

VENDOR = b"DIGM"
_FRONT_COVER = 3
_JPEG, _PNG = "image/jpeg", "image/png"
_VORBIS_NAMES = {
    "title": "TITLE", "artist": "ARTIST", "album": "ALBUM", "track_number": "TRACKNUMBER",
    "year": "DATE", "genre": "GENRE", "isrc": "ISRC", "licence": "LICENSE",
}  # fmt: skip
_ID3_FRAMES = {
    "title": b"TIT2", "artist": b"TPE1", "album": b"TALB", "track_number": b"TRCK",
    "year": b"TDRC", "genre": b"TCON", "isrc": b"TSRC",
}  # fmt: skip
_MP4_ATOMS = {
    "title": b"\xa9nam", "artist": b"\xa9ART", "album": b"\xa9alb",
    "year": b"\xa9day", "genre": b"\xa9gen", "licence": b"cprt",
}  # fmt: skip
_UTF_8_TEXT = b"\x03"
_MP4_BINARY, _MP4_TEXT, _MP4_JPEG, _MP4_PNG = 0, 1, 13, 14


@dataclass(frozen=True)
class Tags:
    """Title, artist and the others.

    Attributes:
        texts: by the manifest's own names; one line each, only those that it has.
        cover: the picture, verified; None: there is none.
    """

    texts: dict[str, str] = field(default_factory=dict)
    cover: bytes | None = None
    cover_type: str = _JPEG

    def __bool__(self) -> bool:
        return bool(self.texts) or self.cover is not None


NO_TAGS = Tags()


def tags_of(manifest: Manifest, cover: bytes | None) -> Tags:
    """What a file of this track says about it.

    Args:
        cover: the picture that the manifest names, verified.
    """
    values = {name: getattr(manifest, name) for name in _VORBIS_NAMES}
    texts = {name: clean_text(str(value), MAX_TEXT) for name, value in values.items() if value is not None}
    media_type = manifest.cover.media_type if manifest.cover else _JPEG
    return Tags({name: text for name, text in texts.items() if text}, cover, media_type)


def vorbis_comment(tags: Tags, *, has_picture: bool = False) -> bytes:
    """Vendor and comments; with `has_picture` the cover is one of them."""
    comments = [f"{_VORBIS_NAMES[name]}={text}".encode() for name, text in tags.texts.items()]
    if has_picture and tags.cover is not None:
        comments.append(b"METADATA_BLOCK_PICTURE=" + base64.b64encode(flac_picture(tags)))
    counted = b"".join(struct.pack("<I", len(comment)) + comment for comment in comments)
    return struct.pack("<I", len(VENDOR)) + VENDOR + struct.pack("<I", len(comments)) + counted


def flac_picture(tags: Tags) -> bytes:
    """The body of a PICTURE block. Width, height and depth stay 0: readers take them from the picture."""
    cover, mime = tags.cover or b"", tags.cover_type.encode()
    return (
        struct.pack(">II", _FRONT_COVER, len(mime))
        + mime
        + bytes(4 + 16)
        + struct.pack(">I", len(cover))
        + cover
    )


def id3(tags: Tags) -> bytes:
    """A whole ID3v2.4 tag; empty where there is nothing to say."""
    if not tags:
        return b""
    frames = [
        _id3_frame(frame, _UTF_8_TEXT + tags.texts[name].encode())
        for name, frame in _ID3_FRAMES.items()
        if name in tags.texts
    ]
    if "licence" in tags.texts:
        frames.append(_id3_frame(b"TXXX", _UTF_8_TEXT + b"LICENSE\0" + tags.texts["licence"].encode()))
    if tags.cover is not None:
        kind = _UTF_8_TEXT + tags.cover_type.encode() + bytes([0, _FRONT_COVER, 0])
        frames.append(_id3_frame(b"APIC", kind + tags.cover))
    body = b"".join(frames)
    return b"ID3\x04\0\0" + _syncsafe(len(body)) + body


def _id3_frame(kind: bytes, body: bytes) -> bytes:
    return kind + _syncsafe(len(body)) + b"\0\0" + body


def _syncsafe(size: int) -> bytes:
    """28 bits in four bytes, seven in each, so that no size looks like the start of an MPEG frame."""
    return bytes(size >> 7 * place & 0x7F for place in (3, 2, 1, 0))


def user_data(tags: Tags) -> bytes:
    """`udta` for an MP4 file's `moov`; empty where there is nothing to say."""
    if not tags:
        return b""
    items = [
        box(atom, _mp4_data(_MP4_TEXT, tags.texts[name].encode()))
        for name, atom in _MP4_ATOMS.items()
        if name in tags.texts
    ]
    if (number := tags.texts.get("track_number", "")).isdecimal() and int(number) <= 0xFFFF:
        items.append(box(b"trkn", _mp4_data(_MP4_BINARY, struct.pack(">xxHxxxx", int(number)))))
    if "isrc" in tags.texts:
        names = full_box(b"mean", 0, 0, b"com.apple.iTunes"), full_box(b"name", 0, 0, b"ISRC")
        items.append(box(b"----", *names, _mp4_data(_MP4_TEXT, tags.texts["isrc"].encode())))
    if tags.cover is not None:
        kind = _MP4_PNG if tags.cover_type == _PNG else _MP4_JPEG
        items.append(box(b"covr", _mp4_data(kind, tags.cover)))
    handler = full_box(b"hdlr", 0, 0, bytes(4), b"mdirappl", bytes(9))
    return box(b"udta", full_box(b"meta", 0, 0, handler, box(b"ilst", *items)))


def _mp4_data(kind: int, value: bytes) -> bytes:
    return full_box(b"data", 0, kind, bytes(4), value)
