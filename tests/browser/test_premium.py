"""Hearing whole tracks with what an account holds, in Chromium: a pass is bought, shown, and over."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from hub.vault.premium import Hold, Pass, Policy, save_policy
from tests.browser.music import Samples
from tests.browser.shop import Shop, Sold
from tests.hub.vault.market import COIN, PRICE

PATIENCE_MS = 90_000
HOUR_S = 3_600
Music = dict[str, tuple[Path, Samples, int, int]]

FUND = """async () => {
  const {account} = await import('/static/digm-account.js');
  const {address} = await account();
  const body = JSON.stringify({address});
  await fetch('/api/chain/faucet', {method: 'POST', body, headers: {'content-type': 'application/json'}});
  return address;
}"""
HEARD_AT = """([at]) => new Promise((resolve) => {
  const player = document.querySelector('digm-player');
  player.muted = true;
  player.addEventListener('timeupdate', () => {
    if (player.currentTime > at + 0.5) resolve(player.currentTime);
  });
  player.currentTime = at;
  player.play();
})"""


@pytest.fixture(scope="module")
def shop(built_player: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    shop = Shop(tmp_path_factory.mktemp("premium"))
    yield shop
    shop.close()


@pytest.fixture(scope="module")
def track(shop: Shop, music: Music) -> Sold:
    """Whole for who holds a million PARA, or has a pass."""
    sold = shop.offer(music["mp3"][0], "--preview-seconds", "5", "--title", "Minuet in G", "--artist", "Anna")
    shop.bind()
    market = shop.market
    market.tell(market.artist, "passes", "set_pass", COIN, PRICE, HOUR_S)
    para = market.deployed.addresses["para"]
    save_policy(shop.stack.data, Policy((Hold(para, str(10**6 * PRICE)), Pass(market.artist))))
    shop.stack.start("hub", "gateway", "artist")
    shop.stack.wait_until_ready()
    return sold


async def press(page: Page, name: str) -> None:
    # A window that came up a moment ago takes no orders: the button counts once the page was seen for a while.
    await page.wait_for_timeout(800)
    await page.locator("digm-premium").get_by_role("button", name=name).click()


async def test_a_pass_is_bought_in_the_page_heard_with_and_over_when_its_time_is(
    browser: Browser, shop: Shop, track: Sold
) -> None:
    context = await browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    page: Page = await context.new_page()
    await page.goto(f"{shop.stack.url}/tracks/{track.root}")
    premium = page.locator("digm-premium")
    await expect(premium).to_contain_text(
        "Who holds 1000000 PARA or has a pass hears it whole", timeout=PATIENCE_MS
    )
    await press(page, "Show my account")
    await premium.locator(".buy-payer", has_text="This browser").click()
    await expect(premium.get_by_role("alert")).to_contain_text("This account has no pass of this artist's")
    address: Any = await page.evaluate(FUND)
    await press(page, "Get a pass · 1 ETH for 60 minutes")
    await expect(premium).to_contain_text("You hear it whole with", timeout=PATIENCE_MS)
    assert shop.market.ask("passes", "until", shop.market.artist, address) > shop.market.time_s
    assert await page.evaluate(HEARD_AT, [7]) > 7
    shop.market.pass_time(HOUR_S)
    await page.reload()
    await press(page, "Show my account")
    await expect(premium.get_by_role("alert")).to_contain_text(
        "The pass of this account is over", timeout=PATIENCE_MS
    )
    await context.close()
