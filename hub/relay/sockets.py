"""The embedded relay's sockets: UDP, TCP and TLS listeners, relayed ports.

Datagrams go straight to the kernel: what it cannot take now is dropped, as the network would. asyncio's
datagram transports would queue it instead, without bound, for clients that do not keep up. The protocol is
hub.relay.turn_server's.
"""

import asyncio
import contextlib
import errno
import random
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import cast

import structlog

from digm.errors import CallerFault, PeerFault
from hub.granting.rate import address_group
from hub.lifecycle import cannot_listen
from hub.relay import metrics
from hub.relay.allocation import Endpoint, RelaySocket
from hub.relay.limits import RelayLimits
from hub.relay.stun_messages import Framing, padded
from hub.relay.turn_server import Times, TurnServer

log = structlog.get_logger()
DATAGRAM_BYTES = 65_535
DATAGRAMS_A_TURN = 32  # then the loop looks after the other sockets
SOCKET_BUFFER_BYTES = 1 << 20
PORT_ATTEMPTS = 32
TLS_HANDSHAKE_S = 10.0


def times() -> Times:
    """Now, on both clocks."""
    return Times(time.monotonic(), time.time())


def open_udp(host: str, port: int) -> socket.socket:
    """A bound, non-blocking UDP socket.

    Raises:
        OSError: as bind(2).
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_DGRAM)
    try:
        opened.setblocking(False)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER_BYTES)
        opened.bind((host, port))
    except OSError:
        opened.close()
        raise
    return opened


class _Datagrams:
    """A UDP socket on the loop: every datagram goes to `receive`."""

    def __init__(self, opened: socket.socket, receive: Callable[[bytes, Endpoint], None]) -> None:
        self._socket = opened
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self.address: Endpoint = opened.getsockname()[:2]
        self._loop.add_reader(opened, self._on_readable)

    def _on_readable(self) -> None:
        for _ in range(DATAGRAMS_A_TURN):
            try:
                data, source = self._socket.recvfrom(DATAGRAM_BYTES)
            except OSError:
                # Nothing left, or an ICMP error of something sent before: neither ends the socket.
                return
            self._receive(data, source[:2])
            if self._socket.fileno() < 0:
                return

    def send(self, data: bytes, to: Endpoint) -> None:
        try:
            self._socket.sendto(data, to)
        except OSError as error:
            is_full = error.errno in (errno.EAGAIN, errno.ENOBUFS)
            metrics.DROPPED.labels("kernel_full" if is_full else "unreachable").inc()

    def close(self) -> None:
        self._loop.remove_reader(self._socket)
        self._socket.close()


class UdpListener:
    """One UDP address that clients reach the relay at."""

    def __init__(self, opened: socket.socket, server: TurnServer) -> None:
        self._server = server
        self._datagrams = _Datagrams(opened, self._receive)

    def _receive(self, data: bytes, source: Endpoint) -> None:
        self._server.from_client(_UdpClient(self._datagrams, source), data, times())

    def close(self) -> None:
        """Stop listening."""
        self._datagrams.close()


class _UdpClient:
    """A client's five-tuple."""

    __slots__ = ("_datagrams", "address")

    def __init__(self, datagrams: _Datagrams, address: Endpoint) -> None:
        self._datagrams = datagrams
        self.address = address

    @property
    def key(self) -> object:
        return (self.address, self._datagrams.address)

    @property
    def local_ip(self) -> str:
        return self._datagrams.address[0]

    def send(self, message: bytes) -> None:
        self._datagrams.send(message, self.address)


class RelayPorts:
    """Binds relayed sockets on the relay's addresses, at random ports of a range.

    Args:
        addresses: that the relay listens on; a client's own end of the connection is preferred.
    """

    def __init__(self, addresses: Iterable[str], lowest: int, highest: int) -> None:
        self._addresses = tuple(addresses)
        self._lowest, self._highest = lowest, highest
        self._random = random.SystemRandom()
        self.server: TurnServer | None = None

    def open(self, local_ip: str, version: int, is_even: bool) -> RelaySocket | None:
        """Bind one.

        Args:
            version: 4 or 6.
            is_even: whether the port must be an even one.
        Returns:
            None: no address of that version, or no free port was found.
        """
        fitting = [text for text in (local_ip, *self._addresses) if (":" in text) == (version == 6)]
        if not fitting:
            return None
        for _ in range(PORT_ATTEMPTS):
            port = self._random.randint(self._lowest, self._highest)
            try:
                opened = open_udp(fitting[0], port & ~1 if is_even else port)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    continue
                log.error("relay_port_not_opened", error=error.strerror)
                return None
            return _RelayedPort(opened, self._from_peer)
        return None

    def _from_peer(self, port: "_RelayedPort", data: bytes, source: Endpoint) -> None:
        if self.server is not None:
            self.server.from_peer(port, data, source, times())


