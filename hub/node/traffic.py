"""The backbone as a node's parts use it: knows where to call those who are not connected, counts bytes."""

import time
from collections.abc import Callable, Sequence

from prometheus_client import Counter

from digm.announcements import AnnouncementLedger
from digm.errors import CallerFault
from digm.node_ids import node_of
from hub.backbone.backbone import Backbone
from hub.backbone.chunk_streams import ReadChunk
from hub.backbone.model import PeerAddress, PeerInfo
from hub.pinning.network import Handler
from hub.seeding.chunk_cache import ChunkCache

TAKEN = Counter("digm_node_taken_bytes", "Bytes of chunks that other nodes gave over libp2p.")
GIVEN = Counter("digm_node_given_bytes", "Bytes of chunks read to be given over libp2p.")


class NodeNetwork:
    """What pins, audits and repairs ask of the backbone (`hub.pinning.network.Network`).

    Attributes:
        ledger: whose announcements name addresses; set once there is one.
    """

    def __init__(self, backbone: Backbone, now: Callable[[], float] = time.time) -> None:
        self._backbone, self._now = backbone, now
        self.ledger: AnnouncementLedger | None = None

    @property
    def peer_id(self) -> str:
        return self._backbone.peer_id

    @property
    def multiaddrs(self) -> list[str]:
        return self._backbone.multiaddrs

    def peers(self) -> list[PeerInfo]:
        """Who is connected."""
        return self._backbone.peers()

    async def publish(self, topic_payload: bytes) -> None:
        """As the backbone's."""
        await self._backbone.publish(topic_payload)

    async def provide(self, key: bytes) -> bool:
        """As the backbone's."""
        return await self._backbone.provide(key)

    async def find_providers(self, key: bytes) -> Sequence[PeerAddress]:
        """As the backbone's."""
        return await self._backbone.find_providers(key)

    def serve(
        self, protocol: str, handler: Handler, *, most_bytes: int, timeout_s: float, parallel: int
    ) -> None:
        """As the backbone's."""
        self._backbone.serve(protocol, handler, most_bytes=most_bytes, timeout_s=timeout_s, parallel=parallel)

    async def request(
        self, peer: str, protocol: str, payload: bytes, *, timeout_s: float, most_bytes: int
    ) -> bytes:
        """As the backbone's, of any node that announces something."""
        await self._introduce(peer)
        return await self._backbone.request(peer, protocol, payload, timeout_s=timeout_s, most_bytes=most_bytes)

    async def fetch_chunk(self, peer: str, track_root: bytes, rendition: int, chunk: int, size: int) -> bytes:
        """As the backbone's, of any node that announces something."""
        await self._introduce(peer)
        data = await self._backbone.fetch_chunk(peer, track_root, rendition, chunk, size)
        TAKEN.inc(len(data))
        return data

    async def _introduce(self, peer: str) -> None:
        if self.ledger is None or any(known.peer_id == peer for known in self._backbone.peers()):
            return
        try:
            claims = self.ledger.of_node(node_of(peer), self._now())
        except CallerFault:  # not one of our kind of names: then nobody announced it
            return
        addresses = dict.fromkeys(address for claim in claims for address in claim.multiaddrs)
        if addresses:
            await self._backbone.introduce(PeerAddress(peer, tuple(addresses)))


def counted(cache: ChunkCache) -> ReadChunk:
    """Reads of a cache for `Backbone.share`, counted."""

    async def read(name: str) -> bytes:
        data = await cache.read(name)
        GIVEN.inc(len(data))
        return data

    return read
