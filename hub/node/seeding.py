"""A node as a seeding peer: gives what it holds to a hub's listeners, over WebRTC."""

import asyncio

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hub.backbone.identity import NodeIdentity
from hub.config import Settings
from hub.node.held_tracks import NodeTracks
from hub.node.storage import NodeStore
from hub.seeding.ice import offer_loopback, quicken_gathering
from hub.seeding.peer import SeedingPeer
from hub.seeding.sctp import quicken_retransmission
from hub.seeding.source import SeedSource

# A hub lets the nodes that its operator named (DIGM_ELDER_NODES) into its swarms without a token of its own.
TOKEN = "elder"  # noqa: S105


class NodeSeeding:
    """The seeding peer of one node; its peer id there is the node's key."""

    def __init__(
        self, settings: Settings, identity: NodeIdentity, store: NodeStore, tracks: NodeTracks
    ) -> None:
        key = Ed25519PrivateKey.from_private_bytes(identity.secret)
        source = SeedSource(tracks, store.chunks, key, lambda _root, _expiry: TOKEN)
        offer_loopback(settings.ice_loopback)
        quicken_retransmission()
        quicken_gathering()
        self._peer = SeedingPeer(settings, source)

    @property
    def is_connected(self) -> bool:
        """The hub knows us."""
        return self._peer.is_connected

    async def run(self, stop: asyncio.Event) -> None:
        """Seed until `stop` is set, then drain."""
        await self._peer.run(stop)
