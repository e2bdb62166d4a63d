"""Who may have a QUIC connection to a node: one UDP socket, bounded (RFC 9000; trio side).

A forged Initial costs us a connection and a handshake's worth of keys. So few handshakes are unfinished at
once; while there are several, an address has to show that it receives what is sent to it (Retry, §8.1.2) before
anything is kept for it; and so many a second are answered. The rest is `hub.backbone.hardening.Admission`.
"""

import os
import socket
from typing import Any

import structlog
import trio
from aioquic.buffer import Buffer  # type: ignore[attr-defined]
from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE, QuicConfiguration
from aioquic.quic.packet import (
    QuicHeader,
    QuicPacketType,
    encode_quic_retry,
    encode_quic_version_negotiation,
    pull_quic_header,
)
from aioquic.quic.retry import QuicRetryTokenHandler
from libp2p.abc import IListener
from libp2p.custom_types import THandler
from multiaddr import Multiaddr  # type: ignore[import-untyped]

from hub.backbone.quic.addresses import endpoint_of, multiaddr_of
from hub.backbone.quic.bounded import BoundedQuic
from hub.backbone.quic.connection import QuicMuxer
from hub.backbone.quic.sockets import BATCH, ROOM_BYTES, datagrams
from hub.backbone.settings import BackboneSettings

log = structlog.get_logger()
CID_BYTES = 8
_LONG_HEADER = 0x80


