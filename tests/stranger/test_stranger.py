"""A js-libp2p program that was written from docs/backbone.md joins real nodes; both have what they came for.

Three processes: a node that holds a track, a stranger that knows its address, and a node here that does, too.
"""

import base64
import hashlib
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import async_playwright

from digm.announcements import Announcement, AnnouncementLedger, encode_announcement, parse_announcement
from digm.backbone_messages import ANNOUNCEMENT
from digm.bitfield import Bitfield
from digm.errors import PeerFault
from digm.node_ids import peer_id
from hub.backbone.backbone import Backbone
from hub.backbone.model import PeerAddress
from tests.digm.signers import verify
from tests.hub.backbone.nodes import NodeProcess, backbone, node_process, until
from tests.hub.house import Published, publish_track
from tests.stranger.strangers import OUTSIDE_THE_MESH, bundle, install, stranger

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Ears:
    """What a node makes of gossip: the rules that all nodes have."""

    ledger: AnnouncementLedger = field(default_factory=AnnouncementLedger)
    refused: list[str] = field(default_factory=list)

    def judge(self, _author: str, payload: bytes) -> bool:
        now = time.time()
        try:
            announcement = parse_announcement(payload, now, verify)
            if not self.ledger.knows(announcement):
                self.ledger.add(announcement, now)
        except PeerFault as fault:
            self.refused.append(fault.code)
            return False
        return True

    def holders(self, root: str) -> list[str]:
        return [peer_id(said.node) for said in self.ledger.of_track(bytes.fromhex(root), time.time())]


@dataclass
class Network:
    track: Published
    holder: NodeProcess
    node: Backbone
    ears: Ears
    stranger: NodeProcess


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def network(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Network]:
    install()
    folder, ears = tmp_path_factory.mktemp("network"), Ears()
    data = folder / "holder"
    track = publish_track(data, chunk_count=9)
    async with AsyncExitStack() as stack:
        holder = await stack.enter_async_context(node_process(data))

        def listen(node: Backbone) -> None:
            node.on_gossip = ears.judge

        node = await stack.enter_async_context(backbone(holder.tcp, before=listen))
        guest = await stack.enter_async_context(stranger(folder / "stranger", holder.tcp))
        await until(lambda: neighbours(guest, holder))
        await until(node.peers)
        yield Network(track, holder, node, ears, guest)


async def neighbours(guest: NodeProcess, holder: NodeProcess) -> bool:
    return holder.peer_id in await guest.ask("listening")


async def test_it_learns_by_identify_what_a_node_speaks(network: Network) -> None:
    told = await network.stranger.ask("identify", network.holder.peer_id)
    spoken = {
        "/digm/manifest/1.0.0",
        "/digm/peer/1.0.0",
        "/digm/pin/1.0.0",
        "/meshsub/1.1.0",
        "/ipfs/kad/1.0.0",
    }
    assert spoken <= set(told["protocols"])
    assert network.holder.tcp.split("/p2p/")[0] in [
        address.split("/p2p/")[0] for address in told["listenAddrs"]
    ]


async def test_a_node_answers_its_ping(network: Network) -> None:
    assert 0 <= await network.stranger.ask("ping", network.holder.peer_id) < 10_000


@pytest.mark.parametrize("transport", [0, 1], ids=["tcp", "websocket"])
async def test_it_fetches_a_chunk_over_either_transport(
    network: Network, tmp_path: Path, transport: int
) -> None:
    track = network.track
    async with stranger(tmp_path, network.holder.multiaddrs[transport]) as guest:
        await until(lambda: neighbours(guest, network.holder))
        for rendition, chunk in ((0, 7), (1, 8)):
            came = await guest.ask("chunk", network.holder.peer_id, track.root, rendition, chunk)
            assert came == track.chunk(rendition, chunk)


async def test_a_track_that_a_node_does_not_hold_is_refused_by_name(network: Network) -> None:
    answer = await network.stranger.ask("refusal", network.holder.peer_id, "ab" * 32)
    assert answer == "not_here: track_not_held"


async def test_it_hears_what_a_node_announces_through_another(network: Network) -> None:
    root = "5a" * 32

    async def is_heard() -> bool:
        await network.node.publish(said_by(network.node, root))
        return root in [said["track_root"] for said in await network.stranger.ask("said")]

    await until(is_heard)
    said = next(said for said in await network.stranger.ask("said") if said["track_root"] == root)
    assert said["author"] == network.node.peer_id


