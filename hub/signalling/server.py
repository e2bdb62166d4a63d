"""`GET /signal` and all sessions behind it. Mounted on the hub's application."""

import asyncio
import base64
import contextlib
import hashlib
import random
import secrets
import time
from collections.abc import AsyncIterator

import structlog
from aiohttp import WSCloseCode, hdrs, web

from digm.errors import DigmError
from digm.ids import short, to_hex
from digm.signalling import SUBPROTOCOL, Bye, IceServer, encode
from hub.api.addresses import client_address
from hub.config import Settings
from hub.relay.credentials import load_relay_secret
from hub.relay.ice_servers import ice_servers
from hub.signalling.addresses import AddressLimits
from hub.signalling.allowance import SwarmBucket
from hub.signalling.bus import LocalBus
from hub.signalling.connection import REPLACED, SignalConnection
from hub.signalling.homes import Homes
from hub.signalling.metrics import SESSIONS, TURNED_AWAY
from hub.signalling.offered_relays import OfferedRelays
from hub.signalling.presence import LocalPresence
from hub.signalling.session import HubSession, Surroundings
from hub.signalling.settings import SignallingSettings
from hub.signalling.tokens import load_swarm_secret

log = structlog.get_logger()
_HANDSHAKE_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3
_ROUNDS = 25  # sockets are looked at in so many groups, so that no second has to do all of it


