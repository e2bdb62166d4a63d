"""The artist's studio in a browser: a file is dropped, heard, priced, published, sold and heard at the hub; and
what other pages of the same browser get of it: nothing."""

import asyncio
import base64
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import BrowserContext, Page, expect

from tests.browser.music import plucked, write_wav
from tests.browser.player_page import PlayerPage
from tests.browser.stack import Stack
from tests.hub.vault.market import Buyer, Market

PATIENCE_MS = 90_000
DROP = """([name, content]) => {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name, {type: 'audio/wav'}));
  for (const kind of ['dragenter', 'dragover', 'drop']) {
    document.body.dispatchEvent(new DragEvent(kind, {bubbles: true, cancelable: true, dataTransfer}));
  }
}"""
# Everything that a page can try on another one of the same browser.
ATTACK = """async (studio) => {
  const tries = {};
  const blind = {method: 'POST', mode: 'no-cors'};
  const ask = (path, about) => fetch(studio + path, {credentials: 'include', ...about})
    .then(async (answer) => `${answer.type} ${answer.status} ${await answer.text()}`, () => 'refused');
  tries.read = await ask('/api/desk');
  tries.page = await ask('/');
  tries.header = await ask('/api/desk', {headers: {'X-DIGM-Studio': 'guessed'}});
  tries.drop = await ask('/api/desk/files?name=a.wav', {method: 'PUT', body: 'RIFF'});
  tries.post = await ask('/api/publish', {...blind, body: '{}'});
  tries.vault = await ask('/api/vault/backup', {...blind, body: '{"passphrase":"0123456789"}'});
  const frame = Object.assign(document.createElement('iframe'), {src: studio + '/'});
  await new Promise((resolve) => { frame.onload = resolve; document.body.append(frame); });
  try { tries.frame = frame.contentWindow.location.href; }
  catch { tries.frame = 'unreachable'; }
  const opened = window.open(studio + '/');
  await new Promise((resolve) => { setTimeout(resolve, 500); });
  try { tries.opened = opened === null || opened.closed ? 'cut off' : String(opened.location.href); }
  catch { tries.opened = 'unreachable'; }
  return tries;
}"""


