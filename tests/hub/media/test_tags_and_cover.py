"""Tags and cover pictures are untrusted: what comes out is short, clean text and a picture made anew."""

import base64
import dataclasses
import io
import os
import struct
import zlib
from pathlib import Path

import pytest
from mutagen.apev2 import APEv2
from mutagen.flac import FLAC, Picture
from mutagen.id3 import APIC, ID3, TALB, TCON, TDRC, TIT2, TPE1, TRCK, TSRC, WCOP
from mutagen.mp4 import MP4, MP4Cover
from mutagen.oggopus import OggOpus
from PIL import Image

from hub.media import Tags
from tests.hub.media.conftest import Read, Refuse
from tests.hub.media.sounds import music, path_with, quantised, render, write_wav

RATE = 48_000
SOME = 4_800
FULL = Tags(
    title="Gymnopédie",
    artist="Satie",
    album="Trois",
    track_number=1,
    year=1888,
    genre="Classical",
    isrc="FRZ039800212",
    licence="https://creativecommons.org/publicdomain/mark/1.0/",
)
VORBIS = {
    "title": "Gymnopédie",
    "artist": "Satie",
    "album": "Trois",
    "tracknumber": "1/3",
    "date": "1888-02-02",
    "genre": "Classical",
    "isrc": "FR-Z03-98-00212",
    "license": FULL.licence,
}


@pytest.fixture
def flac(tmp_path: Path) -> Path:
    """A short FLAC file without tags."""
    return render(tmp_path / "a.flac", music(SOME), RATE, "-c:a", "flac", "-map_metadata", "-1")


def picture(width: int = 300, height: int = 200, mode: str = "RGB", kind: str = "PNG") -> bytes:
    """A real picture, in one colour."""
    encoded = io.BytesIO()
    Image.new(mode, (width, height), "green" if mode == "RGB" else (0, 128, 0, 0)).save(encoded, kind)
    return encoded.getvalue()