class SignallingServer:
    """All sessions of one hub process.

    Args:
        settings: data folder (swarm and relay secrets), proxies, ICE servers, hubs.
        limits: others than those that the settings say, for tests.
    """

    def __init__(self, settings: Settings, limits: SignallingSettings | None = None) -> None:
        self.limits = limits or SignallingSettings(
            min_listeners=settings.min_listeners, sessions_per_address=settings.sessions_per_address
        )
        self.presence = LocalPresence(random.Random(secrets.randbits(64)))
        self.homes = Homes(settings.hubs, settings.public_url or "")
        self._settings = settings
        self._relay_secret = load_relay_secret(settings.data)
        self._relays = OfferedRelays(frozenset(settings.elder_nodes), self._relay_secret)
        self._bus = LocalBus()
        self._addresses = AddressLimits(self.limits)
        self._rounds: list[set[SignalConnection]] = [set() for _ in range(_ROUNDS)]
        self._by_peer: dict[str, SignalConnection] = {}
        self._swarm_buckets: dict[str, SwarmBucket] = {}
        self._count = 0
        self._all_gone = asyncio.Event()
        self._is_draining = False
        self._around = Surroundings(
            self.presence,
            self._bus,
            self.limits,
            load_swarm_secret(settings.data),
            self.homes.elsewhere,
            self._ice_servers,
            self._swarm_bucket,
            self._relays.offer,
            self._relays.elders.__contains__,
            time.time,
        )

    # -- sockets

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Upgrade a connection; from then on it is a SignalConnection's and aiohttp is done with it."""
        accept = _accepted_key(request)
        if self._is_draining or self._count >= self.limits.max_sessions:
            TURNED_AWAY.labels("full").inc()
            raise web.HTTPServiceUnavailable(headers={hdrs.RETRY_AFTER: "5"})
        try:
            address = self._addresses.admit(client_address(request, self._settings))
        except DigmError as error:
            TURNED_AWAY.labels(error.code).inc()
            raise
        response = web.StreamResponse(
            status=101,
            headers={
                hdrs.UPGRADE: "websocket",
                hdrs.CONNECTION: "upgrade",
                hdrs.SEC_WEBSOCKET_ACCEPT: accept,
                hdrs.SEC_WEBSOCKET_PROTOCOL: SUBPROTOCOL,
            },
        )
        socket = SignalConnection(self, self.limits, address, request.headers.get(hdrs.HOST, "")[:256])
        try:
            await response.prepare(request)
            transport = _take_over(request)
        except BaseException:
            self._addresses.release(address)
            raise
        self._count += 1
        self._rounds[self._count % _ROUNDS].add(socket)
        SESSIONS.inc()
        transport.set_protocol(socket)
        socket.connection_made(transport)
        return response

    def open_session(self, socket: SignalConnection) -> HubSession:
        """The protocol's half for a socket."""
        return HubSession(
            self._around,
            secrets.token_hex(8),
            secrets.token_hex(32),
            socket.address.group,
            socket.host,
            socket.deliver,
            lambda peer: self._proven(peer, socket),
        )

    def closed(self, socket: SignalConnection) -> None:
        """A socket's transport is gone."""
        for sockets in self._rounds:
            sockets.discard(socket)
        self._count -= 1
        SESSIONS.dec()
        self._addresses.release(socket.address)
        peer = socket.session.peer or ""
        if self._by_peer.get(peer) is socket:
            del self._by_peer[peer]
            self._relays.gone(peer)
        socket.session.end()
        if not self._count:
            self._all_gone.set()
        log.info("signal_session_closed", peer_id=short(peer), code=socket.close_code)

    def _proven(self, peer: str, socket: SignalConnection) -> None:
        before = self._by_peer.get(peer)
        self._by_peer[peer] = socket
        socket.proven()
        if before is not None:
            before.close(REPLACED)
        log.info("signal_session_opened", peer_id=short(peer), sessions=self._count)

    @property
    def session_count(self) -> int:
        """Open sockets."""
        return self._count

    def relayed(self, track: str) -> int:
        """Messages that were passed on in a swarm since somebody was in it."""
        bucket = self._swarm_buckets.get(track)
        return bucket.relayed if bucket else 0

    # -- what goes on meanwhile

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Pings, presence and the other hubs, for as long as the hub runs."""
        async with self.homes.watching(self.limits.probe_s, self._homes_changed), asyncio.TaskGroup() as tasks:
            work = [
                tasks.create_task(self._look_after_sockets(), name="signal-pings"),
                tasks.create_task(self._look_after_swarms(), name="signal-expire"),
                tasks.create_task(self._relays.watch(), name="signal-relays"),
            ]
            yield
            for task in work:
                task.cancel()

    async def drain(self) -> None:
        """Tell everybody when to come back, and close."""
        self._is_draining = True
        for socket in self._sockets():
            bye = Bye("going_away", round(0.5 + random.uniform(0, self.limits.drain_spread_s), 2))
            socket.deliver(encode(bye).encode())
            socket.close(WSCloseCode.GOING_AWAY)
        if self._count:
            self._all_gone.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.limits.close_timeout_s * 2):
                    await self._all_gone.wait()

    def expire(self, now: float) -> int:
        """End the memberships that nobody renews. Returns how many."""
        late = self.presence.expired(now)
        for track, peer in late:
            if (socket := self._by_peer.get(peer)) is not None:
                socket.session.expired(track)
            else:
                self.presence.leave(track, peer)
        for track in [track for track in self._swarm_buckets if not self.presence.members(track)]:
            del self._swarm_buckets[track]
        return len(late)

    async def _look_after_sockets(self) -> None:
        while True:
            for sockets in self._rounds:
                await asyncio.sleep(self.limits.ping_s / _ROUNDS)
                now = time.monotonic()
                for socket in list(sockets):
                    socket.look(now)

    async def _look_after_swarms(self) -> None:
        while True:
            await asyncio.sleep(self.limits.presence_s / 10)
            if count := self.expire(time.monotonic()):
                log.info("memberships_expired", count=count)

    def _homes_changed(self) -> None:
        """Send the members of swarms whose home is back there, spread over some seconds."""
        loop = asyncio.get_running_loop()
        for view in self.presence.views():
            if self.homes.elsewhere(view.track) is None:
                continue
            for peer in self.presence.members(view.track):
                loop.call_later(random.uniform(0, self.limits.move_spread_s), self._move, view.track, peer)

    def _move(self, track: str, peer: str) -> None:
        url, socket = self.homes.elsewhere(track), self._by_peer.get(peer)
        if url is not None and socket is not None:
            socket.session.move(track, url)

    def relays_of(self, node: bytes) -> tuple[str, ...]:
        """TURN URLs that the node with this key offers here."""
        return self._relays.urls_of(to_hex(node))

    # -- what sessions ask for

    def _ice_servers(self, session: str, host: str) -> tuple[tuple[IceServer, ...], int]:
        now = time.time()
        elders = self._relays.nearest(session, now)
        return ice_servers(self._settings, self._relay_secret, session, now, asked_host=host, elders=elders)

    def _swarm_bucket(self, track: str, now: float) -> SwarmBucket:
        bucket = self._swarm_buckets.get(track)
        if bucket is None:
            limits = self.limits
            bucket = SwarmBucket(limits.swarm_messages_per_s, limits.swarm_message_burst, now)
            self._swarm_buckets[track] = bucket
        return bucket

    def _sockets(self) -> list[SignalConnection]:
        return [socket for sockets in self._rounds for socket in sockets]


def _accepted_key(request: web.Request) -> str:
    """Check the upgrade (RFC 6455 §4.2); the answer to its key."""
    headers = request.headers
    protocols = [name.strip() for name in headers.get(hdrs.SEC_WEBSOCKET_PROTOCOL, "").split(",")]
    if SUBPROTOCOL not in protocols:
        raise web.HTTPBadRequest(text=f"This endpoint speaks the WebSocket subprotocol {SUBPROTOCOL}.")
    key = headers.get(hdrs.SEC_WEBSOCKET_KEY, "").strip()
    is_upgrade = (
        "websocket" in headers.get(hdrs.UPGRADE, "").lower()
        and "upgrade" in headers.get(hdrs.CONNECTION, "").lower()
        and headers.get(hdrs.SEC_WEBSOCKET_VERSION, "") == "13"
        and len(key) == 24
    )
    if not is_upgrade:
        raise web.HTTPBadRequest(text="This is not the handshake of a WebSocket.")
    return base64.b64encode(hashlib.sha1(key.encode() + _HANDSHAKE_GUID).digest()).decode()


def _take_over(request: web.Request) -> asyncio.Transport:
    """Take the connection away from aiohttp, which forgets it and frees what it kept for it.

    Raises:
        ConnectionResetError: the client has gone meanwhile.
    """
    protocol, transport = request.protocol, request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("The client went away during the handshake.")
    protocol.transport = None
    protocol.connection_lost(None)
    return transport


SIGNALLING: web.AppKey[SignallingServer] = web.AppKey("signalling", SignallingServer)


def add_signalling(
    app: web.Application, settings: Settings, limits: SignallingSettings | None = None
) -> SignallingServer:
    """Mount `/signal` on the hub's application, with its start and its drain."""
    server = app[SIGNALLING] = SignallingServer(settings, limits)

    async def drain(_app: web.Application) -> None:
        await server.drain()

    async def running(_app: web.Application) -> AsyncIterator[None]:
        async with server.running():
            yield

    app.router.add_get("/signal", server.handle)
    app.on_shutdown.append(drain)
    app.cleanup_ctx.append(running)
    return server
