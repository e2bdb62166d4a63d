"""A server's distance: a reverse proxy that answers late, and counts which page took how much audio.

Whatever is measured stands behind the same proxy, so all of it is as far away: every HTTP answer and every
WebSocket handshake comes `delay_s` later than the server gave it; what follows in the same answer does not.
Bytes count when they have been written to the page's connection, so an answer that was given up half way
counts as far as it went.
"""

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from bench import stack

PIECE_BYTES = 65_536
HOP_BY_HOP = {
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailers",
    "transfer-encoding", "upgrade",
}  # fmt: skip
PAGE = re.compile(r"listener/(\d+)")  # in the user agent; a header of our own would cost a preflight
Disconnected = (ConnectionError, aiohttp.ClientConnectionResetError)


@dataclass(slots=True)
class Transfer:
    """An answer with audio in it, as far as it got.

    Attributes:
        at_s: seconds after the proxy's start, of the request.
        page: number of the page that asked; -1: no page.
        name: the last part of the path.
        asked: the Range header, or "whole".
    """

    at_s: float
    page: int
    name: str
    asked: str
    taken_bytes: int = 0


class DelayingProxy:
    """Stands in front of any number of servers on this machine.

    Args:
        is_audio: whether a path is one of audio.
    Attributes:
        delay_s: how much later every answer comes; may change at any time.
        transfers: what pages took; clear it between cases.
    """

    def __init__(self, is_audio: Callable[[str], bool]) -> None:
        self.delay_s = 0.0
        self.transfers: list[Transfer] = []
        self._is_audio = is_audio
        self._began = time.monotonic()
        self._runners: list[web.AppRunner] = []
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "DelayingProxy":
        self._session = aiohttp.ClientSession(
            auto_decompress=False,
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        for runner in self._runners:
            await runner.cleanup()
        assert self._session is not None
        await self._session.close()

    async def stand_before(self, server_port: int, port: int | None = None) -> int:
        """Stand in front of one server. Returns the port that pages use."""
        application = web.Application(client_max_size=2**24)

        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._handle(request, f"127.0.0.1:{server_port}")

        application.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        self._runners.append(runner)
        port = port or stack.free_ports(1)
        await web.TCPSite(runner, "127.0.0.1", port).start()
        return port

    async def _handle(self, request: web.Request, server: str) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._join(request, server)
        assert self._session is not None
        transfer = Transfer(
            time.monotonic() - self._began, _page(request), request.path.rsplit("/", 1)[1],
            request.headers.get("Range", "whole"),
        )  # fmt: skip
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        body = await request.read() if request.can_read_body else None
        await asyncio.sleep(self.delay_s)
        async with self._session.request(
            request.method,
            f"http://{server}{request.raw_path}",
            headers=headers,
            data=body,
            allow_redirects=False,
        ) as answer:
            response = web.StreamResponse(status=answer.status, reason=answer.reason)
            for name, value in answer.headers.items():
                if name.lower() not in HOP_BY_HOP:
                    response.headers.add(name, value)
            if request.method == "GET" and answer.status in (200, 206) and self._is_audio(request.path):
                self.transfers.append(transfer)
            try:
                await response.prepare(request)
                async for piece in answer.content.iter_chunked(PIECE_BYTES):
                    await response.write(piece)
                    transfer.taken_bytes += len(piece)
                await response.write_eof()
            except Disconnected:
                pass  # the page gave it up
            return response

    async def _join(self, request: web.Request, server: str) -> web.StreamResponse:
        assert self._session is not None
        asked = request.headers.get("Sec-WebSocket-Protocol", "")
        protocols = [name.strip() for name in asked.split(",") if name.strip()]
        headers = {"Host": request.host, "Origin": request.headers.get("Origin", "")}
        await asyncio.sleep(self.delay_s)
        async with self._session.ws_connect(
            f"ws://{server}{request.raw_path}", protocols=protocols, max_msg_size=0, headers=headers
        ) as upstream:
            page = web.WebSocketResponse(protocols=protocols, max_msg_size=0, compress=False)
            await page.prepare(request)
            pumps = [asyncio.ensure_future(_pump(*way)) for way in ((page, upstream), (upstream, page))]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await page.close()
            return page


def _page(request: web.Request) -> int:
    found = PAGE.search(request.headers.get("User-Agent", ""))
    return int(found[1]) if found else -1


async def _pump(
    source: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
    target: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
) -> None:
    async for message in source:
        if target.closed:
            return
        if message.type is aiohttp.WSMsgType.TEXT:
            await target.send_str(message.data)
        elif message.type is aiohttp.WSMsgType.BINARY:
            await target.send_bytes(message.data)
