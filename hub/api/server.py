"""The HTTP server under aiohttp's applications: its time-outs, its headers, and answers to what is no HTTP.

Routes, pages and JSON are the applications' own. Hub, seeding peer and artist process share this; the gateway
runs on Hypercorn.
"""

import asyncio
from typing import Any

import structlog
from aiohttp import hdrs, web
from aiohttp.web_protocol import RequestHandler

log = structlog.get_logger()
# One clock for "has not sent a whole head yet" and for "is idle between two requests".
HEAD_WITHIN_S = 20.0
# How long the rest of a body that nobody wants is read, so that the answer is not lost with the connection.
LINGER_S = 2.0
SERVER = "digm"
SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=(), display-capture=()",
}


async def add_safe_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """For `on_response_prepare`: what every answer carries, unless its handler said otherwise."""
    response.headers[hdrs.SERVER] = SERVER
    for name, value in SAFE_HEADERS.items():
        response.headers.setdefault(name, value)


class Connection(RequestHandler):
    """One client's connection."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what could not be parsed, which no application sees.

        Args:
            message: aiohttp's sentence; it repeats what the client sent, so it is not passed on.
        """
        if request.writer.output_size > 0:
            raise ConnectionError("The answer has begun already.")
        if status >= 500:
            log.error("request_crashed", exc_info=exc)
            code, sentence = "internal", "Something broke on our side."
        else:
            log.debug("request_not_understood", reason=type(exc).__name__)
            code, sentence = "bad_request", "The request could not be understood."
        response = web.json_response(
            {"error": {"code": code, "message": sentence}},
            status=status,
            headers={**SAFE_HEADERS, hdrs.SERVER: SERVER, hdrs.CACHE_CONTROL: "no-store"},
        )
        response.force_close()
        return response


class Runner(web.AppRunner):
    """Runs an application on such connections.

    Args:
        drain_s: how long running answers may take at the end.
    """

    __slots__ = ()

    def __init__(self, app: web.Application, drain_s: float) -> None:
        super().__init__(app, access_log=None, shutdown_timeout=drain_s)

    @property
    def server(self) -> Any:
        """What makes the protocol of each new connection; aiohttp's sites ask for it."""
        server = self._server
        if server is None:
            return None

        def connect() -> Connection:
            return Connection(
                server,
                loop=asyncio.get_running_loop(),
                access_log=None,  # type: ignore[arg-type]
                keepalive_timeout=HEAD_WITHIN_S,
                lingering_time=LINGER_S,
            )

        return connect
