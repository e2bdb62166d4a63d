"""The bridge as the hub runs it: the directory, the probes that keep it honest, and what this hub holds."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from digm.announcements import AnnouncementLedger
from digm.errors import DigmError, Unavailable
from digm.ids import to_hex
from digm.manifest import parse_manifest
from hub.bridge.directory import Directory, GatewaySource, checked_url
from hub.bridge.health import Bounded
from hub.bridge.probes import OWN, Probes
from hub.bridge.reachable import rules_for
from hub.granting.messages import Granted, Proof
from hub.services import SERVICES, Services, off_loop
from hub.signalling import SIGNALLING
from hub.storage.catalogue import TrackEntry

if TYPE_CHECKING:
    from hub.bridge.lost_covers import LostCovers
    from hub.bridge.member import Member

log = structlog.get_logger()
AGAIN_S = 5.0
HELD_KNOWN_FOR_S = 5.0
MOST_HELD = 256
MOST_FIRST = 4
FOUND_WITHIN_S = 3.0


class Bridge:
    """What one hub knows of who holds what.

    Args:
        relays: node key -> TURN URLs that it offers here.
    """

    def __init__(
        self, services: Services, relays: Callable[[bytes], tuple[str, ...]] = lambda _node: ()
    ) -> None:
        settings = services.settings
        self.directory = Directory(AnnouncementLedger(), settings.gateways)
        self._services = services
        self.member: Member | None = None
        self._covers: LostCovers | None = None
        if settings.backbone_listen:
            # Imported here: a hub without the backbone does not need it.
            from hub.bridge import lost_covers, member

            self.member = member.Member(services, self.directory, relays)
            self._covers = lost_covers.LostCovers(services, self.directory, self.member)
        self._own_held: Bounded[str, tuple[float, float]] = Bounded(MOST_HELD)
        self._any_track = ""
        own = f"{settings.own_url(settings.gateway_port)}" if settings.gateway_port else ""
        own = own.replace("http://", "https://", 1) if settings.gateway_cert else own
        self._probes = Probes(self.directory, rules_for(settings), lambda: self._any_track, own)

    async def run(self) -> None:
        """Keep the directory honest until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._probes.run(), name="probes")
            if self.member is not None:
                tasks.create_task(self.member.run(), name="backbone member")
            tasks.create_task(self._follow_catalogue(), name="catalogue")

    async def gateways_of(self, track_root: str, own_url: str, most: int | None = None) -> list[GatewaySource]:
        """The gateways of a track, best first; the own one is among them in any case.

        Args:
            own_url: the own gateway as the asker sees it.
        """
        share = await self._own_share(track_root)
        health = self.directory.health(OWN)
        own = GatewaySource(own_url, 0.0 if health.is_dead else health.score(share))
        others = [
            gateway
            for gateway in self.directory.gateways_of(track_root, time.time())
            if gateway.url != checked_url(own_url)
        ]
        return sorted([own, *others], key=lambda gateway: -gateway.score)[:most]

    async def first_gateways(self, track_root: str, own_url: str) -> list[str]:
        """What a player is told from the start: the own gateway first, if it can serve the track at all.

        Where it cannot, and nobody is known who can, the DHT is asked, and waited for: a player that has to ask
        for others itself is slower.
        """
        found = await self.gateways_of(track_root, own_url, MOST_FIRST)
        if self.member is not None and not any(gateway.score for gateway in found):
            await self.member.looked_up(track_root, FOUND_WITHIN_S)
            found = await self.gateways_of(track_root, own_url, MOST_FIRST)
        return [gateway.url for gateway in sorted(found, key=lambda one: (one.score == 0, one.url != own_url))]

    def expect_grants(self, entry: TrackEntry) -> None:
        """Somebody looks at a track and may ask for its keys: a vault that is not linked here is looked for."""
        if self.member is not None and self.member.vaults is not None and not self._is_linked(entry):
            self.member.vaults.look_up(entry.artist_key)

    def is_elsewhere(self, entry: TrackEntry) -> bool:
        """Whether another gateway, one that answers, says that it holds a track. Looks for it where it can."""
        if self.member is not None:
            self.member.look_up(entry.track_root)
        found = self.directory.gateways_of(entry.track_root, time.time())
        return any(gateway.score and self.directory.health(gateway.url).latency_s for gateway in found)

    def can_grant(self, entry: TrackEntry) -> bool:
        """Whether the vault of a track's artist is linked here, or to somebody who says so."""
        vaults = self.member.vaults if self.member is not None else None
        return self._is_linked(entry) or (vaults is not None and vaults.knows(entry.artist_key))

    async def grant(self, entry: TrackEntry, player_key: str, proof: Proof | None = None) -> Granted:
        """The artist's grant for a page: from the vault that is linked here, else through another hub.

        Args:
            proof: of an account that may hear more than everybody.
        Raises:
            Unavailable: `artist_offline`, `artist_busy`, `grant_refused`; what is wrong with the proof.
        """
        try:
            return await self._services.vaults.ask(entry.artist_key, entry.track_root, player_key, proof=proof)
        except Unavailable as fault:
            vaults = self.member.vaults if self.member is not None else None
            if fault.code != "artist_offline" or vaults is None:
                raise
        holders = [node.peer_id for node in self.directory.nodes_of(entry.track_root, time.time())]
        return await vaults.ask(entry.artist_key, entry.track_root, player_key, holders, proof)

    def _is_linked(self, entry: TrackEntry) -> bool:
        return self._services.vaults.is_connected(entry.artist_key)

    async def cover(self, hash_hex: str) -> bytes:
        """A picture that the catalogue names: the hub's own copy, else a node's.

        Raises:
            Unavailable: `chunk_not_held`, `chunk_damaged`, `cover_not_found`.
        """
        try:
            return await off_loop(self._services.store.read_verified, hash_hex)
        except Unavailable:
            if self._covers is None:
                raise
            return await self._covers.fetch(hash_hex)

    async def _own_share(self, track_root: str) -> float:
        """Part of a track that lies in the store that hub and gateway share, 0.0 to 1.0."""
        now = time.monotonic()
        known_at, share = self._own_held.get(track_root, (0.0, 0.0))
        if not known_at or now - known_at > HELD_KNOWN_FOR_S:
            share = await off_loop(self._look, track_root)
            self._own_held[track_root] = (now, share)
        return share

    def _look(self, track_root: str) -> float:
        try:
            manifest = parse_manifest(self._services.store.manifest(track_root))
        except DigmError:
            return 0.0
        hashes = [to_hex(name) for rendition in manifest.renditions for name in rendition.chunk_hashes]
        return sum(name in self._services.store for name in hashes) / len(hashes)

    async def _follow_catalogue(self) -> None:
        """The gateways that the operator names are asked for the newest track."""
        while True:
            try:
                tracks = await self._services.own_tracks()
            except DigmError:
                tracks = []
            self._any_track = tracks[0].track_root if tracks else ""
            await asyncio.sleep(HELD_KNOWN_FOR_S)


BRIDGE: web.AppKey[Bridge] = web.AppKey("bridge", Bridge)


def add_bridge(app: web.Application) -> None:
    """Make the bridge part of a hub; it runs as long as the hub does."""
    app[BRIDGE] = Bridge(app[SERVICES], app[SIGNALLING].relays_of)

    async def running(app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(_keep_running(app[BRIDGE]), name="bridge")
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    app.cleanup_ctx.append(running)


async def _keep_running(bridge: Bridge) -> None:
    """Listeners can do without the bridge: what breaks it is said, and it begins again."""
    while True:
        try:
            await bridge.run()
        except Exception:
            log.exception("bridge_crashed", again_in_s=AGAIN_S)
        await asyncio.sleep(AGAIN_S)
