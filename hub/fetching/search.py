"""Finds whoever may have a track: gateways and nodes that were named, that the hubs name, that the DHT names.

It goes on looking while a track is fetched, as networks change. libp2p is started only where somebody named a
node; it takes a second, in which others are asked already.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import structlog

from digm.errors import DigmError, PeerFault, Unavailable
from digm.fresh_index import best_first
from digm.ids import from_hex
from digm.manifest import Manifest
from digm.node_ids import node_of, peer_id
from hub.backbone.model import PeerAddress
from hub.fetching.hub_answers import NodeAnswer, ask_fresh_index, ask_sources, ask_track
from hub.fetching.ledger import Ledger
from hub.fetching.sources import ChunkSource, GatewaySource, NodeSource
from hub.fetching.targets import Target
from hub.fetching.unlocking import check_manifest
from hub.pinning.herald import Herald, HeraldSettings

if TYPE_CHECKING:
    from hub.backbone.backbone import Backbone

log = structlog.get_logger()
LIBP2P, WEBRTC = "libp2p", "webrtc"
PLACES = "places"
LOOK_AGAIN_S = 10.0
MOST_GIVERS = 200  # a hub could name others every time it is asked
CONNECT_S, SILENCE_S = 5.0, 10.0
_NOT_PACKED = {"Accept-Encoding": "identity", "User-Agent": "digm"}


class Search:
    """The sources of one track, more and more of them.

    Attributes:
        sources: of chunks, by name.
        givers: of manifests and covers: the sources, and gateways that are not to be asked for chunks.
        signal_urls: of the hubs where the track's swarm can be met.
        last: names of those that a hub says are in the contract's jail: asked when nobody else is left.

    Args:
        via: kinds of sources that may be used.
    """

    def __init__(
        self, target: Target, http: aiohttp.ClientSession, ledger: Ledger, via: frozenset[str]
    ) -> None:
        self.target = target
        self.http = http
        self.ledger = ledger
        self.sources: dict[str, ChunkSource] = {}
        self.givers: dict[str, ChunkSource] = {}
        self.signal_urls: list[str] = []
        self.last: set[str] = set()
        self.via = via
        self._backbone: Backbone | None = None
        self._nodes: dict[str, NodeAnswer] = {}
        self._listeners: list[Callable[[], None]] = []
        self._awaited = {PLACES}
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def backbone(self) -> "Backbone | None":
        """libp2p, where somebody named a node and it could be started."""
        return self._backbone

    @property
    def is_settled(self) -> bool:
        """Everybody who was named has been asked once, and whatever else looks has looked once."""
        return not self._awaited

    def listen(self, listener: Callable[[], None]) -> None:
        """Have a function called, now and whenever a source was found or the search is settled."""
        self._listeners.append(listener)
        listener()

    def add(self, source: ChunkSource) -> None:
        """Somebody who may have the track; one too many is not taken in (peers are bounded by the swarm)."""
        is_welcome = source.kind == WEBRTC or len(self.givers) < MOST_GIVERS
        if source.name not in self.givers and is_welcome:
            self.givers[source.name] = source
            if source.kind in self.via:
                self.sources[source.name] = source
            self._tell()

    def remove(self, source: ChunkSource) -> None:
        """It cannot be asked any more."""
        if self.givers.get(source.name) is source:
            del self.givers[source.name]
            self.sources.pop(source.name, None)
            self._tell()

    def begin(self, name: str, looking: Coroutine[Any, Any, None]) -> None:
        """Let somebody else look too, to the end; it is waited for until it ends or calls `looked`."""
        self._awaited.add(name)
        task = asyncio.create_task(looking, name=name)
        task.add_done_callback(lambda ended: self._ended(name, ended))
        self._tasks.append(task)

    def looked(self, name: str) -> None:
        """Whoever has that name has looked once."""
        self._awaited.discard(name)
        self._tell()

    async def settled(self, *names: str) -> None:
        """Wait until these, or everybody, have looked once."""
        with self._watching() as changed:
            while self._awaited & set(names) if names else self._awaited:
                changed.clear()
                await changed.wait()

    async def stop(self) -> None:
        """End it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def run(self) -> None:
        """Look, and look again, until cancelled."""
        try:
            self._add_gateways(self.target.gateways)
            while True:
                hubs = self.target.hubs
                await asyncio.gather(*map(self._ask_hub, hubs), *map(self._ask_index, hubs))
                await self._ask_backbone()
                self.looked(PLACES)
                await asyncio.sleep(LOOK_AGAIN_S)
        finally:
            if self._backbone is not None:
                await self._backbone.stop()

    async def manifest(self, artist: str | None, refused: Collection[bytes] = ()) -> tuple[Manifest, bytes]:
        """The first manifest that holds what it says; all givers are asked at once.

        Args:
            refused: keys of artists who turned out not to be the track's.
        Returns:
            the manifest, and its exact bytes.
        Raises:
            Unavailable: `no_manifest`.
        """
        asking: dict[str, asyncio.Task[tuple[Manifest, bytes] | None]] = {}
        with self._watching() as changed:
            try:
                while True:
                    changed.clear()
                    for name, source in self.givers.items():
                        if name not in asking:
                            asking[name] = asyncio.create_task(
                                self._manifest_of(source, artist, refused), name="manifest"
                            )
                            asking[name].add_done_callback(lambda _: changed.set())
                    for task in asking.values():
                        if task.done() and (found := task.result()) is not None:
                            return found
                    if self.is_settled and all(task.done() for task in asking.values()):
                        raise Unavailable(
                            "no_manifest", f"Nobody gives the track's manifest. {self.ledger.reasons()}"
                        )
                    await changed.wait()
            finally:
                for task in asking.values():
                    task.cancel()
                await asyncio.gather(*asking.values(), return_exceptions=True)

    async def _manifest_of(
        self, source: ChunkSource, artist: str | None, refused: Collection[bytes]
    ) -> tuple[Manifest, bytes] | None:
        account = self.ledger.account(source.name, source.kind)
        try:
            document = await source.manifest()
            manifest = check_manifest(document, self.target.track_root, artist)
            if manifest.artist_key in refused:
                raise PeerFault("manifest_other_artist", "What came is a manifest by another artist.")
            return manifest, document
        except (Unavailable, PeerFault) as fault:
            account.failed(fault.code, fault.message)
            return None

    # -- inside

    def _ended(self, name: str, task: "asyncio.Task[None]") -> None:
        """By itself only because of a bug of ours, and then nobody else will be found that way."""
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("search_failed", name=name, error=f"{error!r:.200}")
        self.looked(name)

    @contextmanager
    def _watching(self) -> Iterator[asyncio.Event]:
        """An event that is set whenever a source was found or the search is settled."""
        changed = asyncio.Event()
        self._listeners.append(changed.set)
        try:
            yield changed
        finally:
            self._listeners.remove(changed.set)

    def _tell(self) -> None:
        for listener in list(self._listeners):
            listener()

    def _add_gateways(self, urls: tuple[str, ...] | list[str]) -> None:
        for url in urls:
            if url.startswith(("http://", "https://")):
                self.add(GatewaySource(self.http, url.rstrip("/"), self.target.track_root))

    async def _ask_hub(self, hub: str) -> None:
        root = self.target.track_root
        try:
            track = await ask_track(self.http, hub, root)
            self._add_gateways(track.gateways)
            self.signal_urls = list(dict.fromkeys([*self.signal_urls, *track.signal_urls]))
        except DigmError as fault:
            self.ledger.problem(hub, fault)
        try:
            answer = await ask_sources(self.http, hub, root)
        except DigmError as fault:
            self.ledger.problem(hub, fault)
            return
        # Also those that the hub thinks little of: they are only asked when others are busy, or fail.
        self._add_gateways([gateway.url for gateway in answer.gateways])
        self._nodes.update({node.peer_id: node for node in answer.nodes})

    async def _ask_index(self, hub: str) -> None:
        """Nodes that the hub finds good. It is one word among others: nobody is left out for it."""
        try:
            index = await ask_fresh_index(self.http, hub)
        except DigmError as fault:
            # A hub that is no member of a backbone has none.
            log.debug("no_fresh_index", hub=hub, code=fault.code)
            return
        for node in best_first(index, time.time(), from_hex(self.target.track_root)):
            names = {peer_id(node.node), (node.gateway_url or "").rstrip("/")}
            (self.last.update if node.is_jailed else self.last.difference_update)(names)
            if node.gateway_url is not None:
                self._add_gateways([node.gateway_url])
            name = peer_id(node.node)
            self._nodes.setdefault(name, NodeAnswer(name, list(node.multiaddrs)))

    async def _ask_backbone(self) -> None:
        if LIBP2P not in self.via or not (self.target.bootstrap or self._nodes):
            return
        try:
            backbone = await self._running_backbone()
            for node in list(self._nodes.values()):
                node_of(node.peer_id)
                await backbone.introduce(PeerAddress(node.peer_id, tuple(node.multiaddrs)))
                self.add(NodeSource(backbone, node.peer_id, self.target.track_root))
            if self.target.bootstrap:
                await self._reach_bootstrap(backbone)

                def add(found: PeerAddress) -> None:
                    self.add(NodeSource(backbone, found.peer_id, self.target.track_root))

                for found in await backbone.find_providers(from_hex(self.target.track_root), on_found=add):
                    await backbone.introduce(found)
        except DigmError as fault:
            self.ledger.problem("libp2p", fault)

    async def _running_backbone(self) -> "Backbone":
        if self._backbone is None:
            # Late: libp2p takes a second to import, and whoever has gateways enough does without it.
            from hub.backbone.backbone import Backbone
            from hub.backbone.identity import NodeIdentity
            from hub.backbone.settings import BackboneSettings

            # A name for this once: nobody has to know that it was us who fetched something yesterday as well.
            settings = BackboneSettings(listen=(), bootstrap=self.target.bootstrap)
            identity = NodeIdentity(secrets.token_bytes(32))
            backbone = Backbone(identity, settings)
            backbone.on_gossip = Herald(backbone, identity, dict, HeraldSettings()).on_gossip
            await backbone.start()
            self._backbone = backbone
        return self._backbone

    async def _reach_bootstrap(self, backbone: "Backbone") -> None:
        """Be connected with somebody before asking who has what; whoever was named may have it itself."""
        connected = {peer.peer_id for peer in backbone.peers()}
        for address in self.target.bootstrap:
            name = address.rpartition("/p2p/")[2]
            try:
                if name not in connected:
                    name = await backbone.connect(address)
                self.add(NodeSource(backbone, name, self.target.track_root))
            except DigmError as fault:
                self.ledger.problem(address, fault)
        if not connected:
            await backbone.refresh()


@asynccontextmanager
async def searching(target: Target, ledger: Ledger, via: frozenset[str]) -> AsyncIterator[Search]:
    """A search that runs inside the block."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S)
    connector = aiohttp.TCPConnector(limit=64)
    async with aiohttp.ClientSession(
        timeout=timeout, connector=connector, headers=_NOT_PACKED, auto_decompress=False
    ) as http:
        search = Search(target, http, ledger, via)
        search.begin(PLACES, search.run())
        try:
            yield search
        finally:
            await search.stop()
