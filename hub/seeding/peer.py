"""The seeding peer: in the swarm of every track of the catalogue, it offers itself to listeners.

A node makes the offer, not the listener: as the offering side aiortc chooses the direct path where there is
one, as the answering side it leaves the choice to Chromium, which took the relay (docs/decisions/0010).
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine

import structlog

from digm import signalling as messages
from digm.errors import DigmError
from digm.ids import from_hex, short
from digm.peer_states import DEFAULT_SETTINGS
from digm.signalling_client import Event, IceServersChanged, Ready, Refused, SignallingClient
from digm.token_bucket import TokenBucket
from digm.wire import MAX_MESSAGE_BYTES
from hub.config import Settings
from hub.relay.credentials import load_relay_secret
from hub.seeding.chunk_cache import ChunkCache
from hub.seeding.connection import Giving, SeedConnection
from hub.seeding.hub_socket import HubSocket
from hub.seeding.metrics import CONNECTIONS, OFFERS, TRACKS
from hub.seeding.settings import SeedLimits
from hub.seeding.source import SeedSource

log = structlog.get_logger()
Pair = tuple[str, str]  # track root and peer id, in hex


class SeedingPeer:
    """One peer, one hub, all tracks of one data folder.

    Args:
        source: what there is; looked at again and again, also while others publish.
    """

    def __init__(self, settings: Settings, source: SeedSource, limits: SeedLimits | None = None) -> None:
        self._limits = limits or SeedLimits()
        self._settings = settings
        self._url = settings.signal_url + "/signal"
        self._key, self._token, self._library = source.key, source.token, source.tracks
        rate = settings.upload_bytes_per_s
        self._giving = Giving(
            ChunkCache(source.store, self._limits.cache_bytes),
            # A burst of a quarter of a second, but always room for one whole message.
            TokenBucket(rate, max(MAX_MESSAGE_BYTES, rate / 4), time.monotonic()),
            asyncio.Semaphore(settings.upload_slots * DEFAULT_SETTINGS.upload_slots),  # chunks, not peers
            self._limits,
        )
        self._client = SignallingClient(self.peer_id, random=random.random, role=messages.NODE)
        self._to_meet: asyncio.Queue[Pair] = asyncio.Queue(self._limits.max_waiting)
        self._offers = TokenBucket(self._limits.offers_per_s, self._limits.offer_burst, time.monotonic())
        self._joined: set[str] = set()
        self._ice_servers: tuple[messages.IceServer, ...] = ()
        self._connections: dict[Pair, SeedConnection] = {}
        self._hub: HubSocket | None = None
        self._is_read = False

    @property
    def peer_id(self) -> str:
        """Our id in every swarm."""
        return self._key.public_key().public_bytes_raw().hex()

    @property
    def is_connected(self) -> bool:
        """The hub knows us."""
        return self._client.is_ready

    async def ready(self) -> dict[str, bool]:
        """For `/readyz`."""
        return {"catalogue_read": self._is_read, "hub_connected": self.is_connected}

    async def run(self, stop: asyncio.Event) -> None:
        """Seed until `stop` is set, then finish what is being given."""
        async with asyncio.TaskGroup() as connections:
            async with asyncio.TaskGroup() as work:
                tasks = [
                    work.create_task(self._watch_catalogue(), name="seed-catalogue"),
                    work.create_task(self._hub_socket(connections).run(), name="seed-signalling"),
                    work.create_task(self._meet_peers(connections), name="seed-offers"),
                ]
                await stop.wait()
                for task in tasks:
                    task.cancel()
            await self._drain()

    async def _drain(self) -> None:
        for connection in self._connections.values():
            connection.drain()
        deadline = time.monotonic() + self._limits.drain_s
        while time.monotonic() < deadline and any(not c.is_drained for c in self._connections.values()):
            await asyncio.sleep(0.05)
        for connection in list(self._connections.values()):
            connection.stop()

    # -- tracks

    async def _watch_catalogue(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self._library.refresh)
                self._is_read = True
            except DigmError as error:
                log.warning("catalogue_not_read", code=error.code)
            self._join_tracks()
            await asyncio.sleep(self._limits.poll_s)

    def _join_tracks(self) -> None:
        tracks = self._library.tracks
        for root in self._joined - tracks.keys():
            self._client.leave(root)
        for root in self._joined & tracks.keys():
            self._client.set_share(root, tracks[root].share)
        for root in tracks.keys() - self._joined:
            self._join(root)
            log.info("track_seeded", track_root=short(root), share=round(tracks[root].share, 3))
        if self._joined != tracks.keys():
            self._joined = set(tracks)
            TRACKS.set(len(tracks))
            self._flush()

    def _join(self, root: str) -> None:
        token = self._token(from_hex(root), int(time.time()) + self._limits.token_s)
        self._client.join(root, token, self._library.tracks[root].share, time.monotonic())

    # -- the hub

    def _hub_socket(self, connections: asyncio.TaskGroup) -> HubSocket:
        self._hub = HubSocket(
            self._client,
            self._key.sign,
            lambda: self._url,
            on_open=self._join_all,
            on_event=lambda event: self._on_event(event, connections),
        )
        return self._hub

    def _flush(self) -> None:
        if self._hub is not None:
            self._hub.flush()

    def _join_all(self) -> None:
        """With tokens that are valid now; sent after the welcome."""
        for root in self._joined:
            self._join(root)

    def _on_event(self, event: Event, connections: asyncio.TaskGroup) -> None:
        match event:
            case Ready():
                self._ice_servers = event.ice_servers
                log.info("hub_connected", tracks=len(self._joined))
                self._offer_relay()
            case IceServersChanged():
                self._ice_servers = event.ice_servers
            case Refused("relay_not_wanted"):
                log.warning("relay_not_wanted", peer_id=self.peer_id, hint="DIGM_ELDER_NODES of the hub")
            case Refused(code, _, track):
                log.warning("hub_refused", code=code, track_root=short(track or ""))
                if track in self._joined and code in ("not_joined", "token_expired"):
                    self._join(track)
            case messages.Peers(track, peers):
                for met in peers:
                    self._hear_of(track, met.peer, met.role)
            case messages.PeerJoined(track, peer, role=role):
                self._hear_of(track, peer, role)
            case messages.Offer():
                self._on_offer(event, connections)
            case messages.Answer(track, sender):
                if connection := self._connections.get((track, sender)):
                    connection.take_answer(event.sdp)
            case messages.Candidate(track, sender):
                if connection := self._connections.get((track, sender)):
                    connection.add_candidate(event)

    def _offer_relay(self) -> None:
        """Tell the hub of our relay, with the secret from which it makes its sessions' credentials."""
        if self._settings.offer_relay:
            secret = load_relay_secret(self._settings.data)
            self._client.offer_relay(self._settings.offer_relay, secret.hex())

    # -- peers

    def _hear_of(self, track: str, peer: str, role: str) -> None:
        """Somebody is in the swarm; nodes have the track themselves."""
        if role == messages.NODE or peer == self.peer_id:
            return
        if self._to_meet.full():
            OFFERS.labels("too_many").inc()
            return
        self._to_meet.put_nowait((track, peer))

    async def _meet_peers(self, connections: asyncio.TaskGroup) -> None:
        """Make the offers, no faster than we may."""
        while True:
            pair = await self._to_meet.get()
            while not self._offers.take(1, now := time.monotonic()):
                await asyncio.sleep(self._offers.ready_at(1, now) - now)
            if pair not in self._connections and (connection := self._admit(pair)):
                OFFERS.labels("made").inc()
                self._start(
                    pair, connection, connection.offer(self._sender(self._client.offer, pair)), connections
                )

    def _on_offer(self, offer: messages.Offer, connections: asyncio.TaskGroup) -> None:
        pair = (offer.track, offer.sender)
        if before := self._connections.pop(pair, None):
            before.stop()  # the page was loaded again, or it would rather make the offer itself
        if connection := self._admit(pair):
            OFFERS.labels("answered").inc()
            answering = connection.answer(offer.sdp, self._sender(self._client.answer, pair))
            self._start(pair, connection, answering, connections)

    def _admit(self, pair: Pair) -> SeedConnection | None:
        """A new connection, if there is something to give and room for it."""
        track, limits = self._library.tracks.get(pair[0]), self._limits
        per_peer = Counter(peer for _, peer in self._connections)[pair[1]]
        if track is None:
            OFFERS.labels("unknown_track").inc()
            return None
        if len(self._connections) >= limits.max_connections or per_peer >= limits.max_connections_per_peer:
            OFFERS.labels("too_many").inc()
            return None
        return SeedConnection(track, pair[1], self._ice_servers, self._giving)

    def _sender(self, send: Callable[[str, str, str], bool], pair: Pair) -> Callable[[str], None]:
        def send_description(sdp: str) -> None:
            send(pair[0], pair[1], sdp)
            self._flush()

        return send_description

    def _start(
        self,
        pair: Pair,
        connection: SeedConnection,
        work: Coroutine[None, None, None],
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._connections[pair] = connection
        tasks.create_task(self._serve(pair, connection, work), name="seed-connection")

    async def _serve(self, pair: Pair, connection: SeedConnection, work: Coroutine[None, None, None]) -> None:
        CONNECTIONS.inc()
        try:
            await work
        except Exception:
            # One peer must not take the others along; what arrives here is our bug.
            log.exception("connection_failed", peer_id=short(pair[1]))
        finally:
            CONNECTIONS.dec()
            if self._connections.get(pair) is connection:
                del self._connections[pair]
