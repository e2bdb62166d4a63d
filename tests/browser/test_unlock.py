"""A preview ends at its last sample; a key that comes opens the rest where it lies, and the sound goes on."""

from collections.abc import Iterator

import numpy as np
import pytest

from tests.browser.conftest import Recording
from tests.browser.music import Samples, encode, plucked, write_wav
from tests.browser.player_page import (
    PlayerPage,
    assert_same_sound,
    place_of,
    without_dropouts,
    without_silence,
)
from tests.browser.purchases import buy
from tests.browser.stack import Stack

PREVIEW_S = 6
FADE_S = 0.3
Music = tuple[Stack, dict[str, Recording]]


@pytest.fixture(scope="module")
def for_sale(built_player: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Music]:
    """Tracks with a preview of six seconds: FLAC, and Opus alone."""
    folder = tmp_path_factory.mktemp("for sale")
    stack = Stack(tmp_path_factory.mktemp("unlock"))
    recordings = {}
    for number, (name, rate) in enumerate({"flac": 44_100, "opus": 48_000}.items()):
        samples = plucked(16, rate, 16, 40 + number)
        path = write_wav(folder / f"{name}.wav", samples, rate, 16)
        if name == "opus":
            path = encode(path, folder / "strings.opus", "libopus", 128_000)
        (line,) = stack.publish(path, "--preview-seconds", str(PREVIEW_S))
        recordings[name] = Recording(line["track_root"], samples, rate, 16)
    stack.start("hub", "gateway", "artist")
    stack.wait_until_ready()
    yield stack, recordings
    stack.stop()


async def capture(page: PlayerPage, stack: Stack, track: Recording) -> None:
    await page.visit(stack.url, track.track_root)
    await page.start_capture(track.rate)
    await page.play()


def assert_softly_ended(heard: Samples, source: Samples, rate: int) -> None:
    """It is the source up to its end, and the end is soft and the source's as well."""
    fade = int((FADE_S + 0.1) * rate)
    assert_same_sound(heard[:-fade], source, rate)
    loud = np.abs(source[len(heard) - fade : len(heard)]).astype(np.int64)
    soft = np.abs(heard[-fade:]).astype(np.int64)
    assert (soft <= loud + 1).all()
    quarters = [(soft[part].sum() + 1) / (loud[part].sum() + 1) for part in np.array_split(np.arange(fade), 4)]
    assert quarters == sorted(quarters, reverse=True)
    assert quarters[-1] < 0.5


async def test_a_preview_ends_softly_at_its_last_sample_and_goes_on_from_there_with_the_key(
    for_sale: Music, capture_page: PlayerPage
) -> None:
    stack, tracks = for_sale
    track = tracks["flac"]
    page = capture_page
    await capture(page, stack, track)
    state = await page.until("the end of the preview", lambda state: state["paused"] and state["errors"])
    assert [error["code"] for error in state["errors"]] == ["preview_ended"]
    assert await page.run("return player.preview") == {"seconds": PREVIEW_S, "ended": True}
    assert abs(state["currentTime"] - PREVIEW_S) < 0.05
    heard = without_silence(without_dropouts(await page.take_capture(16)))
    start = place_of(heard, track.samples)
    print("heard to", start + len(heard), PREVIEW_S * track.rate)
    assert start + len(heard) == PREVIEW_S * track.rate
    assert_softly_ended(heard, track.samples[start:], track.rate)

    await buy(page, stack, track.track_root)
    state = await page.until_time(PREVIEW_S + 4)
    await page.run("player.pause()")
    after = without_silence(without_dropouts(await page.take_capture(16)))
    assert_same_sound(after, track.samples[PREVIEW_S * track.rate :], track.rate)
    state = await page.state()
    assert state["stats"]["bytes"]["twice"] == 0
    assert await page.run("return [player.preview, player.owned, player.volume]") == [None, True, 1]
    assert page.crashes == []


async def test_a_key_that_comes_while_the_preview_plays_is_not_heard(
    for_sale: Music, capture_page: PlayerPage
) -> None:
    stack, tracks = for_sale
    track = tracks["flac"]
    page = capture_page
    await capture(page, stack, track)
    await page.until_time(2)
    await buy(page, stack, track.track_root)
    await page.until_time(PREVIEW_S + 3)
    await page.run("player.pause()")
    heard = without_silence(await page.take_capture(16))
    start = place_of(heard, track.samples)
    assert_same_sound(heard, track.samples[start:], track.rate)
    state = await page.state()
    assert state["errors"] == []
    assert (state["stats"]["stalls"], state["stats"]["bytes"]["twice"]) == (0, 0)
