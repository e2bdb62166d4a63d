"""The libp2p host of one node (trio side): built hardened, run until cancelled; hub.backbone.backbone calls it.

TCP and WebSocket, noise only, yamux only; QUIC where it is listened on. Kademlia as a server; GossipSub on
one topic.
"""

import logging
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import structlog
import trio
from libp2p import new_host
from libp2p.abc import IHost, INetStream
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.custom_types import TProtocol
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.peer.peerstore import issue_and_cache_local_record
from libp2p.pubsub.gossipsub import PROTOCOL_ID as MESHSUB_1_0
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11 as MESHSUB_1_1
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.pubsub.score import ScoreParams, TopicScoreParams
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr  # type: ignore[import-untyped]

from digm.backbone_messages import MAX_GOSSIP_BYTES, PEER, TOPIC
from digm.errors import CallerFault, DigmError, Unavailable
from hub.backbone import limits
from hub.backbone.calling import Caller
from hub.backbone.chunk_fetcher import ChunkFetcher
from hub.backbone.hardening import (
    Admission,
    FairGossip,
    GossipGuard,
    KadGuard,
    guard_streams,
    guard_tasks,
    lengthen_queues,
    stop_auto_connecting,
    use_yamux,
)
from hub.backbone.model import PeerAddress, PeerInfo
from hub.backbone.noise import NoiseTransport
from hub.backbone.providers import find_providers, provide
from hub.backbone.quic.addresses import is_quic
from hub.backbone.quic.transport import add_quic
from hub.backbone.sender_records import remember_records
from hub.backbone.settings import BackboneSettings
from hub.backbone.streams import FrameStream, peer_of, reset
from hub.backbone.told import told_addresses
from hub.backbone.yamux import Yamux

log = structlog.get_logger()
Verdict = Callable[[str, bytes], Awaitable[bool | None]]
StreamHandler = Callable[[FrameStream, str], Awaitable[None]]
QUEUED_RPCS = 1_024
MOST_TASKS = 8_192
HANG_UP_WITHIN_S = 2.0


@dataclass(frozen=True)
class Served:
    """A protocol that strangers may speak here."""

    handler: StreamHandler
    most_bytes: int
    timeout_s: float
    parallel: int


