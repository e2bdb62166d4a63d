"""Two pages that play a preview and get the rest, the DIGM player's and the gate's: one set of questions."""

import asyncio
import json
import re
import time
from collections.abc import Mapping
from typing import Any

from playwright.async_api import BrowserContext, Page

from bench.stack import Stack
from bench.unlock_gate import Gate, Received
from digm.purchases import Suite, purchase_aad
from hub.publishing.vault import Vault
from hub.vault.wrapping import wrap

WITHIN_S = 60.0
STILL_S = 1.5  # so long no byte comes: what is fetched in the background is there

# `sound` is the element that plays. A timer looks every 4 ms, as often as timers go.
WATCH = """
globalThis.until = (fact) => new Promise((resolve) => {
  const look = setInterval(() => { if (fact()) { clearInterval(look); resolve(performance.now()) } }, 1)
})
globalThis.sound = () => document.querySelector('digm-player, audio')
globalThis.heardFrom = (start, seconds) => until(() => sound().currentTime > start + seconds)
"""
# From the key on: when there is sound to play behind the preview, when sound goes on, and how long all in all
# nothing was heard until so many seconds behind the place where the listener was.
FROM_KEY = """async ([bring, ended, watched]) => {
  const start = sound().currentTime
  const key = await bring()
  const hasMore = () => {
    const {buffered} = sound()
    return buffered.length > 0 && buffered.end(buffered.length - 1) > ended + 0.1
  }
  const [ready, heard] = await Promise.all([until(hasMore), heardFrom(start, 0.01)])
  const end = await heardFrom(start, watched)
  const silence = end - key - 1000 * (sound().currentTime - start)
  return {ready_ms: ready - key, ms: heard - key, silence_ms: Math.max(0, silence)}
}"""
DIGM_KEY = """const bring = async () => {
  const {keep} = await import('/static/digm-account.js')
  const at = performance.now()
  await keep(track, {...owned, wrapped: Uint8Array.from(owned.wrapped)})
  return at
}"""
GATE_KEY = """const bring = async () => {
  await pay()
  const at = performance.now()
  unlock()
  return at
}"""
ACCOUNT = """async () => {
  const {create} = await import('/static/digm-account.js')
  const {address, publicKey, suite} = await create()
  return {address, publicKey: [...publicKey], suite}
}"""
# A listener who has bought before: an account with play money. The page has heard of it.
FUND = """async (address) => {
  const headers = {'content-type': 'application/json'}
  const answer = await fetch('/api/chain/faucet', {method: 'POST', headers, body: JSON.stringify({address})})
  if (!answer.ok) throw new Error(await answer.text())
  const has = async () => (await (await fetch(`/api/chain/account/${address}`)).json())
  while (!(await has()).tokens?.some(({balance}) => BigInt(balance) > 0n)) {
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
}"""
# Of the first click on, until sound comes from behind the place where the listener was.
WATCH_CLICK = """() => {
  const start = sound().currentTime
  addEventListener('click', () => { globalThis.clickedAt ??= performance.now() }, true)
  globalThis.bought = heardFrom(start, 0.01).then((heard) => heard - clickedAt)
}"""
CHAIN_ID, SALES, ITEM = 31_337, bytes([0x5A] * 20), bytes([0x17] * 32)


class Listening:
    """One listener at one page, cold."""

    def __init__(self, page: Page, preview_s: float) -> None:
        self.page = page
        self.preview_s = preview_s

    async def ask(self, script: str, argument: Any = None) -> Any:
        return await asyncio.wait_for(self.page.evaluate(script, argument), WITHIN_S)

    async def open(self, url: str) -> None:
        await self.page.add_init_script(WATCH)
        await self.page.goto(url)

    async def play(self) -> None:
        await self.ask("() => sound().play()")

    async def until_time(self, seconds: float) -> None:
        await self.ask("(at) => until(() => sound().currentTime >= at)", seconds)

    async def from_key(self, bring: str, watched_s: float, **names: Any) -> dict[str, float]:
        """Bring the key. Returns the milliseconds of FROM_KEY."""
        values = "".join(f"const {name} = {json.dumps(value)}\n" for name, value in names.items())
        script = (
            f"async ([ended, watched]) => {{ {values}{bring}\nreturn ({FROM_KEY})([bring, ended, watched]) }}"
        )
        found: dict[str, float] = await self.ask(script, [self.preview_s, watched_s])
        return found

    async def click_to_buy(self) -> None:
        raise NotImplementedError

    async def buy(self) -> float:
        """Milliseconds from the click to sound."""
        await self.ask(WATCH_CLICK)
        await self.click_to_buy()
        return float(await self.ask("() => bought"))


