"""Who may have a QUIC connection: the UDP end of HTTP/3, bounded (RFC 9000).

aioquic does the protocol. What is here keeps strangers from filling the memory: a forged Initial costs us a
whole connection and a handshake's worth of keys, so while many handshakes are unfinished, an address has to
show that it receives what is sent to it (Retry, §8.1.2) before anything is kept for it.
"""

import asyncio
import ssl
from collections import Counter
from pathlib import Path
from typing import Any

import structlog
from aioquic.asyncio.server import QuicServer
from aioquic.h3.connection import H3_ALPN
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.retry import TOKEN_LIFETIME, QuicRetryTokenHandler

from digm.errors import CallerFault
from hub.gateway.http3 import App, Http3Connection

log = structlog.get_logger()
MOST_CONNECTIONS = 512
MOST_PER_ADDRESS = 64
UNFINISHED_BEFORE_RETRY = 32
HANDSHAKE_WITHIN_S = 10.0
IDLE_TIMEOUT_S = 30.0
# Requests have no bodies that anybody reads: what a client may send ahead is little.
RECEIVE_WINDOW_BYTES = 128 * 1024
_LONG_HEADER, _CID_LENGTH_AT = 0x80, 5


def quic_configuration(certificate: Path, key: Path) -> QuicConfiguration:
    """TLS and limits of the connections.

    Raises:
        CallerFault: `bad_certificate`.
    """
    configuration = QuicConfiguration(
        is_client=False, alpn_protocols=H3_ALPN, idle_timeout=IDLE_TIMEOUT_S,
        max_data=2 * RECEIVE_WINDOW_BYTES, max_stream_data=RECEIVE_WINDOW_BYTES,
    )  # fmt: skip
    try:
        configuration.load_cert_chain(certificate, key)
    except (OSError, ValueError, TypeError, ssl.SSLError) as error:
        raise CallerFault("bad_certificate", f"The gateway's certificate cannot be used: {error}.") from error
    return configuration


class BoundedQuicServer(QuicServer):
    """aioquic's server with a door."""

    def __init__(self, app: App, configuration: QuicConfiguration) -> None:
        super().__init__(configuration=configuration, create_protocol=self._welcome)
        self._app = app
        self._tokens = QuicRetryTokenHandler()
        self._retry_until = 0.0
        self._calling: tuple[Any, ...] = ()
        self._unfinished: dict[Http3Connection, asyncio.TimerHandle] = {}
        self._connections: dict[Http3Connection, str] = {}
        self._of_address: Counter[str] = Counter()
        self._is_closing = False

    def datagram_received(self, data: bytes | str, addr: Any) -> None:
        """A datagram of a connection that is known goes to it; a new one has to pass."""
        if not isinstance(data, bytes) or (self._is_new(data) and not self._has_room(addr[0])):
            return
        now = self._loop.time()
        if len(self._unfinished) >= UNFINISHED_BEFORE_RETRY:
            # As long as a token lives that was asked for now: without the handler it would not be understood.
            self._retry_until = now + TOKEN_LIFETIME
        self._retry = self._tokens if now < self._retry_until else None  # type: ignore[assignment]
        self._calling = addr
        try:
            super().datagram_received(data, addr)
        except Exception:
            # A protocol library that stumbles over one datagram must not stop reading the others.
            log.exception("datagram_failed")

    def _is_new(self, data: bytes) -> bool:
        if len(data) <= _CID_LENGTH_AT or not data[0] & _LONG_HEADER:
            return False
        first = _CID_LENGTH_AT + 1
        return data[first : first + data[_CID_LENGTH_AT]] not in self._protocols

    def _has_room(self, address: str) -> bool:
        is_full = len(self._connections) >= MOST_CONNECTIONS or self._of_address[address] >= MOST_PER_ADDRESS
        return not (is_full or self._is_closing)

    def _welcome(self, quic: QuicConnection, stream_handler: object = None) -> Http3Connection:
        connection = Http3Connection(quic, self._app, self._calling[:2], self._finished, self._gone)
        self._connections[connection] = self._calling[0]
        self._of_address[self._calling[0]] += 1
        self._unfinished[connection] = self._loop.call_later(HANDSHAKE_WITHIN_S, self._give_up, connection)
        return connection

    def _finished(self, connection: Http3Connection) -> None:
        timer = self._unfinished.pop(connection, None)
        if timer is not None:
            timer.cancel()

    def _give_up(self, connection: Http3Connection) -> None:
        self._gone(connection)
        self._connection_terminated(connection)
        connection.abandon()

    def _gone(self, connection: Http3Connection) -> None:
        self._finished(connection)
        address = self._connections.pop(connection, None)
        if address is not None:
            self._of_address[address] -= 1
            if not self._of_address[address]:
                del self._of_address[address]

    async def drain(self, within_s: float) -> None:
        """Take nobody new, let running answers end, close."""
        self._is_closing = True
        running = [task for connection in self._connections for task in connection.drain()]
        if running:
            await asyncio.wait(running, timeout=within_s)
        self.close()
