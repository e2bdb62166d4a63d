"""`GET /signal`: the sockets around hub.signalling.session. Mounted on the hub's application.

Each socket has a reader, which is slowed down to the session's rate instead of dropping what it says, and a
writer behind a bounded queue: a socket that does not read is closed, and nobody waits for it.
"""

import asyncio
import contextlib
import random
import secrets
import time
from collections.abc import AsyncIterator

import structlog
from aiohttp import WSCloseCode, WSMsgType, web

from digm.ids import short
from digm.signalling import MAX_MESSAGE_BYTES, SUBPROTOCOL, Bye, IceServer, Message, encode
from digm.token_bucket import TokenBucket
from hub.config import Settings
from hub.signalling.metrics import SESSIONS, SLOW
from hub.signalling.session import HubSession, Times
from hub.signalling.settings import SignallingSettings
from hub.signalling.swarms import Swarms
from hub.signalling.tokens import load_swarm_secret

log = structlog.get_logger()

REPLACED = 4001  # the same peer connected again
FAULTY = WSCloseCode.POLICY_VIOLATION


class SignallingServer:
    """All sessions of one hub process."""

    def __init__(
        self, secret: bytes, ice_servers: tuple[IceServer, ...], limits: SignallingSettings | None = None
    ) -> None:
        self.limits = limits or SignallingSettings()
        self.swarms = Swarms(self.limits.presence_s, random.SystemRandom())
        self._secret = secret
        self._ice_servers = ice_servers
        self._sockets: dict[str, _Socket] = {}  # by session id
        self._by_peer: dict[str, _Socket] = {}
        self._is_draining = False

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One connection from its upgrade to its end."""
        if self._is_draining or len(self._sockets) >= self.limits.max_sessions:
            raise web.HTTPServiceUnavailable(headers={"Retry-After": "5"})
        response = web.WebSocketResponse(
            protocols=[SUBPROTOCOL],
            max_msg_size=MAX_MESSAGE_BYTES,
            heartbeat=self.limits.ping_s,
            compress=False,  # costs 40-60 % of the throughput and shares nothing between messages worth it
        )
        if SUBPROTOCOL not in request.headers.get("Sec-WebSocket-Protocol", ""):
            raise web.HTTPBadRequest(text=f"This endpoint speaks the WebSocket subprotocol {SUBPROTOCOL}.")
        await response.prepare(request)
        socket = _Socket(self, request, response)
        self._sockets[socket.session.session_id] = socket
        SESSIONS.inc()
        try:
            await socket.run()
        finally:
            SESSIONS.dec()
            del self._sockets[socket.session.session_id]
            if self._by_peer.get(socket.session.peer or "") is socket:
                del self._by_peer[socket.session.peer or ""]
            socket.session.end()
            log.info("signal_session_closed", peer_id=short(socket.session.peer or ""), code=socket.close_code)
        return response

    def open_session(self, socket: "_Socket") -> HubSession:
        """The protocol's half for a socket."""
        return HubSession(
            self.swarms,
            self.limits,
            self._secret,
            self._ice_servers,
            secrets.token_hex(8),
            secrets.token_hex(32),
            socket.deliver,
            lambda peer: self._proven(peer, socket),
        )

    async def expire(self) -> None:
        """End memberships that nobody renews, for as long as the hub runs."""
        while True:
            await asyncio.sleep(self.limits.presence_s / 10)
            if count := self.swarms.expire(time.monotonic()):
                log.info("memberships_expired", count=count)

    async def drain(self) -> None:
        """Tell everybody when to come back, and close."""
        self._is_draining = True
        spread_s = self.limits.drain_spread_s
        async with asyncio.TaskGroup() as group:
            for socket in list(self._sockets.values()):
                socket.deliver(Bye("going_away", round(0.5 + random.uniform(0, spread_s), 2)))
                group.create_task(socket.close(WSCloseCode.GOING_AWAY), name="signal-drain")

    def _proven(self, peer: str, socket: "_Socket") -> None:
        before = self._by_peer.get(peer)
        self._by_peer[peer] = socket
        if before is not None:
            before.stop(REPLACED)
        log.info("signal_session_opened", peer_id=short(peer), sessions=len(self._sockets))


