"""A queue: tracks that follow each other, and what the listener does to their order."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.async_api import Page, Route

from tests.browser.music import encode, plucked, write_wav
from tests.browser.player_page import PlayerPage
from tests.browser.stack import Stack

SECONDS = (6, 60, 7)  # the middle one is long enough to be left in the middle
Album = tuple[Stack, str, list[str]]


@pytest.fixture(scope="module")
def album(built_player: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Album]:
    """A release of three tracks in a DIGM of its own; its id and roots."""
    stack = Stack(tmp_path_factory.mktemp("queue-data"))
    folder = tmp_path_factory.mktemp("queue")
    for number, seconds in enumerate(SECONDS, start=1):
        wav = write_wav(
            tmp_path_factory.mktemp("wav") / "part.wav", plucked(seconds, 44_100, 16, number), 44_100, 16
        )
        encode(wav, folder / f"Part {number}.flac", "flac")
    roots = [line["track_root"] for line in stack.publish(folder) if "track_root" in line]
    stack.start("hub", "gateway", "artist")
    stack.wait_until_ready()
    yield stack, stack.ask(f"/api/tracks/{roots[0]}")["release_id"], roots
    stack.stop()


def gateway_chunks(page: Page, stack: Stack) -> list[str]:
    """Grows by each chunk that the page asks the gateway for."""
    asked: list[str] = []
    prefix = f"http://localhost:{stack.ports['gateway']}/"

    def note(request: Any) -> None:
        if request.url.startswith(prefix) and not request.url.endswith("manifest.json"):
            asked.append(request.url.removeprefix(prefix))

    page.on("request", note)
    return asked


async def names_of(page: PlayerPage) -> tuple[str, str]:
    """What the player shows, and what the lock screen would."""
    shown = await page.view.locator("digm-player #title").text_content()
    session = await page.page.evaluate("() => navigator.mediaSession.metadata?.title")
    return str(shown), session


async def test_a_release_page_plays_its_tracks_and_its_rows_play_theirs(
    album: Album, player_page: PlayerPage
) -> None:
    stack, release, _ = album
    await player_page.page.goto(f"{stack.url}/releases/{release}")
    await player_page.play()
    await player_page.until_time(0.5)
    assert await names_of(player_page) == ("Part 1", "Part 1")
    await player_page.page.get_by_role("button", name="Play Part 3").click()
    state = await player_page.until("part 3", lambda s: s["index"] == 2 and s["currentTime"] > 0.3)
    assert abs(state["duration"] - SECONDS[2]) < 0.01
    assert await names_of(player_page) == ("Part 3", "Part 3")
    assert await player_page.page.locator("[aria-current]").get_attribute("data-plays") == "2"
    await player_page.run("player.currentTime = 6.2")
    state = await player_page.until("the end", lambda s: s["ended"])
    assert state["index"] == 2
    await player_page.play()
    state = await player_page.until("the beginning", lambda s: s["index"] == 0 and s["currentTime"] > 0.2)
    assert not state["ended"]
    assert state["errors"] == []
    assert player_page.crashes == []


async def test_time_duration_and_title_are_those_of_the_track_that_is_heard_and_ended_is_said_once(
    album: Album, player_page: PlayerPage
) -> None:
    stack, release, roots = album
    await player_page.page.goto(f"{stack.url}/releases/{release}")
    await player_page.run(
        """globalThis.ends = 0; player.addEventListener('ended', () => { ends += 1; });
        globalThis.changes = [];
        player.addEventListener('trackchange', ({detail}) => changes.push(detail.track));"""
    )
    await player_page.play()
    await player_page.until_time(4)
    state = await player_page.until("the second track", lambda s: s["index"] == 1)
    assert state["currentTime"] < 2
    assert abs(state["duration"] - 60) < 0.01
    assert state["buffered"][0][0] < 0.1
    await player_page.until_time(2)
    await player_page.run("player.currentTime = 58")
    await player_page.until("the third track", lambda s: s["index"] == 2 and s["currentTime"] > 1)
    assert await names_of(player_page) == ("Part 3", "Part 3")
    await player_page.until("the end", lambda s: s["ended"])
    assert await player_page.page.evaluate("ends") == 1
    assert (await player_page.page.evaluate("changes"))[-2:] == roots[1:]
    assert player_page.crashes == []


async def test_next_and_previous_and_what_a_skip_gives_up(album: Album, player_page: PlayerPage) -> None:
    stack, release, _ = album
    await player_page.page.goto(f"{stack.url}/releases/{release}")
    await player_page.play()
    await player_page.until_time(0.5)
    await player_page.run("player.next()")
    await player_page.until("the second", lambda s: s["index"] == 1 and s["currentTime"] > 0.3)
    asked = gateway_chunks(player_page.page, stack)
    await player_page.run("player.next()")
    await player_page.until("the third", lambda s: s["index"] == 2 and s["currentTime"] > 0.3)
    middle = {path.name for path in stack.chunks_of(album[2][1])}
    assert not middle & set(asked), "nothing more of what was skipped is asked for"
    assert await player_page.view.locator("digm-player #next").is_disabled()
    await player_page.until_time(3.5)
    await player_page.run("player.previous()")
    state = await player_page.until("its beginning", lambda s: s["currentTime"] < 2)
    assert state["index"] == 2
    await player_page.run("player.previous()")
    await player_page.until("the one before", lambda s: s["index"] == 1 and s["currentTime"] > 0.3)
    assert (await player_page.state())["errors"] == []
    assert player_page.crashes == []


async def test_repeat_and_shuffle_change_what_comes_next_even_when_it_was_planned(
    album: Album, player_page: PlayerPage
) -> None:
    stack, release, _ = album
    await player_page.page.goto(f"{stack.url}/releases/{release}")
    await player_page.play()
    await player_page.until_time(3.5)  # the second track is planned and fed behind the first by now
    await player_page.run("player.repeat = 'one'")
    await player_page.until_time(4.5)
    state = await player_page.until("it again", lambda s: 0.2 < s["currentTime"] < 2)
    assert state["index"] == 0
    await player_page.run("player.repeat = 'all'; player.playTrack(2)")
    await player_page.until("the third", lambda s: s["index"] == 2 and s["currentTime"] > 0.2)
    await player_page.run("player.currentTime = 5")
    await player_page.until("the first again", lambda s: s["index"] == 0 and s["currentTime"] > 0.2)
    await player_page.run("player.repeat = 'off'; player.shuffle = true")
    await player_page.run("player.next()")
    state = await player_page.until("another", lambda s: s["index"] != 0 and s["currentTime"] > 0.2)
    assert state["errors"] == []
    assert player_page.crashes == []


async def test_a_track_that_cannot_be_opened_is_left_out_and_said(
    album: Album, player_page: PlayerPage
) -> None:
    stack, _, roots = album
    await player_page.page.goto(f"{stack.url}/tracks/{roots[0]}")
    nowhere = "ab" * 32
    await player_page.run(f"player.setAttribute('tracks', '{roots[0]} {nowhere} {roots[2]}')")
    await player_page.play()
    await player_page.until("the third", lambda s: s["index"] == 2 and s["currentTime"] > 0.2)
    assert [error["code"] for error in (await player_page.state())["errors"]] == ["track_left_out"]
    assert player_page.crashes == []


async def test_a_release_is_found_by_its_id_alone(album: Album, player_page: PlayerPage) -> None:
    stack, release, roots = album
    await player_page.page.goto(f"{stack.url}/tracks/{roots[0]}")
    await player_page.run(
        f"player.removeAttribute('track'); player.setAttribute('release', '{release}');"
        "player.replaceWith(player.cloneNode())"
    )
    await player_page.play()
    await player_page.until_sound()
    queue = await player_page.run("return player.queue.map(({track}) => track)")
    assert queue == roots


async def test_the_next_track_is_opened_before_the_hub_is_needed_for_it(
    album: Album, player_page: PlayerPage
) -> None:
    stack, release, _ = album
    await player_page.page.goto(f"{stack.url}/releases/{release}")
    await player_page.play()
    await player_page.until_time(3)

    async def gone(route: Route) -> None:
        await route.abort()

    await player_page.page.route("**/api/**", gone)
    state = await player_page.until("the second", lambda s: s["index"] == 1 and s["currentTime"] > 3)
    assert state["errors"] == []
    assert state["stats"]["stalls"] == 0
