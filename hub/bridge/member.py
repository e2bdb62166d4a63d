"""The hub as a member of the backbone: hears who holds what, says what it holds, and gives it to nodes."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import structlog

from digm.backbone_messages import MANIFEST
from digm.errors import DigmError
from digm.ids import from_hex, to_hex
from hub.backbone.backbone import Backbone
from hub.backbone.identity import NodeIdentity
from hub.backbone.settings import BackboneSettings
from hub.bridge.announcer import Announcer, Held
from hub.bridge.directory import Directory, Provider
from hub.seeding.chunk_cache import ChunkCache
from hub.seeding.held_tracks import Library, SeedTrack
from hub.services import Services

log = structlog.get_logger()
CACHE_BYTES = 16 * 1024 * 1024
LATENCIES_EVERY_S = 5.0
LOOKED_UP_AGAIN_S = 60.0  # one track
MOST_WAITING = 64  # lookups; who comes later asks again
START_AGAIN_S = 5.0


class Member:
    """This hub's place in the network, as long as `run` runs."""

    def __init__(self, services: Services, directory: Directory) -> None:
        self._services, self._directory = services, directory
        self._library = Library(services.catalogue, services.store)
        self._cache = ChunkCache(services.store, CACHE_BYTES)
        self._wanted: asyncio.Queue[str] = asyncio.Queue(MOST_WAITING)
        self._looked_up: dict[str, float] = {}
        self.backbone: Backbone | None = None

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
            if len(self._looked_up) >= 16 * MOST_WAITING:
                self._looked_up.clear()
            self._looked_up[track_root] = now

    async def run(self) -> None:
        """Be a member until cancelled."""
        async with self._started() as (backbone, identity):
            announcer = Announcer(
                backbone,
                identity.node_key,
                identity.sign,
                self._held,
                gateway_url=self._services.settings.gateway_url,
                operator=self._services.settings.operator,
                network_name=self._services.settings.network,
            )
            self.backbone = backbone
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(announcer.run(), name="announcer")
                    tasks.create_task(self._note_latencies(backbone), name="latencies")
                    tasks.create_task(self._look_up_wanted(backbone), name="lookups")
            finally:
                self.backbone = None

    @contextlib.asynccontextmanager
    async def _started(self) -> AsyncIterator[tuple[Backbone, NodeIdentity]]:
        settings = self._services.settings
        while True:
            identity = await asyncio.to_thread(NodeIdentity.load, settings.data)
            limits = BackboneSettings(listen=settings.backbone_listen, bootstrap=settings.backbone_bootstrap)
            backbone = Backbone(identity, limits)
            backbone.on_gossip = self._judge
            backbone.share(self._find, self._cache.read)
            backbone.serve(
                MANIFEST.name, self._manifest, most_bytes=MANIFEST.most_request_bytes,
                timeout_s=MANIFEST.timeout_s, parallel=8,
            )  # fmt: skip
            try:
                await backbone.start()
                break
            except DigmError as error:  # listeners can do without it
                log.error("backbone_not_started", code=error.code, reason=error.message)
                await backbone.stop()
                await asyncio.sleep(START_AGAIN_S)
        try:
            yield backbone, identity
        finally:
            await backbone.stop()

    def _judge(self, _author: str, payload: bytes) -> bool:
        return self._directory.heard(payload, time.time())

    async def _find(self, track_root: bytes) -> SeedTrack | None:
        return self._library.tracks.get(to_hex(track_root))

    async def _manifest(self, _peer: str, track_root: bytes) -> bytes:
        return await asyncio.to_thread(self._services.store.manifest, to_hex(track_root))

    def _held(self) -> list[Held]:
        self._library.refresh()
        names = {entry.track_root: entry.manifest_hash for entry in self._services.catalogue.tracks()}
        tracks = self._library.tracks
        return [Held(root, names[root], track.held) for root, track in tracks.items() if root in names]

    async def _note_latencies(self, backbone: Backbone) -> None:
        while True:
            for peer in backbone.peers():
                if peer.latency_ms is not None:
                    self._directory.reached(peer.peer_id, peer.latency_ms / 1000, time.time())
            await asyncio.sleep(LATENCIES_EVERY_S)

    async def _look_up_wanted(self, backbone: Backbone) -> None:
        while True:
            root = await self._wanted.get()
            try:
                found = await backbone.find_providers(from_hex(root))
            except DigmError as error:
                log.info("lookup_failed", code=error.code)
                continue
            self._directory.provided(
                root, [Provider(peer.peer_id, peer.multiaddrs) for peer in found], time.time()
            )
