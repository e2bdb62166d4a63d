"""An album is heard as it was made: between two tracks there is no gap, no click, no overlap."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from tests.browser.music import Samples, encode, plucked, write_wav
from tests.browser.player_page import PlayerPage, assert_same_sound, place_of, without_silence
from tests.browser.stack import Stack

CUTS_S = (7.31, 8.137)  # nowhere near a whole frame of any codec
LAST_S = 5.0
# Chromium's MP3 decoder begins a piece with its own delay of 529 frames, silent but on time.
MUTED_S = {"mp3": 0.0136}
FORMATS = {
    "flac": ("flac", 44_100, 0),
    "opus": ("libopus", 48_000, 128_000),
    "m4a": ("aac", 44_100, 192_000),
    "mp3": ("libmp3lame", 44_100, 192_000),
}


@dataclass(frozen=True)
class Album:
    roots: list[str]
    samples: Samples
    rate: int
    borders: list[int]


Albums = tuple[Stack, dict[str, Album]]


@pytest.fixture(scope="module")
def albums(built_player: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Albums]:
    """One continuous piece, cut in three, as four albums."""
    stack = Stack(tmp_path_factory.mktemp("albums-data"))
    found: dict[str, Album] = {}
    for name, (codec, rate, bit_rate) in FORMATS.items():
        whole = plucked(sum(CUTS_S) + LAST_S, rate, 16, 7)
        borders = [round(second * rate) for second in np.cumsum(CUTS_S)]
        folder = tmp_path_factory.mktemp(f"album-{name}")
        for number, part in enumerate(np.split(whole, borders), start=1):
            wav = write_wav(tmp_path_factory.mktemp("wav") / f"{number}.wav", part, rate, 16)
            encode(wav, folder / f"{number:02} Part.{name}", codec, bit_rate)
        lines = stack.publish(folder)
        roots = [line["track_root"] for line in lines if "track_root" in line]
        found[name] = Album(roots, whole, rate, borders)
    stack.start()
    stack.wait_until_ready()
    yield stack, found
    stack.stop()


async def hear(page: PlayerPage, stack: Stack, album: Album) -> Samples:
    """All of an album, from its first track's beginning to nearly its last one's end."""
    release = stack.ask(f"/api/tracks/{album.roots[0]}")["release_id"]
    await page.page.goto(f"{stack.url}/releases/{release}")
    await page.start_capture(album.rate)
    await page.play()
    await page.until("the last track", lambda state: state["index"] == 2 and state["currentTime"] > LAST_S - 1)
    await page.run("player.pause()")
    state = await page.state()
    assert state["errors"] == []
    assert state["stats"]["stalls"] == 0
    assert page.crashes == []
    return without_silence(await page.take_capture(16))


async def test_flac_is_continuous_to_the_sample_across_tracks(albums: Albums, capture_page: PlayerPage) -> None:
    stack, found = albums
    album = found["flac"]
    heard = await hear(capture_page, stack, album)
    start = place_of(heard, album.samples)
    assert start < album.rate // 10
    assert start + len(heard) > album.borders[1] + 3 * album.rate, "both borders were heard"
    assert_same_sound(heard, album.samples[start:], album.rate)


@pytest.mark.parametrize("name", ["opus", "m4a", "mp3"])
async def test_lossy_tracks_follow_each_other_without_gap_or_overlap(
    name: str, albums: Albums, capture_page: PlayerPage
) -> None:
    stack, found = albums
    album = found[name]
    heard = await hear(capture_page, stack, album)
    lags = [lag_at(heard, album.samples, moment, album.rate) for moment in (2.0, 9.5, 17.0)]
    assert max(lags) - min(lags) <= 1, f"tracks moved against each other: {lags}"
    for border in album.borders:
        muted = round(MUTED_S.get(name, 0.0) * album.rate)
        assert border_match(heard, album, border, lags[0], muted) > 0.9


def lag_at(heard: Samples, source: Samples, moment_s: float, rate: int) -> int:
    """How many frames later the source has what was heard around a moment of the source."""
    at, size = int(moment_s * rate), rate
    piece = source[at : at + size, 0].astype(np.float64)
    around = heard[max(0, at - rate // 2) : at + size + rate // 2, 0].astype(np.float64)
    match = np.correlate(around, piece, mode="valid") if len(around) < 3 * rate else np.zeros(1)
    return at - (max(0, at - rate // 2) + int(np.argmax(match)))


def border_match(heard: Samples, album: Album, border: int, lag: int, muted: int) -> float:
    """How alike the two are in the 10 ms before a border and the 10 ms behind it, after `muted` frames."""
    width = album.rate // 100
    places = np.concatenate([np.arange(border - width, border), np.arange(border, border + width) + muted])
    return float(np.corrcoef(heard[places - lag, 0], album.samples[places, 0])[0, 1])
