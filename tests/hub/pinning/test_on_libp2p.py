"""The same parts on real backbones: an order goes round, chunks are fetched, copies are proven, over libp2p."""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from digm.audits import Outcome
from digm.errors import Unavailable
from digm.ids import from_hex, to_hex
from digm.manifest import parse_manifest
from digm.pinning import AnswerState, parse_pin_answer
from hub.backbone.backbone import Backbone
from hub.node.storage import NodeStore
from hub.pinning.auditor import Auditor
from hub.pinning.covers import serve_covers
from hub.pinning.herald import Herald, HeraldSettings, holdings_of
from hub.pinning.pinner import PROTOCOL, Pinner, PinSettings
from hub.pinning.records import Records
from hub.seeding.held_tracks import SeedTrack
from hub.signatures import verify
from tests.hub.backbone.nodes import backbone, until
from tests.hub.node.music import Elsewhere
from tests.hub.pinning.swarm import order_for

MIB = 1 << 20


@dataclass
class RealNode:
    backbone: Backbone
    store: NodeStore
    herald: Herald
    pinner: Pinner
    auditor: Auditor

    async def turn(self) -> None:
        await self.herald.announce()
        await self.pinner.tick()
        await self.pinner.idle()

    def holds(self, track: Elsewhere) -> bool:
        return any(held.track_root == track.root and held.is_whole for held in self.store.tracks())


async def real_node(stack: AsyncExitStack, data: Path, is_taking: bool, *bootstrap: str) -> RealNode:
    store = NodeStore(data, 64 * MIB)
    stack.callback(store.close)
    records = Records(data)
    stack.callback(records.close)

    async def find(root: bytes) -> SeedTrack | None:
        try:
            held = await asyncio.to_thread(store.availability, to_hex(root))
        except Unavailable:
            return None
        return SeedTrack(root, parse_manifest(store.chunks.manifest(to_hex(root))).renditions, held)

    async def read(name: str) -> bytes:
        return await asyncio.to_thread(store.read, name)

    async def manifest(_peer: str, root: bytes) -> bytes:
        return await asyncio.to_thread(store.chunks.manifest, to_hex(root))

    def before(node: Backbone) -> None:
        node.share(find, read)
        node.serve("/digm/manifest/1.0.0", manifest, most_bytes=32, timeout_s=20.0, parallel=8)
        serve_covers(node, store.chunks)

    node = await stack.enter_async_context(backbone(*bootstrap, before=before))
    names = HeraldSettings(operator=node.peer_id, network=node.peer_id)
    herald = Herald(node, node.identity, partial(holdings_of, store), names)
    node.on_gossip = herald.on_gossip
    auditor = Auditor(node, node.identity, store, herald, records)
    settings = PinSettings(settle_s=0.0, step_s=5.0, is_taking=is_taking)
    pinner = Pinner(node, node.identity, store, herald, records, settings, auditor.health)
    await pinner.start()
    await auditor.start()
    stack.push_async_callback(pinner.stop)
    return RealNode(node, store, herald, pinner, auditor)


async def test_an_order_is_pinned_and_proven_over_libp2p(tmp_path):
    async with AsyncExitStack() as stack:
        origin = await real_node(stack, tmp_path / "origin", False)
        first = origin.backbone.multiaddrs[0]
        nodes = [await real_node(stack, tmp_path / f"node {n}", True, first) for n in range(3)]
        track = Elsewhere(tmp_path / "artist", chunk_count=6)
        track.give(origin.store)
        await until(lambda: all(node.backbone.peers() for node in nodes))
        await asyncio.gather(*(node.backbone.refresh() for node in nodes))
        await origin.backbone.provide(from_hex(track.root))

        async def all_present() -> bool:
            for node in (origin, *nodes):
                node.herald._present_until = 0.0
                await node.herald.announce()
            return all(len(node.herald.ledger.present(time.time())) == 4 for node in (origin, *nodes))

        await until(all_present)
        order = order_for(track, tmp_path / "artist", 2, time.time())
        await origin.pinner.place(order)

        async def two_hold() -> bool:
            for node in (origin, *nodes):
                await node.turn()
            return sum(node.holds(track) for node in nodes) >= 2

        await until(two_hold)
        holders = [node for node in nodes if node.holds(track)]
        assert len(holders) == 2
        answer = await origin.backbone.request(
            holders[1].backbone.peer_id, PROTOCOL, order, timeout_s=10.0, most_bytes=1024
        )
        assert parse_pin_answer(answer, time.time(), verify).state is AnswerState.HELD
        key = holders[1].backbone.identity.node_key
        await until(lambda: origin.herald.ledger.claim(key, from_hex(track.root), time.time()))
        for _ in range(5):
            assert await origin.auditor.audit(key) is Outcome.PASS
