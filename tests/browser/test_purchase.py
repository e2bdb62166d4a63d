"""Buying in the page, in Chromium, on a devnet with a real vault: with a wallet, and with a key of the page."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Frame, Page, expect

from tests.browser.music import Samples
from tests.browser.shop import Shop, Sold

WALLET = (Path(__file__).parent / "wallet.js").read_text()
PREVIEW_S = 5
PATIENCE_MS = 90_000
PASSPHRASE = "five quiet words are enough"  # noqa: S105 - a listener's, made up
Music = dict[str, tuple[Path, Samples, int, int]]

OWNED = """async () => {
  const {account, list} = await import('/static/digm-account.js');
  const who = await account();
  return {address: who?.address, kind: who?.kind, tracks: (await list()).map(({track}) => track)};
}"""


# A copy, another account in its place, and the first one again; a copy that was changed opens with nothing.
WITH_PASSKEY = """async () => {
  const {create, restore} = await import('/static/digm-account.js');
  const {copyWithPasskey, readCopy, restoreCopy} = await import('/static/digm-recovery.js');
  const {pageAddress: address} = await create();
  const copy = await copyWithPasskey();
  const {pageAddress: between} = await restore(crypto.getRandomValues(new Uint8Array(32)));
  const head = copy.indexOf('.') + 1;
  const json = JSON.parse(atob(copy.slice(head).replaceAll('-', '+').replaceAll('_', '/')));
  const changed = 'digm-copy-1.' + btoa(JSON.stringify({...json, address: between}));
  const broken = await restoreCopy(changed).then(() => '', ({code}) => code);
  const {pageAddress: restored} = await restoreCopy(copy);
  return {address, between, restored, copy, broken, kind: readCopy(copy).kind};
}"""


WITHOUT_X25519 = """
const importKey = crypto.subtle.importKey.bind(crypto.subtle);
crypto.subtle.importKey = (format, data, algorithm, ...rest) => {
  if ((algorithm?.name ?? algorithm) !== 'X25519') return importKey(format, data, algorithm, ...rest);
  return Promise.reject(new DOMException('no such curve', 'NotSupportedError'));
};
"""
SEVERAL_KEYS = """async () => {
  const {restore} = await import('/static/digm-account.js');
  const made = [];
  for (let i = 0; i < 8; i += 1) {
    const {suite, publicKey, listening} = await restore(crypto.getRandomValues(new Uint8Array(32)));
    const {privateKey} = listening;
    const refused = await crypto.subtle.exportKey('pkcs8', privateKey).then(() => '', ({name}) => name);
    made.push([suite, publicKey.length, publicKey[64] % 2, refused]);
  }
  return made;
}"""


@pytest.fixture(scope="module")
def shop(built_player: None, music: Music, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    shop = Shop(tmp_path_factory.mktemp("shop"))
    yield shop
    shop.close()


@pytest.fixture(scope="module")
def track(shop: Shop, music: Music) -> Sold:
    """For 2.5 PARA, with everything that sells it running."""
    sold = shop.offer(
        music["mp3"][0],
        "--preview-seconds",
        str(PREVIEW_S),
        "--title",
        "Minuet in G",
        "--artist",
        "Anna Magdalena",
    )
    shop.bind()
    shop.stack.start("hub", "gateway", "artist")
    shop.stack.wait_until_ready()
    return sold


async def listener(browser: Browser, shop: Shop, account: str = "") -> Page:
    """A page of a profile of its own; with a wallet, if an account of the devnet is named."""
    context = await browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    if account:
        await context.expose_function(
            "digmChain", lambda method, params: shop.market.devnet.ask(method, *params)
        )
        await context.add_init_script(WALLET.replace("ACCOUNT", json.dumps(account)))
    return await context.new_page()


async def visit(page: Page, shop: Shop, track: Sold, to: str = "tracks") -> None:
    await page.goto(f"{shop.stack.url}/{to}/{track.root}")


async def choose(page: Page, payer: str) -> None:
    """From the offer to the last button."""
    await page.locator("digm-purchase").get_by_role("button", name="Buy · 2.5 PARA").click()
    await page.locator(".buy-payer", has_text=payer).click()


async def pay(page: Page) -> None:
    # A window that came up a moment ago takes no money: the button counts once the page was seen for a while.
    await page.wait_for_timeout(800)
    await page.get_by_role("button", name="Pay 2.5 PARA").click()


async def until_time(view: Frame, seconds: float) -> None:
    """Until the player there has come so far."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while await view.evaluate("document.querySelector('digm-player').currentTime") < seconds:
        assert time.monotonic() < deadline, "it does not play on"
        await asyncio.sleep(0.1)


async def hear_the_rest(page: Page) -> None:
    await page.locator("digm-player #play").click()
    await until_time(page, 0.2)
    await page.evaluate(f"document.querySelector('digm-player').currentTime = {PREVIEW_S - 1}")
    await until_time(page, PREVIEW_S + 1)


