"""How the studio reads what its page sends, and answers."""

from typing import Any

import msgspec
from aiohttp import hdrs, web

from digm.errors import CallerFault
from hub.api.bodies import read_body

MAX_BODY_BYTES = 32 << 10


def answer(body: object) -> web.Response:
    """JSON that nobody keeps."""
    headers = {hdrs.CACHE_CONTROL: "no-store"}
    return web.Response(body=msgspec.json.encode(body), content_type="application/json", headers=headers)


async def read(request: web.Request, kind: type[Any]) -> Any:
    """A small JSON body. Raises CallerFault `bad_body`, `body_too_large`."""
    body = await read_body(request, MAX_BODY_BYTES)
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise CallerFault("bad_body", "The studio's page is of another version: load it again.") from error