class _Socket:
    """One WebSocket: its queue, its reader, its writer."""

    def __init__(self, server: SignallingServer, request: web.Request, response: web.WebSocketResponse) -> None:
        limits = server.limits
        self._request = request
        self._limits = limits
        self._response = response
        self._outgoing: asyncio.Queue[Message | None] = asyncio.Queue()
        self._bucket = TokenBucket(limits.messages_per_s, limits.message_burst, time.monotonic())
        self._is_stopping = False
        self._ended = asyncio.Event()
        self.close_code: int | None = None
        self.session = server.open_session(self)

    def deliver(self, message: Message) -> None:
        """Queue a message; a peer that does not read is closed instead of waited for."""
        if self._is_stopping:
            return
        if self._outgoing.qsize() >= self._limits.outgoing_limit:
            SLOW.inc()
            self.stop(WSCloseCode.TRY_AGAIN_LATER)
            return
        self._outgoing.put_nowait(message)

    def stop(self, code: int) -> None:
        """Close after what is queued already has been written."""
        if not self._is_stopping:
            self._is_stopping = True
            self.close_code = code
            self._outgoing.put_nowait(None)

    async def close(self, code: int) -> None:
        """`stop`, and wait until the socket is closed, but not for long."""
        self.stop(code)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.close_timeout_s):
                await self._ended.wait()

    async def run(self) -> None:
        """Until either side closes."""
        writer = asyncio.create_task(self._write(), name="signal-writer")
        try:
            await self._read()
            self.stop(WSCloseCode.OK)
            await writer
        finally:
            writer.cancel()
            self.close_code = self._response.close_code or self.close_code
            self._ended.set()

    async def _read(self) -> None:
        timeout_s: float | None = self._limits.hello_timeout_s
        while not self._is_stopping:
            try:
                frame = await self._response.receive(timeout_s)
            except TimeoutError:
                self.stop(FAULTY)
                return
            if frame.type is WSMsgType.BINARY:
                self.stop(WSCloseCode.UNSUPPORTED_DATA)
            if frame.type is not WSMsgType.TEXT:
                return
            await self._pace()
            self.session.receive(frame.data, Times(time.monotonic(), time.time()))
            if self.session.is_over:
                self.stop(FAULTY)
            if self.session.peer is not None:
                timeout_s = None  # from here on the pings notice when it is gone

    async def _pace(self) -> None:
        now = time.monotonic()
        while not self._bucket.take(1, now):
            await asyncio.sleep(self._bucket.ready_at(1, now) - now)
            now = time.monotonic()

    async def _write(self) -> None:
        try:
            while (message := await self._outgoing.get()) is not None:
                async with asyncio.timeout(self._limits.send_timeout_s):
                    await self._response.send_str(encode(message))
            async with asyncio.timeout(self._limits.send_timeout_s):
                await self._response.close(code=self.close_code or WSCloseCode.OK)
        except (ConnectionError, TimeoutError):
            self._is_stopping = True
            if transport := self._request.transport:
                transport.abort()


def add_signalling(
    app: web.Application, settings: Settings, limits: SignallingSettings | None = None
) -> SignallingServer:
    """Mount `/signal` on the hub's application, with its start and its drain.

    Args:
        settings: for the data folder (swarm secret) and the STUN servers.
    """
    ice_servers = tuple(IceServer((url,)) for url in settings.stun_urls)
    limits = limits or SignallingSettings(min_listeners=settings.min_listeners)
    server = SignallingServer(load_swarm_secret(settings.data), ice_servers, limits)

    async def drain(_app: web.Application) -> None:
        await server.drain()

    async def expiring(_app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(server.expire(), name="signal-expire")
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    app.router.add_get("/signal", server.handle)
    app.on_shutdown.append(drain)
    app.cleanup_ctx.append(expiring)
    return server
