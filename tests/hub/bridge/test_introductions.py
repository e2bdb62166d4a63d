"""Nodes that only the DHT names, asked by a real hub for what they hold and where their gateway is."""

import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from digm.announcements import Announcement, encode_announcement
from digm.backbone_messages import ANNOUNCEMENT
from digm.bitfield import Bitfield
from digm.errors import Unavailable
from hub.backbone.backbone import Backbone
from hub.bridge.bridge import BRIDGE
from hub.pinning.herald import Herald, HeraldSettings, Holding
from tests.hub.backbone.nodes import backbone, until
from tests.hub.bridge.test_directory import TRACK, said
from tests.hub.bridge.test_sources import ask
from tests.hub.house import hub_over, publish_track

HERE = ("/ip4/127.0.0.1/tcp/0",)
ROOT = bytes.fromhex(TRACK)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.bridge.member.LOOKED_UP_AGAIN_S", 3600.0)
    monkeypatch.setattr("hub.bridge.member.UNKNOWN_AGAIN_S", 0.1)


async def address_of(hub: TestServer) -> str:
    member: Any = hub.app[BRIDGE].member
    await until(lambda: member.backbone is not None)
    address: str = member.backbone.multiaddrs[0]
    return address


async def gateways(hub: TestServer) -> list[str]:
    _, body = await ask(hub, TRACK)
    return [gateway["url"] for gateway in body.get("gateways", []) if gateway["score"] > 0]


def own_word(node: Backbone, url: str, **changes: Any) -> bytes:
    """An announcement of a node, signed by its own key."""
    now = int(time.time())
    values: dict[str, Any] = {
        "node": node.identity.node_key, "instance": bytes(16), "track_root": ROOT, "manifest_hash": bytes(32),
        "held": {0: Bitfield.full(4)}, "operator": "ann", "network": "AS1", "sequence": 1, "issued_at": now,
        "valid_until": now + 600, "gateway_url": url,
    }  # fmt: skip
    return encode_announcement(Announcement(**{**values, **changes}), node.identity.sign)


def answering(document: Callable[[Backbone], bytes]) -> Callable[[Backbone], None]:
    """Before a node starts: it answers every request for an announcement so."""

    def before(node: Backbone) -> None:
        async def answer(_peer: str, _track_root: bytes) -> bytes:
            return document(node)

        node.serve(ANNOUNCEMENT.name, answer, most_bytes=32, timeout_s=5.0, parallel=4)

    return before


async def test_who_is_found_is_asked_and_those_who_lie_are_not_believed(tmp_path: Path) -> None:
    publish_track(tmp_path)
    now = int(time.time())
    forged = said("eve", issued_at=now, valid_until=now + 600).replace(b"eve.example", b"bob.example")
    words: list[Callable[[Backbone], bytes]] = [
        lambda _: b"garbage",
        lambda _: forged,
        lambda node: own_word(node, "https://late.example", issued_at=now - 7200, valid_until=now - 3600),
        lambda node: own_word(node, "https://other.example", track_root=b"\x01" * 32),
        lambda node: own_word(node, "https://honest.example"),
    ]
    async with hub_over(tmp_path, gateway_port=4711, backbone_listen=HERE) as hub, AsyncExitStack() as stack:
        address = await address_of(hub)
        for word in words:
            node = await stack.enter_async_context(backbone(address, before=answering(word)))
            await until(lambda node=node: node.provide(ROOT))
        await until(lambda: _is(hub, ["https://honest.example"]))
        _, body = await ask(hub, TRACK)
        assert len(body["nodes"]) == len(words), "all are in the DHT"


async def _is(hub: TestServer, expected: list[str]) -> bool:
    return await gateways(hub) == expected


async def test_a_herald_gives_what_it_said_and_nothing_else(tmp_path: Path) -> None:
    async with backbone() as node, backbone(node.multiaddrs[0]) as asker:
        held = {ROOT: Holding(bytes(32), {0: Bitfield.full(4)})}
        herald = Herald(node, node.identity, lambda: held, HeraldSettings(gateway_url="https://ann.example"))
        await herald.announce()

        async def answer(track_root: bytes) -> bytes:
            return await asker.request(
                node.peer_id, ANNOUNCEMENT.name, track_root, timeout_s=5.0, most_bytes=8192
            )

        assert b"https://ann.example" in await answer(ROOT)
        for nonsense in (b"\x01" * 32, b"short"):
            with pytest.raises(Unavailable):
                await answer(nonsense)
        held.clear()
        await herald.announce()
        with pytest.raises(Unavailable):
            await answer(ROOT)
