"""Peers that lie, corrupt, keep silent or flood: nothing wrong is heard, nobody waits, and they must leave."""

import asyncio
import re
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from tests.browser.conftest import Unseeded
from tests.browser.hostile_peer import Babbling, Boasting, Corrupting, Endless, Flooding, HostilePeer, Silent
from tests.browser.music import Samples
from tests.browser.player_page import PlayerPage, assert_same_sound, place_of, without_dropouts, without_silence
from tests.browser.stack import Stack

Music = dict[str, tuple[Path, Samples, int, int]]
PATIENCE_S = 30


async def _listen_among(
    peers: list[HostilePeer], stack: Stack, root: str, page: PlayerPage, music: Music, seconds: float
) -> dict:
    """Play among these peers from the start, and compare every sample that was heard."""
    _, samples, rate, bits = music["flac"]
    async with AsyncExitStack() as swarm:
        for peer in peers:
            await swarm.enter_async_context(peer.here())
        await page.visit(stack.url, root)
        await page.start_capture(rate)
        await page.play()
        await page.until_time(seconds, 40)
        await page.run("player.pause()")
        state = await page.state()
        heard = without_dropouts(without_silence(await page.take_capture(bits)))
        for peer in peers:
            if isinstance(peer, Silent) or (isinstance(peer, Corrupting) and not peer.wrong):
                continue  # silence is no fault until it has happened many times
            async with asyncio.timeout(PATIENCE_S):
                await peer.left.wait()
    assert state["stats"]["codec"] == "flac", "the peers talked the player into a poorer rendition"
    start = place_of(heard, samples)
    assert len(heard) >= (seconds - 2) * rate
    assert_same_sound(heard, samples[start:], rate)
    assert state["stats"]["stalls"] == 0
    assert {error["code"] for error in state["errors"]} <= {"wrong_bytes"}  # said, and got over
    assert not any(error["fatal"] for error in state["errors"])
    assert page.crashes == []
    return state


async def _reports(stack: Stack) -> float:
    """How often the hub was told of wrong bytes."""
    async with aiohttp.ClientSession() as http, http.get(f"{stack.url}/metrics") as answer:
        found = re.search(
            r'^digm_signal_reports_total\{code="wrong_hash"\} (\S+)', await answer.text(), re.MULTILINE
        )
        return float(found[1]) if found else 0.0


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
async def test_with_a_part_of_the_peers_chunks_corrupted_no_wrong_sample_is_heard(
    unseeded: Unseeded, capture_page: PlayerPage, music: Music, share: float
) -> None:
    stack, root = unseeded
    reports_before = await _reports(stack)
    peers = [Corrupting(stack, root, share) for _ in range(2)]
    # Nobody else has the first wrong chunk, so one of the two is asked for it.
    honest = HostilePeer(stack, root, lacks={min(peers[0].corrupted)})
    async with honest.here():
        await _listen_among(peers, stack, root, capture_page, music, 23)
        assert any(peer.wrong for peer in peers), "the test has tested nothing"
        assert not honest.left.is_set(), "the honest one was blamed"
    assert await _reports(stack) >= reports_before + 1, "the hub was not told"
    for peer in peers:
        # Some more were asked for before the first one was whole and could be found wrong.
        assert len(peer.wrong) <= 1 + len(peer.corrupted) / 2, "it was asked again and again"


@pytest.mark.parametrize("kind", [Boasting, Silent, Endless, Flooding, Babbling])
async def test_a_peer_that_breaks_the_rules_is_left_and_playing_goes_on(
    unseeded: Unseeded, capture_page: PlayerPage, music: Music, kind: type[HostilePeer]
) -> None:
    stack, root = unseeded
    peer = kind(stack, root)
    await _listen_among([peer], stack, root, capture_page, music, 10)
