"""The hub as a member of the backbone: hears who holds what, says what it holds, and gives it to nodes."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

import structlog

from digm.announcements import Announcement
from digm.audits import AuditScore, Health
from digm.backbone_messages import MANIFEST
from digm.chain_standing import ChainStanding
from digm.errors import CallerFault, DigmError, Unavailable
from digm.ids import from_hex, to_hex
from hub.api.addresses import gateway_beside
from hub.backbone.identity import NodeIdentity
from hub.backbone.settings import BackboneSettings
from hub.bridge.directory import Directory, Provider
from hub.bridge.introductions import ask_strangers
from hub.bridge.orders import HubOrders
from hub.bridge.published import Published
from hub.chain.handing_on import serve_deployment
from hub.granting.carrying import GrantCarrier
from hub.granting.elsewhere import VaultsElsewhere
from hub.node.twins import LastWords
from hub.pinning.auditor import Auditor
from hub.pinning.covers import serve_covers
from hub.pinning.fresh_index_writer import FreshIndexWriter, IndexSettings
from hub.pinning.herald import Herald, HeraldSettings, Holding, holdings_of
from hub.pinning.network import ChunkCounts
from hub.pinning.order_desk import OrderDesk
from hub.pinning.records import Records
from hub.seeding.chunk_cache import ChunkCache
from hub.seeding.held_tracks import SeedTrack
from hub.services import Services

if TYPE_CHECKING:
    from hub.backbone.backbone import Backbone

log = structlog.get_logger()
CACHE_BYTES = 16 * 1024 * 1024
LOOKED_AT_S = 1.0
HOLDINGS_KNOWN_FOR_S = 5.0
LATENCIES_EVERY_S = 5.0
INDEX_EVERY_S = 30.0
LOOKED_UP_AGAIN_S = 60.0  # one track
UNKNOWN_AGAIN_S = 5.0  # one that nobody has, or somebody of whom we know nothing yet
POLL_S = 0.05
MOST_WAITING = 64  # lookups; who comes later asks again
START_AGAIN_S = 5.0


class Member:
    """This hub's place in the network, as long as `run` runs.

    Attributes:
        backbone, orders, vaults: None while it is not in the network. `vaults`: those linked to other hubs.
        fresh_index: the latest document, signed; empty before the first.
        scores: node key -> how it stands with this hub's auditor.
        chain_standing: how a node that announced itself stands with the chain's contract.
        chunk_counts: of the tracks whose manifests are here.

    Args:
        relays: node key -> TURN URLs, where they are known.
    """

    def __init__(
        self, services: Services, directory: Directory, relays: Callable[[bytes], tuple[str, ...]]
    ) -> None:
        self._services, self._directory, self._relays = services, directory, relays
        self._published = Published(services.catalogue, services.store)
        self._cache = ChunkCache(services.store, CACHE_BYTES)
        self._holdings: Mapping[bytes, Holding] = {}
        self._holdings_at = -HOLDINGS_KNOWN_FOR_S
        self._wanted: asyncio.Queue[str] = asyncio.Queue(MOST_WAITING)
        self._looked_up: dict[str, float] = {}
        self._pending: set[str] = set()
        self.backbone: Backbone | None = None
        self.orders: HubOrders | None = None
        self.vaults: VaultsElsewhere | None = None
        self.fresh_index = b""
        self.scores: dict[bytes, AuditScore] = {}
        self.chunk_counts: ChunkCounts = self._published.chunk_counts
        self.chain_standing: Callable[[Announcement], ChainStanding | None] = lambda _said: None
        directory.standing = self._standing

    def look_up(self, track_root: str) -> None:
        """Ask the DHT who has a track, soon and not too often; the directory is told."""
        now = time.monotonic()
        if (
            self.backbone is None
            or now - self._looked_up.get(track_root, -LOOKED_UP_AGAIN_S) < LOOKED_UP_AGAIN_S
        ):
            return
        with contextlib.suppress(asyncio.QueueFull):
            self._wanted.put_nowait(track_root)
            self._pending.add(track_root)
            if len(self._looked_up) >= 16 * MOST_WAITING:
                self._looked_up.clear()
            self._looked_up[track_root] = now

    async def looked_up(self, track_root: str, within_s: float) -> None:
        """Wait until the DHT was asked for a track, at most so long; at once where that was lately."""
        self.look_up(track_root)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while track_root in self._pending:
                    await asyncio.sleep(POLL_S)

    async def run(self) -> None:
        """Be a member until cancelled. Listeners can do without it: what keeps us out is tried again."""
        while True:
            async with contextlib.AsyncExitStack() as stack:
                try:
                    parts = await self._start(stack)
                except DigmError as error:
                    log.error("backbone_not_started", code=error.code, reason=error.message)
                else:
                    await self._take_part(parts)
            await asyncio.sleep(START_AGAIN_S)

    async def _take_part(self, parts: "_Parts") -> None:
        async def write_index() -> None:
            await parts.index.tick()
            self.fresh_index = parts.index.document

        self.backbone, self.vaults = parts.backbone, VaultsElsewhere(parts.backbone)
        acts = {
            "herald": parts.herald.announce,
            "pin orders": parts.orders.tick,
            "audits": parts.auditor.tick,
            "fresh index": write_index,
            "linked vaults": parts.carrier.tick,
        }
        try:
            async with asyncio.TaskGroup() as tasks:
                for name, act in acts.items():
                    tasks.create_task(_again_and_again(act, LOOKED_AT_S), name=name)
                tasks.create_task(self._note_latencies(parts.backbone), name="latencies")
                tasks.create_task(self._look_up_wanted(parts), name="lookups")
                tasks.create_task(self.vaults.run(), name="vaults elsewhere")
        finally:
            self.backbone = self.vaults = None

    def _end_orders(self) -> None:
        self.orders = None

    async def _start(self, stack: contextlib.AsyncExitStack) -> "_Parts":
        data = self._services.settings.data
        records = await asyncio.to_thread(Records, data)
        stack.push_async_callback(asyncio.to_thread, records.close)
        identity = await asyncio.to_thread(NodeIdentity.load, data)
        # libp2p takes a second or more to import: listeners need not wait for it.
        await asyncio.to_thread(import_module, "hub.backbone.backbone")
        backbone = self._backbone(identity)
        herald = self._herald(backbone, identity)
        auditor = Auditor(backbone, identity, self._published, herald, records)
        await auditor.start()
        self.scores = auditor.scores
        desk = OrderDesk(backbone, herald, records, health=auditor.health, chunk_counts=self.chunk_counts)
        await desk.start()
        orders = HubOrders(self._services, backbone, identity, desk)
        orders.serve()
        carrier = GrantCarrier(backbone, self._services.vaults)
        carrier.serve()
        self.orders = orders  # what is ordered before libp2p is up is kept, and said then
        stack.callback(self._end_orders)
        backbone.on_gossip = herald.on_gossip
        index = FreshIndexWriter(
            backbone, identity, herald, lambda: auditor.scores, data,
            IndexSettings(every_s=INDEX_EVERY_S), self._relays,
            standing=lambda said: self.chain_standing(said),
        )  # fmt: skip
        stack.push_async_callback(backbone.stop)
        await backbone.start()
        return _Parts(backbone, herald, orders, auditor, index, carrier)

    def _backbone(self, identity: NodeIdentity) -> "Backbone":
        from hub.backbone.backbone import Backbone

        settings = self._services.settings
        limits = BackboneSettings(
            listen=settings.backbone_listen,
            bootstrap=settings.backbone_bootstrap,
            announce=settings.backbone_announce,
        )
        backbone = Backbone(identity, limits)
        backbone.share(self._find, self._cache.read)
        backbone.serve(
            MANIFEST.name, self._manifest, most_bytes=MANIFEST.most_request_bytes,
            timeout_s=MANIFEST.timeout_s, parallel=8,
        )  # fmt: skip
        serve_covers(backbone, self._services.store)
        serve_deployment(backbone, settings)
        LastWords().serve(backbone)
        return backbone

    def _herald(self, backbone: "Backbone", identity: NodeIdentity) -> Herald:
        settings = self._services.settings
        signal_url = f"ws{settings.public_url.removeprefix('http')}/signal" if settings.public_url else None
        public = settings.public_url
        gateway_url = gateway_beside(public, settings) if public else settings.gateway_url
        names = HeraldSettings(settings.operator, settings.network, gateway_url, signal_url)
        return Herald(backbone, identity, self._look, names, ledger=self._directory.ledger)

    def _look(self) -> Mapping[bytes, Holding]:
        """What the herald says. It asks every second; reading a large catalogue takes the hub some time."""
        now = time.monotonic()
        if now - self._holdings_at >= HOLDINGS_KNOWN_FOR_S:
            self._holdings, self._holdings_at = holdings_of(self._published), now
        return self._holdings

    async def _find(self, track_root: bytes) -> SeedTrack | None:
        return self._published.find(to_hex(track_root))

    async def _manifest(self, _peer: str, track_root: bytes) -> bytes:
        return await asyncio.to_thread(self._services.store.manifest, to_hex(track_root))

    async def _note_latencies(self, backbone: "Backbone") -> None:
        while True:
            for peer in backbone.peers():
                if peer.latency_ms is not None:
                    self._directory.reached(peer.peer_id, peer.latency_ms / 1000, time.time())
            await asyncio.sleep(LATENCIES_EVERY_S)

    async def _look_up_wanted(self, parts: "_Parts") -> None:
        while True:
            root = await self._wanted.get()
            is_known = False
            try:
                is_known = await self._ask_network(parts, root)
            except DigmError as error:
                log.info("lookup_failed", code=error.code)
            finally:
                self._pending.discard(root)
            if not is_known:  # we may have joined just now, or they may have started just now
                self._looked_up[root] = time.monotonic() - LOOKED_UP_AGAIN_S + UNKNOWN_AGAIN_S

    async def _ask_network(self, parts: "_Parts", root: str) -> bool:
        """Look a track up and meet those who are found. Returns whether somebody was, and all are known."""
        found = await parts.backbone.find_providers(from_hex(root))
        self._directory.provided(root, [Provider(peer.peer_id, peer.multiaddrs) for peer in found], time.time())
        names, ledger = [peer.peer_id for peer in found], self._directory.ledger
        hear = parts.herald.hear_announcement
        is_known = await ask_strangers(
            parts.backbone, hear, ledger, from_hex(root), names, time.time(),
            silent=lambda peer: self._directory.not_reached(peer, time.time()),
        )  # fmt: skip
        return bool(found) and is_known

    def _standing(self, node: bytes) -> Health:
        """How a node stands with our auditor."""
        score = self.scores.get(node)
        return score.health if score else Health.UNPROVEN


@dataclass(frozen=True)
class _Parts:
    """What works together while the hub is in the network."""

    backbone: "Backbone"
    herald: Herald
    orders: HubOrders
    auditor: Auditor
    index: FreshIndexWriter
    carrier: GrantCarrier


async def _again_and_again(act: Callable[[], Awaitable[object]], every_s: float) -> None:
    """What fails for now (libp2p is being started again, the catalogue is busy) goes on at the next turn."""
    while True:
        try:
            await act()
        except (Unavailable, CallerFault) as error:
            log.info("backbone_turn_missed", code=error.code)
        await asyncio.sleep(every_s)
