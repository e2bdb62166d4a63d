"""What a browser keeps of a track between visits: enough to go on, never more than it may, never wrong."""

import asyncio
from typing import Any

import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, Request, Route

from tests.browser.conftest import Recording, Unseeded
from tests.browser.player_page import PATIENCE_S, POLL_S, PlayerPage
from tests.browser.stack import Stack

CACHE = """async (...given) => {
  const cache = await import('/static/digm-cache.js');
  const random = (size) => {
    const data = new Uint8Array(size);
    for (let at = 0; at < size; at += 65536) crypto.getRandomValues(data.subarray(at, at + 65536));
    return data;
  };
  const name = async (data) => Array.from(new Uint8Array(await crypto.subtle.digest('SHA-256', data)),
    (byte) => byte.toString(16).padStart(2, '0')).join('');
  const make = async (size) => { const data = random(size); return [await name(data), data]; };
  const answer = (request) => new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  const database = () => answer(indexedDB.open('digm'));
  const work = async () => { CODE };
  return work();
}"""

# Every line of the index has its chunk and every chunk its line, and the total is their sum.
CHECK = """
  const db = await database();
  const transaction = db.transaction(['chunks', 'index', 'totals']);
  const [names, lines, total] = await Promise.all([answer(transaction.objectStore('chunks').getAllKeys()),
    answer(transaction.objectStore('index').getAll()), answer(transaction.objectStore('totals').get('bytes'))]);
  db.close();
  const right = await Promise.all(names.map((hash) => cache.cachedChunk(hash)));
  return {count: names.length, isIndexed: names.join() === lines.map(({hash}) => hash).join(),
          total: total ?? 0, sum: lines.reduce((sum, {size}) => sum + size, 0),
          right: right.filter(Boolean).length};
"""


async def on_page(page: Page, code: str) -> Any:
    """Run JavaScript beside the cache's module, with a few helpers."""
    return await page.evaluate(CACHE.replace("CODE", code))


async def until_true(page: Page, fact: str) -> None:
    """The page's policy forbids Playwright's own way to wait."""
    async with asyncio.timeout(PATIENCE_S):
        while not await page.evaluate(f"() => {fact}"):
            await asyncio.sleep(POLL_S)


async def assert_consistent(page: Page) -> int:
    """Returns how many chunks are kept."""
    found = await on_page(page, CHECK)
    assert found["isIndexed"], found
    assert found["total"] == found["sum"], found
    assert found["right"] == found["count"], found
    return int(found["count"])


class Gateway:
    """Counts what a page asks the gateway for, and may refuse it all."""

    def __init__(self, stack: Stack) -> None:
        self._url = f"http://localhost:{stack.ports['gateway']}/"
        self.asked: list[str] = []

    async def watch(self, page: Page, *, refuse: bool = False) -> None:
        def note(request: Request) -> None:
            if self._is_chunk(request.url):
                self.asked.append(request.url.removeprefix(self._url))

        async def answer(route: Route) -> None:
            await (route.abort() if self._is_chunk(route.request.url) else route.continue_())

        page.on("request", note)
        if refuse:
            await page.route(f"{self._url}**", answer)

    def _is_chunk(self, url: str) -> bool:
        return url.startswith(self._url) and not url.endswith("manifest.json")


async def hear_all_of_it(page: PlayerPage, duration_s: float) -> None:
    """Play here and there until every chunk was fetched and is on the disk."""
    await page.play()
    await page.until_sound()

    def is_whole(state: dict[str, Any]) -> bool:
        at = 0.0
        for start, end, _ in sorted(state["stats"].get("origins", [])):
            if start > at + 0.01:
                return False
            at = max(at, end)
        return at > duration_s - 0.1

    position = 0.0
    while not is_whole(await page.state()):
        await page.until_time(position + 0.5)
        # Back to the beginning at last: its first chunk was left before it was whole.
        position = position + 8 if position + 16 <= duration_s else 0.0
        await page.run(f"player.currentTime = {position}")
    await page.run("player.pause()")


async def until_kept(page: PlayerPage, chunks: int) -> None:
    # Who opens a database that is not there yet makes one, and the player finds it without its stores.
    await until_true(page.page, "indexedDB.databases().then((all) => all.some(({name}) => name === 'digm'))")
    async with asyncio.timeout(PATIENCE_S):
        while await assert_consistent(page.page) < chunks:
            await asyncio.sleep(POLL_S)


@pytest_asyncio.fixture(loop_scope="module")
async def tab(stack: Stack, recordings: dict[str, Recording], context: BrowserContext) -> Page:
    """A page of the hub's origin without a player."""
    page = await context.new_page()
    await page.goto(stack.url)
    return page


async def test_a_reloaded_page_goes_on_from_its_cache_without_a_byte_from_the_server_and_seeds(
    unseeded: Unseeded, player_page: PlayerPage, browser: Browser
) -> None:
    stack, root = unseeded
    chunks = len(stack.chunks_of(root))
    await player_page.visit(stack.url, root)
    await hear_all_of_it(player_page, 60)
    await until_kept(player_page, chunks)

    gateway = Gateway(stack)
    await gateway.watch(player_page.page, refuse=True)
    await player_page.page.reload()
    await player_page.play()
    await player_page.until_sound()
    await player_page.run("player.currentTime = 30")
    state = await player_page.until_time(33)
    assert gateway.asked == []
    assert state["stats"]["bytes"]["gateway"] == 0
    assert state["stats"]["bytes"]["cache"] > 0
    assert {origin for _, _, origin in state["stats"]["origins"]} == {"cache"}
    assert state["errors"] == []

    other = await PlayerPage.open(await browser.new_context())
    await gateway.watch(other.page, refuse=True)
    await other.visit(stack.url, root)
    await other.play()
    heard = await other.until_time(6)
    assert heard["stats"]["bytes"]["peer"] > 0
    assert heard["stats"]["bytes"]["gateway"] == 0


