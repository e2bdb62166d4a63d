"""The own gateway fails while somebody listens: the track is heard to its end from another one."""

import asyncio
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import BrowserContext, Route

from tests.browser.music import encode, plucked, write_wav
from tests.browser.player_page import PATIENCE_S, PlayerPage
from tests.browser.stack import STOP_TIMEOUT_S, Stack
from tests.ports import free_port

CHUNKS_BEFORE = 2  # so many the own gateway gives before it fails
LAST_S = 2.0  # heard of a track that has come to its end


class Mirror:
    """Another gateway: a process of its own, over a copy of what is published."""

    def __init__(self, stack: Stack, data: Path) -> None:
        self.port = free_port()
        self.url = f"http://localhost:{self.port}"
        self._stack, self._data = stack, data
        self._process: subprocess.Popen[bytes] | None = None

    def copy(self) -> None:
        for name in ("chunks", "manifests"):
            shutil.copytree(self._stack.data / name, self._data / name)

    def start(self) -> None:
        environment = {
            **self._stack.environment, "DIGM_DATA": str(self._data), "DIGM_GATEWAY_PORT": str(self.port),
        }  # fmt: skip
        with (self._data / "gateway.log").open("wb") as log:
            command = [sys.executable, "-m", "hub.cli", "gateway"]
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(STOP_TIMEOUT_S)

    def answers(self) -> bool:
        try:
            return self.sent_bytes >= 0
        except OSError:
            return False

    @property
    def sent_bytes(self) -> float:
        with urllib.request.urlopen(self.url + "/metrics", timeout=5) as answer:
            text = answer.read().decode()
        found = re.search(r"^digm_gateway_bytes_total (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0


@pytest.fixture
def mirror(own_stack: Stack, tmp_path: Path) -> Iterator[Mirror]:
    data = tmp_path / "mirror"
    data.mkdir()
    mirror = Mirror(own_stack, data)
    own_stack.settings["DIGM_GATEWAYS"] = mirror.url
    yield mirror
    mirror.stop()


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve seconds of 24 bits at 96 kHz: four chunks or so."""
    return write_wav(tmp_path_factory.mktemp("studio") / "studio.wav", plucked(12, 96_000, 24, 3), 96_000, 24)


def gateways(stack: Stack, track: str) -> list[str]:
    return [gateway["url"] for gateway in stack.ask(f"/api/tracks/{track}/sources")["gateways"]]


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():
            await asyncio.sleep(0.1)


def is_whole(state: dict[str, Any]) -> bool:
    """Whether everything from where it plays to the end has come."""
    return any(
        start <= state["currentTime"] and end > state["duration"] - 0.5 for start, end in state["buffered"]
    )


def empty(stack: Stack) -> None:
    """The own store loses every chunk."""
    shutil.rmtree(stack.data / "chunks")
    (stack.data / "chunks").mkdir()


def kill(stack: Stack) -> None:
    stack.kill("gateway")


async def give_only(chunks: int, page: PlayerPage, stack: Stack) -> asyncio.Event:
    """What the page asks its gateway for beyond some chunks waits on the wire until the event is set."""
    fails, given = asyncio.Event(), set[str]()

    async def between(route: Route) -> None:
        url = route.request.url
        if not url.endswith("manifest.json") and url not in given:
            if len(given) < chunks:
                given.add(url)
            else:
                await fails.wait()
        await route.continue_()

    await page.page.route(f"http://localhost:{stack.ports['gateway']}/**", between)
    return fails


@pytest.mark.parametrize("fail", [empty, kill])
async def test_a_listener_hears_the_track_to_its_end_from_another_gateway(
    own_stack: Stack, mirror: Mirror, studio: Path, context: BrowserContext, fail: Any
) -> None:
    (line,) = own_stack.publish(studio)
    track = line["track_root"]
    mirror.copy()
    mirror.start()
    own_stack.start("hub", "gateway", "artist")
    own_stack.wait_until_ready()
    await until(lambda: len(own_stack.ask(f"/api/tracks/{track}")["gateways"]) == 2)
    page = await PlayerPage.open(context)
    fails = await give_only(CHUNKS_BEFORE, page, own_stack)
    await page.visit(own_stack.url, track)
    await page.play()
    await page.until_sound()
    fail(own_stack)
    fails.set()
    state = await page.until("the end", lambda state: state["ended"], 2 * PATIENCE_S)
    assert state["errors"] == []
    assert state["stats"]["stalls"] == 0
    assert page.crashes == []
    assert mirror.sent_bytes > 0


async def test_a_gateway_that_comes_up_while_somebody_listens_is_found_by_asking(
    own_stack: Stack, mirror: Mirror, tmp_path: Path, context: BrowserContext
) -> None:
    wav = write_wav(tmp_path / "strings.wav", plucked(36, 44_100, 16, 1), 44_100, 16)
    (line,) = own_stack.publish(encode(wav, tmp_path / "strings.flac", "flac"))
    track = line["track_root"]
    mirror.copy()
    for chunk in own_stack.chunks_of(track)[-2:]:
        chunk.unlink()
    own_stack.start("hub", "gateway", "artist")
    own_stack.wait_until_alive()
    await until(lambda: mirror.url not in gateways(own_stack, track))
    page = await PlayerPage.open(context)
    await page.visit(own_stack.url, track)
    await page.play()
    await page.until_sound()
    mirror.start()
    state = await page.until("all of it", is_whole, 2 * PATIENCE_S)
    assert mirror.sent_bytes > 0
    assert state["stats"]["stalls"] == 0
    await page.run(f"player.currentTime = {state['duration'] - LAST_S}")
    state = await page.until("the end", lambda state: state["ended"])
    assert state["errors"] == []


async def test_a_player_begins_with_another_gateway_when_the_own_one_is_gone(
    own_stack: Stack, mirror: Mirror, studio: Path, context: BrowserContext
) -> None:
    (line,) = own_stack.publish(studio)
    track = line["track_root"]
    mirror.copy()
    mirror.start()
    own_stack.start("hub", "gateway", "artist")
    own_stack.wait_until_ready()
    page = await PlayerPage.open(context)
    await until(mirror.answers)
    kill(own_stack)
    empty(own_stack)
    await page.visit(own_stack.url, track)
    await page.play()
    state = await page.until("the end", lambda state: state["ended"])
    assert state["errors"] == []
    assert mirror.sent_bytes > 0
