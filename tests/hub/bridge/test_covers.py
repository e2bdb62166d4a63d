"""Covers over libp2p: what a hub gives to nodes, and where it takes what it lost."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from digm.backbone_messages import COVER
from digm.errors import PeerFault, Unavailable
from hub.backbone.backbone import Backbone
from hub.bridge.bridge import BRIDGE
from hub.pinning.covers import fetch_cover, serve_covers
from hub.storage.chunk_store import ChunkStore
from tests.hub.backbone.nodes import backbone, until
from tests.hub.house import Published, hub_over, publish_track

HERE = ("/ip4/127.0.0.1/tcp/0",)
PICTURE = b"\xff\xd8\xff" + bytes(range(256)) * 1024
NAME = hashlib.sha256(PICTURE).hexdigest()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.bridge.member.UNKNOWN_AGAIN_S", 0.1)
    monkeypatch.setattr("hub.bridge.member.LOOKED_UP_AGAIN_S", 0.1)
    monkeypatch.setattr("hub.bridge.lost_covers.MISSED_FOR_S", 0.0)


@asynccontextmanager
async def hub_in_backbone(data: Path) -> AsyncIterator[tuple[TestServer, Backbone]]:
    async with hub_over(data, gateway_port=4711, backbone_listen=HERE) as hub:
        member: Any = hub.app[BRIDGE].member
        await until(lambda: member.backbone is not None)
        yield hub, member.backbone


async def shown(hub: TestServer) -> tuple[int, bytes]:
    url = hub.make_url(f"/covers/{NAME}")
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.read()


def giving(chunks: ChunkStore) -> Callable[[Backbone], None]:
    return lambda node: serve_covers(node, chunks)


def lying(node: Backbone) -> None:
    async def give(_peer: str, _request: bytes) -> bytes:
        return PICTURE[:-1] + b"!"

    node.serve(COVER.name, give, most_bytes=32, timeout_s=20.0, parallel=4)


def lose_cover(data: Path) -> ChunkStore:
    """Out of the hub's store into another one, with the manifest."""
    store, elsewhere = ChunkStore(data), ChunkStore(data.parent / "elsewhere")
    for path in store.manifests.glob("*.json"):
        elsewhere.put_manifest(path.stem, path.read_bytes())
    elsewhere.put(store.read(NAME))
    store.delete(NAME)
    return elsewhere


async def test_a_hub_gives_the_covers_of_its_tracks_and_nothing_else(tmp_path: Path) -> None:
    track = publish_track(tmp_path, cover=PICTURE)
    bare = publish_track(tmp_path, seed=2)
    async with hub_in_backbone(tmp_path) as (_, there), backbone(there.multiaddrs[0]) as node:
        root = track.manifest.track_root
        await until(lambda: node.peers())
        assert await fetch_cover(node, there.peer_id, root, bytes.fromhex(NAME)) == PICTURE
        with pytest.raises(PeerFault) as fault:
            await fetch_cover(node, there.peer_id, root, bytes(32))
        assert fault.value.code == "cover_wrong"
        for request, reason in (
            (bare.manifest.track_root, "no_cover"),
            (bytes.fromhex(NAME), "track_not_held"),
            (b"short", "bad_track_root"),
        ):
            with pytest.raises(Unavailable) as refused:
                await node.request(there.peer_id, COVER.name, request, timeout_s=10.0, most_bytes=1 << 20)
            assert refused.value.data["reason"] == reason


async def test_a_hub_that_lost_a_cover_shows_that_of_a_node_and_has_it_again(tmp_path: Path) -> None:
    data = tmp_path / "hub"
    track = publish_track(data, cover=PICTURE)
    elsewhere = lose_cover(data)
    async with hub_in_backbone(data) as (hub, there), AsyncExitStack() as stack:
        assert (await shown(hub))[0] == 404
        liar = await stack.enter_async_context(backbone(there.multiaddrs[0], before=lying))
        await provide(liar, track)
        assert (await shown(hub))[0] == 404
        node = await stack.enter_async_context(backbone(there.multiaddrs[0], before=giving(elsewhere)))
        await provide(node, track)

        async def is_shown() -> bool:
            return await shown(hub) == (200, PICTURE)

        await until(is_shown)
        assert ChunkStore(data).read_verified(NAME) == PICTURE
        several = await asyncio.gather(*(shown(hub) for _ in range(5)))
        assert {status for status, _ in several} == {200}


async def provide(node: Backbone, track: Published) -> None:
    """Be found in the DHT as one who holds the track."""
    await until(lambda: node.provide(track.manifest.track_root))


async def test_a_hub_outside_of_the_backbone_says_that_a_lost_cover_is_not_here(tmp_path: Path) -> None:
    publish_track(tmp_path / "hub", cover=PICTURE)
    lose_cover(tmp_path / "hub")
    async with hub_over(tmp_path / "hub") as hub:
        assert (await shown(hub))[0] == 404
