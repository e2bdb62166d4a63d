"""Lossy recordings are never encoded twice, and start and end where they should, to the sample."""

import subprocess
from pathlib import Path

import av
import numpy as np
import pytest

from digm.mpeg_frames import parse_encoder_tag, parse_header
from hub.media.opus_packets import packet_samples
from tests.hub.media.conftest import Read, Refuse
from tests.hub.media.sounds import best, ffmpeg_decodes, lag, music, path_with, played, render

RATE = 44_100
SOME = 70_001

GAPLESS = {
    "aac-m4a": ("a.m4a", "aac", ["-c:a", "aac"], 1024),
    "aac-mono": ("a.m4a", "aac", ["-c:a", "aac", "-ac", "1"], 1024),
    "aac-fragmented": ("a.mp4", "aac", ["-c:a", "aac", "-movflags", "frag_keyframe+delay_moov"], 1024),
    "mp3-vbr": ("a.mp3", "mp3", ["-c:a", "libmp3lame", "-q:a", "2"], 576 + 529),
    "mp3-cbr": ("a.mp3", "mp3", ["-c:a", "libmp3lame", "-b:a", "128k"], 576 + 529),
    "mp3-tags-at-both-ends": (
        "a.mp3",
        "mp3",
        ["-c:a", "libmp3lame", "-write_id3v1", "1", "-metadata", "title=A"],
        1105,
    ),
}


@pytest.mark.parametrize("name", GAPLESS)
def test_a_lossy_recording_is_copied_and_exactly_as_long_as_what_was_encoded(
    name: str, tmp_path: Path, read: Read
) -> None:
    file_name, codec, options, delay = GAPLESS[name]
    original = music(SOME)
    path = render(tmp_path / file_name, original, RATE, *options)
    track = read(path)
    rendition = best(track)
    heard = played(rendition)
    assert (track.source_codec, rendition.config.codec, rendition.config.bits) == (codec, codec, 0)
    assert rendition.config.delay == delay
    assert abs(lag(heard, original)) <= 1
    assert len(heard) == SOME
    assert track.duration_s == SOME / RATE
    with av.open(str(path)) as container:
        copied = [bytes(packet) for packet in container.demux(audio=0) if packet.size]
    assert [sample.payload for sample in rendition.samples()] == copied
    # ffmpeg's own command leaves the delay in when the file is fragmented.
    skipped = delay if name == "aac-fragmented" else 0
    decoded = ffmpeg_decodes(path, "f32")[skipped : skipped + len(heard)]
    assert np.abs(heard - decoded).max() < 1e-4


def test_opus_is_its_own_only_rendition(tmp_path: Path, read: Read) -> None:
    original = music(SOME)
    path = render(tmp_path / "a.opus", original, 48_000, "-c:a", "libopus", "-b:a", "96k")
    track = read(path)
    (rendition,) = track.renditions
    assert (rendition.config.codec, rendition.config.timescale, rendition.config.delay) == ("opus", 48_000, 312)
    heard = played(rendition)
    assert len(heard) == SOME
    assert abs(lag(heard, original)) <= 1
    assert track.duration_s == SOME / 48_000


def test_opus_in_mp4_is_copied_too(tmp_path: Path, read: Read) -> None:
    path = render(tmp_path / "a.mp4", music(SOME), 48_000, "-c:a", "libopus", "-strict", "-2")
    (rendition,) = read(path).renditions
    assert rendition.config.codec_private.startswith(b"OpusHead")
    assert len(played(rendition)) == SOME


def test_raw_adts_gets_the_configuration_that_mp4_needs(tmp_path: Path, read: Read) -> None:
    original = music(SOME)
    path = render(tmp_path / "a.aac", original, RATE, "-c:a", "aac", "-f", "adts")
    rendition = best(read(path))
    assert rendition.config.codec_private[:2] == bytes.fromhex("1210")
    assert all(sample.payload[:2] != b"\xff\xf1" for sample in rendition.samples())
    # ADTS has no place to say how long the encoder's delay is: all of it is played.
    assert (rendition.config.delay, rendition.config.padding) == (0, 0)
    assert lag(played(rendition), original) == 1024


def test_an_id3_tag_in_front_of_adts_does_no_harm(tmp_path: Path, read: Read) -> None:
    options = ["-c:a", "aac", "-f", "adts", "-write_id3v2", "1", "-metadata", "title=In front"]
    track = read(render(tmp_path / "a.aac", music(SOME), RATE, *options))
    assert (track.source_codec, track.tags.title) == ("aac", "In front")


def test_an_mp3_that_was_cut_out_of_another_is_taken_although_its_first_frames_lean_on_what_is_gone(
    tmp_path: Path, read: Read
) -> None:
    whole = best(read(render(tmp_path / "a.mp3", music(SOME), RATE, "-c:a", "libmp3lame", "-q:a", "2")))
    frames = [sample.payload for sample in whole.samples()][20:40]
    rendition = best(read(path_with(tmp_path / "b.mp3", b"".join(frames))))
    assert [sample.payload for sample in rendition.samples()] == frames


def test_the_frame_with_the_xing_tag_is_not_sound(tmp_path: Path, read: Read) -> None:
    path = render(tmp_path / "a.mp3", music(SOME), RATE, "-c:a", "libmp3lame")
    frames = list(best(read(path)).samples())
    assert parse_encoder_tag(frames[0].payload) is None
    at = path.read_bytes().index(b"\xff\xfb")
    assert parse_encoder_tag(path.read_bytes()[at:]) is not None
    assert sum(frame.duration for frame in frames) == len(frames) * 1152


