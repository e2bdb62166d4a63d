"""Whatever is wrong with what comes: nothing wrong is ever played, and the listener is told or helped."""

import json
from pathlib import Path

import pytest
from playwright.async_api import Route

from tests.browser.conftest import Recording
from tests.browser.music import Samples
from tests.browser.player_page import PlayerPage, assert_same_sound, place_of, without_silence
from tests.browser.stack import Stack

Music = dict[str, tuple[Path, Samples, int, int]]


@pytest.fixture
def careless_stack(own_stack: Stack, music: Music) -> tuple[Stack, str]:
    """Sources that do not look at what they send, with one track; not started."""
    own_stack.settings = {"DIGM_VERIFY_READS": "false", "DIGM_GATEWAY_CACHE_BYTES": "0"}
    (track,) = own_stack.publish(music["flac"][0])
    return own_stack, track["track_root"]


async def test_a_flipped_byte_is_said_and_playing_goes_on_once_it_is_right(
    careless_stack: tuple[Stack, str], capture_page: PlayerPage, music: Music
) -> None:
    stack, root = careless_stack
    _, samples, rate, bits = music["flac"]
    chunk = stack.chunks_of(root)[1]
    good = chunk.read_bytes()
    chunk.write_bytes(good[:300_000] + bytes([good[300_000] ^ 1]) + good[300_001:])
    stack.start("hub", "gateway", "artist")
    stack.wait_until_ready()
    await capture_page.visit(stack.url, root)
    await capture_page.start_capture(rate)
    await capture_page.play()
    state = await capture_page.until("the warning", lambda state: state["errors"])
    assert state["errors"][0]["code"] == "wrong_bytes"
    end_s = state["buffered"][-1][1]
    assert 3 < end_s < 7, "the first chunk is good, the second is not played"
    chunk.write_bytes(good)
    await capture_page.until("the repair", lambda state: state["buffered"][-1][1] > end_s + 1, 40)
    await capture_page.until_time(end_s + 2, 40)
    await capture_page.run("player.pause()")
    heard = without_silence(await capture_page.take_capture(bits))
    start = place_of(heard, samples)
    stop_s = end_s - start / rate - 0.1
    assert_same_sound(heard[: int(stop_s * rate)], samples[start:], rate)
    assert "not what the artist" not in (await capture_page.state())["status"]


async def test_a_source_that_lies_is_replaced_by_one_that_does_not(
    stack: Stack, recordings: dict[str, Recording], player_page: PlayerPage
) -> None:
    root = recordings["flac"].track_root
    lies = 0

    async def lie(route: Route) -> None:
        nonlocal lies
        if route.request.url.endswith("manifest.json"):
            await route.continue_()
            return
        lies += 1
        answer = await route.fetch()
        body = bytearray(await answer.body())
        body[70_000] ^= 0xFF
        await route.fulfill(response=answer, body=bytes(body))

    await player_page.page.route(f"http://localhost:{stack.ports['gateway']}/**", lie)
    await player_page.visit(stack.url, root)
    await player_page.play()
    state = await player_page.until_time(8, 40)
    assert state["stats"]["bytes"]["gateway"] == 0
    assert state["stats"]["bytes"]["peer"] > 0


async def test_swapped_chunks_are_not_played(
    stack: Stack, recordings: dict[str, Recording], player_page: PlayerPage
) -> None:
    root = recordings["flac"].track_root
    first, second = stack.chunks_of(root)[:2]
    await _answer_with(player_page, stack, {first.name: second.read_bytes(), second.name: first.read_bytes()})
    await _assert_silence(stack, root, player_page, "wrong_bytes")


async def test_of_a_truncated_chunk_only_the_frames_that_are_genuine_are_played(
    stack: Stack, recordings: dict[str, Recording], player_page: PlayerPage
) -> None:
    root = recordings["flac"].track_root
    first = stack.chunks_of(root)[0]
    await _answer_with(player_page, stack, {first.name: first.read_bytes()[:200_000]})
    await player_page.visit(stack.url, root)
    await player_page.play()
    state = await player_page.until("the warning", lambda state: state["errors"][1:])
    assert [error["code"] for error in state["errors"]] == ["no_webrtc", "no_source"]
    three_frames_s = 2.0
    assert all(end <= three_frames_s for _, end in state["buffered"])


async def _answer_with(player_page: PlayerPage, stack: Stack, bodies: dict[str, bytes]) -> None:
    """A gateway that sends something else, and nobody else to ask."""

    async def answer(route: Route) -> None:
        body = bodies.get(route.request.url.rsplit("/", 1)[1])
        if body is None:
            await route.continue_()
        else:
            await route.fulfill(body=body, headers={"access-control-allow-origin": "*"})

    await player_page.page.add_init_script("delete globalThis.RTCPeerConnection;")
    await player_page.page.route(f"http://localhost:{stack.ports['gateway']}/**", answer)


async def _assert_silence(stack: Stack, root: str, player_page: PlayerPage, code: str) -> None:
    await player_page.visit(stack.url, root)
    await player_page.play()
    state = await player_page.until("the warning", lambda state: state["errors"][1:])
    assert [error["code"] for error in state["errors"]] == ["no_webrtc", code]
    assert state["status"] == state["errors"][1]["message"]
    assert state["currentTime"] == 0
    assert state["buffered"] == []


async def test_a_wrong_manifest_in_the_store_is_refused_by_everybody(
    careless_stack: tuple[Stack, str], player_page: PlayerPage, music: Music
) -> None:
    stack, root = careless_stack
    (other,) = stack.publish(music["opus"][0])
    manifests = stack.data / "manifests"
    (manifests / f"{root}.json").write_bytes((manifests / f"{other['track_root']}.json").read_bytes())
    stack.start("hub", "gateway", "artist")
    stack.wait_until_alive()
    await player_page.visit(stack.url, root)
    state = await player_page.until("the refusal", lambda state: state["errors"])
    assert state["errors"][0]["code"] in ("grant_refused", "manifest_not_held", "manifest_other_track")
    assert state["errors"][0]["fatal"]
    assert state["buffered"] == []


async def test_the_manifest_of_another_track_is_refused(
    stack: Stack, recordings: dict[str, Recording], player_page: PlayerPage
) -> None:
    other = recordings["opus"].track_root
    document = (stack.data / "manifests" / f"{other}.json").read_bytes()
    await _assert_refused(stack, recordings["flac"].track_root, document, player_page, "manifest_other_track")


async def test_a_manifest_that_was_changed_is_refused(
    stack: Stack, recordings: dict[str, Recording], player_page: PlayerPage
) -> None:
    root = recordings["flac"].track_root
    document = (stack.data / "manifests" / f"{root}.json").read_bytes()
    title = json.dumps(json.loads(document)["title"]).encode()
    changed = document.replace(b'"title":' + title, b'"title":"Something else"', 1)
    assert changed != document
    await _assert_refused(stack, root, changed, player_page, "manifest_signature")


async def _assert_refused(stack: Stack, root: str, document: bytes, player_page: PlayerPage, code: str) -> None:
    async def give(route: Route) -> None:
        headers = {"access-control-allow-origin": "*"}
        await route.fulfill(body=document, content_type="application/json", headers=headers)

    await player_page.page.route("**/manifest.json", give)
    await player_page.visit(stack.url, root)
    state = await player_page.until("the refusal", lambda state: state["errors"])
    assert state["errors"][0]["code"] == code
    assert state["errors"][0]["fatal"]
    assert state["status"] == state["errors"][0]["message"]
    assert state["buffered"] == []
    assert player_page.crashes == []
