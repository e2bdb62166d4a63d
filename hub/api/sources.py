"""`GET /api/tracks/{track root}/sources`: where else a track can be had, for a player whose source failed."""

import time
from dataclasses import asdict

import msgspec
from aiohttp import hdrs, web

from digm.errors import Unavailable
from digm.ids import is_hex_id
from hub.api.addresses import addresses_of
from hub.api.tracks import CORS
from hub.bridge.bridge import BRIDGE
from hub.granting.rate import RateLimit
from hub.services import SERVICES
from hub.signalling import SIGNALLING

# A player asks when a gateway fails, and not again for some seconds; many may stand behind one address.
PER_MINUTE = 240
_RATE: web.AppKey[RateLimit] = web.AppKey("sources_rate", RateLimit)


def add_sources(app: web.Application) -> None:
    """Mount the route."""
    app[_RATE] = RateLimit(PER_MINUTE)
    app.router.add_get("/api/tracks/{track_root}/sources", sources)


async def sources(request: web.Request) -> web.Response:
    """`{"peers": n, "nodes": [...], "gateways": [...]}`, best first."""
    services, bridge, root = request.app[SERVICES], request.app[BRIDGE], request.match_info["track_root"]
    addresses = addresses_of(request, services.settings)
    request.app[_RATE].take(addresses.client, time.monotonic())
    if not is_hex_id(root):
        raise Unavailable("track_not_found", "There is no such track here.")
    if bridge.member is not None:
        bridge.member.look_up(root)
    nodes = bridge.directory.nodes_of(root, time.time())
    gateways = await bridge.gateways_of(root, addresses.gateway)
    if not nodes and len(gateways) == 1:
        await services.track(root)  # nobody told of it: it is ours, or there is no such track
    body = {
        "peers": len(request.app[SIGNALLING].presence.members(root)),
        "nodes": [asdict(node) for node in nodes],
        "gateways": [asdict(gateway) for gateway in gateways],
    }
    headers = {**CORS, hdrs.CACHE_CONTROL: "no-store"}
    return web.Response(body=msgspec.json.encode(body), content_type="application/json", headers=headers)
