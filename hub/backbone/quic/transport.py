"""QUIC as one of py-libp2p's transports (trio side): calls nodes, and makes the doors at which they call us."""

import logging
import socket
from typing import Any

import structlog
import trio
from libp2p.abc import IListener, INetConn, IRawConnection, ITransport
from libp2p.custom_types import THandler
from libp2p.peer.id import ID
from libp2p.transport.exceptions import OpenConnectionError
from multiaddr import Multiaddr  # type: ignore[import-untyped]

from hub.backbone.quic.addresses import endpoint_of, is_quic
from hub.backbone.quic.bounded import BoundedQuic, configuration
from hub.backbone.quic.connection import QuicMuxer
from hub.backbone.quic.door import Door
from hub.backbone.quic.sockets import BATCH, ROOM_BYTES, datagrams
from hub.backbone.settings import BackboneSettings

log = structlog.get_logger()
REACHED_POLL_S = 0.1


def add_quic(network: Any, node_key: Any, settings: BackboneSettings) -> None:
    """Let a swarm call and be called over QUIC."""
    logging.getLogger("quic").setLevel(logging.CRITICAL)  # a stranger's to cause, as many as it likes
    network.transport_manager.add_transport(QuicTransport(node_key, settings))
    inner = network._best_connection

    def best(connections: list[INetConn]) -> INetConn:
        # Python encrypts QUIC packet by packet: TCP carries several times as much. QUIC is there for reach.
        over_tcp = [one for one in connections if not isinstance(_muxer(one), QuicMuxer)]
        chosen: INetConn = inner(over_tcp or connections)
        return chosen

    network._best_connection = best


class QuicTransport(ITransport):
    """Args:
    node_key: libp2p's private key of the node.
    """

    provides_native_muxing = True

    def __init__(self, node_key: Any, settings: BackboneSettings) -> None:
        self._settings = settings
        self._calling = configuration(node_key, is_client=True)
        self._called = configuration(node_key, is_client=False)
        self._nursery: trio.Nursery | None = None
        self._swarm: Any = None

    def set_background_nursery(self, nursery: trio.Nursery) -> None:
        """py-libp2p's, when it begins to run."""
        self._nursery = nursery

    def set_swarm(self, swarm: Any) -> None:
        """py-libp2p's, when it begins to run."""
        self._swarm = swarm

    async def dial(self, maddr: Multiaddr) -> IRawConnection:
        """Call a node by an address that names it.

        Raises:
            OpenConnectionError: it does not answer in time, it is somebody else, or it was reached another way.
        """
        assert self._nursery is not None
        peer = ID.from_string(maddr.value_for_protocol("p2p"))
        try:
            family, address = endpoint_of(maddr)
            opened = datagrams(family, lambda made: made.connect(address))
        except (ValueError, OSError) as error:
            raise OpenConnectionError(f"{maddr} cannot be called: {error}") from error
        quic = BoundedQuic(configuration=self._calling, most_streams=self._settings.most_streams_per_connection)
        where = Multiaddr(str(maddr).partition("/p2p/")[0])
        connection = QuicMuxer(quic, lambda data, _to: _send(opened, data), peer, where)
        self._nursery.start_soon(_attend, connection, opened, address)
        try:
            quic.connect(address, trio.current_time())
            connection.settle()
            with trio.fail_after(self._settings.handshake_timeout_s):
                await self._known(connection, peer)
        except BaseException as error:
            connection.hang_up()
            if isinstance(error, Exception):
                raise OpenConnectionError(f"{maddr} does not answer: {error!r:.80}") from error
            raise
        return connection  # type: ignore[return-value]  # the swarm sees that it is multiplexed already

    def create_listener(self, handler_function: THandler) -> IListener:
        """py-libp2p's way to listen."""
        assert self._nursery is not None
        return Door(handler_function, self._called, self._settings, self._nursery)

    def can_dial(self, maddr: Multiaddr) -> bool:
        return is_quic(maddr)

    def can_listen(self, maddr: Multiaddr) -> bool:
        return is_quic(maddr)

    def protocols(self) -> list[str]:
        """The part of a multiaddr that is ours."""
        return ["quic-v1"]

    async def _known(self, connection: QuicMuxer, peer: ID) -> None:
        """Wait until the handshake is through. A call in vain must not hold up one over TCP that was not."""
        while not connection.event_known.is_set():
            with trio.move_on_after(REACHED_POLL_S):
                await connection.event_known.wait()
            if not connection.event_known.is_set() and self._swarm.get_connections(peer):
                raise OpenConnectionError("The node was reached another way.")
        if not connection.is_established:
            raise OpenConnectionError(connection.why_over or "The node hung up.")


async def _attend(connection: QuicMuxer, opened: socket.socket, address: tuple[str, int]) -> None:
    """A connection of our own, until it is over."""
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_receive, connection, opened, address)
            await connection.run()
            nursery.cancel_scope.cancel()
    except Exception as error:
        log.warning("quic_call_failed", error=f"{error!r:.120}")
    finally:
        connection.hang_up()
        opened.close()


async def _receive(connection: QuicMuxer, opened: socket.socket, address: tuple[str, int]) -> None:
    room = bytearray(ROOM_BYTES)
    while True:
        await trio.lowlevel.wait_readable(opened.fileno())
        for _ in range(BATCH):
            try:
                size = opened.recv_into(room)
                connection.receive(bytes(memoryview(room)[:size]), address)
            except BlockingIOError:
                break
            except OSError:
                # ICMP can be forged (RFC 9000 §14.2.1): believed only of a call that nobody answered yet.
                if not connection.event_known.is_set():
                    connection.drop()
                    return
        connection.settle()


def _send(opened: socket.socket, data: bytes) -> None:
    try:
        opened.send(data)
    except OSError as error:  # full, or nobody there: lost, as datagrams are; QUIC sends again
        _ = error


def _muxer(connection: INetConn) -> object:
    return getattr(connection, "muxed_conn", None)