async def test_what_it_announces_is_passed_on_and_believed_by_a_node_that_it_does_not_know(
    network: Network,
) -> None:
    assert await network.stranger.ask("keep", network.holder.peer_id, network.track.root) == 18

    async def is_believed() -> bool:
        await network.stranger.ask("announce", network.track.root)
        return network.stranger.peer_id in network.ears.holders(network.track.root)

    await until(is_believed)
    claim = next(iter(network.ears.ledger.of_track(network.track.manifest.track_root, time.time())))
    assert claim.is_whole and claim.held.keys() == {0, 1}
    assert claim.multiaddrs == tuple(network.stranger.multiaddrs)
    assert network.ears.refused == []
    await network.node.introduce(PeerAddress(network.stranger.peer_id, claim.multiaddrs))
    root = network.track.manifest.track_root
    document = await network.node.request(
        network.stranger.peer_id,
        ANNOUNCEMENT.name,
        root,
        timeout_s=10.0,
        most_bytes=ANNOUNCEMENT.most_answer_bytes,
    )
    assert peer_id(parse_announcement(document, time.time(), verify).node) == network.stranger.peer_id


async def test_who_is_in_nobodys_mesh_asks_for_what_there_is_by_its_id(
    network: Network, tmp_path: Path
) -> None:
    async with stranger(tmp_path, OUTSIDE_THE_MESH, network.holder.tcp) as guest:
        nodes = {network.holder.peer_id, network.node.peer_id}

        async def is_alone() -> bool:
            """Whether all that it met were told that they are in no mesh of it."""
            met = set(await guest.ask("listening"))
            return nodes <= met <= set(await guest.ask("left"))

        await until(is_alone)
        for peer in nodes:
            await guest.ask("ping", peer)  # what was said to them before has arrived
        roots = [f"{number:02x}" * 32 for number in range(3)]
        for root in roots:
            await network.node.publish(said_by(network.node, root))

        async def are_heard() -> bool:
            return set(roots) <= {said["track_root"] for said in await guest.ask("said")}

        await until(are_heard)
        ids = [base64.b64decode(text + "==") for text in await guest.ask("messageIds")]
    host: Any = network.node._host
    assert len(ids) >= len(roots) and all(map(host.pubsub.seen_messages.has, ids))


async def test_it_finds_who_provides_a_track(network: Network) -> None:
    key = network.track.manifest.track_root
    await until(lambda: network.node.provide(key))
    await until(lambda: finds(network.stranger, key.hex(), network.node.peer_id))


async def finds(guest: NodeProcess, key: str, provider: str) -> bool:
    return provider in await guest.ask("find", key)


async def test_it_is_found_as_a_provider_and_gives_chunks(network: Network) -> None:
    guest, track = network.stranger, network.track
    await guest.ask("keep", network.holder.peer_id, track.root)

    async def is_found() -> bool:
        await guest.ask("provide", track.root)
        return guest.peer_id in [
            found.peer_id for found in await network.node.find_providers(track.manifest.track_root)
        ]

    await until(is_found)
    size = track.manifest.renditions[1].chunk_bytes(3)
    chunk = await network.node.fetch_chunk(guest.peer_id, track.manifest.track_root, 1, 3, size)
    assert hashlib.sha256(chunk).hexdigest() == track.chunk(1, 3)


async def test_in_a_page_it_hears_asks_and_fetches_over_websocket(network: Network, tmp_path: Path) -> None:
    holder, root = network.holder, network.track.root
    bundle(tmp_path)
    app = web.Application()
    app.router.add_static("/", tmp_path)
    # From this machine: a page of another network may not call a node here.
    async with async_playwright() as playwright, TestServer(app) as server:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        page = await browser.new_page()
        await page.goto(str(server.make_url("/page.html")))
        assert await page.evaluate("known => join(known)", holder.websocket)

        async def ask(*command: str | int) -> Any:
            return await page.evaluate("command => ask(...command)", list(command))

        async def has_met() -> bool:
            return holder.peer_id in await ask("listening")

        await until(has_met)
        assert "/digm/peer/1.0.0" in (await ask("identify", holder.peer_id))["protocols"]
        assert await ask("ping", holder.peer_id) >= 0
        assert await ask("chunk", holder.peer_id, root, 0, 5) == network.track.chunk(0, 5)

        async def has_heard() -> bool:
            await network.node.publish(said_by(network.node, "77" * 32))
            return "77" * 32 in [said["track_root"] for said in await ask("said")]

        await until(has_heard)
        await browser.close()


def said_by(node: Backbone, root: str) -> bytes:
    """An announcement of a node here, newer than any before."""
    now = int(time.time())
    identity = node.identity
    return encode_announcement(
        Announcement(
            node=identity.node_key, instance=bytes(16), track_root=bytes.fromhex(root), manifest_hash=bytes(32),
            held={0: Bitfield.full(4)}, operator="us", network="AS1", sequence=time.time_ns() // 1000,
            issued_at=now, valid_until=now + 600, multiaddrs=tuple(node.multiaddrs),
        ),
        identity.sign,
    )  # fmt: skip
