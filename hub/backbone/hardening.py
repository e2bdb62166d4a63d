"""What py-libp2p 0.8.1 lets a stranger do, closed (docs/threats.md). Uses private attributes of that version;
tests/hub/backbone/test_library_contract.py fails when one of them is gone.

Nothing here changes what goes over the wire: an honest peer cannot tell.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import libp2p.pubsub.pubsub as pubsub_module
import structlog
import trio
from libp2p.abc import IMuxedConn, INetStream
from libp2p.custom_types import TProtocol
from libp2p.kad_dht.kad_dht import KadDHT
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.rpc_queue import RpcQueue

from hub.backbone.settings import BackboneSettings
from hub.backbone.streams import reset
from hub.backbone.yamux import Yamux

log = structlog.get_logger()
KAD = TProtocol("/ipfs/kad/1.0.0")
UNDECODABLE_PENALTY = 10.0  # of peer scoring: ten of them, and the peer is no longer listened to


def use_yamux(network: Any, settings: BackboneSettings) -> None:
    """Every connection gets our muxer: 0.8.1 negotiates what it is given, and then makes its own Yamux."""
    multistream = network.upgrader.muxer_multistream

    async def new_connection(secured: Any, peer: ID) -> Any:
        protocol, _ = await multistream._selector.select(
            secured, secured.is_initiator, multistream.negotiate_timeout
        )
        return multistream._annotate_connection(Yamux(secured, peer, settings), secured, protocol)

    multistream.new_conn = new_connection


def lengthen_queues(most: int) -> None:
    """RPCs that wait for one neighbour; the library's 32 lose half of a burst."""
    vars(pubsub_module)["RpcQueue"] = partial(RpcQueue, most)


class FairGossip(GossipSub):
    """Who pruned us is told what there is (IHAVE), like everybody outside of our mesh.

    0.8.1 leaves them out for a minute: a node whose neighbours all have a full mesh reached nobody.
    """

    _is_naming = False

    def gossip_heartbeat(self) -> Any:
        self._is_naming = True
        try:
            return super().gossip_heartbeat()
        finally:
            self._is_naming = False

    def _check_back_off(self, peer: ID, topic: str) -> bool:
        return not self._is_naming and super()._check_back_off(peer, topic)


def stop_auto_connecting(network: Any) -> None:
    """The library calls whoever it has heard of until 120 are connected, whatever the low watermark says:
    addresses that strangers put into its book. Whom to call is for bootstrap, DHT and mesh to say.
    """

    async def nothing(*_: object) -> None:
        return None

    network.auto_connector.maybe_connect = nothing
    network.auto_connector.run_background_task = nothing


def guard_streams(network: Any) -> None:
    """An exception in any stream handler would end the swarm, and with it the process: end the stream."""
    inner = network.common_stream_handler

    async def guarded(stream: INetStream) -> None:
        try:
            await inner(stream)
        except Exception as error:
            log.info("stream_handler_failed", error=f"{error!r:.200}")
            await reset(stream)

    network.set_stream_handler(guarded)


def guard_tasks(service: Any, nursery: trio.Nursery, most: int) -> None:
    """Tasks that a service starts because of what a peer sent: bounded, and an exception ends the task alone.

    The library's own manager looks through all tasks for every new one, refuses the 1001st child with an
    exception, and takes the whole service down with any task.
    """
    running = 0

    async def guarded(function: Callable[..., Awaitable[object]], args: tuple[Any, ...]) -> None:
        nonlocal running
        try:
            await function(*args)
        except Exception as error:
            log.info("peer_task_failed", task=getattr(function, "__name__", ""), error=f"{error!r:.200}")
        finally:
            running -= 1

    def run_task(function: Callable[..., Awaitable[object]], *args: Any, **_: Any) -> None:
        nonlocal running
        if running >= most:
            log.debug("peer_task_dropped", task=getattr(function, "__name__", ""))
            return
        running += 1
        nursery.start_soon(guarded, function, args)

    service.manager.run_task = run_task