async def test_what_was_changed_on_the_disk_is_neither_played_nor_kept(
    stack: Stack, recordings: dict[str, Recording], player_page: PlayerPage
) -> None:
    flac = recordings["flac"]
    await player_page.visit(stack.url, flac.track_root)
    await player_page.play()
    await player_page.until_sound()
    await until_kept(player_page, len(stack.chunks_of(flac.track_root)))  # the seeding peer gives them all
    await player_page.run("player.pause()")
    await on_page(
        player_page.page,
        """const db = await database();
        const store = db.transaction('chunks', 'readwrite').objectStore('chunks');
        const names = await answer(store.getAllKeys());
        await Promise.all(names.map((hash) => answer(store.put(new Blob([random(65536)]), hash))));
        db.close();""",
    )
    await player_page.page.reload()
    await player_page.play()
    state = await player_page.until_time(7)
    heard = [origin for start, _, origin in state["stats"]["origins"] if start < 7]
    assert heard
    assert "cache" not in heard
    assert state["errors"] == []
    assert player_page.crashes == []
    first = stack.chunks_of(flac.track_root)[0].name
    async with asyncio.timeout(PATIENCE_S):
        while not await on_page(player_page.page, f"return Boolean(await cache.cachedChunk('{first}'))"):
            await asyncio.sleep(POLL_S)


async def test_the_bound_is_kept_and_what_was_not_used_longest_goes_first(tab: Page) -> None:
    found = await on_page(
        tab,
        """await cache.setCacheLimit(1);
        const made = [];
        for (let i = 0; i < 4; i += 1) made.push(await make(262144));
        for (const [hash, data] of made) await cache.keepChunk(hash, data);
        await cache.keepChunk(...made[0]);  // used again
        const [hash, data] = await make(262144);
        const {isKept, evicted} = await cache.keepChunk(hash, data);
        const held = await cache.heldChunks([...made.map(([name]) => name), hash]);
        return {isKept, isSecond: evicted.join() === made[1][0], held, state: await cache.cacheState()};""",
    )
    assert found["isKept"]
    assert found["isSecond"]
    assert found["held"] == [True, False, True, True, True]
    assert found["state"] == {"bytes": 1_048_576, "limit": 1_048_576, "isPersistent": True}
    await on_page(tab, "await cache.setCacheLimit(0.5)")
    assert await assert_consistent(tab) == 2
    await on_page(tab, "await cache.setCacheLimit(0)")
    assert await assert_consistent(tab) == 0
    nothing = "const [h, d] = await make(65536); return (await cache.keepChunk(h, d)).isKept"
    assert not await on_page(tab, nothing)


async def test_several_tabs_write_at_once_and_the_account_is_right(tab: Page, stack: Stack) -> None:
    other = await tab.context.new_page()
    await other.goto(stack.url)
    await on_page(tab, "await cache.setCacheLimit(2)")
    fill = """const made = await Promise.all(Array.from({length: 24}, () => make(131072)));
              await Promise.all(made.map(([hash, data]) => cache.keepChunk(hash, data)));"""
    await other.evaluate("globalThis.done = null")
    await other.evaluate(f"void ({CACHE.replace('CODE', fill)})().then(() => {{ globalThis.done = true }})")
    await on_page(tab, fill)
    await until_true(other, "globalThis.done")
    assert await assert_consistent(tab) == 16
    assert (await on_page(tab, "return cache.cacheState()"))["bytes"] == 2_097_152


async def test_a_tab_that_is_killed_while_it_writes_leaves_nothing_wrong(tab: Page, stack: Stack) -> None:
    victim = await tab.context.new_page()
    await victim.goto(stack.url)
    write = """for (let i = 0; ; i += 1) { const [h, d] = await make(1048576); cache.keepChunk(h, d);
               if (i % 3 === 0) await cache.keepChunk(h, d); globalThis.written = i; }"""
    await victim.evaluate(f"void ({CACHE.replace('CODE', write)})()")
    await until_true(victim, "globalThis.written > 5")
    session = await tab.context.new_cdp_session(victim)
    async with victim.expect_event("crash"):
        asyncio.ensure_future(session.send("Page.crash")).add_done_callback(lambda done: done.exception())
    assert await assert_consistent(tab) >= 3
    assert await on_page(tab, "const [h, d] = await make(65536); return (await cache.keepChunk(h, d)).isKept")


async def test_forgetting_leaves_nothing(tab: Page) -> None:
    await on_page(tab, "const [hash, data] = await make(65536); await cache.keepChunk(hash, data)")
    assert await assert_consistent(tab) == 1
    await on_page(tab, "await cache.forgetEverything()")
    assert await assert_consistent(tab) == 0
    assert (await on_page(tab, "return cache.cacheState()"))["bytes"] == 0


async def test_a_full_disk_is_not_noticed(
    stack: Stack, recordings: dict[str, Recording], player_page: PlayerPage
) -> None:
    await player_page.page.add_init_script(
        """IDBObjectStore.prototype.put = () => { throw new DOMException('full', 'QuotaExceededError'); };"""
    )
    await player_page.visit(stack.url, recordings["flac"].track_root)
    await player_page.play()
    state = await player_page.until_time(7)
    assert state["errors"] == []
    assert player_page.crashes == []
    assert (await on_page(player_page.page, "return cache.cacheState()"))["bytes"] == 0