class _RelayedPort:
    """The socket of one allocation."""

    def __init__(
        self, opened: socket.socket, receive: Callable[["_RelayedPort", bytes, Endpoint], None]
    ) -> None:
        self._datagrams = _Datagrams(opened, lambda data, source: receive(self, data, source))

    @property
    def address(self) -> Endpoint:
        return self._datagrams.address

    def send(self, payload: bytes, peer: Endpoint) -> None:
        self._datagrams.send(payload, peer)

    def close(self) -> None:
        self._datagrams.close()


class StreamListener:
    """One TCP address that clients reach the relay at, with or without TLS."""

    def __init__(self, server: TurnServer, limits: RelayLimits, counts: "ConnectionCounts") -> None:
        self._server = server
        self._limits = limits
        self._counts = counts
        self._listening: asyncio.Server | None = None

    async def start(self, opened: socket.socket, context: ssl.SSLContext | None) -> None:
        """Listen on a bound socket."""
        self._listening = await asyncio.get_running_loop().create_server(
            lambda: _StreamClient(self._server, self._limits, self._counts),
            sock=opened,
            ssl=context,
            ssl_handshake_timeout=TLS_HANDSHAKE_S if context else None,
        )

    def close(self) -> None:
        """Stop listening."""
        if self._listening is not None:
            self._listening.close()


class ConnectionCounts:
    """TCP and TLS connections of all listeners, and where they come from."""

    def __init__(self, limits: RelayLimits) -> None:
        self._limits = limits
        self._by_group: Counter[str] = Counter()
        self.open: set[_StreamClient] = set()

    def admit(self, client: "_StreamClient") -> bool:
        """Count a connection in; False: there are too many."""
        group = address_group(client.address[0])
        is_full = len(self.open) >= self._limits.connections
        if is_full or self._by_group[group] >= self._limits.connections_per_address:
            metrics.DROPPED.labels("too_many_connections").inc()
            return False
        self._by_group[group] += 1
        self.open.add(client)
        metrics.CONNECTIONS.set(len(self.open))
        return True

    def abort_all(self) -> None:
        """End all of them at once."""
        for client in list(self.open):
            client.abort()

    def leave(self, client: "_StreamClient") -> None:
        """Count it out."""
        if client not in self.open:
            return
        self.open.discard(client)
        group = address_group(client.address[0])
        self._by_group[group] -= 1
        if not self._by_group[group]:
            del self._by_group[group]
        metrics.CONNECTIONS.set(len(self.open))


class _StreamClient(asyncio.Protocol):
    """A client's TCP or TLS connection."""

    def __init__(self, server: TurnServer, limits: RelayLimits, counts: ConnectionCounts) -> None:
        self._server = server
        self._limits = limits
        self._counts = counts
        self._framing = Framing(limits.max_request_bytes)
        self._transport: asyncio.Transport | None = None
        self._idle: asyncio.TimerHandle | None = None
        self.address: Endpoint = ("", 0)
        self.local_ip = ""

    @property
    def key(self) -> object:
        return self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not an isinstance: uvloop's transports do not derive from asyncio's.
        self._transport = transport = cast(asyncio.Transport, transport)
        peer, own = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        if not peer or not own:
            transport.abort()  # gone already
            return
        self.address, self.local_ip = peer[:2], own[0]
        if not self._counts.admit(self):
            transport.abort()
            return
        with contextlib.suppress(OSError, AttributeError):
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._watch()

    def _watch(self) -> None:
        """A connection without an allocation does not stay."""
        if self._idle is not None and not self._server.has_allocation(self):
            self.abort()
            return
        self._idle = asyncio.get_running_loop().call_later(self._limits.idle_connection_s, self._watch)

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._framing.feed(data):
                self._server.from_client(self, frame, times())
        except PeerFault as fault:
            metrics.DROPPED.labels(fault.code).inc()
            self.abort()

    def send(self, message: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size() > self._limits.max_unsent_bytes:
            metrics.DROPPED.labels("slow_reader").inc()
            return
        self._transport.write(padded(message))

    def abort(self) -> None:
        """End it at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, _error: Exception | None) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._counts.leave(self)
        self._server.client_gone(self)


def bind_tcp(host: str, port: int) -> socket.socket:
    """A listening TCP socket for one address.

    Raises:
        CallerFault: `port_in_use`, `cannot_listen`.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind((host, port))
        opened.listen(512)
    except OSError as error:
        opened.close()
        raise cannot_listen(host, port, error) from error
    return opened


def bind_udp(host: str, port: int) -> socket.socket:
    """A UDP socket for one address.

    Raises:
        CallerFault: `port_in_use`, `cannot_listen`.
    """
    try:
        return open_udp(host, port)
    except OSError as error:
        raise cannot_listen(host, port, error) from error


def tls_context(cert: str, key: str) -> ssl.SSLContext:
    """TLS 1.2 and newer with a certificate chain.

    Raises:
        CallerFault: `bad_certificate`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key)
    except OSError as error:
        raise CallerFault(
            "bad_certificate", f"DIGM_TURN_CERT and DIGM_TURN_KEY cannot be used together: {error}."
        ) from error
    return context
