"""`GET /api/nodes`: the network as the operator's page draws it, for programs. For the operator alone."""

from dataclasses import asdict
from typing import Any

import msgspec
from aiohttp import hdrs, web

from digm.chain_standing import standing_to_json
from hub.api.operators import refusal
from hub.overview.network import Network, Node
from hub.overview.overview import OVERVIEW


def add_nodes(app: web.Application) -> None:
    """Mount the route."""
    app.router.add_get("/api/nodes", nodes)


async def nodes(request: web.Request) -> web.Response:
    """`{"nodes": [...], "tracks": [...]}` (docs/operator.md)."""
    if refused := refusal(request):
        return refused
    body = nodes_json(await request.app[OVERVIEW].look())
    headers = {hdrs.CACHE_CONTROL: "no-store"}
    return web.Response(body=msgspec.json.encode(body), content_type="application/json", headers=headers)


def nodes_json(network: Network) -> dict[str, Any]:
    """As the API gives it."""
    return {
        "nodes": [_node(node) for node in network.nodes],
        "tracks": [asdict(track) for track in network.tracks],
    }


def _node(node: Node) -> dict[str, Any]:
    chain = standing_to_json(node.chain) if node.chain is not None else None
    return {**asdict(node), "state": node.state.value, "chain": chain}
