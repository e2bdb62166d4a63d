"""The hub in the backbone, with other nodes that are real: one here, one in a process of its own."""

import hashlib
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from digm.announcements import PRESENCE, Announcement, parse_announcement
from digm.backbone_messages import MANIFEST
from digm.backbone_messages import PRESENCE as PRESENCE_STREAM
from digm.errors import Unavailable
from digm.node_ids import peer_id
from hub.backbone.backbone import Backbone
from hub.bridge.bridge import BRIDGE
from hub.pinning import herald
from tests.digm.signers import verify
from tests.hub.backbone.nodes import backbone, node_process, until
from tests.hub.bridge.test_directory import TRACK, said
from tests.hub.bridge.test_sources import ask
from tests.hub.house import hub_over, publish_track

HERE = ("/ip4/127.0.0.1/tcp/0",)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A newcomer is told at once."""
    monkeypatch.setattr("hub.bridge.member.LOOKED_AT_S", 0.05)
    monkeypatch.setattr(herald, "NEWCOMERS_EVERY_S", 0.0)
    monkeypatch.setattr("hub.bridge.member.LOOKED_UP_AGAIN_S", 0.2)


class Heard:
    """A listener on the topic."""

    def __init__(self) -> None:
        self.announcements: list[Announcement] = []
        self.present: list[Announcement] = []

    def on(self, node: Backbone) -> None:
        node.on_gossip = self.judge

    def judge(self, _author: str, payload: bytes) -> bool:
        announcement = parse_announcement(payload, time.time(), verify)
        if announcement.track_root == PRESENCE:
            self.present.append(announcement)
        else:
            self.announcements.append(announcement)
        return True


async def member_of(hub: TestServer) -> Any:
    member: Any = hub.app[BRIDGE].member
    await until(lambda: member.backbone is not None)
    return member.backbone


async def test_a_hub_says_what_it_holds_and_gives_it_to_nodes(tmp_path: Path) -> None:
    track, heard = publish_track(tmp_path), Heard()
    url = "https://gateway.example"
    names = {"operator": "Ann", "network": "AS 64500"}
    async with hub_over(tmp_path, gateway_port=4711, backbone_listen=HERE, gateway_url=url, **names) as hub:
        there = await member_of(hub)
        async with backbone(there.multiaddrs[0], before=heard.on) as node:
            await until(lambda: heard.announcements and heard.present)
            assert {(said.operator, said.network) for said in heard.present} == {("Ann", "AS 64500")}
            announcement = heard.announcements[0]
            root = announcement.track_root
            assert (root.hex(), announcement.is_whole, announcement.gateway_url) == (track.root, True, url)
            assert peer_id(announcement.node) == there.peer_id
            document = await node.request(
                there.peer_id, MANIFEST.name, root, timeout_s=20.0, most_bytes=MANIFEST.most_answer_bytes
            )
            assert hashlib.sha256(document).digest() == announcement.manifest_hash
            rendition = track.manifest.renditions[1]
            chunk = await node.fetch_chunk(there.peer_id, root, 1, 2, rendition.chunk_bytes(2))
            assert hashlib.sha256(chunk).digest() == rendition.chunk_hashes[2]
            assert there.peer_id in [found.peer_id for found in await node.find_providers(root)]


async def test_a_hub_announces_the_gateway_that_its_listeners_are_told(tmp_path: Path) -> None:
    publish_track(tmp_path)
    heard = Heard()
    public_url = "https://hub.example"
    async with hub_over(tmp_path, gateway_port=4711, backbone_listen=HERE, public_url=public_url) as hub:
        there = await member_of(hub)
        async with backbone(there.multiaddrs[0], before=heard.on):
            await until(lambda: heard.announcements)
    (said_of,) = {(one.gateway_url, one.signal_url) for one in heard.announcements}
    assert said_of == ("https://hub.example:4711", "wss://hub.example/signal")


async def test_a_hub_tells_two_processes_with_one_key_of_each_other(tmp_path: Path) -> None:
    async with hub_over(tmp_path, gateway_port=4711, backbone_listen=HERE) as hub:
        there = await member_of(hub)
        async with backbone(there.multiaddrs[0]) as node:

            async def tell(instance: int) -> bytes:
                now = int(time.time())
                word = {"instance": bytes([instance]) * 16, "track_root": PRESENCE}
                documents[instance] = said("ann", 0, issued_at=now, valid_until=now + 180, **word)
                return await node.request(
                    there.peer_id, PRESENCE_STREAM.name, documents[instance], timeout_s=10.0, most_bytes=2_049
                )

            documents: dict[int, bytes] = {}
            await until(lambda: node.peers())
            for _ in range(2):
                with pytest.raises(Unavailable) as fault:
                    await tell(1)
                assert fault.value.data["reason"] == "nobody_else"
            assert await tell(2) == documents[1]
            assert await tell(1) == documents[2]


async def test_what_a_node_announces_is_a_source_at_the_hub(tmp_path: Path) -> None:
    publish_track(tmp_path)
    async with hub_over(tmp_path, gateway_port=4711, backbone_listen=HERE) as hub:
        there = await member_of(hub)
        async with node_process(tmp_path / "node", there.multiaddrs[0]) as node:
            await until(lambda: there.peers())
            now = int(time.time())
            document = said("ann", issued_at=now, valid_until=now + 600).decode()

            async def is_named() -> bool:
                await node.ask("publish", document)  # again, for the mesh may not stand yet
                _, body = await ask(hub, TRACK)
                return bool(body.get("nodes"))

            await until(is_named)
            _, body = await ask(hub, TRACK)
    assert [item["url"] for item in body["gateways"] if item["score"] > 0] == ["https://ann.example"]


async def test_a_node_that_only_the_dht_knows_is_found_when_somebody_asks(tmp_path: Path) -> None:
    track = publish_track(tmp_path)
    async with hub_over(tmp_path, gateway_port=4711, backbone_listen=HERE) as hub:
        there = await member_of(hub)
        async with node_process(tmp_path / "node", there.multiaddrs[0]) as node:
            await until(lambda: there.peers())

            async def is_named() -> bool:
                await node.ask("provide", track.root)
                _, body = await ask(hub, track.root)
                return node.peer_id in [item["peer_id"] for item in body["nodes"]]

            await until(is_named)
