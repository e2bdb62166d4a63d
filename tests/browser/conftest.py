"""Fixtures: the built player, a running DIGM with music in it, a cold Chromium, a page to listen to."""

import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, async_playwright

from tests.browser.music import Samples, encode, plucked, write_wav
from tests.browser.player_page import PlayerPage
from tests.browser.stack import Stack

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM_ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
    "--allow-loopback-in-peer-connection",
]  # fmt: skip


@dataclass(frozen=True)
class Recording:
    """A published track and what it was made of."""

    track_root: str
    samples: Samples
    rate: int
    bits: int


@pytest.fixture(scope="session")
def built_player() -> None:
    """static/dist/ as `npm run build` makes it; nothing is done when it is there."""
    npm = shutil.which("npm")
    assert npm, "npm is needed to build the player"
    done = subprocess.run([npm, "run", "-s", "build"], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def music(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Samples, int, int]]:
    """Files to publish: name -> path, samples, rate, bits."""
    folder = tmp_path_factory.mktemp("music")
    cd, opus_rate, studio = plucked(60, 44_100, 16, 1), plucked(24, 48_000, 16, 2), plucked(24, 96_000, 24, 3)
    free = plucked(60, 44_100, 16, 4)
    cd_wav = write_wav(folder / "strings.wav", cd, 44_100, 16)
    opus_wav = write_wav(folder / "strings48.wav", opus_rate, 48_000, 16)
    return {
        "flac": (encode(cd_wav, folder / "strings.flac", "flac"), cd, 44_100, 16),
        "mp3": (encode(cd_wav, folder / "strings.mp3", "libmp3lame", 192_000), cd, 44_100, 16),
        "m4a": (encode(cd_wav, folder / "strings.m4a", "aac", 160_000), cd, 44_100, 16),
        "opus": (encode(opus_wav, folder / "strings.opus", "libopus", 128_000), opus_rate, 48_000, 16),
        "wav": (write_wav(folder / "studio.wav", studio, 96_000, 24), studio, 96_000, 24),
        "preview": (write_wav(folder / "preview.wav", free, 44_100, 16), free, 44_100, 16),
    }


@pytest.fixture(scope="session")
def stack(built_player: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One DIGM for the tests that leave it as it is."""
    stack = Stack(tmp_path_factory.mktemp("data"))
    yield stack
    stack.stop()


@pytest.fixture(scope="session")
def recordings(stack: Stack, music: dict[str, tuple[Path, Samples, int, int]]) -> dict[str, Recording]:
    """Everything published, everything running."""
    published = {}
    for name, (path, samples, rate, bits) in music.items():
        options = ["--preview-seconds", "30", "--title", "A preview"] if name == "preview" else []
        (line,) = stack.publish(path, *options)
        published[name] = Recording(line["track_root"], samples, rate, bits)
    stack.start()
    stack.wait_until_ready()
    return published


@pytest.fixture
def own_stack(built_player: None, tmp_path: Path) -> Iterator[Stack]:
    """A DIGM of its own, for tests that kill or damage parts of it. Not started."""
    data = tmp_path / "data"
    data.mkdir()
    stack = Stack(data)
    yield stack
    stack.stop()


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    """A Chromium with a cold profile; its last words are printed with a failing test."""
    words = tmp_path / "chromium.log"
    logging = ["--enable-logging", f"--log-file={words}"]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=CHROMIUM_ARGUMENTS + logging
        )
        yield browser
        await browser.close()
    if words.exists():
        said = [line for line in words.read_text(errors="replace").splitlines() if "dbus" not in line]
        print(*said[-30:], sep="\n")


@pytest.fixture
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    context = await browser.new_context()
    yield context
    await context.close()


@pytest.fixture
async def player_page(context: BrowserContext) -> PlayerPage:
    """An empty page that notes everything its player says."""
    return await PlayerPage.open(context)


@pytest.fixture
async def capture_page(browser: Browser) -> AsyncIterator[PlayerPage]:
    """A page whose sound can be recorded; its Content-Security-Policy is off for that."""
    context = await browser.new_context(bypass_csp=True)
    yield await PlayerPage.open(context)
    await context.close()
