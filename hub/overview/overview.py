"""The operator's view of the network and the chain, in a running hub: put together when somebody looks."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import urlsplit

from aiohttp import web

from digm.errors import DigmError
from hub.bridge.bridge import BRIDGE, Bridge
from hub.bridge.chain import CHAIN
from hub.bridge.health import Bounded
from hub.chain.follower import ChainFollower
from hub.chain.standings import standing_of_announced
from hub.config import Settings
from hub.overview.chain import ChainView, Names, chain_view
from hub.overview.network import Known, Network, Node, Published, State, network_of, place_of
from hub.overview.watch import Watch
from hub.services import SERVICES, Services

FRESH_FOR_S = 0.5
REMEMBERED_S = 3600.0
MOST_REMEMBERED = 64


class Overview:
    """Looks at the network. Nodes that left are shown as gone for an hour, if somebody saw them."""

    def __init__(self, services: Services, bridge: Bridge, chain: ChainFollower) -> None:
        self.watch = Watch(services.settings.watched_nodes)
        self._services, self._bridge, self._chain = services, bridge, chain
        self._last: tuple[float, Network] = (-FRESH_FOR_S, Network())
        self._last_chain: tuple[float, ChainView] = (-FRESH_FOR_S, ChainView())
        self._seen: Bounded[str, tuple[float, Node]] = Bounded(MOST_REMEMBERED)

    async def chain(self) -> ChainView:
        """What is known of the chain now."""
        looked_at, view = self._last_chain
        if time.monotonic() - looked_at >= FRESH_FOR_S:
            state, present = self._chain.state, self._bridge.directory.ledger.present(time.time())
            names = Names(state, present, await self._published())
            view = chain_view(state, _hosts(self._services.settings), names, time.time())
            self._last_chain = (time.monotonic(), view)
        return view

    async def _published(self) -> dict[str, Published]:
        try:
            entries = await self._services.tracks()
        except DigmError:  # a busy catalogue; what nodes hold can be seen without titles
            entries = []
        return {entry.track_root: Published(entry.title, entry.artist, entry.artist_key) for entry in entries}

    async def look(self) -> Network:
        """What is known now."""
        self.watch.look()
        looked_at, network = self._last
        if time.monotonic() - looked_at < FRESH_FOR_S:
            return network
        member = self._bridge.member
        backbone = member.backbone if member else None
        orders = member.orders if member else None
        known = Known(
            published=await self._published(),
            own=backbone.peer_id if backbone else None,
            connected={peer.peer_id: peer.latency_ms for peer in backbone.peers()} if backbone else {},
            scores=member.scores if member else {},
            indexes=self.watch.indexes(),
            statuses=self.watch.statuses(),
            orders=orders.active() if orders else (),
            standing=lambda said: standing_of_announced(self._chain.state, said),
            chunk_counts=member.chunk_counts if member else lambda _root, _manifest: None,
        )
        network = self._with_gone(network_of(self._bridge.directory.ledger, known, time.time()))
        self._last = (time.monotonic(), network)
        return network

    def _with_gone(self, network: Network) -> Network:
        now = time.monotonic()
        here = {node.peer_id for node in network.nodes}
        gone = [
            replace(node, state=State.GONE, latency_ms=None, is_connected=False, tracks=(), neighbours=())
            for name, (seen_at, node) in self._seen.items()
            if name not in here and now - seen_at < REMEMBERED_S
        ]
        for node in network.nodes[:MOST_REMEMBERED]:
            if not node.is_self:
                self._seen[node.peer_id] = (now, node)
        return replace(network, nodes=tuple(sorted([*network.nodes, *gone], key=place_of)))


def _hosts(settings: Settings) -> list[str]:
    """Of the RPC servers; what stands behind the host in a URL, or before it, may be a secret."""
    urls = settings.chain_rpc or (f"http://127.0.0.1:{settings.chain_port}",)
    return [urlsplit(url).netloc.rpartition("@")[2] for url in urls]


OVERVIEW: web.AppKey[Overview] = web.AppKey("overview", Overview)


def add_overview(app: web.Application) -> None:
    """Make the overview part of a hub; watched nodes are asked as long as it runs."""
    app[OVERVIEW] = Overview(app[SERVICES], app[BRIDGE], app[CHAIN])

    async def watching(app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(app[OVERVIEW].watch.run(), name="watch")
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    app.cleanup_ctx.append(watching)
