"""Fixtures: the built player, a running DIGM with music in it, a Chromium, a cold page of it to listen to."""

import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Playwright, async_playwright
from pytest_asyncio import is_async_test

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


Unseeded = tuple[Stack, str]


@pytest.fixture(scope="session")
def unseeded(
    built_player: None,
    music: dict[str, tuple[Path, Samples, int, int]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Unseeded]:
    """One DIGM without a seeding peer, for the tests that leave it as it is, and the root of its one track."""
    stack = Stack(tmp_path_factory.mktemp("unseeded"))
    (track,) = stack.publish(music["flac"][0])
    stack.start("hub", "gateway", "artist")
    stack.wait_until_ready()
    yield stack, track["track_root"]
    stack.stop()


@pytest.fixture
def own_stack(built_player: None, tmp_path: Path) -> Iterator[Stack]:
    """A DIGM of its own, for tests that kill or damage parts of it. Not started."""
    data = tmp_path / "data"
    data.mkdir()
    stack = Stack(data)
    yield stack
    stack.stop()


class Chromium:
    """One for all tests of a module, each in contexts of its own; another one when it has crashed."""

    def __init__(self, playwright: Playwright, words: Path) -> None:
        self._playwright, self._words = playwright, words
        self._browser: Browser | None = None
        self._printed = 0

    async def open(self) -> Browser:
        if self._browser is None or not self._browser.is_connected():
            logging = ["--enable-logging", f"--log-file={self._words}"]
            self._printed = 0
            self._browser = await self._playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=CHROMIUM_ARGUMENTS + logging
            )
        return self._browser

    async def clean(self) -> None:
        """Close every profile that was opened."""
        for context in self._browser.contexts if self._browser else ():
            await context.close()

    async def close(self) -> None:
        if self._browser is not None:
            await self._browser.close()

    def last_words(self) -> list[str]:
        """What it has logged since the last time."""
        lines = self._words.read_text(errors="replace").splitlines() if self._words.exists() else []
        said, self._printed = lines[self._printed :], len(lines)
        return [line for line in said if "dbus" not in line]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of a module share an event loop, as they share a Chromium."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="module"), append=False)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Chromium]:
    async with async_playwright() as playwright:
        chromium = Chromium(playwright, tmp_path_factory.mktemp("chromium") / "chromium.log")
        yield chromium
        await chromium.close()


@pytest_asyncio.fixture(loop_scope="module")
async def browser(chromium: Chromium) -> AsyncIterator[Browser]:
    """A Chromium without a profile; its last words are printed with a failing test."""
    yield await chromium.open()
    await chromium.clean()
    print(*chromium.last_words()[-30:], sep="\n")


@pytest_asyncio.fixture(loop_scope="module")
async def context(browser: Browser) -> BrowserContext:
    """A cold profile."""
    return await browser.new_context()


@pytest_asyncio.fixture(loop_scope="module")
async def player_page(context: BrowserContext) -> PlayerPage:
    """An empty page that notes everything its player says."""
    return await PlayerPage.open(context)


@pytest_asyncio.fixture(loop_scope="module")
async def capture_page(browser: Browser) -> PlayerPage:
    """A page whose sound can be recorded; its Content-Security-Policy is off for that."""
    return await PlayerPage.open(await browser.new_context(bypass_csp=True))
