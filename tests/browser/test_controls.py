"""Keys, sliders and what assistive technology hears."""

from tests.browser.conftest import Recording
from tests.browser.player_page import PlayerPage
from tests.browser.stack import Stack


async def test_the_keyboard_does_everything(
    stack: Stack, recordings: dict[str, Recording], player_page: PlayerPage
) -> None:
    await player_page.visit(stack.url, recordings["flac"].track_root)
    press = player_page.page.keyboard.press
    await player_page.view.locator("digm-player #scrubber").focus()
    await press("k")
    await player_page.until("k plays", lambda state: not state["paused"])
    await player_page.until_sound()
    await press(" ")
    before = (await player_page.until("space pauses", lambda state: state["paused"]))["currentTime"]
    await press("ArrowRight")
    await player_page.until("right is 5 s on", lambda state: abs(state["currentTime"] - before - 5) < 0.1)
    await press("ArrowLeft")
    await player_page.until("left is 5 s back", lambda state: abs(state["currentTime"] - before) < 0.1)
    await press("End")
    await player_page.until("end", lambda state: state["currentTime"] > 59)
    await press("Home")
    await player_page.until("home", lambda state: state["currentTime"] == 0)
    await press("ArrowDown")
    await player_page.until("down is quieter", lambda state: abs(state["volume"] - 0.95) < 0.001)
    await press("ArrowUp")
    await player_page.until("up is louder", lambda state: state["volume"] == 1)
    await press("m")
    await player_page.until("m mutes", lambda state: state["muted"])
    await press("m")
    await player_page.until("m again", lambda state: not state["muted"])


async def test_the_position_is_a_slider_that_says_where_it_is(
    stack: Stack, recordings: dict[str, Recording], player_page: PlayerPage
) -> None:
    await player_page.visit(stack.url, recordings["flac"].track_root)
    await player_page.until("the length", lambda state: state["duration"] == 60)
    await player_page.run("player.currentTime = 31")
    scrubber = player_page.view.locator("digm-player #scrubber")
    await player_page.until("the seek", lambda state: state["currentTime"] == 31)
    assert await scrubber.get_attribute("role") == "slider"
    assert await scrubber.get_attribute("aria-valuetext") == "0:31 of 1:00"
    assert await scrubber.get_attribute("aria-valuenow") == "31"
    box = await scrubber.bounding_box()
    assert box is not None
    await player_page.page.mouse.click(box["x"] + box["width"] / 4, box["y"] + 10)
    await player_page.until("a click seeks", lambda state: abs(state["currentTime"] - 15) < 0.5)


async def test_the_element_mirrors_an_audio_element(
    stack: Stack, recordings: dict[str, Recording], player_page: PlayerPage
) -> None:
    await player_page.visit(stack.url, recordings["flac"].track_root)
    await player_page.run(
        "globalThis.heard = []; for (const type of "
        "['play', 'playing', 'pause', 'seeked', 'timeupdate', 'volumechange'])"
        " player.addEventListener(type, () => heard.push(type));"
    )
    assert await player_page.run("return player.play().then(() => 'playing')") == "playing"
    await player_page.until_sound()
    await player_page.run("player.volume = 0.5; player.currentTime = 10")
    await player_page.until_time(10.1)
    await player_page.run("player.pause()")
    state = await player_page.until("a pause", lambda state: state["paused"])
    heard = await player_page.run("return heard")
    assert set(heard) == {"play", "playing", "pause", "seeked", "timeupdate", "volumechange"}
    assert state["volume"] == 0.5
    assert state["stats"]["first_sound_ms"] > 0
    metadata = await player_page.run("return navigator.mediaSession.metadata.title")
    assert metadata == await player_page.run("return player.description.title")
