"""`GET /fresh-index.json`: which nodes are healthy, what they hold, where they are, signed by who looked."""

import hashlib

from aiohttp import hdrs, web

from digm.errors import Unavailable
from hub.api.tracks import CORS
from hub.bridge.bridge import BRIDGE

PATH = "/fresh-index.json"


def add_fresh_index(app: web.Application) -> None:
    """Mount the hub's."""
    app.router.add_get(PATH, _hubs_index)


async def _hubs_index(request: web.Request) -> web.Response:
    member = request.app[BRIDGE].member
    if member is None:
        raise Unavailable("not_found", "This hub takes no part in the backbone and knows of no nodes.")
    return fresh_index_response(request, member.fresh_index)


def fresh_index_response(request: web.Request, document: bytes) -> web.Response:
    """The answer of whoever writes such an index.

    Args:
        document: the latest; empty before the first.
    Raises:
        Unavailable: `fresh_index_missing`.
    """
    if not document:
        raise Unavailable(
            "fresh_index_missing", "The fresh index is still to be written: ask again in a moment."
        )
    etag = f'"{hashlib.sha256(document).hexdigest()[:32]}"'
    headers = {**CORS, hdrs.ETAG: etag, hdrs.CACHE_CONTROL: "public, max-age=15"}
    if etag in request.headers.get(hdrs.IF_NONE_MATCH, ""):
        return web.Response(status=304, headers=headers)
    return web.Response(body=document, content_type="application/json", headers=headers)
