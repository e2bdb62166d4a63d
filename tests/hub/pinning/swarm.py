"""Nodes in one process, joined by an in-memory network: a FAKE of the backbone, with real stores and real keys.

What is said arrives when `deliver` is called, in any order, once at each node that is up. So every test decides
itself what is late, lost, or in between; what libp2p does to messages is tested with libp2p, elsewhere.
"""

import asyncio
import random
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from digm.errors import DigmError, Unavailable
from digm.ids import from_hex, to_hex
from digm.manifest import manifest_hash, parse_manifest
from digm.node_ids import node_of, peer_id
from digm.pinning import MONTH_S, PinOrder, sign_pin_order
from hub.node.storage import NodeStore
from hub.pinning.auditor import Auditor, AuditSettings
from hub.pinning.covers import serve_covers
from hub.pinning.herald import Herald, HeraldSettings, holdings_of
from hub.pinning.network import Handler
from hub.pinning.pinner import Pinner, PinSettings
from hub.pinning.records import Records
from hub.publishing.vault import FILE_NAME, Vault
from tests.digm.signers import Signer
from tests.hub.node.music import Elsewhere

STARTED = 1_800_000_000.0
MIB = 1 << 20


@dataclass(frozen=True)
class FakeIdentity:
    signer: Signer

    @property
    def node_key(self) -> bytes:
        return self.signer.public

    def sign(self, message: bytes) -> bytes:
        return self.signer.sign(message)


@dataclass(frozen=True)
class FakePeer:
    peer_id: str
    latency_ms: float | None = 7.5


class FakeNetwork:
    """One node's backbone, in memory."""

    def __init__(self, swarm: "FakeSwarm", node: bytes) -> None:
        self.swarm, self.peer_id, self.multiaddrs = swarm, peer_id(node), ["/ip4/192.0.2.1/tcp/4001"]
        self.served: dict[str, Handler] = {}
        self.provided: list[bytes] = []

    async def provide(self, key: bytes) -> bool:
        self.provided.append(key)
        return self.swarm.takes_records

    async def publish(self, topic_payload: bytes) -> None:
        assert len(topic_payload) <= 8192
        sender = self.swarm.nodes[self.peer_id]
        assert sender.herald.on_gossip(self.peer_id, topic_payload), "our own message has to be valid"
        for name, node in self.swarm.nodes.items():
            if name != self.peer_id:
                self.swarm.underway.append((node, self.peer_id, topic_payload))

    async def find_providers(self, key: bytes) -> list[FakePeer]:
        return [FakePeer(name) for name in self.swarm.providers.get(key, []) if self.swarm.is_up(name)]

    async def request(
        self, peer: str, protocol: str, payload: bytes, *, timeout_s: float, most_bytes: int
    ) -> bytes:
        node = self.swarm.node_up(peer)
        if node.is_silent:
            raise Unavailable("backbone_timeout", "The fake node does not answer.")
        try:
            return await node.network.served[protocol](self.peer_id, payload)
        except DigmError as fault:
            raise Unavailable("peer_refused", fault.message, status="refused", reason=fault.code) from fault

    def serve(self, protocol: str, handler: Handler, **_limits: float) -> None:
        self.served[protocol] = handler

    async def fetch_chunk(self, peer: str, track_root: bytes, rendition: int, chunk: int, size: int) -> bytes:
        node = self.swarm.node_up(peer)
        await node.may_give.wait()
        manifest = parse_manifest(node.store.chunks.manifest(to_hex(track_root)))
        data = node.store.read(to_hex(manifest.renditions[rendition].chunk_hashes[chunk]))
        return bytes(len(data)) if node.is_lying else data

    def peers(self) -> list[FakePeer]:
        return [FakePeer(name) for name in self.swarm.nodes if name != self.peer_id and self.swarm.is_up(name)]


@dataclass
class FakeNode:
    """A node: real store, keys, pinner and auditor; a fake network."""

    name: str
    network: FakeNetwork
    store: NodeStore
    herald: Herald
    records: Records
    pinner: Pinner
    auditor: Auditor
    is_up: bool = True
    is_silent: bool = False
    is_lying: bool = False
    may_give: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def key(self) -> bytes:
        return node_of(self.network.peer_id)

    def holds(self, track: Elsewhere) -> bool:
        return any(t.track_root == track.root and t.is_whole and t.pinned_by for t in self.store.tracks())


