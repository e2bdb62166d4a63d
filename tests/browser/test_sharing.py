"""What a listener decides about sharing is what happens: counted at the browser's own doors."""

import json
import re
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from tests.browser.conftest import Recording, Unseeded
from tests.browser.music import Samples
from tests.browser.player_page import PlayerPage
from tests.browser.stack import Stack

Music = dict[str, tuple[Path, Samples, int, int]]

COUNT_CONNECTIONS = """
globalThis.connections = [];
const Real = globalThis.RTCPeerConnection;
globalThis.RTCPeerConnection = class extends Real {
  constructor(settings) { super(settings); connections.push(settings?.iceTransportPolicy ?? 'all'); }
};
"""
NETWORK = "Object.defineProperty(navigator, 'connection', {value: Object.assign(new EventTarget(), %s)});"
BATTERY = "navigator.getBattery = async () => Object.assign(new EventTarget(), %s);"
MACHINES = {
    "save_data": NETWORK % "{saveData: true}",
    "metered": NETWORK % "{type: 'cellular'}",
    "battery_low": BATTERY % "{charging: false, level: 0.19}",
}


class Watched(PlayerPage):
    """A page whose WebSockets and peer connections are counted."""

    def __init__(self, page: Page) -> None:
        super().__init__(page)
        self.sockets: list[str] = []
        self.said: list[dict[str, Any]] = []
        page.on("websocket", self._on_socket)

    def _on_socket(self, socket: Any) -> None:
        self.sockets.append(socket.url)
        socket.on("framesent", lambda text: self.said.append(json.loads(text)))

    async def connections(self) -> list[str]:
        made: list[str] = await self.view.evaluate("connections")
        return made


async def watched(browser: Browser, contexts: AsyncExitStack, script: str = "") -> Watched:
    context = await contexts.enter_async_context(await browser.new_context())
    await context.add_init_script(COUNT_CONNECTIONS + script)
    return await Watched.open(context)  # type: ignore[return-value]


def written(attribute: str, value: str = "") -> str:
    """A script: as if the site had written its player with this attribute."""
    change = f"player.setAttribute('{attribute}', '{value}'); observer.disconnect();"
    look = f"const player = document.querySelector('digm-player'); if (player) {{ {change} }}"
    everything = "{childList: true, subtree: true}"
    return f"new MutationObserver((_, observer) => {{ {look} }}).observe(document, {everything});"


def links(state: dict[str, Any]) -> int:
    return len(state["stats"].get("links", []))


def why(state: dict[str, Any]) -> str:
    return str(state["stats"].get("sharing", {}).get("why"))


async def test_an_embed_meets_nobody_before_the_first_click(
    stack: Stack, recordings: dict[str, Recording], browser: Browser
) -> None:
    async with AsyncExitStack() as contexts:
        page = await watched(browser, contexts)
        await page.page.goto(f"{stack.url}/embed/{recordings['flac'].track_root}")
        await page.until("the invitation", lambda state: state["status"])
        await page.page.wait_for_load_state("networkidle")
        assert (page.sockets, await page.connections()) == ([], [])
        await page.play()
        await page.until("a peer", lambda state: links(state) > 0)
        assert len(page.sockets) == 1
        assert await page.connections()


async def test_with_p2p_off_it_plays_without_a_socket_or_a_peer_connection(
    stack: Stack, recordings: dict[str, Recording], browser: Browser
) -> None:
    async with AsyncExitStack() as contexts:
        page = await watched(browser, contexts, written("p2p", "off"))
        await page.visit(stack.url, recordings["flac"].track_root)
        await page.play()
        await page.until_time(1)
        assert (page.sockets, await page.connections()) == ([], [])
        await page.page.locator("digm-player #numbers").click()
        await page.page.locator("digm-player #sharing").click()
        said = await page.page.locator("digm-player #sharing-why").text_content()
        assert said == "This page does not connect listeners."


async def test_hidden_without_a_relay_nobody_is_met_and_the_menu_says_so(
    stack: Stack, recordings: dict[str, Recording], browser: Browser
) -> None:
    async with AsyncExitStack() as contexts:
        page = await watched(browser, contexts, written("hide-address"))
        await page.visit(stack.url, recordings["flac"].track_root)
        await page.play()
        state = await page.until("the reason", lambda state: why(state) == "no_relay")
        await page.until_time(1)
        assert await page.connections() == []
        await page.page.locator("digm-player #numbers").click()
        await page.page.locator("digm-player #sharing").click()
        said = await page.page.locator("digm-player #sharing-why").text_content()
        assert said is not None and "no relay" in said
        assert await page.page.locator("digm-player #sharing-hide").is_checked()
        assert state["errors"] == []


