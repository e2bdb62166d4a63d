"""One HTTP/3 connection as ASGI 3 (RFC 9114), on aioquic.

Hypercorn has such a shell too. It is not used, because there a peer's bad request ends HTTP/3 for everybody
(an exception leaves its only reading loop), answers are written without waiting for the reader, and bursts of
more than ten datagrams are dropped. What is bounded here: requests at once, what is written ahead of a slow
reader, how long one may stand still.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

import structlog
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import ErrorCode, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import (
    ConnectionTerminated,
    HandshakeCompleted,
    ProtocolNegotiated,
    QuicEvent,
    StopSendingReceived,
    StreamReset,
)

log = structlog.get_logger()
Message = MutableMapping[str, Any]
App = Callable[[Any, Any, Any], Awaitable[None]]
MOST_REQUESTS = 32
WRITTEN_AHEAD_BYTES = 128 * 1024
WRITE_BYTES = 64 * 1024
STALLED_AFTER_S = 30.0
MOST_HEADER_BYTES = 16 * 1024
_PSEUDO_HEADERS = (b":method", b":scheme", b":path")


class Http3Connection(QuicConnectionProtocol):
    """Answers the requests of one client.

    Args:
        client: address and port, as ASGI has it.
        on_handshake, on_gone: told once each, with the connection.
    """

    def __init__(
        self,
        quic: QuicConnection,
        app: App,
        client: tuple[Any, ...],
        on_handshake: Callable[["Http3Connection"], None],
        on_gone: Callable[["Http3Connection"], None],
    ) -> None:
        super().__init__(quic)
        self._app, self._client = app, client
        self._on_handshake, self._on_gone = on_handshake, on_gone
        self._http: H3Connection | None = None
        self._requests: dict[int, _Request] = {}
        self._is_draining = False
        # aioquic offers 128 and has no setting for it.
        quic._local_max_streams_bidi.value = quic._local_max_streams_bidi.sent = MOST_REQUESTS

    def datagram_received(self, data: bytes | str, addr: Any) -> None:
        """A failure ends this connection and no other."""
        try:
            super().datagram_received(data, addr)
        except Exception:
            log.exception("quic_connection_failed")
            self._fail()
        for request in list(self._requests.values()):
            request.look_whether_it_may_write()

    def _handle_timer(self) -> None:
        try:
            super()._handle_timer()
        except Exception:
            log.exception("quic_connection_failed")
            self._fail()

    def quic_event_received(self, event: QuicEvent) -> None:
        """What happens on the connection and its streams."""
        if isinstance(event, ProtocolNegotiated):
            self._http = H3Connection(self._quic)
        elif isinstance(event, HandshakeCompleted):
            self._on_handshake(self)
        elif isinstance(event, ConnectionTerminated):
            self._end()
        elif isinstance(event, StreamReset | StopSendingReceived):
            self._cancel(event.stream_id)
        if self._http is not None:
            for http_event in self._http.handle_event(event):
                if isinstance(http_event, HeadersReceived):
                    self._take_headers(http_event)
                elif isinstance(http_event, DataReceived) and http_event.stream_id in self._requests:
                    self._requests[http_event.stream_id].take_body(http_event.data, http_event.stream_ended)

    def _take_headers(self, event: HeadersReceived) -> None:
        if event.stream_id in self._requests:  # trailers
            self._requests[event.stream_id].take_body(b"", event.stream_ended)
            return
        scope = _scope(event.headers, self._client)
        if scope is None or self._is_draining or len(self._requests) >= MOST_REQUESTS:
            code = ErrorCode.H3_MESSAGE_ERROR if scope is None else ErrorCode.H3_REQUEST_REJECTED
            self._quic.reset_stream(event.stream_id, code)
            return
        assert self._http is not None
        request = _Request(self, self._http, event.stream_id)
        self._requests[event.stream_id] = request
        request.take_body(b"", event.stream_ended)
        request.task = asyncio.ensure_future(self._answer(scope, request))

    async def _answer(self, scope: dict[str, Any], request: "_Request") -> None:
        try:
            await self._app(scope, request.receive, request.send)
        except TimeoutError:
            log.info("slow_reader_dropped", protocol="h3")
            self._reset(request.stream_id, ErrorCode.H3_REQUEST_CANCELLED)
        except Exception:
            log.exception("request_crashed")
            self._reset(request.stream_id, ErrorCode.H3_INTERNAL_ERROR)
        finally:
            self._requests.pop(request.stream_id, None)

    def _reset(self, stream_id: int, code: int) -> None:
        try:
            self._quic.reset_stream(stream_id, code)
            self.transmit()
        except Exception:
            log.exception("quic_connection_failed")
            self._fail()

    def _cancel(self, stream_id: int) -> None:
        request = self._requests.get(stream_id)
        if request is not None and request.task is not None:
            request.task.cancel()

    def unsent_bytes(self, stream_id: int) -> int:
        """What was written to a stream and not acknowledged yet."""
        stream = self._quic._streams.get(stream_id)
        return len(stream.sender._buffer) if stream is not None else 0

    def drain(self) -> list[asyncio.Task[None]]:
        """Take no more requests; the tasks of those that are running."""
        self._is_draining = True
        return [request.task for request in self._requests.values() if request.task is not None]

    def abandon(self) -> None:
        """Forget the connection without a word."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._end()

    def _fail(self) -> None:
        try:
            self.close(ErrorCode.H3_INTERNAL_ERROR)
        except Exception:
            log.exception("quic_connection_failed")
        self._end()

    def _end(self) -> None:
        for stream_id in list(self._requests):
            self._cancel(stream_id)
        self._on_gone(self)