class DigmListening(Listening):
    """The track's page."""

    def __init__(self, page: Page, preview_s: float, stack: Stack, track: str) -> None:
        super().__init__(page, preview_s)
        self.stack, self.track = stack, track

    async def begin(self) -> None:
        await self.open(f"{self.stack.url}tracks/{self.track}")
        await self.ask("() => customElements.whenDefined('digm-player').then(() => true)")
        await self.play()

    async def until_preview_ended(self) -> None:
        await self.ask("() => until(() => sound().preview?.ended)")

    async def until_all_is_here(self) -> float:
        """Nothing more is fetched in the background. Returns megabytes held."""
        before, since = -1, time.monotonic()
        while time.monotonic() - since < STILL_S:
            if (fetched := await self.fetched()) != before:
                before, since = fetched, time.monotonic()
            await asyncio.sleep(0.1)
        return before / 1e6

    async def fetched(self) -> int:
        """Bytes of audio that came over the network."""
        by_source: Mapping[str, int] = await self.ask("() => sound().stats.bytes")
        return by_source["peer"] + by_source["gateway"]

    async def twice(self) -> int:
        """Bytes that had come before, or were held, by the player's count."""
        return int(await self.ask("() => sound().stats.bytes.twice"))

    async def stalls(self) -> int:
        return int(await self.ask("() => sound().stats.stalls"))

    async def key(self) -> dict[str, Any]:
        """The track's key as it comes from the chain, wrapped to this page's account."""
        buyer = await self.ask(ACCOUNT)
        with Vault.open(self.stack.data / "vault.digm") as vault:
            secret = vault.secret(self.track)
        assert secret is not None
        suite, public_key = Suite(buyer["suite"]), bytes(buyer["publicKey"])
        aad = purchase_aad(CHAIN_ID, SALES, ITEM, bytes.fromhex(buyer["address"][2:]))
        raw = public_key if suite is Suite.X25519 else public_key[1:33]
        wrapped = wrap([secret.track_key], raw, suite, aad)
        owned = {
            "wrapped": list(wrapped.encode()), "place": 0, "chainId": CHAIN_ID, "sales": f"0x{SALES.hex()}",
            "item": f"0x{ITEM.hex()}", "buyer": buyer["address"],
        }  # fmt: skip
        return {"track": self.track, "owned": owned}

    async def prepare_to_buy(self) -> None:
        """An account that has bought before: it has play money."""
        await self.ask(FUND, (await self.ask(ACCOUNT))["address"])

    async def click_to_buy(self) -> None:
        """Buy, and pay: both buttons, as fast as the page shows them."""
        for name in ("Buy", "Pay"):
            button = self.page.locator("digm-purchase").get_by_role("button", name=re.compile(f"^{name} "))
            await button.click()

    async def bring_key(self, watched_s: float) -> dict[str, float]:
        return await self.from_key(DIGM_KEY, watched_s, **await self.key())


class GateListening(Listening):
    """The gate's page."""

    def __init__(self, page: Page, preview_s: float, gate: Gate) -> None:
        super().__init__(page, preview_s)
        self.gate = gate
        self.received = Received(gate)

    async def begin(self) -> None:
        devtools = await self.page.context.new_cdp_session(self.page)
        devtools.on("Network.responseReceived", self.received.response)
        devtools.on("Network.dataReceived", self.received.data)
        await devtools.send("Network.enable")
        await self.open(self.gate.url)
        await self.play()

    async def until_preview_ended(self) -> None:
        await self.ask("() => until(() => sound().ended)")

    async def click_to_buy(self) -> None:
        await self.page.locator("#buy").click()

    async def bring_key(self, watched_s: float) -> dict[str, float]:
        return await self.from_key(GATE_KEY, watched_s)


async def digm_listening(context: BrowserContext, preview_s: float, stack: Stack, track: str) -> DigmListening:
    return DigmListening(await context.new_page(), preview_s, stack, track)


async def gate_listening(context: BrowserContext, preview_s: float, gate: Gate) -> GateListening:
    return GateListening(await context.new_page(), preview_s, gate)