async def test_hidden_no_address_of_this_machine_leaves_the_page(
    own_stack: Stack, music: Music, browser: Browser
) -> None:
    """The relay is one that nobody answers at: what would leave is what the browser gathers beside it."""
    own_stack.settings = {"DIGM_TURN_URLS": "turn:127.0.0.1:9?transport=udp", "DIGM_STUN_URLS": ""}
    (track,) = own_stack.publish(music["flac"][0])
    own_stack.start("hub", "gateway", "artist")
    own_stack.wait_until_ready()
    async with AsyncExitStack() as contexts:
        open_page = await watched(browser, contexts)
        hidden = await watched(browser, contexts, written("hide-address"))
        await open_page.visit(own_stack.url, track["track_root"])
        await open_page.play()
        await open_page.until_sound()
        await hidden.visit(own_stack.url, track["track_root"])
        await hidden.play()
        await hidden.until_time(1)
        while not any(message["type"] == "offer" for message in hidden.said):
            await hidden.page.wait_for_timeout(50)
        assert set(await hidden.connections()) == {"relay"}
        text = json.dumps(hidden.said)
        assert " typ host" not in text
        assert " typ srflx" not in text
        assert ".local" not in text
        assert set(re.findall(r"\d+\.\d+\.\d+\.\d+", text)) <= {"0.0.0.0", "127.0.0.1"}
        # What it would look like otherwise, so that the look is known to see something.
        third = await watched(browser, contexts)
        await third.visit(own_stack.url, track["track_root"])
        await third.play()
        await third.until("a peer", lambda state: links(state) > 0)
        assert " typ host" in json.dumps(third.said)


async def test_the_switch_ends_giving_and_not_taking_and_is_remembered(
    unseeded: Unseeded, browser: Browser
) -> None:
    stack, root = unseeded
    async with AsyncExitStack() as contexts:
        selfish, other = await watched(browser, contexts), await watched(browser, contexts)
        await selfish.visit(stack.url, root)
        await selfish.page.locator("digm-player #numbers").click()
        await selfish.page.locator("digm-player #sharing").click()
        await selfish.page.get_by_role("switch", name="Share with other listeners").click()
        await selfish.play()
        await selfish.until("some chunks", lambda state: state["stats"]["bytes"]["gateway"] > 2_000_000)
        await other.visit(stack.url, root)
        await other.play()
        await other.until("a link", lambda state: links(state) == 1)
        await other.until_time(2)
        state = await selfish.state()
        assert (why(state), state["stats"]["uploaded"]) == ("switched_off", 0)
        assert (await other.state())["stats"]["bytes"]["peer"] == 0

        await selfish.page.reload()
        assert await selfish.run("return player.sharing.share") is False
        await selfish.run("player.sharing = {share: true, cap_bytes_per_s: 'x', hide_address: 1}")
        assert await selfish.run("return player.sharing") == {
            "share": True, "cap_bytes_per_s": 0, "hide_address": False, "report": False, "receipts": False,
        }  # fmt: skip


@pytest.mark.parametrize("reason", sorted(MACHINES))
async def test_the_machine_says_no_and_nothing_is_given(
    unseeded: Unseeded, browser: Browser, reason: str
) -> None:
    stack, root = unseeded
    async with AsyncExitStack() as contexts:
        poor, other = await watched(browser, contexts, MACHINES[reason]), await watched(browser, contexts)
        await poor.visit(stack.url, root)
        await poor.play()
        await poor.until("some chunks", lambda state: state["stats"]["bytes"]["gateway"] > 2_000_000)
        await other.visit(stack.url, root)
        await other.play()
        await other.until("a link", lambda state: links(state) == 1)
        await other.until_time(2)
        state = await poor.until("the reason", lambda state: why(state) == reason)
        assert state["stats"]["uploaded"] == 0


async def test_numbers_are_told_to_the_site_only_by_who_agreed(
    stack: Stack, recordings: dict[str, Recording], browser: Browser
) -> None:
    track = recordings["opus"].track_root
    async with AsyncExitStack() as contexts:
        page = await watched(browser, contexts)
        reports: list[dict[str, Any]] = []
        page.page.on(
            "request", lambda asked: "/api/reports" in asked.url and reports.append(asked.post_data_json)
        )
        for agrees in (False, True):
            await page.visit(stack.url, track)
            await page.run(f"player.sharing = {{report: {str(agrees).lower()}}}")
            await page.play()
            await page.until_time(2)
            await page.run("player.currentTime = player.duration - 1")
            await page.until("the end", lambda state: state["ended"])
            assert bool(reports) is agrees
        (report,) = reports
        assert report["track"] == track
        assert report["played_s"] >= 2
        assert sum(report["bytes"].values()) > 0
        assert report["first_sound_ms"] > 0


async def test_below_the_sites_least_number_of_listeners_nobody_connects(
    own_stack: Stack, music: Music, browser: Browser
) -> None:
    own_stack.settings = {"DIGM_MIN_LISTENERS": "3"}
    (track,) = own_stack.publish(music["flac"][0])
    own_stack.start("hub", "gateway", "artist")
    own_stack.wait_until_ready()
    async with AsyncExitStack() as contexts:
        pages = [await watched(browser, contexts) for _ in range(3)]
        for page in pages[:2]:
            await page.visit(own_stack.url, track["track_root"])
            await page.play()
            await page.until("the reason", lambda state: why(state) == "few_listeners")
            await page.until_time(1)
        assert [await page.connections() for page in pages[:2]] == [[], []]
        await pages[2].visit(own_stack.url, track["track_root"])
        await pages[2].play()
        for page in pages:
            await page.until("a mesh", lambda state: links(state) >= 1)
