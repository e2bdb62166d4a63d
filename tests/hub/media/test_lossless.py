"""What comes in without loss goes out without loss, sample for sample."""

import hashlib
from pathlib import Path

import av
import numpy as np
import pytest
from mutagen.id3 import ID3, TIT2

from tests.hub.media.conftest import Read
from tests.hub.media.sounds import (
    best,
    ffmpeg_decodes,
    integers,
    music,
    path_with,
    played,
    quantised,
    render,
    riff,
    write_wav,
)

RATE = 44_100
SOME = 30_011  # A prime: no block size divides it.

LOSSLESS = {
    "wav-u8": ("a.wav", 16, ["-c:a", "pcm_u8"]),
    "wav-16": ("a.wav", 16, ["-c:a", "pcm_s16le"]),
    "wav-24": ("a.wav", 24, ["-c:a", "pcm_s24le"]),
    "wav-rf64": ("a.wav", 16, ["-c:a", "pcm_s16le", "-rf64", "always"]),
    "wav-mulaw": ("a.wav", 16, ["-c:a", "pcm_mulaw"]),
    "aiff-16": ("a.aiff", 16, ["-c:a", "pcm_s16be"]),
    "aiff-24": ("a.aif", 24, ["-c:a", "pcm_s24be"]),
    "aiff-c-little-endian": ("a.aiff", 16, ["-c:a", "pcm_s16le"]),
    "alac-16": ("a.m4a", 16, ["-c:a", "alac", "-sample_fmt", "s16p"]),
    "alac-24": ("a.m4a", 24, ["-c:a", "alac", "-sample_fmt", "s32p", "-bits_per_raw_sample", "24"]),
    "flac-16": ("a.flac", 16, ["-c:a", "flac", "-sample_fmt", "s16"]),
    "flac-24": ("a.flac", 24, ["-c:a", "flac", "-sample_fmt", "s32"]),
    "flac-in-ogg": ("a.oga", 16, ["-c:a", "flac", "-sample_fmt", "s16"]),
    "flac-in-mp4": ("a.mp4", 16, ["-c:a", "flac", "-sample_fmt", "s16", "-strict", "-2"]),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_every_lossless_format_comes_out_as_flac_with_the_same_samples(
    name: str, tmp_path: Path, read: Read
) -> None:
    file_name, bits, options = LOSSLESS[name]
    path = render(tmp_path / file_name, music(SOME), RATE, *options)
    track = read(path)
    rendition = best(track)
    assert (rendition.config.codec, rendition.config.bits, rendition.config.sample_rate) == ("flac", bits, RATE)
    assert np.array_equal(integers(rendition), ffmpeg_decodes(path) >> 32 - bits)
    assert track.duration_s == SOME / RATE
    assert [one.config.codec for one in track.renditions] == ["flac", "opus"]


@pytest.mark.parametrize(
    ("rate", "channels"),
    [(8_000, 1), (11_025, 2), (22_050, 1), (48_000, 2), (88_200, 2), (96_000, 1), (192_000, 2)],
)
def test_every_usual_sample_rate_stays_as_it_is(rate: int, channels: int, tmp_path: Path, read: Read) -> None:
    there = quantised(music(rate // 2 + 1, channels), 24)
    track = read(write_wav(tmp_path / "a.wav", there, rate, 24))
    config = best(track).config
    assert (config.sample_rate, config.channels, config.timescale) == (rate, channels, rate)
    assert np.array_equal(integers(best(track)), there)


def test_eight_bits_become_sixteen_and_it_is_said(tmp_path: Path, read: Read) -> None:
    there = quantised(music(SOME), 8)
    track = read(write_wav(tmp_path / "a.wav", there, RATE, 8))
    assert np.array_equal(integers(best(track)), there.astype(np.int64) << 8)
    assert track.notes == ["The samples are published as FLAC with 16 bits."]


def test_thirty_two_bits_that_hold_only_twenty_four_lose_nothing_and_nothing_is_said(
    tmp_path: Path, read: Read
) -> None:
    there = quantised(music(SOME), 24)
    track = read(write_wav(tmp_path / "a.wav", there << 8, RATE, 32))
    assert np.array_equal(integers(best(track)), there)
    assert track.notes == []


def test_full_thirty_two_bits_are_rounded_to_twenty_four_and_it_is_said(tmp_path: Path, read: Read) -> None:
    there = quantised(music(SOME), 32)
    there[0] = (2**31 - 1, -(2**31))
    track = read(write_wav(tmp_path / "a.wav", there, RATE, 32))
    nearest = np.minimum((there.astype(np.int64) + 128) >> 8, 2**23 - 1)
    assert np.array_equal(integers(best(track)), nearest)
    assert [note.split(" ", 1)[1] for note in track.notes] == [
        "samples had more than the 24 bits that browsers play and were rounded."
    ]


@pytest.mark.parametrize(("codec", "dtype"), [("pcm_f32le", np.float32), ("pcm_f64le", np.float64)])
def test_floating_point_is_rounded_and_clipping_is_counted(
    codec: str, dtype: type, tmp_path: Path, read: Read
) -> None:
    there = music(SOME).astype(dtype).astype(np.float64)
    there[100:103, 0] = (1.5, -1.25, 1.0)
    track = read(render(tmp_path / "a.wav", there, RATE, "-c:a", codec))
    nearest = np.clip(np.rint(there * 2**23), -(2**23), 2**23 - 1).astype(np.int64)
    assert np.array_equal(integers(best(track)), nearest)
    assert track.notes == [
        "The samples are published as FLAC with 24 bits.",
        "2 samples were louder than full scale and were clipped.",
    ]


@pytest.mark.parametrize("codec", ["pcm_f32le", "pcm_f64le"])
def test_samples_far_beyond_full_scale_are_clipped_and_that_is_said(
    codec: str, tmp_path: Path, read: Read
) -> None:
    there = music(SOME)
    there[5_000:5_040] = (1e30, -1e30)
    track = read(render(tmp_path / "a.wav", there, RATE, "-c:a", codec))
    assert integers(best(track))[5_010].tolist() == [2**23 - 1, -(2**23)]
    assert "80 samples were louder than full scale and were clipped." in track.notes
    assert max(track.peaks) == 255
    assert track.true_peak_db is not None
    assert 0 <= track.true_peak_db < 3


def test_samples_that_are_not_numbers_become_silence(tmp_path: Path, read: Read) -> None:
    there = music(SOME)
    there[50, 1] = np.nan
    track = read(render(tmp_path / "a.wav", there, RATE, "-c:a", "pcm_f64le"))
    assert integers(best(track))[50, 1] == 0
    assert "1 samples were not numbers and were made silent." in track.notes
    assert track.loudness_lufs is not None


def test_a_wav_written_to_a_pipe_is_taken_whole(tmp_path: Path, read: Read) -> None:
    body = quantised(music(SOME), 16).astype("<i2").tobytes()
    for declared in (0xFFFF_FFFF, 0x7FFF_F024, 0):
        track = read(path_with(tmp_path / "a.wav", riff(RATE, 2, 16, body, declared)))
        assert track.duration_s == SOME / RATE
        assert track.notes == [
            "The header does not say how long the recording is: everything in the file was taken."
        ]


def test_flac_frames_are_the_very_bytes_of_the_file(tmp_path: Path, read: Read) -> None:
    path = render(tmp_path / "a.flac", music(SOME), RATE, "-c:a", "flac", "-sample_fmt", "s16")
    rendition = best(read(path))
    frames = rendition.packets.read_bytes()
    assert path.read_bytes().endswith(frames)
    assert frames[:2] == b"\xff\xf8"
    assert rendition.total_bytes == len(frames)
    assert rendition.largest_sample_bytes == max(len(sample.payload) for sample in rendition.samples())
    pcm = integers(rendition).astype("<i2").tobytes()
    assert rendition.config.codec_private[18:] == hashlib.md5(pcm, usedforsecurity=False).digest()


def test_flac_that_was_encoded_here_carries_its_length_and_checksum(tmp_path: Path, read: Read) -> None:
    there = quantised(music(SOME), 16)
    rendition = best(read(write_wav(tmp_path / "a.wav", there, RATE, 16)))
    stream_info = rendition.config.codec_private
    assert int.from_bytes(stream_info[13:18], "big") & 0xF_FFFF_FFFF == SOME
    assert stream_info[18:] == hashlib.md5(there.astype("<i2").tobytes(), usedforsecurity=False).digest()


def test_a_name_that_lies_about_the_format_does_no_harm(tmp_path: Path, read: Read) -> None:
    path = render(tmp_path / "a.flac", music(SOME), RATE, "-c:a", "flac")
    renamed = path.rename(tmp_path / "a.mp3")
    assert read(renamed).source_codec == "flac"


def test_an_id3_tag_in_front_of_a_flac_does_no_harm(tmp_path: Path, read: Read) -> None:
    path = render(tmp_path / "a.flac", music(SOME), RATE, "-c:a", "flac", "-sample_fmt", "s16")
    tag = ID3()
    tag.add(TIT2(encoding=3, text="In front"))
    tag.save(tmp_path / "tag")
    tagged = path_with(tmp_path / "b.flac", (tmp_path / "tag").read_bytes() + path.read_bytes())
    track = read(tagged)
    assert (track.source_codec, track.duration_s) == ("flac", SOME / RATE)
    assert np.array_equal(integers(best(track)), ffmpeg_decodes(path, "s16"))


def test_flac_with_thirty_two_bits_is_encoded_anew_with_twenty_four(tmp_path: Path, read: Read) -> None:
    path = tmp_path / "a.flac"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "flac", rate=RATE, layout="stereo", format="s32", options={"strict": "-2"}
        )
        there = quantised(music(SOME), 32)
        frame = av.AudioFrame.from_ndarray(there.reshape(1, -1), "s32", "stereo")
        frame.sample_rate = RATE
        container.mux([*stream.encode(frame), *stream.encode(None)])
    track = read(path)
    assert best(track).config.bits == 24
    assert np.abs(integers(best(track)) - (there.astype(np.int64) >> 8)).max() <= 1


def test_one_sample_is_a_recording(tmp_path: Path, read: Read) -> None:
    track = read(write_wav(tmp_path / "a.wav", quantised(music(1), 16), 48_000, 16))
    assert track.duration_s == 1 / 48_000
    assert (track.loudness_lufs, len(track.peaks)) == (None, 1)


@pytest.mark.parametrize(
    ("samples", "rate"),
    [(1, 8_000), (1, 44_100), (2, 192_000), (17, 44_100), (18, 44_100), (31, 44_100), (200, 44_100)],
)
def test_a_recording_of_a_few_samples_has_something_to_hear_in_every_rendition(
    samples: int, rate: int, tmp_path: Path, read: Read
) -> None:
    there = quantised(music(samples), 16)
    track = read(write_wav(tmp_path / "a.wav", there, rate, 16))
    assert np.array_equal(integers(best(track)), there)
    opus = track.renditions[-1]
    assert opus.duration > opus.config.delay + opus.config.padding
    assert len(played(opus)) == max(1, round(samples * 48_000 / rate))


@pytest.mark.parametrize(("name", "codec"), [("a.flac", "flac"), ("a.m4a", "alac"), ("a.m4a", "aac")])
def test_five_samples_are_published_from_every_container(
    name: str, codec: str, tmp_path: Path, read: Read
) -> None:
    track = read(render(tmp_path / name, music(5), RATE, "-c:a", codec))
    assert track.duration_s == 5 / RATE
    assert [len(played(one)) for one in track.renditions] == [5, 5]
