"""Peers that lie, corrupt, keep silent or flood: nothing wrong is heard, nobody waits, and they must leave."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from digm.fetch_plan import SchedulerSettings
from digm.manifest import parse_manifest
from tests.browser.conftest import Unseeded
from tests.browser.hostile_peer import Babbling, Boasting, Corrupting, Endless, Flooding, HostilePeer, Silent
from tests.browser.music import Samples
from tests.browser.player_page import (
    POLL_S,
    PlayerPage,
    assert_same_sound,
    place_of,
    without_dropouts,
    without_silence,
)
from tests.browser.stack import Stack

Music = dict[str, tuple[Path, Samples, int, int]]
PATIENCE_S = 30
# The scheduler asks a peer for so many chunks at once at most: twice as many when it is busy with later ones.
MOST_ASKED = 2 * SchedulerSettings.parallel_per_peer


@asynccontextmanager
async def _playing_among(
    peers: list[HostilePeer], stack: Stack, root: str, page: PlayerPage, music: Music
) -> AsyncIterator[None]:
    """Play among these peers; in the end nothing was missing, nothing fatal was said, and they were left."""
    async with AsyncExitStack() as swarm:
        for peer in peers:
            await swarm.enter_async_context(peer.here())
        await page.visit(stack.url, root)
        await page.start_capture(music["flac"][2])
        await page.play()
        yield
        state = await page.state()
        for peer in peers:
            if isinstance(peer, Silent) or (isinstance(peer, Corrupting) and not peer.wrong):
                continue  # silence is no fault until it has happened many times
            async with asyncio.timeout(PATIENCE_S):
                await peer.left.wait()
    assert state["stats"]["codec"] == "flac", "the peers talked the player into a poorer rendition"
    assert state["stats"]["stalls"] == 0
    assert {error["code"] for error in state["errors"]} <= {"wrong_bytes"}  # said, and got over
    assert not any(error["fatal"] for error in state["errors"])
    assert page.crashes == []


async def _hear(page: PlayerPage, music: Music, first_s: float, last_s: float) -> None:
    """Listen until a moment, and compare every sample that was heard."""
    _, samples, rate, bits = music["flac"]
    await page.until_time(last_s)
    await page.run("player.pause()")
    heard = without_dropouts(without_silence(await page.take_capture(bits)))
    start = place_of(heard, samples)
    assert start >= int((first_s - 0.1) * rate)
    assert len(heard) >= (last_s - first_s - 2) * rate
    assert_same_sound(heard, samples[start:], rate)


async def _hear_elsewhere(page: PlayerPage, music: Music, first_s: float, last_s: float) -> None:
    await page.run(f"player.currentTime = {first_s}")
    await page.until("the jump", lambda state: state["readyState"] >= 3)
    await page.take_capture(music["flac"][3])
    await page.run("player.play()")
    await _hear(page, music, first_s, last_s)


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
    first_wrong = min(peers[0].corrupted)
    honest = HostilePeer(stack, root, lacks={first_wrong})
    manifest = parse_manifest((stack.data / "manifests" / f"{root}.json").read_bytes())
    wrong_s = manifest.renditions[0].chunk_start_s(first_wrong)
    async with honest.here():
        async with _playing_among(peers, stack, root, capture_page, music):
            async with asyncio.timeout(PATIENCE_S):
                while not any(peer.wrong for peer in peers):
                    await asyncio.sleep(POLL_S)
            await _hear(capture_page, music, 0, 3)
            first_s = max(3.0, wrong_s - 4)
            await _hear_elsewhere(capture_page, music, first_s, max(first_s, wrong_s) + 3)
        assert not honest.left.is_set(), "the honest one was blamed"
    assert await _reports(stack) >= reports_before + 1, "the hub was not told"
    for peer in peers:
        # It is left when the first wrong chunk of it is whole and hashed. What it was asked for besides by then
        # it gives one after the other, each for longer than a hash takes: more than was asked for at once does
        # not come.
        assert len(peer.wrong) <= MOST_ASKED, "it was asked again and again"


@pytest.mark.parametrize("kind", [Boasting, Silent, Endless, Flooding, Babbling])
async def test_a_peer_that_breaks_the_rules_is_left_and_playing_goes_on(
    unseeded: Unseeded, capture_page: PlayerPage, music: Music, kind: type[HostilePeer]
) -> None:
    stack, root = unseeded
    async with _playing_among([kind(stack, root)], stack, root, capture_page, music):
        await _hear(capture_page, music, 0, 8)  # across the first border of chunks