async def until_owned(page: Page) -> dict[str, Any]:
    await expect(page.get_by_text("This track is yours.")).to_be_visible(timeout=PATIENCE_MS)
    owned: dict[str, Any] = await page.evaluate(OWNED)
    return owned


async def test_a_wallet_shows_in_words_what_is_bought_and_the_key_comes(
    browser: Browser, shop: Shop, track: Sold
) -> None:
    account = shop.market.accounts[5]
    page = await listener(browser, shop, account)
    await visit(page, shop, track)
    await page.locator("digm-player #play").click()
    await choose(page, "Test wallet")
    await page.evaluate("digmWallet.refuses = ['eth_signTypedData_v4']")
    await pay(page)
    await expect(page.get_by_role("alert")).to_contain_text("You said no in your wallet")
    await page.evaluate("Object.assign(digmWallet, {refuses: [], chain: 1, knows: [1]})")
    await pay(page)
    await expect(page.get_by_role("alert")).to_contain_text("Your wallet is on another chain")
    assert shop.market.purchase(track.item, Account(account))["amount"] == 0
    await page.evaluate("digmWallet.knows = [1, 31337]")
    await pay(page)
    assert await until_owned(page) == {"address": account, "kind": "wallet", "tracks": [track.root]}
    await until_time(page, PREVIEW_S + 1)
    asked = await page.evaluate("digmWallet.asked")
    shown = [json.loads(one["params"][1]) for one in asked if one["method"] == "eth_signTypedData_v4"][-1]
    said = {name: shown["message"][name] for name in ("title", "artist", "price")}
    assert said == {"title": "Minuet in G", "artist": "Anna Magdalena", "price": "2.5 PARA"}
    assert shop.market.purchase(track.item, Account(account))["is_delivered"]


async def test_a_key_made_in_the_page_buys_and_its_copy_brings_the_music_to_another_profile(
    browser: Browser, shop: Shop, track: Sold
) -> None:
    page = await listener(browser, shop)
    await visit(page, shop, track)
    await choose(page, "This browser")
    await page.get_by_role("button", name="Get play money").click()
    await pay(page)
    bought = await until_owned(page)
    assert (bought["kind"], bought["tracks"]) == ("page", [track.root])
    await page.reload()
    assert await until_owned(page) == bought
    await hear_the_rest(page)
    copy = await put_away(page)
    other = await listener(browser, shop)
    await visit(other, shop, track)
    await bring(other, copy, "not the passphrase")
    await expect(other.get_by_role("alert")).to_contain_text("That is not the passphrase of this copy")
    await bring(other, copy, PASSPHRASE)
    assert await until_owned(other) == bought
    await hear_the_rest(other)


