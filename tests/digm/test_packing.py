import io
import itertools
import struct

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digm.chunks import FRAME_PLAINTEXT_BYTES
from digm.errors import CallerFault
from digm.media import AudioConfig, Sample
from digm.mp4 import init_segment
from digm.packing import frames_per_chunk, pack

FLAC = AudioConfig("flac", 44_100, 2, 16, 44_100, bytes(34), 0, 0)
MP3 = AudioConfig("mp3", 44_100, 2, 0, 44_100, b"", 1_105, 0)


def boxes(data):
    """Top-level boxes of an MP4 stream: (kind, payload)."""
    offset = 0
    while offset < len(data):
        size, kind = struct.unpack_from(">I4s", data, offset)
        assert size >= 8
        yield kind, data[offset + 8 : offset + size], offset
        offset += size
    assert offset == len(data)


samples_lists = st.lists(
    st.builds(Sample, st.integers(1, 20_000).map(bytes), st.integers(100, 20_000)), min_size=1, max_size=200
)


@settings(max_examples=60)
@given(samples_lists, st.sampled_from([1, 2, 4]))
def test_every_chunk_fills_its_frames_exactly_and_starts_with_a_moof(samples, frames):
    chunks = list(pack(FLAC, samples, frames))
    for chunk in chunks[:-1]:
        assert len(chunk.plaintext) == frames * FRAME_PLAINTEXT_BYTES
    assert len(chunks[-1].plaintext) in {n * FRAME_PLAINTEXT_BYTES for n in range(1, frames + 1)}
    for chunk in chunks:
        kinds = [(kind, offset) for kind, _, offset in boxes(chunk.plaintext)]
        assert kinds[0] == (b"moof", 0)
        assert [offset for kind, offset in kinds if kind == b"moof"] == [
            offset for offset, _ in chunk.fragments
        ]
        assert {kind for kind, _ in kinds} <= {b"moof", b"mdat", b"free"}


@settings(max_examples=60)
@given(samples_lists)
def test_no_sound_is_lost_and_times_are_continuous(samples):
    chunks = list(pack(FLAC, samples, 1))
    payload = b"".join(body for chunk in chunks for kind, body, _ in boxes(chunk.plaintext) if kind == b"mdat")
    assert payload == b"".join(sample.payload for sample in samples)
    starts = [start for chunk in chunks for _, start in chunk.fragments]
    moments, now = set(), 0
    for sample in samples:
        moments.add(now)
        now += sample.duration
    assert starts == sorted(starts)
    assert set(starts) <= moments
    assert starts[0] == 0


@given(st.integers(1, 400), st.integers(1, 9_000))
def test_a_chunk_never_holds_more_than_8_seconds_nor_a_fragment_more_than_2(count, size):
    samples = [Sample(bytes(size), 4_096)] * count
    chunks = list(pack(FLAC, samples, 8))
    starts = [chunk.start for chunk in chunks] + [count * 4_096]
    assert all(after - before <= 8 * 44_100 for before, after in itertools.pairwise(starts))
    for chunk, end in zip(chunks, starts[1:], strict=True):
        times = [start for _, start in chunk.fragments] + [end]
        assert all(after - before <= 2 * 44_100 for before, after in itertools.pairwise(times))


@pytest.mark.parametrize("short_by", range(1, 8))
def test_a_remainder_too_small_for_a_free_box_moves_the_last_sample_on(short_by):
    probe = next(pack(FLAC, [Sample(bytes(1_000), 1_000)] * 2, 1))
    used = len(probe.plaintext) - next(
        len(body) + 8 for kind, body, _ in boxes(probe.plaintext) if kind == b"free"
    )
    filling = Sample(bytes(1_000 + FRAME_PLAINTEXT_BYTES - used - short_by), 1_000)
    first, second = pack(FLAC, [Sample(bytes(1_000), 1_000), filling], 1)
    assert first.start == 0
    assert second.start == 1_000