@contextmanager
def studio_on(stack: Stack) -> Iterator[str]:
    """`digm studio`; the address that it prints."""
    with (stack.data / "studio.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "hub.cli", "studio"],
            env=stack.environment, stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        yield process.stdout.readline().removeprefix("Open ").strip()
    finally:
        process.terminate()
        assert process.wait(30) == 0, (stack.data / "studio.log").read_text()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    market = Market(tmp_path_factory.mktemp("market"))
    yield market
    market.close()


@asynccontextmanager
async def another_server() -> AsyncIterator[tuple[TestServer, list[str]]]:
    """A server of this machine, and the cookies that browsers brought it."""
    cookies: list[str] = []

    async def page(request: web.Request) -> web.Response:
        cookies.append(request.headers.get("Cookie", ""))
        return web.Response(text="<!doctype html><title>Hello</title>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", page)
    async with TestServer(app, host="127.0.0.1") as server:
        yield server, cookies


async def test_a_dropped_file_is_heard_priced_published_sold_and_heard_at_the_hub(
    own_stack: Stack, market: Market, context: BrowserContext, player_page: PlayerPage, tmp_path: Path
) -> None:
    own_stack.settings.update(market.environment())
    market.settle_in(own_stack.data)
    own_stack.start("hub", "gateway", "artist")
    song = write_wav(tmp_path / "night train.wav", plucked(12, 44_100, 16, 5), 44_100, 16)
    with studio_on(own_stack) as address:
        studio = await context.new_page()
        crashes: list[str] = []
        studio.on("pageerror", lambda error: crashes.append(str(error)))
        studio.on("console", lambda said: crashes.append(said.text) if said.type == "error" else None)
        await studio.goto(address)
        assert "token" not in studio.url and "#" not in studio.url
        await expect(studio.locator("#chain-said")).to_contain_text(market.artist, timeout=PATIENCE_MS)
        await prepare(studio, song)
        await studio.get_by_role("button", name="Publish it").click()
        await expect(studio.locator("#journey-title")).to_have_text("It is out", timeout=PATIENCE_MS)
        for step in ("read", "encrypt", "store", "chain", "price"):
            await expect(studio.locator(f"[data-step={step}]")).to_have_attribute("data-state", "done")
        row = studio.locator("#music tbody tr")
        await expect(row).to_contain_text("2.5 PARA", timeout=PATIENCE_MS)
        await expect(row).to_contain_text("first 4 s")
        root = await row.get_attribute("data-root")
        assert root is not None
        own_stack.wait_until_ready()
        await player_page.visit(own_stack.url, root)
        await player_page.play()
        await player_page.until_sound()
        buyer, item = (
            Buyer(market.accounts[4]),
            bytes(market.ask("registry", "track_id", market.artist, bytes.fromhex(root))),
        )
        market.buy(buyer, item, price=25 * 10**17)
        await expect(studio.locator("#sales tbody tr")).to_contain_text("delivered", timeout=PATIENCE_MS)
        await expect(studio.locator("#income")).to_contain_text("2.5 PARA")
        assert market.opened(item, buyer)
        assert crashes == []


async def prepare(studio: Page, song: Path) -> None:
    """Drop, name, hear, price."""
    hostile = "<img src=x onerror=alert(1)>.txt"
    await studio.evaluate(DROP, [hostile, ""])
    await expect(studio.locator("#trouble")).to_contain_text(hostile, timeout=PATIENCE_MS)
    await studio.evaluate(DROP, [song.name, base64.b64encode(song.read_bytes()).decode()])
    await expect(studio.locator(".desk-track[data-state=ready]")).to_have_count(1, timeout=PATIENCE_MS)
    title = studio.locator(".desk-track .tag-title")
    await expect(title).to_have_value("night train")
    await title.fill("Night train")
    await studio.locator("#all-artist").fill("Nobody")
    await studio.get_by_role("button", name="Listen", exact=True).click()
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while await studio.evaluate("document.getElementById('audio').currentTime") < 0.2:
        assert time.monotonic() < deadline, "nothing is heard in the studio"
        await asyncio.sleep(0.05)
    await studio.get_by_text("For a price").click()
    await studio.locator("#terms [name=price]").fill("2.50")
    await studio.locator("#terms [name=preview]").fill("4")


async def test_other_pages_of_the_browser_get_nothing(own_stack: Stack, context: BrowserContext) -> None:
    with studio_on(own_stack) as address:
        studio = await context.new_page()
        await studio.goto(address)
        await expect(studio.locator("#vault-said")).to_contain_text("0 track keys", timeout=PATIENCE_MS)
        own = address.partition("/?")[0]
        async with another_server() as (server, cookies):
            page = await context.new_page()
            await page.goto(f"http://127.0.0.1:{server.port}/")
            tries = await page.evaluate(ATTACK, own)
            assert tries.pop("frame") == "unreachable" and tries.pop("opened") in ("cut off", "unreachable"), (
                tries
            )
            assert set(tries.values()) == {"refused"}, tries
            # A server of the same host sees the cookie. What it opens is an empty page.
            assert any("digm-studio" in cookie for cookie in cookies)
            stolen = await context.request.get(f"{own}/api/desk", headers={"Cookie": cookies[-1]})
            assert stolen.status == 503 and "no_token" in await stolen.text()
        # A name that somebody's DNS points here.
        rebound = await context.new_page()
        answer = await rebound.goto(own.replace("127.0.0.1", "attacker.localhost"))
        assert answer is not None and answer.status == 400
        assert "bad_host" in await answer.text()
        await studio.reload()
        await expect(studio.locator("#vault-said")).to_contain_text("0 track keys", timeout=PATIENCE_MS)
        await expect(studio.locator(".desk-track")).to_have_count(0)
        await expect(studio.locator("#journey")).to_be_hidden()