async def test_a_passkey_keeps_the_secret_of_a_recovery_copy(browser: Browser, shop: Shop, track: Sold) -> None:
    page = await listener(browser, shop)
    await visit(page, shop, track, "buy")
    tools = await page.context.new_cdp_session(page)
    await tools.send("WebAuthn.enable")
    authenticator = {
        "protocol": "ctap2", "ctap2Version": "ctap2_1", "transport": "internal", "hasResidentKey": True,
        "hasUserVerification": True, "hasPrf": True, "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }  # fmt: skip
    await tools.send("WebAuthn.addVirtualAuthenticator", {"options": authenticator})
    made = await page.evaluate(WITH_PASSKEY)
    assert made["copy"].startswith("digm-copy-1.") and made["kind"] == "passkey"
    assert made["restored"] == made["address"] != made["between"]
    assert made["broken"] == "wrong_passphrase"


async def put_away(page: Page) -> str:
    await page.get_by_text("Keep a copy of your key").click()
    await page.get_by_label("A passphrase").fill(PASSPHRASE)
    await page.get_by_role("button", name="Make the copy").click()
    copy = await page.locator("[data-made] code").text_content()
    assert copy
    return copy


async def bring(page: Page, copy: str, passphrase: str) -> None:
    """On a page whose offer is open, by the account's own part."""
    if not await page.locator("digm-account-copy details[open]").count():
        await page.get_by_text("Bring your key").click()
    await page.get_by_label("The copy", exact=True).fill(copy)
    await page.get_by_label("Its passphrase").fill(passphrase)
    await page.get_by_role("button", name="Bring it here").click()


async def test_a_browser_without_x25519_listens_with_a_p256_key_as_the_chain_takes_it(
    browser: Browser, shop: Shop, track: Sold
) -> None:
    page = await listener(browser, shop)
    await page.add_init_script(WITHOUT_X25519)
    await visit(page, shop, track, "buy")
    made = await page.evaluate(SEVERAL_KEYS)
    assert {(suite, length, parity) for suite, length, parity, _ in made} == {(2, 65, 0)}
    assert all(refused == "InvalidAccessError" for *_, refused in made), "the private half cannot be had"


async def test_a_widget_opens_the_window_and_plays_on_when_the_key_was_bought_there(
    browser: Browser, shop: Shop, track: Sold, hostile: str
) -> None:
    page = await listener(browser, shop)
    await page.goto(hostile)
    widget = page.frames[1]
    async with page.expect_popup() as opening:
        await widget.get_by_role("button", name="Buy this track").click()
    popup = await opening.value
    await choose(popup, "This browser")
    await popup.get_by_role("button", name="Get play money").click()
    await pay(popup)
    await expect(popup.get_by_text("It plays on where you were.")).to_be_visible(timeout=PATIENCE_MS)
    await widget.evaluate("document.querySelector('digm-player').currentTime = 4")
    await widget.locator("digm-player #play").click()
    await until_time(widget, 6)
    told = {"type": "digm-unlocked", "track": track.root}
    assert await page.evaluate("heard") == [{"origin": shop.stack.url, "data": told}]


HOSTILE = """<!doctype html><body>
<iframe id="widget" width="700" height="236" allow="autoplay" src="HUB/embed/TRACK"
  sandbox="allow-scripts allow-same-origin allow-popups allow-popups-to-escape-sandbox"></iframe>
<iframe id="track" src="HUB/tracks/TRACK"></iframe>
<iframe id="window" src="HUB/buy/TRACK"></iframe>
<button style="position: absolute; left: 0; top: 300px">A free prize</button>
<script>
const heard = [];
addEventListener('message', ({origin, data}) => heard.push({origin, data}));
let bought = null;
const key = 'ab'.repeat(32), track = 'TRACK', sealed = 'cd'.repeat(80);
function forge() {
  for (const type of ['digm-buy-ready', 'digm-buy-session', 'digm-buy-key', 'digm-unlocked']) {
    for (const target of [widget.contentWindow, bought]) target?.postMessage({type, track, key, sealed}, '*');
  }
}
document.querySelector('button').onclick = () => {
  bought = open('HUB/buy/TRACK', '_blank', 'popup,width=500,height=700');
  setInterval(forge, 50);
};
</script>"""


@pytest.fixture
def hostile(shop: Shop, track: Sold) -> Iterator[str]:
    """A page of another origin that wants the key; its URL."""
    body = HOSTILE.replace("HUB", shop.stack.url).replace("TRACK", track.root).encode()

    class Hostile(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hostile)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


async def test_a_hostile_page_around_the_widget_gets_no_key_and_no_purchase_and_the_preview_plays(
    browser: Browser, shop: Shop, track: Sold, hostile: str
) -> None:
    """The listener owns the track already, and has money left."""
    own = await listener(browser, shop)
    await visit(own, shop, track)
    await choose(own, "This browser")
    await own.get_by_role("button", name="Get play money").click()
    await pay(own)
    buyer = (await until_owned(own))["address"]
    sent = shop.market.sent_by(buyer)

    page = await own.context.new_page()
    await page.goto(hostile)
    widget = page.frames[1]
    await widget.locator("digm-player #play").click()
    async with page.expect_popup() as opening:
        await page.get_by_role("button", name="A free prize").click()
    popup = await opening.value
    await expect(popup.get_by_text("This track is yours.")).to_be_visible()
    for name in ("track", "window"):
        framed = await page.locator(f"#{name}").element_handle()
        content = await framed.content_frame() if framed else None
        assert content and not await content.locator("digm-purchase, digm-player").count(), (
            "nobody frames these"
        )
    await until_time(widget, 2)
    # The widget's own player is not unlocked, and the window offers the key to nobody.
    assert await popup.locator("#handing").text_content() == ""
    assert await widget.evaluate("document.querySelector('digm-player').owned") is False
    assert await page.evaluate("heard") == []
    assert shop.market.sent_by(buyer) == sent


async def test_what_no_vault_answers_in_time_comes_back_and_only_once(
    browser: Browser, shop: Shop, track: Sold
) -> None:
    page = await listener(browser, shop)
    await visit(page, shop, track)
    await choose(page, "This browser")
    await page.get_by_role("button", name="Get play money").click()
    await expect(page.get_by_role("button", name="Pay 2.5 PARA")).to_be_visible()
    shop.stack.kill("artist")
    await pay(page)
    await expect(page.get_by_text("Paid.")).to_be_visible()
    buyer = Account((await page.evaluate(OWNED))["address"])
    shop.market.pass_time(shop.market.ask("sales", "deliver_within_s"))
    await page.reload()
    await page.wait_for_timeout(800)
    await page.get_by_role("button", name="Take 2.5 PARA back").click()
    await expect(page.get_by_text("Your money is back")).to_be_visible()
    assert shop.market.ask("para", "balanceOf", buyer.address) == 1000 * 10**18
    shop.stack.start("artist")
    shop.stack.wait_until_alive()
    assert not shop.market.delivered(track.item, buyer)


class Account:
    """As the market asks for a buyer."""

    def __init__(self, address: str) -> None:
        self.address = address
