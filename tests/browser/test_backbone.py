"""The hub's own store is gone and no other page is open: a listener hears the track from a node."""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import BrowserContext

from hub.backbone.identity import NodeIdentity
from tests.browser.elder_node import ElderNode
from tests.browser.music import Samples
from tests.browser.player_page import PATIENCE_S, PlayerPage
from tests.browser.stack import Stack
from tests.ports import free_port

Music = dict[str, tuple[Path, Samples, int, int]]


@pytest.fixture
def member(own_stack: Stack) -> Stack:
    """A stack whose hub is in the backbone, at an address that is known."""
    port = free_port()
    own_stack.settings["DIGM_BACKBONE_LISTEN"] = f"/ip4/127.0.0.1/tcp/{port}"
    own_stack.settings["DIGM_OPERATOR"] = "the hub"
    return own_stack


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def address(stack: Stack) -> str:
    return f"{stack.settings['DIGM_BACKBONE_LISTEN']}/p2p/{NodeIdentity.load(stack.data).peer_id}"


async def until(is_so: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():
            await asyncio.sleep(0.1)


def pin(stack: Stack, track: str) -> None:
    """One copy, and wait until it is held."""
    command = ("pin", track, "--replicas", "1", "--watch", "--within", "60")
    done = subprocess.run(
        [sys.executable, "-m", "hub.cli", *command],
        env=stack.environment, capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


async def test_a_listener_hears_the_track_from_a_node_that_only_the_dht_names(
    member: Stack, music: Music, context: BrowserContext, closing: ExitStack, tmp_path: Path
) -> None:
    (line,) = member.publish(music["opus"][0])
    track = line["track_root"]
    member.start("hub", "gateway", "artist")
    member.wait_until_ready()
    keeper = ElderNode(tmp_path / "keeper", address(member))
    closing.callback(keeper.stop)
    pin(member, track)
    # Where both will join; it came when the one copy was made, so that it holds nothing.
    meeting = ElderNode(tmp_path / "meeting", address(member))
    closing.callback(meeting.stop)
    # The hub goes, and with it every chunk and all that it had heard; the keeper comes back without a voice.
    # The artist, who has the key, is somewhere else.
    for name in ("hub", "gateway", "artist"):
        member.kill(name)
    shutil.copytree(member.data, tmp_path / "artist", ignore=shutil.ignore_patterns("chunks", "*.log"))
    artist = Stack(tmp_path / "artist", {"DIGM_SIGNAL_URL": f"http://127.0.0.1:{member.ports['hub']}"})
    closing.callback(artist.stop)
    for name in ("chunks", "manifests"):
        shutil.rmtree(member.data / name)
        (member.data / name).mkdir()
    keeper.stop()
    silent = ElderNode(tmp_path / "keeper", meeting.multiaddrs[0], is_silent=True)
    closing.callback(silent.stop)
    member.settings["DIGM_BACKBONE_BOOTSTRAP"] = meeting.multiaddrs[0]
    linked_before = member.log("hub").count("vault_linked")
    member.start("hub", "gateway")
    artist.start("artist")
    member.wait_until_alive()
    await until(lambda: member.log("hub").count("vault_linked") > linked_before)
    await until(lambda: silent.gateway in gateways(member, track))
    page = await PlayerPage.open(context)
    await page.visit(member.url, track)
    await page.play()
    await page.until_sound()
    state = await page.until(
        "all of it", lambda state: state["buffered"] and state["buffered"][0][1] >= state["duration"] - 0.1
    )
    await page.run("player.currentTime = player.duration - 2")
    state = await page.until("the end", lambda state: state["ended"])
    assert state["errors"] == []
    assert state["stats"]["stalls"] == 0
    assert page.crashes == []
    assert state["stats"]["bytes"]["peer"] == 0
    assert silent.sent_bytes >= state["stats"]["bytes"]["gateway"] > 0


async def test_a_page_that_was_open_before_a_node_was_there_hears_the_track_from_it(
    member: Stack, music: Music, context: BrowserContext, closing: ExitStack, tmp_path: Path
) -> None:
    (line,) = member.publish(music["flac"][0])
    track = line["track_root"]
    member.start("hub", "gateway", "artist")
    member.wait_until_ready()
    page = await PlayerPage.open(context)
    await page.visit(member.url, track)
    keeper = ElderNode(tmp_path / "keeper", address(member))
    closing.callback(keeper.stop)
    pin(member, track)
    await until(lambda: keeper.gateway in gateways(member, track))
    member.kill("gateway")
    shutil.rmtree(member.data / "chunks")
    await page.play()
    await page.until_sound()
    await page.run("player.currentTime = player.duration - 2")
    state = await page.until("the end", lambda state: state["ended"])
    assert state["errors"] == []
    assert page.crashes == []
    assert keeper.sent_bytes > 100_000


def gateways(stack: Stack, track: str) -> list[str]:
    return [gateway["url"] for gateway in stack.ask(f"/api/tracks/{track}/sources")["gateways"]]