class FakeSwarm:
    """All nodes, their clock, and what is said and has not arrived."""

    def __init__(self, folder: Path, seed: int = 1) -> None:
        self.folder, self.rng, self.now = folder, random.Random(seed), STARTED
        self.nodes: dict[str, FakeNode] = {}
        self.underway: list[tuple[FakeNode, str, bytes]] = []
        self.providers: dict[bytes, list[str]] = {}
        self.takes_records = True

    def is_up(self, peer: str) -> bool:
        return peer in self.nodes and self.nodes[peer].is_up

    def node_up(self, peer: str) -> FakeNode:
        if not self.is_up(peer):
            raise Unavailable("peer_unreachable", "The fake node is down.")
        return self.nodes[peer]

    async def add(self, name: str, quota: int = 64 * MIB, **settings: object) -> FakeNode:
        """Start a node; again with the same name, it is a restart with what lies on its disk."""
        signer = Signer(name)
        identity, network = FakeIdentity(signer), FakeNetwork(self, signer.public)
        before = self.nodes.get(network.peer_id)
        if before is not None:
            before.store.close()
            before.records.close()
        clock = lambda: self.now  # noqa: E731
        data = self.folder / name
        store = NodeStore(data, quota, clock)
        names = HeraldSettings(operator=name, network=f"AS {name}")
        herald = Herald(network, identity, partial(holdings_of, store), names, clock)
        records = Records(data)
        pins = PinSettings(**{"settle_s": 30.0, **settings})
        auditor = Auditor(
            network, identity, store, herald, records, AuditSettings(), clock, lambda: self.rng.randbytes(32)
        )
        pinner = Pinner(network, identity, store, herald, records, pins, auditor.health, clock)
        node = FakeNode(name, network, store, herald, records, pinner, auditor)
        node.may_give.set()
        self.nodes[network.peer_id] = node

        async def manifest(_peer: str, request: bytes) -> bytes:
            return store.chunks.manifest(to_hex(request))

        network.serve("/digm/manifest/1.0.0", manifest)
        serve_covers(network, store.chunks)
        await pinner.start()
        await auditor.start()
        return node

    def deliver(self, *, lost: float = 0.0) -> None:
        """Let everything that was said arrive, in any order."""
        arriving, self.underway = self.underway, []
        self.rng.shuffle(arriving)
        for node, author, payload in arriving:
            if node.is_up and self.rng.random() >= lost:
                node.herald.on_gossip(author, payload)

    async def run(
        self, seconds: float, step_s: float = 10.0, *, lost: float = 0.0, audits: bool = False
    ) -> None:
        """Let time pass; nothing here waits for a real clock."""
        end = self.now + seconds
        while self.now < end:
            self.now += step_s
            for node in self.rng.sample(list(self.nodes.values()), len(self.nodes)):
                if node.is_up:
                    await node.herald.announce()
                    await node.pinner.tick()
                    if audits:
                        await node.auditor.tick()
            self.deliver(lost=lost)
            for node in self.nodes.values():
                if node.may_give.is_set() and all(other.may_give.is_set() for other in self.nodes.values()):
                    await node.pinner.idle()
            self.deliver(lost=lost)

    def holders(self, track: Elsewhere) -> set[str]:
        return {node.name for node in self.nodes.values() if node.is_up and node.holds(track)}

    async def close(self) -> None:
        for node in self.nodes.values():
            node.may_give.set()
            await node.pinner.stop()
            node.store.close()
            node.records.close()

    async def publish_track(
        self, folder: Path, seed: int = 1, chunks: int = 4, cover: bytes | None = None
    ) -> Elsewhere:
        """A track that the node `origin` holds, unpinned, and gives away."""
        track = Elsewhere(folder, chunk_count=chunks, seed=seed, cover=cover)
        origin = next((node for node in self.nodes.values() if node.name == "origin"), None)
        if origin is None:
            origin = await self.add("origin", is_taking=False)
        track.give(origin.store)
        self.providers[from_hex(track.root)] = [origin.network.peer_id]
        return track


def order_for(
    track: Elsewhere, folder: Path, replicas: int, now: float, sequence: int = 1, duration_s: int = MONTH_S
) -> bytes:
    """An order signed by the vault in a folder: the artist's, if the track was published there."""
    with Vault.open(folder / FILE_NAME) as vault:
        order = PinOrder(
            track_root=from_hex(track.root),
            desired_replicas=replicas,
            duration_s=duration_s,
            manifest_hash=manifest_hash(track.document),
            artist=vault.artist_key,
            sequence=sequence,
            issued_at=int(now),
        )
        return sign_pin_order(order, vault.sign).document