class BackboneHost:
    """Everything of libp2p that lives from one start to one stop.

    Args:
        secret: Ed25519 seed.
        verdict: of a gossip message: `(author's peer id, payload)`; only what it calls valid is passed on, and
            nobody is blamed for what it answers None to.
    """

    def __init__(self, secret: bytes, settings: BackboneSettings, verdict: Verdict) -> None:
        # Its warnings are a stranger's to cause, as many as it likes; what matters is logged here.
        logging.getLogger("libp2p").setLevel(logging.CRITICAL)
        self._settings = settings
        self._verdict = verdict
        key_pair = create_new_key_pair(secret)
        noise = NoiseTransport(key_pair, noise_privkey=create_noise_key_pair().private_key)
        self.host: IHost = new_host(
            key_pair=key_pair,
            sec_opt={TProtocol(NOISE): noise},
            muxer_opt={TProtocol(YAMUX): Yamux},
            listen_addrs=[Multiaddr(address) for address in settings.listen if not is_quic(address)],
            announce_addrs=[Multiaddr(address) for address in told_addresses(settings)] or None,
            negotiate_timeout=int(settings.negotiate_timeout_s),
            connection_config=limits.connections(settings),
            resource_manager=limits.resources(),
            disable_identify_address_discovery=True,
        )
        self.network: Any = self.host.get_network()
        if any(map(is_quic, settings.listen)):
            add_quic(self.network, key_pair.private_key, settings)
        lengthen_queues(QUEUED_RPCS)
        remember_records()
        self.router = _gossip()
        self.pubsub = Pubsub(
            self.host,
            self.router,
            max_inbound_rpc_size=16 * MAX_GOSSIP_BYTES,
            max_subscriptions_per_rpc=64,
            max_subscriptions_per_peer=8,
            allowed_topics={TOPIC},
            validation_timeout=settings.verdict_timeout_s,
            max_concurrent_validator_count=64,
        )
        # The library counts from the seconds of its start, one for each message. Who spoke oftener than once a
        # second and starts again, or has a key that another process has, too, would use numbers twice: for two
        # minutes its messages would be taken for those that came before.
        self.pubsub.counter = time.time_ns()
        self.dht = KadDHT(self.host, DHTMode.SERVER, strict_validation=True)
        use_yamux(self.network, settings)
        guard_streams(self.network)
        stop_auto_connecting(self.network)
        self._gossip_guard = GossipGuard(self.pubsub, self.router, settings, TOPIC)
        KadGuard(self.host, self.dht, settings)
        self._admission = Admission(self.network, settings)
        self._caller = Caller(self.host, settings)
        self.pubsub.set_topic_validator(TOPIC, self._validate, True)
        self.chunks = ChunkFetcher(
            lambda peer: self.open(peer, PEER.name, PEER.most_answer_bytes),
            lambda task: self._tasks.start_soon(task),
        )

    async def run(self, ready: Callable[[], None]) -> None:
        """Until cancelled. Calls `ready` once it listens."""
        async with AsyncExitStack() as stack:
            tasks = self._tasks = await stack.enter_async_context(trio.open_nursery())
            stack.callback(tasks.cancel_scope.cancel)
            await stack.enter_async_context(self.host.run(listen_addrs=[]))
            guard_tasks(self.network, tasks, MOST_TASKS)
            for service in (self.pubsub, self.router, self.dht):
                await stack.enter_async_context(background_trio_service(service))
            guard_tasks(self.pubsub, tasks, MOST_TASKS)
            stack.push_async_callback(self._hang_up)
            await self.pubsub.wait_until_ready()
            subscription = await self.pubsub.subscribe(TOPIC)
            for address in self._settings.listen:
                if not await self.network.listen(Multiaddr(address)):
                    raise Unavailable(
                        "address_in_use", f"The node cannot listen on {address}: taken, or not ours."
                    )
            # Not before: a port that is taken ends them, too, and is to be told as what it is.
            for service in (self.network, self.pubsub, self.router, self.dht):
                tasks.start_soon(_watch, service)
            tasks.start_soon(self._keep_in_touch)
            ready()
            while True:  # what is heard was given to the verdict already
                await subscription.get()

    def multiaddrs(self) -> list[str]:
        """Where others reach us, each with /p2p/ and our id."""
        return [str(address) for address in self.host.get_addrs()]

    def peers(self) -> list[PeerInfo]:
        """Who is connected now."""
        connected = []
        for peer, connections in self.network.get_connections_map().items():
            muxed = connections[0].muxed_conn
            remote = muxed.get_remote_address()
            connected.append(
                PeerInfo(str(peer), f"{remote[0]}:{remote[1]}" if remote else "", muxed.rtt() * 1_000 or None)
            )
        return connected

    # -- calls

    async def connect(self, multiaddr: str) -> str:
        """Call a node by an address with /p2p/; returns its id.

        Raises:
            CallerFault: `bad_multiaddr`. Unavailable: `peer_unreachable`.
        """
        try:
            info = info_from_p2p_addr(Multiaddr(multiaddr))
        except Exception as error:  # the library's parsers raise many kinds
            raise CallerFault("bad_multiaddr", f"{multiaddr:.80} is no address of a node.") from error
        await self._caller.call(info)
        await self.dht.add_peer(info.peer_id)
        return str(info.peer_id)

    async def introduce(self, address: PeerAddress) -> None:
        """Remember where a node is, so that a request can call it."""
        self._caller.introduce(address)

    async def sign_anew(self) -> None:
        """Sign our addresses with a newer number: others ignore what comes with an older one than they know."""
        issue_and_cache_local_record(self.host)

    async def disconnect(self, peer: str) -> None:
        """Hang up."""
        await self.host.disconnect(ID.from_string(peer))

    async def refresh(self) -> None:
        """Learn the neighbourhood anew; the library itself does so every ten minutes."""
        for peer in self.host.get_connected_peers():
            await self.dht.add_peer(peer)
        await self.dht.refresh_routing_table()

    async def publish(self, payload: bytes) -> None:
        """Gossip."""
        await self.pubsub.publish(TOPIC, payload)

    async def provide(self, key: bytes) -> bool:
        """Tell the nodes nearest to a key that we have it; False when nobody took it."""
        return await provide(self.host, self.dht, self._tasks, key)

    async def withdraw(self, key: bytes) -> None:
        """Say so no longer."""
        store: Any = self.dht.provider_store
        store.providing_keys.discard(key)
        store.providers.get(key, {}).pop(str(self.host.get_id()), None)

    async def find_providers(
        self, key: bytes, most: int, on_found: Callable[[PeerAddress], object]
    ) -> list[PeerAddress]:
        """Who has it, alive and not us."""
        is_reached = self._caller.is_reached
        return await find_providers(self.host, self.dht, self._tasks, key, most, is_reached, on_found)

    async def open(self, peer: str, protocol: str, most_bytes: int) -> FrameStream:
        """A new stream.

        Raises:
            Unavailable: `peer_unreachable`; who was called in vain just now is not called again for a moment.
        """
        target = ID.from_string(peer)
        try:
            await self._caller.reach(target)
            stream = await self.host.new_stream(target, [TProtocol(protocol)])
        except DigmError:
            raise
        except Exception as error:
            raise Unavailable("peer_unreachable", f"The node cannot be asked: {error!r:.120}.") from error
        return FrameStream(stream, most_bytes)

    def serve(self, protocol: str, served: Served) -> None:
        """Let strangers open streams of a protocol: so many at once, each for so long."""
        places = trio.CapacityLimiter(served.parallel)

        async def handle(stream: INetStream) -> None:
            try:
                places.acquire_on_behalf_of_nowait(stream)
            except trio.WouldBlock:
                await reset(stream)
                return
            try:
                with trio.move_on_after(served.timeout_s) as scope:
                    async with FrameStream(stream, served.most_bytes) as frames:
                        await served.handler(frames, peer_of(stream))
                if scope.cancelled_caught:
                    log.info("stream_timed_out", protocol=protocol, peer_id=peer_of(stream))
            except DigmError as error:
                log.info("stream_refused", protocol=protocol, peer_id=peer_of(stream), code=error.code)
            finally:
                places.release_on_behalf_of(stream)

        self.host.set_stream_handler(TProtocol(protocol), handle)

    # -- inside

    async def _hang_up(self) -> None:
        """Close every connection, although we are being cancelled: the library would leave the sockets open."""
        with trio.move_on_after(HANG_UP_WITHIN_S) as scope:
            scope.shield = True
            async with trio.open_nursery() as nursery:
                for connection in self.network.get_connections():
                    nursery.start_soon(_close, connection)

    async def _validate(self, forwarder: ID, message: rpc_pb2.Message) -> bool:
        if len(message.data) > MAX_GOSSIP_BYTES:
            return False
        try:
            verdict = await self._verdict(str(ID(message.from_id)), message.data)
        except Exception as error:
            log.warning("gossip_verdict_failed", error=f"{error!r:.200}")
            return False
        if verdict is None:
            self._gossip_guard.pardon(message)
        return bool(verdict)

    async def _keep_in_touch(self) -> None:
        """Call the bootstrap nodes that are away, oftener while nobody is there; learn who else there is."""
        known, called_at = 0, -math.inf
        while True:
            connected = {str(peer) for peer in self.host.get_connected_peers()}
            if not connected or trio.current_time() >= called_at + self._settings.bootstrap_again_s:
                called_at = trio.current_time()
                await self._call_bootstrap({*connected, str(self.host.get_id())})
            now = len(self.host.get_connected_peers())
            if now != known and now:
                known = now
                await self._try_refresh()
            await trio.sleep(self._settings.bootstrap_every_s)

    async def _call_bootstrap(self, here: set[str]) -> None:
        """Call those of them who are not here, all at once, each at one of its addresses after the other."""
        by_node: dict[str, list[str]] = {}
        for address in self._settings.bootstrap:
            by_node.setdefault(address.rpartition("/p2p/")[2], []).append(address)

        async def call(addresses: list[str]) -> None:
            for address in addresses:
                try:
                    await self.connect(address)
                    return
                except DigmError as error:
                    log.info("bootstrap_unreachable", code=error.code)

        async with trio.open_nursery() as calls:
            for name, addresses in by_node.items():
                if name not in here:
                    calls.start_soon(call, addresses)

    async def _try_refresh(self) -> None:
        try:
            with trio.move_on_after(self._settings.call_timeout_s):
                await self.refresh()
        except Exception as error:
            log.info("refresh_failed", error=f"{error!r:.120}")


