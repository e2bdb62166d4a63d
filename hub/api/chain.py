"""`GET /api/chain`: the contracts as the operator's page shows them, for programs. For the operator alone."""

from dataclasses import asdict

import msgspec
from aiohttp import hdrs, web

from hub.api.operators import refusal
from hub.overview.overview import OVERVIEW


def add_chain_api(app: web.Application) -> None:
    """Mount the route."""
    app.router.add_get("/api/chain", chain)


async def chain(request: web.Request) -> web.Response:
    """`{"chain_id": ..., "orders": [...], "nodes": [...], "events": [...]}` (docs/operator.md)."""
    if refused := refusal(request):
        return refused
    body = asdict(await request.app[OVERVIEW].chain())
    headers = {hdrs.CACHE_CONTROL: "no-store"}
    return web.Response(body=msgspec.json.encode(body), content_type="application/json", headers=headers)