class Admission:
    """Inbound connections: how many may be shaking hands, how many may stay, and how long a place is kept.

    0.8.1 keeps the place of an inbound connection until the process ends, so 250 connections in its life are
    all that it takes; and an unauthenticated caller that says nothing holds one, too.
    """

    def __init__(self, network: Any, settings: BackboneSettings) -> None:
        self._network = network
        self._settings = settings
        self._handshakes: dict[int, trio.CancelScope] = {}
        self._established = 0
        self._next = 0
        # An attribute of the instance, in place of the method that the listeners call.
        network._handle_inbound_connection = self.handle

    async def handle(self, connection: Any, maddr: Any) -> None:
        """From accepted socket to the end of the connection. Never raises because of the peer."""
        muxed = None
        try:
            muxed = await self._shake_hands(connection, maddr)
            if muxed is not None:
                self._established += 1
                try:
                    await muxed.event_closed.wait()
                finally:
                    self._established -= 1
        except Exception as error:
            log.debug("inbound_refused", error=f"{error!r:.120}")
        finally:
            with trio.move_on_after(1.0) as scope:
                scope.shield = True
                await _close(connection)

    async def _shake_hands(self, connection: Any, maddr: Any) -> Any:
        if self._established >= self._settings.most_inbound:
            return None
        while len(self._handshakes) >= self._settings.most_handshaking:
            # The oldest has had the most time: an honest one is through long before its turn comes.
            oldest = next(iter(self._handshakes))
            self._handshakes.pop(oldest).cancel()
        number, self._next = self._next, self._next + 1
        with trio.move_on_after(self._settings.handshake_timeout_s) as scope:
            self._handshakes[number] = scope
            try:
                # QUIC: it has shown whose it is, see hub.backbone.quic.door.
                if isinstance(connection, IMuxedConn):
                    await self._network.add_conn(connection, direction="inbound")
                    return connection
                return await self._network.upgrade_inbound_raw_conn(RawConnection(connection, False), maddr)
            finally:
                self._handshakes.pop(number, None)
        return None


async def _close(connection: Any) -> None:
    try:
        await connection.close()
    except Exception as error:  # many kinds, all of them: it is gone
        _ = error


class GossipGuard:
    """In front of `push_msg`: what cannot be decoded is its sender's fault; nothing is judged twice at once."""

    def __init__(self, pubsub: Any, router: Any, settings: BackboneSettings, topic: str) -> None:
        self._pubsub = pubsub
        self._router = router
        self._most = settings.most_gossip_in_flight
        self._topic = topic
        self._in_flight: set[bytes] = set()
        self._pardoned: set[bytes] = set()
        self._push = pubsub.push_msg
        pubsub.push_msg = self.push
        self._read = pubsub.continuously_read_stream
        pubsub.continuously_read_stream = self.read

    async def push(self, forwarder: ID, message: rpc_pb2.Message) -> None:
        """One message of one peer, ours included."""
        name = _name(message)
        if name in self._in_flight or len(self._in_flight) >= self._most:
            return
        self._in_flight.add(name)
        try:
            if list(message.topicIDs) != [self._topic]:
                raise ValueError("not our topic, or more than one")
            await self._push(forwarder, message)
            if name in self._pardoned:  # the library knows no verdict but valid and not: it counted one more
                self._pubsub._mark_msg_seen(message)
                self._router.scorer.invalid_messages[forwarder][self._topic] -= 1
        except Exception as error:
            if forwarder == self._pubsub.my_id:
                raise
            self.blame(forwarder, error)
        finally:
            self._in_flight.discard(name)
            self._pardoned.discard(name)

    def pardon(self, message: rpc_pb2.Message) -> None:
        """The message that is being judged is not passed on, but who brought it could not know (GossipSub's
        extended validators: "ignore").
        """
        self._pardoned.add(_name(message))

    async def read(self, stream: INetStream) -> None:
        """The library lets some exceptions of its decoders through: they end the stream, not the process."""
        peer = stream.muxed_conn.peer_id
        try:
            await self._read(stream)
        except Exception as error:
            self.blame(peer, error)
            await reset(stream)
            self._pubsub._handle_dead_peer(peer)

    def blame(self, peer: ID, error: BaseException) -> None:
        """Peer scoring counts it; who does it again and again is no longer listened to."""
        log.info("gossip_not_understood", peer_id=str(peer), error=f"{error!r:.120}")
        self._router.scorer.penalize_behavior(peer, UNDECODABLE_PENALTY)


def _name(message: rpc_pb2.Message) -> bytes:
    return message.from_id + message.seqno


class KadGuard:
    """In front of the DHT's handler: time for each stream, streams for each peer, a bound on what is kept."""

    def __init__(self, host: Any, dht: KadDHT, settings: BackboneSettings) -> None:
        self._dht = dht
        self._settings = settings
        self._streams: dict[str, int] = {}
        self._inner = dht.handle_stream
        host.set_stream_handler(KAD, self.handle)
        dht._inbound_limiter.total_tokens = settings.most_kad_streams
        dht._provider_rate_max = settings.provides_per_10_s

    async def handle(self, stream: INetStream) -> None:
        """One stream of one peer."""
        peer = str(stream.muxed_conn.peer_id)
        if self._streams.get(peer, 0) >= self._settings.most_kad_streams_per_peer:
            await reset(stream)
            return
        self._streams[peer] = self._streams.get(peer, 0) + 1
        try:
            with trio.move_on_after(self._settings.kad_stream_timeout_s) as scope:
                await self._inner(stream)
            if scope.cancelled_caught:
                await reset(stream)
        finally:
            self._streams[peer] -= 1
            if not self._streams[peer]:
                del self._streams[peer]
            self._forget_surplus()

    def _forget_surplus(self) -> None:
        records = self._dht.provider_store.providers
        while len(records) > self._settings.most_provided_keys:
            del records[next(iter(records))]  # the oldest; who still provides it says so again
