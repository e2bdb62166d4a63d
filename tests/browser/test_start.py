"""How the player comes up, and what it says when it cannot."""

from pathlib import Path

import pytest
from playwright.async_api import Route

from tests.browser.conftest import Recording
from tests.browser.music import Samples
from tests.browser.player_page import PlayerPage
from tests.browser.stack import Stack

Music = dict[str, tuple[Path, Samples, int, int]]


async def test_python_comes_from_the_snapshot(
    stack: Stack, recordings: dict[str, Recording], player_page: PlayerPage
) -> None:
    await player_page.visit(stack.url, recordings["flac"].track_root)
    state = await player_page.until("Python", lambda state: state["stats"]["ready_ms"])
    assert state["stats"]["python"] == "snapshot"
    seeds = [await player_page.run_python(stack.url, "import random\ndef main(): return random.random()")]
    await player_page.visit(stack.url, recordings["flac"].track_root)
    seeds += [await player_page.run_python(stack.url, "import random\ndef main(): return random.random()")]
    assert seeds[0] != seeds[1], "two visitors must not share their randomness"


@pytest.mark.parametrize("fault", ["missing", "truncated", "of another build"])
async def test_a_snapshot_that_does_not_load_is_replaced_by_the_bundle(
    fault: str, stack: Stack, recordings: dict[str, Recording], player_page: PlayerPage
) -> None:
    async def spoil(route: Route) -> None:
        if fault == "missing":
            await route.fulfill(status=404)
            return
        answer = await route.fetch()
        body = await answer.body()
        body = body[:-4096] if fault == "truncated" else body[:16] + bytes(32) + body[48:]
        await route.fulfill(response=answer, body=body)

    await player_page.page.route("**/static/dist/*.bin", spoil)
    await player_page.visit(stack.url, recordings["flac"].track_root)
    await player_page.play()
    state = await player_page.until("Python", lambda state: state["stats"]["python"])
    assert state["stats"]["python"] == "bundle"
    await player_page.run("player.currentTime = 30")  # beyond what the head start may have left
    state = await player_page.until_time(31)
    assert state["errors"] == []


@pytest.mark.parametrize(
    ("missing", "code"),
    [
        ("MediaSource", "no_media_source"),
        ("WebAssembly", "no_webassembly"),
    ],
)
async def test_a_browser_that_cannot_is_told_so(
    missing: str, code: str, stack: Stack, recordings: dict[str, Recording], player_page: PlayerPage
) -> None:
    await player_page.page.add_init_script(f"delete globalThis.{missing}; delete globalThis.Managed{missing};")
    await player_page.visit(stack.url, recordings["flac"].track_root)
    state = await player_page.until("the sentence", lambda state: state["errors"])
    assert state["errors"][0]["code"] == code
    assert state["status"] == state["errors"][0]["message"]


async def test_without_webrtc_the_gateway_plays_and_the_listener_knows(
    stack: Stack, recordings: dict[str, Recording], player_page: PlayerPage
) -> None:
    await player_page.page.add_init_script("delete globalThis.RTCPeerConnection;")
    await player_page.visit(stack.url, recordings["flac"].track_root)
    await player_page.play()
    state = await player_page.until_time(6)
    assert [error["code"] for error in state["errors"]] == ["no_webrtc"]
    assert state["stats"]["bytes"]["peer"] == 0
    assert state["stats"]["bytes"]["gateway"] > 0


async def test_a_track_that_does_not_exist_is_said(
    stack: Stack, recordings: dict[str, Recording], player_page: PlayerPage
) -> None:
    await player_page.visit(stack.url, recordings["flac"].track_root)
    await player_page.run("player.setAttribute('track', 'ab'.repeat(32))")
    state = await player_page.until("the sentence", lambda state: state["errors"])
    assert state["errors"][-1]["code"] == "track_not_found"
    await player_page.run("player.setAttribute('track', 'not a track')")
    await player_page.until("another", lambda state: state["errors"][-1]["code"] == "bad_track")
    await player_page.run(f"player.setAttribute('track', '{recordings['flac'].track_root}')")
    await player_page.play()
    await player_page.until_sound()
    assert player_page.crashes == []


async def test_an_artist_who_is_offline_is_said_and_pressing_play_again_helps(
    own_stack: Stack, music: Music, player_page: PlayerPage
) -> None:
    (track,) = own_stack.publish(music["flac"][0])
    own_stack.start("hub", "gateway")
    own_stack.wait_until_alive()
    await player_page.visit(own_stack.url, track["track_root"])
    state = await player_page.until("the sentence", lambda state: state["errors"])
    assert state["errors"][0]["code"] == "artist_offline"
    own_stack.start("artist")
    own_stack.wait_until_ready()
    await player_page.play()
    await player_page.until_sound()
    assert player_page.crashes == []


async def test_no_source_at_all_is_said_and_healed_when_one_returns(
    stack: Stack, recordings: dict[str, Recording], player_page: PlayerPage
) -> None:
    gateway = f"http://localhost:{stack.ports['gateway']}"
    await player_page.page.add_init_script("delete globalThis.RTCPeerConnection;")

    async def give_only_the_manifest(route: Route) -> None:
        if route.request.url.endswith("manifest.json"):
            await route.continue_()
        else:
            await route.abort()

    await player_page.page.route(f"{gateway}/**", give_only_the_manifest)
    await player_page.visit(stack.url, recordings["flac"].track_root)
    await player_page.play()
    state = await player_page.until("the sentence", lambda state: state["errors"][1:])
    assert [error["code"] for error in state["errors"]] == ["no_webrtc", "no_source"]
    assert "Trying again" in state["status"]
    await player_page.page.unroute(f"{gateway}/**")
    await player_page.until_time(0.5, 40)
    assert "Trying again" not in (await player_page.state())["status"]
