"""The files that are written: ordinary players open them, and hear every sample of what was published."""

import base64
import io
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import mutagen
import numpy as np
import pytest
from mutagen.flac import Picture
from PIL import Image

from digm.containers import choose_rendition
from digm.errors import CallerFault, PeerFault
from digm.manifest import Cover
from digm.mp4 import box, full_box
from digm.ogg import ogg_crc
from digm.unpacking import access_units, boxes
from hub.fetching.assembling import plaintexts, write_file
from hub.fetching.play import StreamWriter
from tests.hub.fetching.recordings import RATE, Recording, decoded, published
from tests.hub.media.sounds import music, quantised, render, write_wav

SECONDS = 9
SOUND = music(SECONDS * RATE + 123)


def publish_as(folder: Path, suffix: str, *options: str) -> Recording:
    return published(render(folder / f"music{suffix}", SOUND, RATE, *options), folder / "data")


@pytest.fixture(scope="module")
def wav(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    folder = tmp_path_factory.mktemp("wav")
    source = write_wav(folder / "music.wav", quantised(SOUND, 16), RATE, 16)
    return published(source, folder / "data", title="Night train", artist="The Owls", preview_seconds=4)


def noise(kind: str, side: int) -> bytes:
    """A picture that does not get small."""
    pixels = np.random.default_rng(1).integers(0, 256, (side, side, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def written(recording: Recording, out: Path, rendition: int = 0, **how: bool) -> Path:
    assembly = recording.assembly(rendition, **how)
    size = write_file(assembly, recording.store, out.with_name("temporary" + out.suffix), out)
    assert out.stat().st_size == size
    assert [path.name for path in out.parent.iterdir()] == [out.name], "nothing is left beside it"
    return out


def streamed(recording: Recording) -> bytes:
    """What `digm play` writes into a pipe."""
    assembly = recording.assembly(0)
    writer = StreamWriter(assembly.rendition)
    pieces = [writer.add(plaintext) for plaintext in plaintexts(assembly, recording.store)]
    assert all(pieces), "each chunk is heard when it is there"
    return b"".join([*pieces, writer.close()])


def probe(path: Path) -> dict[str, object]:
    told = subprocess.run(
        ["ffprobe", "-v", "error", "-show_streams", "-show_format", "-of", "json", path],
        capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    answer = json.loads(told.stdout)
    return {**answer["streams"][0], **answer["format"]}


@pytest.mark.parametrize("suffix", [".flac", ".m4a"])
def test_a_lossless_track_decodes_to_the_very_samples_that_were_published(
    wav: Recording, tmp_path: Path, suffix: str
) -> None:
    out = written(wav, tmp_path / f"song{suffix}")
    assert np.array_equal(decoded(out, "s16"), quantised(SOUND, 16))
    facts = probe(out)
    assert facts["codec_name"] == "flac"
    assert float(str(facts["duration"])) == pytest.approx(len(SOUND) / RATE, abs=0.001)


def test_the_checksum_that_the_flac_file_carries_is_that_of_its_samples(wav: Recording, tmp_path: Path) -> None:
    out = written(wav, tmp_path / "song.flac")
    carried = out.read_bytes()[8 + 18 : 8 + 34]
    raw = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", out, "-f", "md5", "-c:a", "pcm_s16le", "-"],
        capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    assert raw.stdout.decode().strip() == f"MD5={carried.hex()}"


@pytest.mark.parametrize(
    "source_suffix, options, suffixes",
    [
        (".opus", ("-c:a", "libopus"), (".opus", ".ogg")),
        (".m4a", ("-c:a", "aac"), (".m4a", ".mp4")),
        (".mp3", ("-c:a", "libmp3lame", "-b:a", "128k"), (".mp3",)),
    ],
)
def test_a_lossy_track_decodes_like_the_file_that_was_published(
    tmp_path: Path, source_suffix: str, options: tuple[str, ...], suffixes: tuple[str, ...]
) -> None:
    recording = publish_as(tmp_path, source_suffix, *options)
    original = decoded(recording.source)
    for number, suffix in enumerate(suffixes):
        folder = tmp_path / str(number)
        folder.mkdir()
        heard = decoded(written(recording, folder / f"song{suffix}"))
        assert len(heard) == len(original), suffix
        assert np.array_equal(heard, original), suffix
    # At a pipe MP3 and AAC have nobody who cuts off what the encoder added: nothing is missing.
    (tmp_path / "stream").write_bytes(streamed(recording))
    assert len(original) <= len(decoded(tmp_path / "stream")) < len(original) + 3 * 1152


def test_opus_in_an_mp4_file_is_heard_as_ffmpegs_own_copy_is(tmp_path: Path) -> None:
    """ffmpeg plays the padding of the last packet, whoever wrote the file."""
    recording = publish_as(tmp_path, ".opus", "-c:a", "libopus")
    subprocess.run(
        ["ffmpeg", "-v", "error", "-i", recording.source, "-c", "copy", tmp_path / "copy.mp4"], check=True
    )
    (tmp_path / "out").mkdir()
    heard = decoded(written(recording, tmp_path / "out" / "song.m4a"))
    assert np.array_equal(heard, decoded(tmp_path / "copy.mp4"))
    original = decoded(recording.source)
    assert np.array_equal(heard[: len(original)], original)


def test_an_mp3_of_changing_rate_is_found_to_be_as_long_as_it_is(tmp_path: Path) -> None:
    recording = publish_as(tmp_path, ".mp3", "-c:a", "libmp3lame", "-q:a", "4")
    (tmp_path / "out").mkdir()
    out = written(recording, tmp_path / "out" / "song.mp3")
    assert np.array_equal(decoded(out), decoded(recording.source))
    assert mutagen.File(out).info.length == pytest.approx(len(SOUND) / RATE, abs=0.1)


def test_what_anyone_may_hear_is_a_file_of_its_own_length(wav: Recording, tmp_path: Path) -> None:
    for suffix, rendition in ((".flac", 0), (".opus", 1), (".m4a", 0)):
        folder = tmp_path / suffix
        folder.mkdir()
        out = written(wav, folder / f"song{suffix}", rendition, as_anyone=True)
        heard = decoded(out, "s16")
        assert 4 * RATE <= len(heard) < 9 * RATE or suffix == ".opus"
        if rendition == 0:
            assert np.array_equal(heard, quantised(SOUND, 16)[: len(heard)])
            assert float(str(probe(out)["duration"])) == pytest.approx(len(heard) / RATE, abs=0.001)


@pytest.mark.parametrize("suffix", [".flac", ".opus", ".m4a"])
def test_the_file_says_who_it_is_by(wav: Recording, tmp_path: Path, suffix: str) -> None:
    tags = mutagen.File(written(wav, tmp_path / f"song{suffix}", 1 if suffix == ".opus" else 0), easy=True)
    assert (tags["title"], tags["artist"]) == (["Night train"], ["The Owls"])


@pytest.mark.parametrize("suffix", [".flac", ".opus", ".m4a"])
def test_everything_that_the_manifest_says_and_a_large_cover_are_in_the_file(
    wav: Recording, tmp_path: Path, suffix: str
) -> None:
    picture = noise("PNG", 160)
    assert len(picture) > 65_536, "more than one page of Ogg holds"
    manifest = replace(
        wav.manifest, title="Zug — «Nacht»", album="Lines\nof rails", track_number=7, year=1987, genre="Folk",
        isrc="DEA012345678", licence="CC-BY-4.0", cover=Cover(bytes(32), "image/png", len(picture)),
    )  # fmt: skip
    assembly = replace(wav.assembly(1 if suffix == ".opus" else 0), manifest=manifest, cover=picture)
    out = tmp_path / f"song{suffix}"
    write_file(assembly, wav.store, tmp_path / "temporary", out)
    easy = mutagen.File(out, easy=True)
    number = "7/0" if suffix == ".m4a" and easy["tracknumber"] == ["7/0"] else "7"
    said = {name: easy[name] for name in ("title", "artist", "album", "date", "genre", "tracknumber")}
    assert said == {
        "title": ["Zug — «Nacht»"], "artist": ["The Owls"], "album": ["Lines of rails"], "date": ["1987"],
        "genre": ["Folk"], "tracknumber": [number],
    }  # fmt: skip
    tags = mutagen.File(out)
    if suffix == ".m4a":
        assert bytes(tags["covr"][0]) == picture
        assert tags["covr"][0].imageformat == tags["covr"][0].FORMAT_PNG
        assert (bytes(tags["----:com.apple.iTunes:ISRC"][0]), tags["cprt"]) == (b"DEA012345678", ["CC-BY-4.0"])
        return
    held = (
        tags.pictures[0] if suffix == ".flac" else Picture(base64.b64decode(tags["metadata_block_picture"][0]))
    )
    assert (held.data, held.mime, held.type) == (picture, "image/png", 3)
    assert (tags["isrc"], tags["license"]) == (["DEA012345678"], ["CC-BY-4.0"])
    decoded(out)  # ffmpeg has nothing to say against it


def test_an_mp3_has_tags_and_a_picture(tmp_path: Path) -> None:
    recording = publish_as(tmp_path, ".mp3", "-metadata", "title=Owl", "-metadata", "track=3")
    picture = noise("JPEG", 40)
    manifest = replace(recording.manifest, cover=Cover(bytes(32), "image/jpeg", len(picture)))
    assembly = replace(recording.assembly(0), manifest=manifest, cover=picture)
    write_file(assembly, recording.store, tmp_path / "temporary.mp3", tmp_path / "song.mp3")
    tags = mutagen.File(tmp_path / "song.mp3").tags
    assert (str(tags["TIT2"]), str(tags["TRCK"]), tags["APIC:"].data) == ("Owl", "3", picture)
    assert len(decoded(tmp_path / "song.mp3")) == len(decoded(recording.source))


def test_a_name_that_cannot_hold_the_track_is_refused_with_those_that_can(wav: Recording) -> None:
    assert choose_rendition(wav.manifest, "x.flac", None).id == 0
    assert choose_rendition(wav.manifest, "x.opus", None).id == 1
    assert choose_rendition(wav.manifest, "x.m4a", "opus").id == 1
    with pytest.raises(CallerFault) as refused:
        choose_rendition(wav.manifest, "x.mp3", None)
    assert refused.value.code == "bad_out"
    assert ".flac" in refused.value.message
    with pytest.raises(CallerFault) as unknown:
        choose_rendition(wav.manifest, "x.flac", "7")
    assert unknown.value.code == "rendition_unknown"


def test_a_frame_that_does_not_open_makes_no_file(wav: Recording, tmp_path: Path) -> None:
    assembly = wav.assembly(0)
    grant = replace(assembly.grant, track_key=bytes(32))
    with pytest.raises(PeerFault) as fault:
        write_file(replace(assembly, grant=grant), wav.store, tmp_path / "temporary.flac", tmp_path / "x.flac")
    assert fault.value.code == "frame_tag"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "plaintext",
    [
        b"\0\0\0\x04moof",
        b"\0\0\xff\xffmoof",
        b"\0\0\0\x07moo",
        b"\0\0\0\x18moof\0\0\0\x10traf\0\0\0\x08trun",
        # A run of 2**32 - 1 access units that lie outside of the chunk.
        b"\0\0\0\x28moof\0\0\0\x20traf\0\0\0\x18trun\0\0\x03\x01\xff\xff\xff\xff\0\0\0\x30\0\0\0\x01",
    ],
)
def test_sound_that_is_no_sound_is_refused(wav: Recording, plaintext: bytes) -> None:
    with pytest.raises(PeerFault) as fault:
        list(access_units(wav.manifest.renditions[0], [plaintext]))
    assert fault.value.code == "media_malformed"


def test_runs_that_name_the_same_bytes_again_and_again_are_refused(wav: Recording) -> None:
    """A thousand track fragments of one `moof`, each with 10,000 bytes of the chunk, one by one."""
    run = full_box(b"trun", 0, 0x1, (10_000).to_bytes(4, "big"), (0).to_bytes(4, "big"))
    header = full_box(b"tfhd", 0, 0x10, (1).to_bytes(4, "big"), (1).to_bytes(4, "big"))
    plaintext = box(b"moof", *[box(b"traf", header, run)] * 1000)
    samples = (sample for units in access_units(wav.manifest.renditions[0], [plaintext]) for sample in units)
    with pytest.raises(PeerFault) as fault:
        next(samples)
    assert fault.value.code == "media_malformed"


def test_boxes_of_every_way_to_write_a_size_are_read() -> None:
    data = (
        b"\0\0\0\x08free"
        + b"\0\0\0\x01mdat"
        + (18).to_bytes(8, "big")
        + b"ab"
        + b"\0\0\0\0skip"
        + b"to the end"
    )
    assert [(kind, data[start:end]) for kind, start, end in boxes(data, 0, len(data))] == [
        (b"free", b""), (b"mdat", b"ab"), (b"skip", b"to the end"),
    ]  # fmt: skip


def test_the_checksum_of_ogg_pages_is_the_one_of_rfc_3533() -> None:
    def slowly(data: bytes) -> int:
        register = 0
        for byte in data:
            register ^= byte << 24
            for _ in range(8):
                register = (register << 1) ^ (0x04C11DB7 if register & 0x80000000 else 0)
                register &= 0xFFFFFFFF
        return register

    for data in (b"", b"OggS", bytes(range(256)) * 3):
        assert ogg_crc(data) == slowly(data)
