"""Playlists, read by the standard readers: they must say what the manifest says."""

import hashlib
from dataclasses import replace

import m3u8
import pytest
from mpegdash.parser import MPEGDASHParser

from digm.chunks import FRAME_BYTES
from digm.manifest import Manifest, Rendition
from digm.media import AudioConfig
from digm.playlists import average_bit_rate, dash, hls, hls_media, peak_bit_rate, segment_units

RATE = 44_100


def rendition(number: int, config: AudioConfig, lengths: list[int], init: bytes = b"init") -> Rendition:
    starts = [sum(lengths[:chunk]) for chunk in range(len(lengths))]
    return Rendition(
        id=number, config=config, bit_rate=900_000, frames_per_chunk=8, last_chunk_frames=3,
        duration=sum(lengths), init=init,
        chunk_hashes=tuple(hashlib.sha256(bytes([number, chunk])).digest() for chunk in range(len(lengths))),
        fragments=tuple(((0, start), (70_000, start + 1)) for start in starts),
    )  # fmt: skip


FLAC = rendition(0, AudioConfig("flac", RATE, 2, 16, RATE, bytes(34), 0, 0), [4096 * 45] * 3 + [4096 * 47, 999])
OPUS = rendition(
    1, AudioConfig("opus", 48_000, 1, 0, 48_000, b"OpusHead" + bytes(11), 312, 100), [960 * 211] * 4 + [960]
)
MP3 = rendition(2, AudioConfig("mp3", RATE, 2, 0, RATE, b"", 1_105, 900), [1152 * 153] * 7, b"")
TRACK = Manifest(
    title="<&\"\n#EXT-X-ENDLIST", artist=None, album=None, track_number=None, year=None, genre=None, isrc=None,
    licence=None, cover=None, duration_s=FLAC.presented_duration_s, loudness_lufs=None, true_peak_db=None,
    peaks=b"", preview_s=None, key_commitment=bytes(32), track_root=bytes(32), audit_root=bytes(32),
    artist_key=bytes(32), renditions=(FLAC, OPUS, MP3),
)  # fmt: skip


def test_the_standard_reader_finds_every_rendition_in_the_master_playlist() -> None:
    playlist = m3u8.loads(hls(TRACK))
    assert playlist.is_variant
    assert [variant.uri for variant in playlist.playlists] == ["0.m3u8", "1.m3u8", "2.m3u8"]
    told = [variant.stream_info for variant in playlist.playlists]
    assert [info.codecs for info in told] == ["fLaC", "Opus", "mp4a.40.34"]
    assert [info.average_bandwidth for info in told] == [average_bit_rate(it) for it in TRACK.renditions]
    assert [info.bandwidth for info in told] == [peak_bit_rate(it) for it in TRACK.renditions]


@pytest.mark.parametrize("it", TRACK.renditions, ids=lambda it: it.config.codec)
def test_a_media_playlist_agrees_with_the_manifest_on_names_durations_and_count(it: Rendition) -> None:
    playlist = m3u8.loads(hls_media(it))
    assert [segment.uri for segment in playlist.segments] == [f"../{name.hex()}" for name in it.chunk_hashes]
    assert playlist.is_endlist
    assert playlist.playlist_type == "vod"
    timescale = it.config.timescale
    for segment, units in zip(playlist.segments, segment_units(it), strict=True):
        assert segment.duration == pytest.approx(units / timescale, abs=1.1e-6)
        assert round(segment.duration) <= playlist.target_duration
    total = sum(round(segment.duration * 1_000_000) for segment in playlist.segments)
    assert total == round(it.duration / timescale * 1_000_000)
    assert [part.uri for part in playlist.segment_map] == ([f"{it.id}.mp4"] if it.init else [])


def test_every_segment_is_said_to_be_encrypted_and_the_init_segment_is_not() -> None:
    text = hls_media(FLAC)
    assert text.index("#EXT-X-MAP") < text.index("#EXT-X-KEY") < text.index("#EXTINF")
    playlist = m3u8.loads(text)
    assert {segment.key.method for segment in playlist.segments} == {"DIGM-AES-256-GCM"}
    assert {segment.key.keyformat for segment in playlist.segments} == {"urn:digm:frames:1"}


def test_the_standard_reader_of_dash_agrees_with_the_manifest() -> None:
    description = MPEGDASHParser.parse(dash(TRACK))
    assert description.media_presentation_duration == f"PT{TRACK.duration_s:.6f}".rstrip("0") + "S"
    [period] = description.periods
    assert len(period.adaptation_sets) == len(TRACK.renditions)
    for adaptation_set, it in zip(period.adaptation_sets, TRACK.renditions, strict=True):
        [representation] = adaptation_set.representations
        assert representation.bandwidth == peak_bit_rate(it)
        assert representation.audio_sampling_rate == str(it.config.sample_rate)
        [segments] = representation.segment_lists
        names = [url.media for url in segments.segment_urls]
        assert names == [f"../{name.hex()}" for name in it.chunk_hashes]
        [timeline] = segments.segment_timelines
        spread = [entry.d for entry in timeline.Ss for _ in range((entry.r or 0) + 1)]
        assert spread == segment_units(it)
        assert sum(spread) == it.duration
        starts = [entry.t for entry in timeline.Ss]
        assert starts[0] == 0
        assert set(starts) <= {fragments[0][1] for fragments in it.fragments}
        assert (segments.timescale, segments.presentation_time_offset) == (it.config.timescale, it.config.delay)


def test_rates_are_those_of_the_ciphertext_and_a_short_end_counts_only_with_its_neighbour() -> None:
    fetched = (4 * 8 + 3) * FRAME_BYTES * 8
    assert average_bit_rate(FLAC) == pytest.approx(fetched / (FLAC.duration / RATE), abs=1)
    last_two = (8 + 3) * FRAME_BYTES * 8 / ((4096 * 47 + 999) / RATE)
    assert peak_bit_rate(FLAC) == pytest.approx(last_two, abs=1)
    single = replace(FLAC, duration=4096, chunk_hashes=FLAC.chunk_hashes[:1], fragments=(((0, 0),),))
    assert peak_bit_rate(single) == average_bit_rate(single)


def test_untrusted_text_never_reaches_a_playlist() -> None:
    assert TRACK.title not in hls(TRACK) + dash(TRACK)
    assert "<&" not in dash(TRACK)
