"""A hub with music and a relay in the laboratory, and a Chromium in each of two homes."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, async_playwright

from hub.pages.static import StaticFiles
from tests.browser.music import encode, plucked, write_wav
from tests.browser.player_page import NOTE_ERRORS, PlayerPage
from tests.needs import lacking
from tests.net.lab import HUB, Lab, missing

PORT = 8080
TURN = f"turn:{HUB}:3478,turn:{HUB}:3478?transport=tcp"
STARTS_WITHIN_S = 60.0
CHROMIUM_ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
    # Secure contexts have the cryptography that the player needs; a laboratory has no certificates.
    f"--unsafely-treat-insecure-origin-as-secure=http://{HUB}:{PORT}",
]  # fmt: skip

# Every connection and everything said to the hub, noted before the player exists.
NOTE_CONNECTIONS = """
globalThis.noted = {connections: [], sent: []};
const Connection = RTCPeerConnection;
globalThis.RTCPeerConnection = class extends Connection {
  constructor(...given) { super(...given); noted.connections.push(this); }
};
const {send} = WebSocket.prototype;
WebSocket.prototype.send = function (data) { noted.sent.push(String(data)); return send.call(this, data); };
"""
HIDE_ADDRESS = "try { localStorage.setItem('digm.sharing', JSON.stringify({hide_address: true})); } catch {}"

SELECTED_PAIRS = """async () => {
  const pairs = [];
  for (const connection of noted.connections) {
    if (connection.connectionState !== 'connected') continue;
    const stats = await connection.getStats();
    for (const entry of stats.values()) {
      const pair = entry.type === 'transport' && stats.get(entry.selectedCandidatePairId);
      if (!pair) continue;
      const [local, remote] = [stats.get(pair.localCandidateId), stats.get(pair.remoteCandidateId)];
      pairs.push({local: local.candidateType, remote: remote.candidateType, received: pair.bytesReceived,
                  relayProtocol: local.relayProtocol ?? null});
    }
  }
  return pairs;
}"""

GATHERED = """async () => {
  const types = new Set();
  for (const connection of noted.connections) {
    for (const entry of (await connection.getStats()).values()) {
      if (entry.type === 'local-candidate') types.add(entry.candidateType);
    }
  }
  return [...types];
}"""


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    if why := missing():
        lacking(f"the NAT laboratory cannot run: {why}")
    with Lab() as lab:
        yield lab


@pytest.fixture(scope="session")
def built_player() -> None:
    if StaticFiles().assets() is None:
        done = subprocess.run(["npm", "run", "-s", "build"], capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A data folder with a track of a minute, and its root."""
    folder = tmp_path_factory.mktemp("net")
    wav = write_wav(folder / "strings.wav", plucked(60, 44_100, 16, 1), 44_100, 16)
    flac = encode(wav, folder / "strings.flac", "flac")
    command = [sys.executable, "-m", "hub.cli", "publish", "--json", str(flac)]
    environment = os.environ | {"DIGM_DATA": str(folder / "data")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "data", json.loads(done.stdout.splitlines()[0])["track_root"]


@dataclass(frozen=True)
class House:
    """A running hub."""

    url: str
    track_root: str
    data: Path


@pytest.fixture(scope="session", params=["embedded", "coturn"])
def house(
    request: pytest.FixtureRequest, lab: Lab, built_player: None, published: tuple[Path, str]
) -> Iterator[House]:
    """Hub, gateway, artist and a relay with one of the two engines. No seeding peer: only pages are to meet."""
    data, track_root = published
    environment = os.environ | {
        "DIGM_DATA": str(data),
        "DIGM_HOST": "0.0.0.0",
        "DIGM_PORT": str(PORT),
        "DIGM_TURN_ENGINE": request.param,
        "DIGM_TURN_HOST": HUB,
        "DIGM_TURN_URLS": TURN,
        # The laboratory's public network is a documentation range (RFC 5737), which no relay reaches by itself.
        "DIGM_TURN_ALLOW": "203.0.113.0/24",
    }
    for process in ("hub", "gateway", "artist", "relay"):
        log = data / f"{request.param}-{process}.log"
        lab.start("hub", [sys.executable, "-m", "hub.cli", process], environment, log)
    deadline = time.monotonic() + STARTS_WITHIN_S
    for url in (f"http://{HUB}:{PORT}/readyz", f"http://127.0.0.1:{PORT + 4}/readyz"):
        while not lab.answers(url):
            assert time.monotonic() < deadline, _logs(data)
            time.sleep(0.1)
    yield House(f"http://{HUB}:{PORT}", track_root, data)
    lab.stop()


def _logs(data: Path) -> str:
    return "\n".join(f"{log.name}: {log.read_text()[-1500:]}" for log in data.glob("*.log"))


Homes = dict[str, Browser]


@pytest.fixture
async def homes(lab: Lab, tmp_path: Path) -> AsyncIterator[Homes]:
    """A cold Chromium in each home."""
    chromium = shutil.which("chromium")
    async with async_playwright() as playwright:
        browsers: Homes = {}
        for home in ("a", "b"):
            wrapper = tmp_path / f"chromium-{home}"
            wrapper.write_text(f'#!/bin/sh\nexec {" ".join(lab.inside("home" + home))} {chromium} "$@"\n')
            wrapper.chmod(0o755)
            browsers[home] = await playwright.chromium.launch(executable_path=wrapper, args=CHROMIUM_ARGUMENTS)
        yield browsers
        for browser in browsers.values():
            await browser.close()


async def listen(browser: Browser, house: House, *, hides_address: bool = False) -> PlayerPage:
    """A listener's page, playing."""
    context: BrowserContext = await browser.new_context()
    for script in (NOTE_ERRORS, NOTE_CONNECTIONS, *([HIDE_ADDRESS] if hides_address else [])):
        await context.add_init_script(script)
    page = PlayerPage(await context.new_page())
    await page.visit(house.url, house.track_root)
    await page.play()
    return page
