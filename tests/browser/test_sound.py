"""What comes out of the browser is what the artist put in."""

from tests.browser.conftest import Recording
from tests.browser.player_page import (
    PlayerPage,
    assert_same_sound,
    place_of,
    without_silence,
)
from tests.browser.stack import Stack


async def test_a_published_flac_is_heard_sample_for_sample_across_chunks_and_after_a_seek(
    stack: Stack, recordings: dict[str, Recording], capture_page: PlayerPage
) -> None:
    flac = recordings["flac"]
    await capture_page.visit(stack.url, flac.track_root)
    await capture_page.start_capture(flac.rate)
    await capture_page.play()
    await capture_page.until_time(22, patience_s=60)
    await capture_page.run("player.pause()")
    heard = without_silence(await capture_page.take_capture(flac.bits))
    start = place_of(heard, flac.samples)
    assert len(heard) >= 20 * flac.rate
    assert start < flac.rate
    assert_same_sound(heard, flac.samples[start:], flac.rate)

    await capture_page.run("player.currentTime = 41.3")
    await capture_page.until("the seek", lambda state: state["readyState"] >= 3)
    await capture_page.take_capture(flac.bits)
    await capture_page.run("player.play()")
    await capture_page.until_time(46)
    await capture_page.run("player.pause()")
    after = without_silence(await capture_page.take_capture(flac.bits))
    start = place_of(after, flac.samples)
    assert len(after) >= 4 * flac.rate
    assert abs(start / flac.rate - 41.3) < 0.1
    assert_same_sound(after, flac.samples[start:], flac.rate)
    state = await capture_page.state()
    assert state["errors"] == []
    assert state["stats"]["stalls"] == 0
    assert capture_page.crashes == []
