"""Buying in the page, in Chromium, on a devnet with a real vault: with a wallet, and with a key of the page."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from tests.browser.music import Samples
from tests.browser.shop import Shop, Sold

WALLET = (Path(__file__).parent / "wallet.js").read_text()
PATIENCE_MS = 90_000
PASSPHRASE = "five quiet words are enough"  # noqa: S105 - a listener's, made up
Music = dict[str, tuple[Path, Samples, int, int]]

OWNED = """async () => {
  const {account, list} = await import('/static/digm-account.js');
  const who = await account();
  return {address: who?.address, kind: who?.kind, tracks: (await list()).map(({track}) => track)};
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
        music["mp3"][0], "--preview-seconds", "5", "--title", "Minuet in G", "--artist", "Anna Magdalena"
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
    copy = await put_away(page)
    other = await listener(browser, shop)
    await visit(other, shop, track, "buy")
    await bring(other, copy, "not the passphrase")
    await expect(other.get_by_role("alert")).to_contain_text("That is not the passphrase of this copy")
    await bring(other, copy, PASSPHRASE)
    assert await until_owned(other) == bought


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


class Account:
    """As the market asks for a buyer."""

    def __init__(self, address: str) -> None:
        self.address = address