def test_an_mp3_without_a_xing_tag_is_played_whole(tmp_path: Path, read: Read) -> None:
    path = render(
        tmp_path / "a.mp3", music(SOME), RATE, "-c:a", "libmp3lame", "-write_xing", "0", "-id3v2_version", "0"
    )
    config = best(read(path)).config
    assert (config.delay, config.padding) == (0, 0)


def test_mpeg_2_layer_iii_has_half_the_samples_in_a_frame(tmp_path: Path, read: Read) -> None:
    path = render(tmp_path / "a.mp3", music(SOME, 1), 22_050, "-c:a", "libmp3lame")
    rendition = best(read(path))
    assert {sample.duration for sample in rendition.samples()} == {576}
    assert (rendition.config.sample_rate, rendition.config.channels) == (22_050, 1)
    assert len(played(rendition)) == SOME


def test_vorbis_is_decoded_once_and_kept_without_further_loss(tmp_path: Path, read: Read) -> None:
    original = music(SOME)
    wav = render(tmp_path / "a.wav", original, RATE, "-c:a", "pcm_s16le")
    path = tmp_path / "a.ogg"
    subprocess.run(["sox", str(wav), "-C", "6", str(path)], check=True)
    track = read(path)
    heard = played(best(track))
    assert (track.source_codec, best(track).config.codec, best(track).config.bits) == ("vorbis", "flac", 16)
    assert len(heard) == SOME
    assert np.abs(heard - ffmpeg_decodes(path, "s16")).max() <= 1
    assert "Ogg Vorbis was decoded" in track.notes[0]


@pytest.mark.parametrize("samples", [1, 60, 2000, 9600, 100_003])
def test_vorbis_is_exact_to_the_sample_however_short(samples: int, tmp_path: Path, read: Read) -> None:
    original = music(samples)
    track = read(render(tmp_path / "a.ogg", original, RATE, "-c:a", "libvorbis", "-q:a", "8"))
    heard = played(best(track)) / 32768
    assert heard.shape == original.shape
    assert track.duration_s == samples / RATE
    assert samples < 2000 or np.sqrt(np.mean((heard - original) ** 2)) < 0.05


def test_the_opus_rendition_is_in_step_with_the_recording(tmp_path: Path, read: Read) -> None:
    original = music(SOME)
    track = read(render(tmp_path / "a.wav", original, RATE, "-c:a", "pcm_s16le"))
    opus = track.renditions[-1]
    at_48k = render(tmp_path / "b.wav", original, RATE, "-c:a", "pcm_f32le", "-ar", "48000")
    heard = played(opus)
    assert len(heard) == round(SOME * 48_000 / RATE)
    assert abs(lag(heard, ffmpeg_decodes(at_48k, "f32"))) <= 1


@pytest.mark.parametrize("samples", [1, 100, 647, 648, 649, 960, 8_000])
def test_opus_of_any_length_ends_where_the_recording_ends(samples: int, tmp_path: Path, read: Read) -> None:
    track = read(render(tmp_path / "a.wav", music(samples), 48_000, "-c:a", "pcm_s16le"))
    assert len(played(track.renditions[-1])) == samples


def test_the_gaps_that_itunes_wrote_before_edit_lists_are_read(tmp_path: Path, read: Read) -> None:
    from mutagen.mp4 import MP4, AtomDataType, MP4FreeForm

    path = render(tmp_path / "a.m4a", music(SOME), RATE, "-c:a", "aac", "-use_editlist", "0")
    tagged = MP4(path)
    gaps = f" 00000000 {1024:08X} {0:08X} {SOME - 11:016X} 00000000 00000000"
    tagged["----:com.apple.iTunes:iTunSMPB"] = [MP4FreeForm(gaps.encode(), AtomDataType.UTF8)]
    tagged.save()
    rendition = best(read(path))
    assert rendition.config.delay == 1024
    assert len(played(rendition)) == SOME - 11


def test_two_recordings_glued_together_are_not_taken_for_one(tmp_path: Path, refuse: Refuse) -> None:
    one = render(tmp_path / "a.opus", music(SOME), 48_000, "-c:a", "libopus").read_bytes()
    two = render(tmp_path / "b.opus", music(SOME, seed=8), 48_000, "-c:a", "libopus").read_bytes()
    assert refuse(path_with(tmp_path / "c.opus", one + two)).code == "changing_format"


def test_the_header_of_an_mpeg_frame_tells_its_size() -> None:
    header = parse_header(bytes.fromhex("fffbe044"))
    assert header is not None
    assert (header.size, header.samples, header.sample_rate, header.channels) == (1044, 1152, 44_100, 2)
    # Free format, a reserved version, layer II, a reserved rate: none of them is taken for a frame.
    for other in ("fffb0044", "ffebe044", "fffde044", "fffbec44", "49443303"):
        assert parse_header(bytes.fromhex(other)) is None


def test_the_first_byte_of_an_opus_packet_tells_its_duration() -> None:
    assert packet_samples(bytes([0xFC])) == 960
    assert packet_samples(bytes([0xFD])) == 1920
    assert packet_samples(bytes([0xFF, 0x03])) == 2880
    assert packet_samples(bytes([0x18])) == 2880
    assert packet_samples(bytes([0x80])) == 120
    # More than 120 ms, and nothing at all.
    assert packet_samples(bytes([0x1B, 63])) == packet_samples(b"") == packet_samples(b"\xff") == 0
