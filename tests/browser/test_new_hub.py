"""A page of a hub that has neither the artist's link nor a chunk plays the track: others give it all."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext

from hub.backbone.identity import NodeIdentity
from hub.storage.catalogue import Catalogue
from tests.browser.music import Samples
from tests.browser.player_page import PlayerPage
from tests.browser.stack import Stack
from tests.ports import free_port

Music = dict[str, tuple[Path, Samples, int, int]]


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def in_backbone(stack: Stack, *bootstrap: str) -> str:
    """Let a stack's hub be in the backbone; returns its address."""
    listen = f"/ip4/127.0.0.1/tcp/{free_port()}"
    stack.settings |= {"DIGM_BACKBONE_LISTEN": listen, "DIGM_BACKBONE_BOOTSTRAP": ",".join(bootstrap)}
    return f"{listen}/p2p/{NodeIdentity.load(stack.data).peer_id}"


def list_there(home: Path, new: Path) -> None:
    """The new hub knows what is published, and has nothing of it."""
    here, there = Catalogue.open(home), Catalogue.open(new)
    try:
        for release in here.releases():
            there.publish(release, here.tracks_of(release.release_id))
    finally:
        here.close()
        there.close()
    shutil.copytree(home / "manifests", new / "manifests", dirs_exist_ok=True)


async def test_a_page_of_a_new_hub_plays_what_an_artist_published_at_another(
    own_stack: Stack,
    music: Music,
    context: BrowserContext,
    browser: Browser,
    closing: ExitStack,
    tmp_path: Path,
) -> None:
    elsewhere = await browser.new_context()
    (line,) = own_stack.publish(music["opus"][0])
    track = line["track_root"]
    (tmp_path / "new").mkdir()
    new = Stack(tmp_path / "new")
    closing.callback(new.stop)
    home_address = in_backbone(own_stack)
    own_stack.settings["DIGM_GATEWAY_URL"] = f"http://127.0.0.1:{own_stack.ports['gateway']}"
    in_backbone(new, home_address)
    list_there(own_stack.data, new.data)
    own_stack.start("hub", "gateway", "artist")
    own_stack.wait_until_ready()
    new.start("hub", "gateway")
    new.wait_until_ready()  # it has found a gateway with the chunks, and the hub with the vault
    page, other = [await PlayerPage.open(one) for one in (context, elsewhere)]
    for each in (page, other):
        await each.visit(new.url, track)
        await each.play()
        await each.until_sound()
    # The token that came with the grant is the new hub's own: they meet there.
    for each in (page, other):
        await each.until("the other listener", lambda state: state["stats"]["peers"] == 1)
    await page.run("player.currentTime = player.duration - 2")
    state = await page.until("the end", lambda state: state["ended"])
    assert state["errors"] == []
    assert state["stats"]["bytes"]["gateway"] > 0
    assert page.crashes == other.crashes == []
    await elsewhere.close()
    assert [path for path in (new.data / "chunks").rglob("*") if path.is_file()] == []