async def _watch(service: Any) -> None:
    """A part that ends while the host runs is a crash: the supervisor starts all of it again."""
    await service.manager.wait_finished()
    raise RuntimeError(f"{type(service).__name__} ended by itself")


async def _close(connection: Any) -> None:
    try:
        await connection.close()
    except Exception as error:  # it was going down anyway
        _ = error


def _gossip() -> FairGossip:
    return FairGossip(
        protocols=[MESHSUB_1_1, MESHSUB_1_0],
        degree=6,
        degree_low=4,
        degree_high=12,
        heartbeat_interval=1,
        adaptive_gossip_enabled=False,
        eclipse_protection_enabled=False,  # it prunes neighbours of one network: three nodes of one operator
        max_messages_per_topic_per_second=200.0,
        do_px=False,
        score_params=ScoreParams(
            p2_first_message_deliveries=TopicScoreParams(weight=1.0, cap=20.0, decay=0.98),
            p4_invalid_messages=TopicScoreParams(weight=10.0, cap=100.0, decay=0.98),
            p5_behavior_penalty_weight=1.0,
            p5_behavior_penalty_decay=0.98,
            p5_behavior_penalty_threshold=5.0,
            publish_threshold=-50.0,
            gossip_threshold=-20.0,
            graylist_threshold=-100.0,
            accept_px_threshold=1e9,
        ),
    )
