"""The hub goes away during play: the listeners go on with each other, meet new ones, and find it again."""

import json
import re
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, WebSocketRoute

from tests.browser.music import Samples, plucked, write_wav
from tests.browser.player_page import PlayerPage
from tests.browser.stack import Stack

Music = dict[str, tuple[Path, Samples, int, int]]
LISTENERS = 4


async def listeners(browser: Browser, contexts: AsyncExitStack, count: int) -> list[PlayerPage]:
    """Pages of their own, each in its own profile."""
    pages = []
    for _ in range(count):
        context = await contexts.enter_async_context(await browser.new_context())
        pages.append(await PlayerPage.open(context))
    return pages


async def hide_from_signalling(page: PlayerPage, peer: str) -> None:
    """As if the hub had not named this peer, and nothing of it came through."""

    def between(route: WebSocketRoute) -> None:
        server = route.connect_to_server()

        def from_hub(text: str | bytes) -> None:
            document = json.loads(text)
            if peer in (document.get("peer"), document.get("from")):
                return
            if document["type"] == "peers":
                document["peers"] = [item for item in document["peers"] if item["peer"] != peer]
            route.send(json.dumps(document))

        server.on_message(from_hub)

    await page.page.route_web_socket(re.compile("/signal$"), between)


def ids(state: dict[str, Any]) -> set[str]:
    """Who a page is connected with; nothing is told before Python is up."""
    return {link["peer"] for link in state["stats"].get("links", [])}


async def test_everybody_plays_to_the_end_without_the_hub_and_the_swarm_is_whole_when_it_is_back(
    own_stack: Stack, tmp_path: Path, browser: Browser
) -> None:
    wav = write_wav(tmp_path / "studio.wav", plucked(16, 96_000, 24, 3), 96_000, 24)
    (track,) = own_stack.publish(wav)
    own_stack.start("hub", "gateway", "artist")
    own_stack.wait_until_ready()
    async with AsyncExitStack() as contexts:
        pages = await listeners(browser, contexts, LISTENERS)
        for page in pages:
            await page.visit(own_stack.url, track["track_root"])
            await page.play()
        for page in pages:
            await page.until("a mesh", lambda state: len(ids(state)) == LISTENERS - 1)
        own_stack.kill("hub")
        for page in pages:
            state = await page.until("the end", lambda state: state["ended"])
            assert state["stats"]["stalls"] == 0
            assert state["errors"] == []
            assert len(ids(state)) == LISTENERS - 1

        own_stack.start("hub")
        (late,) = await listeners(browser, contexts, 1)
        own_stack.wait_until_ready()
        await late.visit(own_stack.url, track["track_root"])
        await late.play()
        state = await late.until("the whole swarm", lambda state: len(ids(state)) == LISTENERS, 60)
        assert state["errors"] == []
        for page in [*pages, late]:
            assert page.crashes == []


async def test_two_who_never_met_are_introduced_by_a_common_neighbour_while_the_hub_is_away(
    own_stack: Stack, music: Music, browser: Browser
) -> None:
    (track,) = own_stack.publish(music["flac"][0])
    own_stack.start("hub", "gateway", "artist")
    own_stack.wait_until_ready()
    async with AsyncExitStack() as contexts:
        first, common, last = await listeners(browser, contexts, 3)
        for page in (first, common):
            await page.visit(own_stack.url, track["track_root"])
            await page.play()
            await page.until_sound()
        for page in (first, common):
            await page.until("a link", lambda state: len(ids(state)) == 1)
        # The last one may not be told of the first by the hub, so that only the common neighbour can do it.
        (first_id,) = ids(await common.state())
        await hide_from_signalling(last, first_id)
        await last.visit(own_stack.url, track["track_root"])
        await last.play()
        await last.until("the common neighbour", lambda state: len(ids(state)) == 1)
        own_stack.kill("hub")
        state = await last.until("an introduction", lambda state: first_id in ids(state))
        assert len(ids(state)) == 2
        await first.until("both", lambda state: len(ids(state)) == 2)
        for page in (first, common, last):
            assert page.crashes == []