def bomb(width: int = 50_000, height: int = 50_000) -> bytes:
    """A PNG of a few hundred bytes that would be 2.5 billion pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(bytes(1 << 16)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def with_picture(path: Path, data: bytes) -> Path:
    """Put a front cover into a FLAC file."""
    tagged = FLAC(path)
    front = Picture()
    front.type, front.mime, front.data = 3, "image/png", data
    tagged.add_picture(front)
    tagged.save()
    return path


def test_vorbis_comments(flac: Path, read: Read) -> None:
    tagged = FLAC(flac)
    tagged.update(VORBIS)
    tagged.save()
    assert read(flac).tags == FULL


def test_tags_in_opus_with_a_cover(tmp_path: Path, read: Read) -> None:
    path = render(tmp_path / "a.opus", music(SOME), RATE, "-c:a", "libopus")
    tagged = OggOpus(path)
    tagged.update(VORBIS)
    front = Picture()
    front.type, front.mime, front.data = 3, "image/png", picture()
    tagged["metadata_block_picture"] = [base64.b64encode(front.write()).decode()]
    tagged.save()
    track = read(path)
    assert track.tags == FULL
    assert track.cover is not None


@pytest.mark.parametrize("name", ["a.mp3", "a.wav", "a.aiff"])
def test_id3_tags_with_a_cover(name: str, tmp_path: Path, read: Read) -> None:
    codec = {"a.mp3": "libmp3lame", "a.wav": "pcm_s16le", "a.aiff": "pcm_s16be"}[name]
    path = render(tmp_path / name, music(SOME), RATE, "-c:a", codec)
    frames = [
        TIT2(encoding=3, text=VORBIS["title"]),
        TPE1(encoding=3, text="Satie"),
        TALB(encoding=1, text="Trois"),
        TRCK(encoding=0, text="1/3"),
        TDRC(encoding=0, text="1888"),
        TCON(encoding=0, text="32"),
        TSRC(encoding=0, text=VORBIS["isrc"]),
        WCOP(url=FULL.licence),
        APIC(encoding=0, mime="image/png", type=3, desc="", data=picture()),
    ]
    from mutagen import File

    tagged = File(path)
    if tagged.tags is None:
        tagged.add_tags()
    for frame in frames:
        tagged.tags.add(frame)
    tagged.save()
    track = read(path)
    assert track.tags == FULL
    assert track.cover is not None


def test_ape_tags_of_an_mp3_fill_what_id3_leaves_open(tmp_path: Path, read: Read) -> None:
    path = render(tmp_path / "a.mp3", music(SOME), RATE, "-c:a", "libmp3lame", "-map_metadata", "-1")
    ape = APEv2()
    ape.update({"Title": "Gymnopédie", "ARTIST": ["Erik Satie", "somebody"], "Album": "Trois", "Track": "1/3"})
    ape.update({"Year": "1888", "Genre": "Classical", "ISRC": VORBIS["isrc"], "License": FULL.licence})
    ape["Cover Art (Front)"] = b"front.png\0" + picture()
    ape.save(path)
    track = read(path)
    assert track.tags == dataclasses.replace(FULL, artist="Erik Satie, somebody")
    assert track.cover is not None
    tags = ID3(path) if path.read_bytes().startswith(b"ID3") else ID3()
    tags.add(TPE1(encoding=3, text="Satie"))
    tags.save(path)
    assert read(path).tags == FULL


def test_a_damaged_ape_tag_does_no_harm(tmp_path: Path, read: Read) -> None:
    path = render(tmp_path / "a.mp3", music(SOME), RATE, "-c:a", "libmp3lame", "-map_metadata", "-1")
    ape = APEv2()
    ape["Title"] = "T"
    ape.save(path)
    data = path.read_bytes()
    at = data.rindex(b"Title") - 8
    broken = data[:at] + b"\xff\xff\xff\x7f" + data[at + 4 :]
    assert read(path_with(tmp_path / "b.mp3", broken)).tags.title == "b"


def test_mp4_tags_with_a_cover(tmp_path: Path, read: Read) -> None:
    path = render(tmp_path / "a.m4a", music(SOME), RATE, "-c:a", "aac")
    tagged = MP4(path)
    tagged.update(
        {"\xa9nam": "Gymnopédie", "\xa9ART": "Satie", "\xa9alb": "Trois", "trkn": [(1, 3)], "\xa9day": "1888"}
    )
    tagged["\xa9gen"] = "Classical"
    tagged["----:com.apple.iTunes:ISRC"] = VORBIS["isrc"].encode()
    tagged["----:com.apple.iTunes:LICENSE"] = str(FULL.licence).encode()
    tagged["covr"] = [MP4Cover(picture(), MP4Cover.FORMAT_PNG)]
    tagged.save()
    track = read(path)
    assert track.tags == FULL
    assert track.cover is not None


def test_riff_info_is_read_too(tmp_path: Path, read: Read) -> None:
    metadata = ["-metadata", "title=A song", "-metadata", "artist=Somebody", "-metadata", "date=2001"]
    path = render(tmp_path / "a.wav", music(SOME), RATE, *metadata, "-c:a", "pcm_s16le")
    tags = read(path).tags
    assert (tags.title, tags.artist, tags.year) == ("A song", "Somebody", 2001)


def test_tags_in_an_old_encoding_do_no_harm(tmp_path: Path, read: Read) -> None:
    metadata = ["-metadata", "title=Traumerei", "-metadata", "artist=Schumann"]
    path = render(tmp_path / "a.wav", music(SOME), RATE, *metadata, "-c:a", "pcm_s16le")
    data = path.read_bytes().replace(b"Traumerei", b"Tr\xe4umerei")
    tags = read(path_with(tmp_path / "b.wav", data)).tags
    assert (tags.title, tags.artist) == ("Tr\N{REPLACEMENT CHARACTER}umerei", "Schumann")


def test_the_title_falls_back_to_the_name_of_the_file(tmp_path: Path, read: Read) -> None:
    path = write_wav(tmp_path / "03 Träumerei.wav", quantised(music(SOME), 16), RATE, 16)
    assert read(path).tags == Tags(title="03 Träumerei")


def test_a_name_that_is_not_unicode_does_no_harm(tmp_path: Path, read: Read) -> None:
    path = write_wav(tmp_path / "a.wav", quantised(music(SOME), 16), RATE, 16)
    odd = path.rename(Path(str(tmp_path) + "/caf\udce9 %s \n.wav"))
    assert read(odd).tags.title == "caf? %s"


def test_control_characters_go_and_length_is_bounded(flac: Path, read: Read) -> None:
    tagged = FLAC(flac)
    tagged["title"] = "  One\x00\x1b[31m\ntwo\u202e\u200b  "
    tagged["artist"] = "<script>" + "x" * 10_000
    tagged["tracknumber"] = "no number"
    tagged["date"] = "0000"
    tagged["isrc"] = "what is this"
    tagged.save()
    tags = read(flac).tags
    assert tags.title == "One [31m two"
    assert tags.artist is not None
    assert (len(tags.artist), tags.artist[:8]) == (500, "<script>")
    assert (tags.track_number, tags.year, tags.isrc) == (None, None, None)


def test_damaged_tags_do_not_keep_a_recording_back(tmp_path: Path, read: Read) -> None:
    path = render(tmp_path / "a.mp3", music(SOME), RATE, "-c:a", "libmp3lame", "-metadata", "title=T")
    tags = ID3(path)
    tags.save(path)
    data = bytearray(path.read_bytes())
    at = data.index(b"TIT2")
    data[at + 4 : at + 8] = b"\xff\xff\xff\xff"
    assert read(path_with(tmp_path / "b.mp3", bytes(data))).tags.title


# --- Covers


def test_a_cover_is_made_anew_small_and_without_metadata(flac: Path, read: Read) -> None:
    noisy = Image.effect_noise((3000, 2500), 90).convert("RGB")
    exif = Image.Exif()
    exif[0x010E] = "secret"
    encoded = io.BytesIO()
    noisy.save(encoded, "JPEG", quality=95, exif=exif)
    cover = read(with_picture(flac, encoded.getvalue())).cover
    assert cover is not None
    assert cover.stat().st_size <= 512 << 10
    assert b"secret" not in cover.read_bytes()
    with Image.open(cover) as clean:
        assert (clean.format, clean.mode, clean.size) == ("JPEG", "RGB", (1200, 1000))
        assert not clean.getexif()


def test_a_transparent_cover_lies_on_white(flac: Path, read: Read) -> None:
    cover = read(with_picture(flac, picture(mode="RGBA"))).cover
    assert cover is not None
    with Image.open(cover) as clean:
        assert clean.getpixel((5, 5)) == (255, 255, 255)


def test_a_picture_beside_the_file_is_taken_when_there_is_none_inside(
    flac: Path, tmp_path: Path, read: Read
) -> None:
    beside = path_with(tmp_path / "cover.jpg", picture(kind="JPEG"))
    assert read(flac, cover=beside).cover is not None
    assert read(flac, cover=tmp_path / "none.jpg").cover is None


def test_an_image_bomb_is_refused_by_name(flac: Path, tmp_path: Path, refuse: Refuse) -> None:
    beside = path_with(tmp_path / "cover.png", bomb())
    fault = refuse(flac, cover=beside)
    assert fault.code == "cover_too_large"
    assert "50000 by 50000 pixels" in fault.message
    assert refuse(with_picture(flac, bomb())).code == "cover_too_large"


def test_the_sentence_about_a_cover_tells_the_limit_that_is_checked(
    flac: Path, tmp_path: Path, read: Read, refuse: Refuse
) -> None:
    fault = refuse(flac, cover=path_with(tmp_path / "b.png", picture(5001, 5000)))
    assert fault.message.endswith("too large to be opened safely: use one of at most 5000 by 5000 pixels.")
    huge = path_with(tmp_path / "c.png", picture())
    os.truncate(huge, (64 << 20) + 1)
    fault = refuse(flac, cover=huge)
    assert "is more than 64 MiB, too large" in fault.message
    assert fault.message.endswith("use one of at most 64 MiB.")
    assert read(flac, cover=path_with(tmp_path / "a.png", picture(5000, 5000))).cover is not None


def test_a_cover_that_is_no_picture_is_left_out_and_that_is_said(flac: Path, read: Read) -> None:
    for data in (b"not a picture", picture()[:60], b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"):
        track = read(with_picture(flac, data))
        assert track.cover is None
        assert track.notes == ["The cover picture could not be read and was left out."]
        FLAC(flac).clear_pictures()
