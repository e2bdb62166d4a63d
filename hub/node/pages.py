"""What a node answers over HTTP beside its gateway: its fresh index for all, its state for this machine."""

import ipaddress
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import hdrs, web

from digm.errors import Unavailable

_FORWARDED = ("X-Forwarded-For", "Forwarded", "X-Real-IP")
INDEX_KNOWN_FOR_S = 30


def routes(
    state: Callable[[], Awaitable[dict[str, Any]]], fresh_index: Callable[[], bytes]
) -> list[web.AbstractRouteDef]:
    """`GET /api/node` and `GET /fresh-index.json`.

    Args:
        state: what the first one answers.
        fresh_index: the signed document; empty while there is none.
    """

    async def node(request: web.Request) -> web.Response:
        if not is_local(request):
            raise Unavailable("not_found", "There is nothing at this address.")
        return web.Response(
            body=msgspec.json.encode(await state()),
            content_type="application/json",
            headers={hdrs.CACHE_CONTROL: "no-store"},
        )

    async def index(_request: web.Request) -> web.Response:
        document = fresh_index()
        if not document:
            raise Unavailable("not_yet", "The node has just started: ask again in a moment.")
        headers = {
            hdrs.CACHE_CONTROL: f"public, max-age={INDEX_KNOWN_FOR_S}",
            hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*",
        }
        return web.Response(body=document, content_type="application/json", headers=headers)

    return [web.get("/api/node", node), web.get("/fresh-index.json", index)]


def is_local(request: web.Request) -> bool:
    """Asked from this machine, by its own name, and through no proxy."""
    # A name that somebody else's DNS points at 127.0.0.1 must not open it (DNS rebinding).
    host = request.headers.get(hdrs.HOST, "")
    name = host.partition("]")[0].strip("[") if host.startswith("[") else host.partition(":")[0]
    is_forwarded = any(field in request.headers for field in _FORWARDED)
    is_own_name = name == "localhost" or _is_loopback(name)
    return not is_forwarded and is_own_name and _is_loopback(request.remote or "")


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
