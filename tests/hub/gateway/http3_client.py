"""A small HTTP/3 client on aioquic."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection, H3Stream
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, QuicEvent, StreamReset


@dataclass
class Answer:
    """What came back on one stream."""

    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    ended: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class _Connection(H3Connection):
    """aioquic 1.7 takes an answer to HEAD for torn because its length is told (RFC 9110 §9.3.2 allows that)."""

    def __init__(self, quic: QuicConnection) -> None:
        super().__init__(quic)
        self.heads: set[int] = set()

    def _check_content_length(self, stream: H3Stream) -> None:
        if stream.stream_id not in self.heads:
            super()._check_content_length(stream)


class Http3Client(QuicConnectionProtocol):
    """Asks for paths on one connection."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)
        self.http = _Connection(self._quic)
        self.answers: dict[int, Answer] = {}

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """Send a request; its answer fills as it comes."""
        fields = [(":method", method), (":scheme", "https"), (":authority", "localhost"), (":path", path)]
        fields += [(name.replace("_", "-"), value) for name, value in headers.items()]
        return self.send([(name.encode(), value.encode()) for name, value in fields])

    def send(self, headers: list[tuple[bytes, bytes]]) -> Answer:
        """The same with any header fields."""
        stream = self._quic.get_next_available_stream_id()
        answer = self.answers[stream] = Answer()
        if (b":method", b"HEAD") in headers:
            self.http.heads.add(stream)
        self.http.send_headers(stream, headers, end_stream=True)
        self.transmit()
        return answer

    async def fetch(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """The whole answer.

        Raises:
            ConnectionError: the stream was reset or the connection ended.
        """
        answer = self.ask(path, method, **headers)
        async with asyncio.timeout(30):
            await answer.ended
        return answer

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ConnectionTerminated):
            for answer in self.answers.values():
                _fail(answer, f"connection ended: {event.error_code:#x} {event.reason_phrase}")
        elif isinstance(event, StreamReset) and event.stream_id in self.answers:
            _fail(self.answers[event.stream_id], f"stream reset: {event.error_code:#x}")
        for http_event in self.http.handle_event(event):
            if not isinstance(http_event, HeadersReceived | DataReceived):
                continue
            answer = self.answers[http_event.stream_id]
            if isinstance(http_event, HeadersReceived):
                answer.headers |= {name.decode(): value.decode() for name, value in http_event.headers}
            else:
                answer.body += http_event.data
            if http_event.stream_ended and not answer.ended.done():
                answer.ended.set_result(None)


def _fail(answer: Answer, why: str) -> None:
    if not answer.ended.done():
        answer.ended.set_exception(ConnectionError(why))
        answer.ended.exception()  # whoever awaits it hears of it; nobody else has to


@asynccontextmanager
async def http3(port: int, **options: object) -> AsyncIterator[Http3Client]:
    """A connection to 127.0.0.1."""
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_NONE, server_name="localhost", **options
    )
    async with connect("127.0.0.1", port, configuration=configuration, create_protocol=Http3Client) as client:
        yield client
