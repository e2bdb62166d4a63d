"""Small JSON bodies: read as far as they may go, for as long as they may take, into what they must be."""

import asyncio
from typing import TypeVar

import msgspec
from aiohttp import web

from digm.errors import CallerFault

MAX_BODY_BYTES = 1_024
BODY_WITHIN_S = 15.0
T = TypeVar("T")


async def read_body(request: web.Request, most_bytes: int) -> bytes:
    """The body of a request, byte by byte as it was sent.

    Raises:
        CallerFault: `body_too_slow`, `body_too_large`.
    """
    body = b""
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            while len(body) <= most_bytes and not request.content.at_eof():
                body += await request.content.read(most_bytes + 1 - len(body))
    except TimeoutError as error:
        raise CallerFault("body_too_slow", f"The request took longer than {BODY_WITHIN_S:g} s.") from error
    if len(body) > most_bytes:
        raise CallerFault("body_too_large", f"The request is larger than {most_bytes} bytes.")
    return body


async def read_json(request: web.Request, kind: type[T], otherwise: str, most_bytes: int = MAX_BODY_BYTES) -> T:
    """A small JSON body.

    Args:
        otherwise: what to say of a body that is no such thing.
    Raises:
        CallerFault: `body_too_slow`, `body_too_large`, `bad_body`.
    """
    body = await read_body(request, most_bytes)
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise CallerFault("bad_body", otherwise) from error
