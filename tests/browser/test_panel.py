"""The numbers for people: drawn, named for those who do not see, reached and left by keys."""

from playwright.async_api import BrowserContext

from tests.browser.conftest import Recording
from tests.browser.player_page import PlayerPage
from tests.browser.stack import Stack


async def test_the_panel_says_who_gave_what_and_is_reached_and_left_by_keys(
    stack: Stack, recordings: dict[str, Recording], player_page: PlayerPage, context: BrowserContext
) -> None:
    root = recordings["flac"].track_root
    other = await PlayerPage.open(context)
    await other.visit(stack.url, root)
    await other.play()
    await other.until_time(3)
    await player_page.visit(stack.url, root)
    await player_page.page.emulate_media(reduced_motion="reduce")
    await player_page.play()
    state = await player_page.until("a peer", lambda s: s["stats"]["peers"] and s["currentTime"] > 3)
    player = player_page.view.locator("digm-player")
    panel = player.get_by_role("region", name="Where the music comes from")
    assert not await panel.is_visible()
    await player.locator("#play").press("i")
    assert await panel.is_visible()
    assert await player.locator("#numbers").get_attribute("aria-expanded") == "true"
    drawn = player.locator("#panel-net")
    await player.locator("#panel-net[aria-label]").wait_for()
    told = str(await drawn.get_attribute("aria-label"))
    assert "with " in told
    assert "from " in told
    spots = await drawn.locator(".spot.peer").count()
    assert spots == len((await player_page.state())["stats"]["links"]) >= 1
    assert await drawn.locator(".ring").count() >= 1
    assert await player.locator("#panel-strip .came").count() >= 1
    assert await player.locator("#panel-strip .head").count() == 1
    await player.locator("#panel-forget").focus()
    await player_page.page.keyboard.press("Escape")
    assert not await panel.is_visible()
    assert await player_page.run("return player.shadowRoot.activeElement.id") == "numbers"
    assert state["errors"] == []
    assert player_page.crashes == []


async def test_what_is_kept_on_the_device_is_said_and_forgotten_on_demand(
    stack: Stack, recordings: dict[str, Recording], player_page: PlayerPage
) -> None:
    await player_page.visit(stack.url, recordings["mp3"].track_root)
    await player_page.play()
    await player_page.until_time(3)
    player = player_page.view.locator("digm-player")
    await player.locator("#numbers").click()
    await player_page.run("player.pause()")
    await player.get_by_role("button", name="Forget it").click()
    await player.get_by_text("Nothing is kept on this device.").wait_for()
    assert player_page.crashes == []
