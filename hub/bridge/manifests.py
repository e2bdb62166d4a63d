"""Manifests of tracks that the chain names, from whoever holds them: this data folder, or nodes.

What a node gives may be an older edition, or anything: only the bytes with the hash on the chain are returned.
"""

import contextlib
import time
from collections.abc import Sequence

import structlog

from digm.backbone_messages import MANIFEST
from digm.errors import CallerFault, DigmError, PeerFault, Unavailable
from digm.ids import short, to_hex
from hub.backbone.model import PeerAddress
from hub.bridge.bridge import Bridge
from hub.bridge.directory import NodeSource, Provider
from hub.bridge.health import Bounded
from hub.bridge.listing import editions_of, most_bytes
from hub.chain.state import FoundTrack
from hub.services import Services, off_loop

log = structlog.get_logger()
MOST_ASKED = 6
ANSWER_WITHIN_S = 8.0
MOST_NODES = 4096
# A node that gave other bytes so often in a row is left alone for a while: it has old editions, or none at all.
USELESS_AFTER, LEFT_ALONE_S = 8, 300.0
Given = tuple[bytes, tuple[FoundTrack, ...]]


class Manifests:
    """Fetches one at a time; several calls may run at once."""

    def __init__(self, services: Services, bridge: Bridge) -> None:
        self._services, self._bridge = services, bridge
        self._useless: Bounded[str, tuple[int, float]] = Bounded(MOST_NODES)

    def is_given(self, root: str) -> bool:
        """Whether somebody is known who says that it holds the track."""
        return bool(self._sources(root))

    async def fetch(self, claims: Sequence[FoundTrack], looks_up: bool) -> Given:
        """Bytes that the chain names, and the claims that name them.

        Args:
            claims: all of one root; whichever's manifest is given first is it.
            looks_up: ask the DHT who holds the track, before anybody is asked.
        Raises:
            Unavailable: `no_source`: nobody gives them just now; `backbone_down`.
        """
        track_root = claims[0].said.track_root
        root = to_hex(track_root)
        with contextlib.suppress(DigmError):
            here = await off_loop(self._services.store.manifest, root)
            if found := editions_of(here, claims):
                return here, found
        if looks_up:
            await self._look_up(track_root)
        for node in self._sources(root)[:MOST_ASKED]:
            if (given := await self._ask(node, claims)) is not None:
                return given
        raise Unavailable("no_source", f"Nobody gives the manifest of {short(root)} that the chain names.")

    def _sources(self, root: str) -> list[NodeSource]:
        backbone = self._bridge.member.backbone if self._bridge.member is not None else None
        if backbone is None:
            return []
        found = self._bridge.directory.nodes_of(root, time.time())
        return [node for node in found if node.peer_id != backbone.peer_id and not self._is_left(node.peer_id)]

    def _is_left(self, peer: str) -> bool:
        failures, until = self._useless.get(peer, (0, 0.0))
        return failures >= USELESS_AFTER and time.monotonic() < until

    async def _look_up(self, track_root: bytes) -> None:
        """Raises Unavailable."""
        backbone = self._bridge.member.backbone if self._bridge.member is not None else None
        if backbone is None:
            raise Unavailable("backbone_down", "This hub is not in the network just now.")
        found = await backbone.find_providers(track_root)
        providers = [Provider(peer.peer_id, peer.multiaddrs) for peer in found]
        self._bridge.directory.provided(to_hex(track_root), providers, time.time())

    async def _ask(self, node: NodeSource, claims: Sequence[FoundTrack]) -> Given | None:
        backbone = self._bridge.member.backbone if self._bridge.member is not None else None
        if backbone is None:
            return None
        try:
            await backbone.introduce(PeerAddress(node.peer_id, node.multiaddrs))
            document = await backbone.request(
                node.peer_id, MANIFEST.name, claims[0].said.track_root,
                timeout_s=ANSWER_WITHIN_S, most_bytes=max(map(most_bytes, claims)),
            )  # fmt: skip
        except (Unavailable, PeerFault, CallerFault) as fault:
            log.debug("manifest_not_given", peer=node.peer_id[-8:], code=fault.code)
            if fault.code in ("peer_unreachable", "backbone_timeout"):
                self._bridge.directory.not_reached(node.peer_id, time.time())
            self._count(node.peer_id, is_useful=fault.code == "peer_refused")
            return None
        found = await off_loop(editions_of, document, claims)
        self._count(node.peer_id, bool(found))
        return (document, found) if found else None

    def _count(self, peer: str, is_useful: bool) -> None:
        failures = 0 if is_useful else self._useless.get(peer, (0, 0.0))[0] + 1
        self._useless[peer] = (failures, time.monotonic() + LEFT_ALONE_S)