@settings(max_examples=60)
@given(samples_lists, st.integers(1, 20), st.sampled_from([(FLAC, 2), (MP3, 2)]))
def test_a_chunk_ends_with_the_access_unit_in_which_the_preview_ends(samples, preview_s, kind):
    config, frames = kind
    chunks = list(pack(config, samples, frames, preview_s=preview_s))
    end = config.delay + preview_s * config.timescale
    starts = [0, *itertools.accumulate(sample.duration for sample in samples)]
    behind = [start for start in starts[:-1] if start >= end]
    if behind:
        assert behind[0] in [chunk.start for chunk in chunks]
    uncut = list(pack(config, samples, frames))
    assert len(chunks) <= len(uncut) + 1
    assert chunks[0] == uncut[0] or chunks[1].start >= end
    for chunk in chunks[:-1]:
        assert len(chunk.plaintext) == frames * FRAME_PLAINTEXT_BYTES


def test_mp3_chunks_start_at_a_frame_and_are_filled_with_an_empty_id3_tag():
    samples = [Sample(b"\xff\xfb" + bytes([i % 200]) * 415, 1_152) for i in range(400)]
    chunks = list(pack(MP3, samples, 1))
    audio = b""
    for chunk in chunks:
        assert chunk.plaintext.startswith(b"\xff\xfb")
        tag = chunk.plaintext.index(b"ID3\x04")
        size = sum(
            byte << shift
            for byte, shift in zip(chunk.plaintext[tag + 6 : tag + 10], (21, 14, 7, 0), strict=True)
        )
        assert tag + 10 + size == len(chunk.plaintext)
        audio += chunk.plaintext[:tag]
    assert audio == b"".join(sample.payload for sample in samples)


@pytest.mark.parametrize(
    ("bit_rate", "frames"),
    [(24_000, 1), (128_000, 1), (320_000, 2), (900_000, 8), (1_411_000, 16), (2_800_000, 16), (9_000_000, 16)],
)
def test_the_chunk_size_follows_the_bit_rate(bit_rate, frames):
    assert frames_per_chunk(bit_rate * 60 // 8, 60.0, 2_000) == frames


def test_an_access_unit_larger_than_any_chunk_is_refused():
    with pytest.raises(CallerFault) as fault:
        frames_per_chunk(10**8, 60.0, 2 * 2**20)
    assert fault.value.code == "sample_too_large"


@pytest.mark.parametrize(("rate", "bits", "channels"), [(44_100, 16, 2), (96_000, 24, 2), (48_000, 16, 1)])
def test_ffmpeg_reads_back_every_flac_frame_of_any_run_of_chunks(rate, bits, channels):
    """A foreign reader on real FLAC: all packets, bit by bit, from the first chunk and from a middle one."""
    config, samples = encoded_flac(rate, bits, channels, seconds=12)
    chunks = list(pack(config, samples, 2))
    assert len(chunks) >= 3
    for first in (0, 1):
        stream = init_segment(config) + b"".join(chunk.plaintext for chunk in chunks[first:])
        with av.open(io.BytesIO(stream), format="mp4") as container:
            audio = container.streams.audio[0]
            assert audio.codec_context.name == "flac"
            assert audio.codec_context.sample_rate == rate
            packets = [bytes(packet) for packet in container.demux(audio) if packet.size]
        skipped = sum(1 for _ in samples_before(samples, chunks[first].start))
        assert packets == [sample.payload for sample in samples[skipped:]]


def samples_before(samples, moment):
    now = 0
    for sample in samples:
        if now >= moment:
            return
        now += sample.duration
        yield sample


def encoded_flac(rate, bits, channels, seconds):
    noise = np.random.default_rng(1).integers(-3_000, 3_000, (1, rate * seconds * channels), dtype=np.int16)
    encoder = av.CodecContext.create("flac", "w")
    encoder.sample_rate, encoder.layout = rate, "stereo" if channels == 2 else "mono"
    encoder.format = "s16" if bits == 16 else "s32"
    samples, size = [], 4_096 * channels
    data = noise if bits == 16 else noise.astype(np.int32) << 16
    for at in range(0, data.shape[1], size):
        frame = av.AudioFrame.from_ndarray(
            data[:, at : at + size], format=encoder.format.name, layout=encoder.layout.name
        )
        frame.sample_rate, frame.pts = rate, at // channels
        samples += [Sample(bytes(packet), packet.duration) for packet in encoder.encode(frame)]
    samples += [Sample(bytes(packet), packet.duration) for packet in encoder.encode(None) if packet.size]
    return AudioConfig("flac", rate, channels, bits, rate, bytes(encoder.extradata)[:34], 0, 0), samples