class _Request:
    """One stream: what the application receives from it and sends to it."""

    def __init__(self, connection: Http3Connection, http: H3Connection, stream_id: int) -> None:
        self.stream_id = stream_id
        self.task: asyncio.Task[None] | None = None
        self._connection, self._http = connection, http
        self._came: asyncio.Queue[Message] = asyncio.Queue()
        self._may_write = asyncio.Event()
        self._is_answered = False

    def take_body(self, data: bytes, is_end: bool) -> None:
        """More of the request, which nobody keeps once the answer has gone out."""
        if not self._is_answered and (data or is_end):
            self._came.put_nowait({"type": "http.request", "body": data, "more_body": not is_end})

    async def receive(self) -> Message:
        return await self._came.get()

    def look_whether_it_may_write(self) -> None:
        if self._connection.unsent_bytes(self.stream_id) <= WRITTEN_AHEAD_BYTES - WRITE_BYTES:
            self._may_write.set()

    async def send(self, message: Message) -> None:
        """Send as much as the client takes; never much more than it has acknowledged.

        Raises:
            TimeoutError: the client has taken nothing for `STALLED_AFTER_S`.
        """
        if message["type"] == "http.response.start":
            status = str(message["status"]).encode()
            self._http.send_headers(self.stream_id, [(b":status", status), *message["headers"]])
            return
        body, is_last = message.get("body", b""), not message.get("more_body", False)
        for start in range(0, max(1, len(body)), WRITE_BYTES):
            end = start + WRITE_BYTES
            self._http.send_data(self.stream_id, body[start:end], is_last and end >= len(body))
            self._connection.transmit()
            self._may_write.clear()
            self.look_whether_it_may_write()
            async with asyncio.timeout(STALLED_AFTER_S):
                await self._may_write.wait()
        self._is_answered = self._is_answered or is_last


def _scope(headers: list[tuple[bytes, bytes]], client: tuple[Any, ...]) -> dict[str, Any] | None:
    """The request as ASGI has it; None where it is malformed (RFC 9114 §4.3.1)."""
    pseudo = dict(pair for pair in headers if pair[0].startswith(b":"))
    if not all(name in pseudo for name in _PSEUDO_HEADERS) or pseudo[b":method"] == b"CONNECT":
        return None
    if sum(len(name) + len(value) + 32 for name, value in headers) > MOST_HEADER_BYTES:
        return None
    path, _, query = pseudo[b":path"].partition(b"?")
    host = [(b"host", pseudo[b":authority"])] if b":authority" in pseudo else []
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.1"},
        "http_version": "3",
        "method": pseudo[b":method"].decode("latin-1").upper(),
        "scheme": "https",
        "path": unquote(path.decode("latin-1")),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": [*host, *(pair for pair in headers if not pair[0].startswith(b":"))],
        "client": client,
        "server": None,
    }
