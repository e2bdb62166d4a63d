"""A track lives on in its swarm when the server has lost it."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from playwright.async_api import Browser

from tests.browser.music import encode, plucked, write_wav
from tests.browser.player_page import PlayerPage, assert_same_sound, place_of, without_dropouts, without_silence
from tests.browser.stack import Stack

SECONDS, RATE, BITS = 14, 44_100, 16  # three chunks


async def test_the_last_of_three_hears_the_whole_track_though_the_server_lost_it_when_the_first_was_done(
    own_stack: Stack, browser: Browser, tmp_path: Path
) -> None:
    samples = plucked(SECONDS, RATE, BITS, 9)
    song = encode(write_wav(tmp_path / "song.wav", samples, RATE, BITS), tmp_path / "song.flac", "flac")
    own_stack.settings = {"DIGM_GATEWAY_CACHE_BYTES": "0"}
    (track,) = own_stack.publish(song)
    own_stack.start("hub", "gateway", "artist")
    own_stack.wait_until_ready()
    async with AsyncExitStack() as contexts:
        first, second, last = [await _listener(browser, contexts) for _ in range(3)]
        await first.visit(own_stack.url, track["track_root"])
        await first.play()
        await first.until_time(2)
        await second.visit(own_stack.url, track["track_root"])
        await second.play()
        await first.until("the end for the first", lambda state: state["ended"], 45)

        for chunk in (own_stack.data / "chunks").rglob("*"):
            if chunk.is_file():
                chunk.unlink()
        await last.visit(own_stack.url, track["track_root"])
        await last.start_capture(RATE)
        await last.play()
        states = await asyncio.gather(
            last.until("the end for the last", lambda state: state["ended"], 50),
            second.until("the end for the second", lambda state: state["ended"], 50),
        )
        heard = without_dropouts(without_silence(await last.take_capture(BITS)))
        start = place_of(heard, samples)
        assert start < RATE / 10
        assert len(heard) >= len(without_silence(samples[start:])) - RATE / 10
        assert_same_sound(heard, samples[start:], RATE)
        assert _taken(states[0]) == (0, True)
        for page in (first, second, last):
            assert page.crashes == []


async def _listener(browser: Browser, contexts: AsyncExitStack) -> PlayerPage:
    context = await browser.new_context(bypass_csp=True)
    contexts.push_async_callback(context.close)
    return await PlayerPage.open(context)


def _taken(state: dict[str, Any]) -> tuple[int, bool]:
    """Bytes from the gateway, and whether any came from peers."""
    taken = state["stats"]["bytes"]
    return taken["gateway"], taken["peer"] > 0
