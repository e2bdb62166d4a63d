"""Pages that listen, and the same instrument in each of them, whatever player is on it.

The instrument is put under the page before its first script runs: it notes when the media element's clock first
moves, every `waiting` after that and every time the clock stood still, and what comes in through data channels.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from playwright.async_api import Browser, Error, Page, Playwright

from bench import stack

# A page in the background would have its timers throttled, and all but one of them are in the background.
FLAGS = [
    *stack.CHROMIUM_FLAGS, "--disable-background-timer-throttling", "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
]  # fmt: skip
GAP_MS = 250

INSTRUMENT = """(() => {
  const facts = globalThis.swarmFacts = {
    first_sound_ms: null, waiting: 0, gaps_ms: [], peer_bytes: 0, channels: 0, position_s: 0, is_over: false,
  };
  // The same audio everywhere: a page that takes its link for slow would choose a lighter rendition.
  const isTypeSupported = MediaSource.isTypeSupported.bind(MediaSource);
  MediaSource.isTypeSupported = (type) => !type.includes('opus') && isTypeSupported(type);
  const nativePlay = HTMLMediaElement.prototype.play;
  let media = null, movedAt = 0;
  const look = () => {
    const now = performance.now(), position = media.currentTime;
    const isAtEnd = media.ended || position >= media.duration - 0.5;
    if (position > facts.position_s) {
      facts.first_sound_ms ??= now;
      // A page that was busy looks late, but finds the clock where it should be.
      const stoodMs = now - movedAt - 1000 * (position - facts.position_s);
      if (movedAt && stoodMs > GAP_MS) facts.gaps_ms.push(Math.round(stoodMs));
      movedAt = now;
      facts.position_s = position;
    } else if (media.paused && !isAtEnd) movedAt = now;
    facts.is_over ||= isAtEnd;
    if (!facts.is_over) setTimeout(look, facts.first_sound_ms === null ? 5 : 40);
  };
  HTMLMediaElement.prototype.play = function () {
    if (!media) {
      media = this;
      media.addEventListener('waiting', () => {
        const isAtEnd = media.currentTime >= media.duration - 0.5;
        if (facts.first_sound_ms !== null && !media.seeking && !isAtEnd) facts.waiting += 1;
      });
      look();
    }
    return nativePlay.call(this);
  };
  const count = (channel) => {
    facts.channels += 1;
    channel.addEventListener('message', ({data}) => {
      facts.peer_bytes += data.byteLength ?? data.size ?? data.length;
    });
    return channel;
  };
  const Connection = globalThis.RTCPeerConnection;
  globalThis.RTCPeerConnection = class extends Connection {
    constructor(...args) {
      super(...args);
      this.addEventListener('datachannel', ({channel}) => count(channel));
    }
    createDataChannel(...args) { return count(super.createDataChannel(...args)); }
  };
})();
""".replace("GAP_MS", str(GAP_MS))


@dataclass(frozen=True)
class System:
    """Something to listen with.

    Attributes:
        url: of its page.
        start: script that presses play as soon as it can, put under the page.
        fetched: expression: the share of the track that the page holds, 0 to 1.
        origins: expression: [[what, from where], ...] of every piece of the track that it fetched.
    """

    name: str
    url: str
    start: str
    fetched: str
    origins: str


@dataclass
class Listener:
    """One page."""

    number: int
    page: Page
    system: System

    async def go(self) -> None:
        await self.page.goto(self.system.url, wait_until="commit", timeout=60_000)

    async def facts(self) -> dict[str, Any]:
        """The instrument's facts, with `fetched`; of a page that is not there yet, nothing happened."""
        found = None
        with contextlib.suppress(Error):  # it is just being navigated
            found = await self.page.evaluate(
                f"() => globalThis.swarmFacts && {{...swarmFacts, fetched: {self.system.fetched}}}"
            )
        return found or {"first_sound_ms": None, "position_s": 0, "is_over": False, "fetched": 0}

    async def origins(self) -> list[tuple[str, str]]:
        return [(str(what), str(where)) for what, where in await self.page.evaluate(self.system.origins)]


@contextlib.asynccontextmanager
async def listeners(playwright: Playwright, system: System, count: int) -> AsyncIterator[list[Listener]]:
    """Pages with a profile of their own each, in one browser; still empty."""
    browser = await playwright.chromium.launch(executable_path=stack.CHROMIUM, args=FLAGS)
    try:
        yield [await _open(browser, system, number) for number in range(count)]
    finally:
        await browser.close()


async def _open(browser: Browser, system: System, number: int) -> Listener:
    agent = f"Mozilla/5.0 (X11; Linux x86_64) Chrome/{browser.version} listener/{number}"
    context = await browser.new_context(user_agent=agent)
    page = await context.new_page()
    await page.add_init_script(INSTRUMENT + system.start)
    return Listener(number, page, system)


async def arrive(pages: list[Listener], stagger_s: float) -> None:
    """Navigate all of them, each `stagger_s` after the one before."""

    async def one(listener: Listener) -> None:
        await asyncio.sleep(listener.number * stagger_s)
        await listener.go()

    await asyncio.gather(*(one(listener) for listener in pages))
