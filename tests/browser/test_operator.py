"""The operator's page in a browser: it lives, without losing the reader's place."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, Page, expect

from hub.backbone.identity import NodeIdentity
from tests.browser.elder_node import ElderNode
from tests.browser.stack import Stack
from tests.hub.house import publish_track
from tests.ports import free_port

PATIENCE_MS = 40_000


@pytest.fixture
def hub(own_stack: Stack) -> Stack:
    """A hub in the backbone, with a track."""
    publish_track(own_stack.data, title="Night train")
    port = free_port()
    own_stack.settings["DIGM_BACKBONE_LISTEN"] = f"/ip4/127.0.0.1/tcp/{port}"
    own_stack.start("hub")
    own_stack.wait_until_alive()
    return own_stack


def address(hub: Stack) -> str:
    return f"{hub.settings['DIGM_BACKBONE_LISTEN']}/p2p/{NodeIdentity.load(hub.data).peer_id}"


@pytest_asyncio.fixture(loop_scope="module")
async def page(context: BrowserContext) -> Page:
    return await context.new_page()


@pytest.fixture
def run_node(hub: Stack, tmp_path: Path) -> Callable[[str], ElderNode]:
    def run(operator: str) -> ElderNode:
        return ElderNode(tmp_path / operator, address(hub), DIGM_OPERATOR=operator, DIGM_NETWORK="AS1")

    return run


async def test_the_map_lives_and_the_reader_stays_where_they_are(
    hub: Stack, run_node: Callable[[str], ElderNode], page: Page
) -> None:
    crashes: list[str] = []
    page.on("pageerror", lambda error: crashes.append(str(error)))
    page.on("console", lambda message: crashes.append(message.text) if "Security" in message.text else None)
    await page.goto(f"{hub.url}/operator")
    await page.evaluate("globalThis.wasHereBefore = true")
    track = page.get_by_role("link", name="Night train")
    await track.focus()
    node = run_node("Allegro")
    try:
        star = page.get_by_role("link", name=re.compile("^Allegro: not audited yet"))
        await expect(star.first).to_be_visible(timeout=PATIENCE_MS)
        assert await page.evaluate("wasHereBefore"), "it was reloaded"
        await expect(track).to_be_focused()
        await page.locator(".star").focus()
        await page.keyboard.press("Enter")
        await expect(page.locator(".node-card:target h3")).to_have_text("Allegro")
    finally:
        node.stop()
    await expect(page.locator(".star .disc.gone")).to_have_count(1, timeout=PATIENCE_MS)
    hub.kill("hub")
    await expect(page.locator("#stale")).to_contain_text("the hub does not answer", timeout=PATIENCE_MS)
    await expect(page.locator(".star .name")).to_have_text("Allegro")
    hub.start("hub")
    await expect(page.locator("#stale")).to_have_text("", timeout=PATIENCE_MS)
    assert await page.evaluate("wasHereBefore")
    assert crashes == []
