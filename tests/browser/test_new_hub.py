"""A page of a hub that has neither the artist's link nor a chunk plays the track: others give it all."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext

from hub.backbone.identity import NodeIdentity
from hub.chain.finding import METHOD
from hub.chain.handing_on import FILE_NAME
from hub.storage.catalogue import Catalogue
from tests.browser.elder_node import ElderNode
from tests.browser.music import Samples
from tests.browser.player_page import PlayerPage
from tests.browser.stack import Stack
from tests.browser.test_backbone import pin, until
from tests.hub.chain.devnet import DevnetProcess
from tests.hub.chain.proxy import Proxy
from tests.hub.chain.publisher import contracts_on, publisher
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


async def test_a_hub_with_an_empty_folder_an_rpc_url_and_one_node_lists_and_plays_what_is_on_the_chain(
    own_stack: Stack, music: Music, context: BrowserContext, closing: ExitStack, tmp_path: Path
) -> None:
    devnet = DevnetProcess(tmp_path, with_contracts=True)
    closing.callback(devnet.kill)
    contracts = contracts_on(devnet)
    (line,) = own_stack.publish(music["opus"][0])
    track = line["track_root"]
    home_address = in_backbone(own_stack)
    own_stack.start("hub", "gateway", "artist")
    own_stack.wait_until_ready()
    chain = {"DIGM_CHAIN_RPC": devnet.url, "DIGM_CHAIN_DEPLOYMENT": str(devnet.data / "chain" / FILE_NAME)}
    node = ElderNode(tmp_path / "node", home_address, **chain)
    closing.callback(node.stop)
    pin(own_stack, track)
    own_stack.kill("gateway")
    own_stack.chunks_of(track)[0].unlink()  # from here on, only the node has all of it
    new = Stack(tmp_path / "new")
    new.data.mkdir()
    closing.callback(new.stop)
    in_backbone(new, node.multiaddrs[0])
    async with publisher(devnet, own_stack.data) as artist, Proxy(devnet.url).running() as server:
        await artist.bind()
        name = await artist.publish(track)
        # Any chain but our devnet: its server knows nothing of DIGM.
        server.before = lambda method, _: {"refuse": "no such method"} if method == METHOD else None
        new.settings["DIGM_CHAIN_RPC"] = server.url
        new.start("hub", "gateway")
        await until(new.is_ready)
        page = await PlayerPage.open(context)
        await page.page.goto(new.url)
        await page.page.get_by_role("link", name=line["title"]).click()
        await page.play()
        await page.until_sound()
        await page.run("player.currentTime = player.duration - 2")
        state = await page.until("the end", lambda state: state["ended"])
        assert state["errors"] == [] and page.crashes == []
        assert node.sent_bytes >= state["stats"]["bytes"]["gateway"] > 0
        assert (new.data / "chain" / FILE_NAME).exists() and contracts.genesis in (
            new.data / "chain" / FILE_NAME
        ).read_text()
        assert [path for path in (new.data / "chunks").rglob("*") if path.is_file()] == []
        await artist.withdraw(name)
        await until(lambda: new.status(f"/api/tracks/{track}") == 410)
        await page.page.goto(f"{new.url}/tracks/{track}")
        await page.page.get_by_text("This track was withdrawn.").wait_for()