class Rate:
    """So many a second, and as many at once."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._left = float(per_second)
        self._at = 0.0

    def take(self, now: float) -> bool:
        """Whether there is one left."""
        self._left = min(self._per_second, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Door(IListener):
    """One socket and the connections that came through it.

    Args:
        welcome: called with each connection that has shown whose it is; returns when that is over.
        nursery: for the socket and the connections.
    """

    def __init__(
        self,
        welcome: THandler,
        configuration: QuicConfiguration,
        settings: BackboneSettings,
        nursery: trio.Nursery,
    ) -> None:
        self._welcome = welcome
        self._configuration = configuration
        self._settings = settings
        self._nursery = nursery
        self._tokens = QuicRetryTokenHandler()
        self._answers = Rate(settings.quic_retries_per_s)
        self._handshakes = Rate(settings.quic_handshakes_per_s)
        self._by_id: dict[bytes, QuicMuxer] = {}
        self._ids: dict[QuicMuxer, set[bytes]] = {}
        self._handshaking: dict[QuicMuxer, None] = {}
        self._socket: socket.socket | None = None

    async def listen(self, maddr: Multiaddr) -> None:
        """Raises OSError: taken, or not ours."""
        family, address = endpoint_of(maddr)
        self._socket = opened = datagrams(family, lambda made: made.bind(address))
        self._nursery.start_soon(self._receive, opened)

    def get_addrs(self) -> tuple[Multiaddr, ...]:
        """Where it listens."""
        return () if self._socket is None else (multiaddr_of(self._socket.getsockname()),)

    async def close(self) -> None:
        """Hang up on everybody. Safe to call twice."""
        self._shut()
        await trio.lowlevel.checkpoint()

    # -- inside

    def _shut(self) -> None:
        for connection in list(self._ids):
            connection.hang_up()
        opened, self._socket = self._socket, None
        if opened is not None:
            trio.lowlevel.notify_closing(opened.fileno())
            opened.close()

    async def _receive(self, opened: socket.socket) -> None:
        room = bytearray(ROOM_BYTES)
        try:
            while self._socket is opened:
                await trio.lowlevel.wait_readable(opened.fileno())
                for connection in self._read_some(opened, room):
                    connection.settle()
        except trio.ClosedResourceError:
            return
        finally:
            self._shut()  # cancelled: py-libp2p would leave the socket open

    def _read_some(self, opened: socket.socket, room: bytearray) -> dict[QuicMuxer, None]:
        """Give what has come to its connections; returns those that got something."""
        touched: dict[QuicMuxer, None] = {}
        for _ in range(BATCH):
            try:
                size, address = opened.recvfrom_into(room)
                data = bytes(memoryview(room)[:size])
                if connection := self._owner(data, address):
                    connection.receive(data, address)
                    touched[connection] = None
                    if connection.is_senseless:
                        connection.drop()
            except BlockingIOError:
                break
            except OSError:  # somebody's ICMP
                continue
            except Exception as error:
                # What a library says of one datagram must not keep us from reading the others.
                log.warning("quic_datagram_failed", error=f"{error!r:.200}")
        return touched

    def _owner(self, data: bytes, address: Any) -> QuicMuxer | None:
        """Whose datagram it is: a connection that is known, or a new one if it may come in."""
        if not data:
            return None
        if not data[0] & _LONG_HEADER:
            return self._by_id.get(data[1 : 1 + CID_BYTES])
        try:
            header = pull_quic_header(Buffer(data=data), host_cid_length=CID_BYTES)
        except ValueError:
            return None
        if (known := self._by_id.get(header.destination_cid)) is not None:
            return known
        now = trio.current_time()
        # Who asks for little gets nothing: our answer must not be the longer one.
        if len(data) < SMALLEST_MAX_DATAGRAM_SIZE or header.packet_type == QuicPacketType.VERSION_NEGOTIATION:
            return None
        if header.version not in self._configuration.supported_versions:
            if self._answers.take(now):
                self._send(_other_version(header, self._configuration.supported_versions), address)
            return None
        if header.packet_type != QuicPacketType.INITIAL:
            return None
        return self._newcomer(header, address, now)

    def _newcomer(self, header: QuicHeader, address: Any, now: float) -> QuicMuxer | None:
        if len(self._ids) >= self._settings.most_inbound + self._settings.most_handshaking:
            return None
        original, retried = header.destination_cid, None
        if header.token:
            try:
                original = self._tokens.validate_token(
                    address=address, destination_cid=header.destination_cid, token=header.token, now=now
                )
            except ValueError:
                return None
            retried = header.destination_cid
        elif len(self._handshaking) >= self._settings.quic_handshaking_before_retry:
            if self._answers.take(now):
                self._send(self._retry(header, address, now), address)
            return None
        if not self._handshakes.take(now):
            return None
        if len(self._handshaking) >= self._settings.most_handshaking:
            # The oldest has had the most time, as with TCP.
            oldest = next(iter(self._handshaking))
            del self._handshaking[oldest]
            oldest.hang_up()
        return self._connection(header, original, retried, address)

    def _connection(
        self, header: QuicHeader, original: bytes, retried: bytes | None, address: Any
    ) -> QuicMuxer:
        quic = BoundedQuic(
            configuration=self._configuration,
            original_destination_connection_id=original,
            retry_source_connection_id=retried,
            most_streams=self._settings.most_streams_per_connection,
        )
        connection = QuicMuxer(quic, self._send, None, multiaddr_of(address))
        names = self._ids[connection] = {header.destination_cid, quic.host_cid}
        self._by_id.update(dict.fromkeys(names, connection))

        def on_ids(name: bytes, is_ours: bool) -> None:
            if is_ours:
                names.add(name)
                self._by_id[name] = connection
            else:
                names.discard(name)
                self._by_id.pop(name, None)

        def on_over() -> None:
            self._handshaking.pop(connection, None)
            for name in self._ids.pop(connection, ()):
                self._by_id.pop(name, None)

        connection.on_ids, connection.on_over = on_ids, on_over
        self._handshaking[connection] = None
        self._nursery.start_soon(self._attend, connection)
        return connection

    async def _attend(self, connection: QuicMuxer) -> None:
        """From the first datagram to the end of the connection."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(connection.run)
                with trio.move_on_after(self._settings.handshake_timeout_s):
                    await connection.event_known.wait()
                self._handshaking.pop(connection, None)
                if connection.is_established:
                    await self._welcome(connection)  # type: ignore[arg-type]  # Admission tells the two apart
                connection.hang_up()
                nursery.cancel_scope.cancel()
        except Exception as error:
            log.info("quic_connection_refused", error=f"{error!r:.120}")
        finally:
            connection.hang_up()

    def _retry(self, header: QuicHeader, address: Any, now: float) -> bytes:
        name = os.urandom(CID_BYTES)
        assert header.version is not None
        return encode_quic_retry(
            version=header.version,
            source_cid=name,
            destination_cid=header.source_cid,
            original_destination_cid=header.destination_cid,
            retry_token=self._tokens.create_token(
                address=address,
                original_destination_connection_id=header.destination_cid,
                retry_source_connection_id=name,
                now=now,
            ),
        )

    def _send(self, data: bytes, address: Any) -> None:
        if self._socket is not None:
            _send(self._socket, data, address)


def _other_version(header: QuicHeader, versions: list[int]) -> bytes:
    return encode_quic_version_negotiation(
        source_cid=header.destination_cid, destination_cid=header.source_cid, supported_versions=versions
    )


def _send(opened: socket.socket, data: bytes, address: Any) -> None:
    try:
        opened.sendto(data, address)
    except OSError as error:  # full, or nobody there: lost, as datagrams are; QUIC sends again
        _ = error
