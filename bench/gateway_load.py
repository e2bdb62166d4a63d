"""The load of a gateway: the same requests over HTTP/1.1, 2 and 3, as cheap as Python makes them.

Bodies are counted and thrown away. The figure to trust is what a request costs the server; how many a second it
manages is bounded by this client as well, and over HTTP/3 mostly by it.
"""

import asyncio
import itertools
import ssl
import struct
import time
from collections.abc import Callable, Iterator, Sequence

import hpack
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, H3Event, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent

CONNECTIONS = 8  # of HTTP/1.1; streams at once on one connection of HTTP/2 and 3
_LARGEST_WINDOW = 0x7FFFFFFF
_DATA, _HEADERS, _SETTINGS, _PING, _GOAWAY = 0, 1, 4, 6, 7
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
Latencies = list[float]


def trusting() -> ssl.SSLContext:
    """TLS with a certificate that nobody checks."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def load(
    version: str, port: int, paths: Sequence[str], size: int, seconds: float, ranged: str
) -> Latencies:
    """Ask for paths in turn for that long.

    Args:
        version: "h1", "h1s" (with TLS), "h2" (with TLS) or "h3".
        size: of each body; another one is an error.
        ranged: a Range header, or "".
    Returns:
        seconds from each request to the end of its answer.
    """
    until, turn, taken = time.perf_counter() + seconds, itertools.cycle(paths), Latencies()
    if version in ("h1", "h1s"):
        context = trusting() if version == "h1s" else None
        await asyncio.gather(
            *(_http_1(port, context, turn, size, until, ranged, taken) for _ in range(CONNECTIONS))
        )
    elif version == "h2":
        await _http_2(port, turn, size, until, ranged, taken)
    else:
        await _http_3(port, turn, size, until, ranged, taken)
    return taken


async def _http_1(
    port: int, context: ssl.SSLContext | None, turn: Iterator[str], size: int, until: float, ranged: str,
    taken: Latencies,
) -> None:  # fmt: skip
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, limit=4 * 1024 * 1024)
    more = f"Range: {ranged}\r\n" if ranged else ""
    while (began := time.perf_counter()) < until:
        writer.write(f"GET {next(turn)} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if f"content-length: {size}\r\n".encode() not in head.lower():
            raise RuntimeError(f"not what was asked for: {head.decode()}")
        await reader.readexactly(size)
        taken.append(time.perf_counter() - began)
    writer.close()


class _Streams:
    """What is asked on one connection with many streams: keeps CONNECTIONS of them busy until time is up."""

    def __init__(self, ask: Callable[[], int], size: int, until: float, taken: Latencies) -> None:
        self._ask, self._size, self._until, self._taken = ask, size, until, taken
        self.began: dict[int, float] = {}
        self.came: dict[int, int] = {}
        self.over = asyncio.get_running_loop().create_future()

    def fill(self) -> None:
        while len(self.began) < CONNECTIONS and time.perf_counter() < self._until:
            stream = self._ask()
            self.began[stream], self.came[stream] = time.perf_counter(), 0
        if not self.began and not self.over.done():
            self.over.set_result(None)

    def end(self, stream: int) -> None:
        if self.came.pop(stream) != self._size:
            raise RuntimeError("an answer of another length than was asked for")
        self._taken.append(time.perf_counter() - self.began.pop(stream))
        self.fill()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


async def _http_2(
    port: int, turn: Iterator[str], size: int, until: float, ranged: str, taken: Latencies
) -> None:
    context = trusting()
    context.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, limit=4 * 1024 * 1024)
    encoder, numbers, credit = hpack.Encoder(), itertools.count(1, 2), 0
    settings = struct.pack(">HI", 4, _LARGEST_WINDOW)  # SETTINGS_INITIAL_WINDOW_SIZE
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS, 0, 0, settings))
    writer.write(_frame(8, 0, 0, struct.pack(">I", _LARGEST_WINDOW - 65_535)))

    def ask() -> int:
        stream = next(numbers)
        head = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", next(turn))]
        block = encoder.encode(head + ([("range", ranged)] if ranged else []))
        writer.write(_frame(_HEADERS, _END_STREAM | _END_HEADERS, stream, block))
        return stream

    streams = _Streams(ask, size, until, taken)
    streams.fill()
    while not streams.over.done():
        head = await reader.readexactly(9)
        length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
        stream, payload = int.from_bytes(head[5:], "big"), await reader.readexactly(length)
        if kind == _DATA:
            streams.came[stream] += length
            if (credit := credit + length) > 1 << 28:
                writer.write(_frame(8, 0, 0, struct.pack(">I", credit)))
                credit = 0
        elif kind in (_SETTINGS, _PING) and not flags & _ACK:
            writer.write(_frame(kind, _ACK, 0, payload if kind == _PING else b""))
        elif kind in (3, _GOAWAY):
            raise RuntimeError("the server broke off")
        if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
            streams.end(stream)
    writer.close()


class _Http3(QuicConnectionProtocol):
    streams: _Streams

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)
        self.http = H3Connection(self._quic)

    def quic_event_received(self, event: QuicEvent) -> None:
        for http_event in self.http.handle_event(event):
            self._take(http_event)

    def _take(self, event: H3Event) -> None:
        if isinstance(event, DataReceived):
            self.streams.came[event.stream_id] += len(event.data)
        if isinstance(event, DataReceived | HeadersReceived) and event.stream_ended:
            self.streams.end(event.stream_id)


async def _http_3(
    port: int, turn: Iterator[str], size: int, until: float, ranged: str, taken: Latencies
) -> None:
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_NONE, server_name="localhost",
        max_data=1 << 30, max_stream_data=1 << 24,
    )  # fmt: skip
    more = [(b"range", ranged.encode())] if ranged else []
    async with connect("127.0.0.1", port, configuration=configuration, create_protocol=_Http3) as client:

        def ask() -> int:
            stream = client._quic.get_next_available_stream_id()
            head = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"localhost")]
            client.http.send_headers(stream, [*head, (b":path", next(turn).encode()), *more], end_stream=True)
            client.transmit()
            return stream

        client.streams = _Streams(ask, size, until, taken)
        client.streams.fill()
        await client.streams.over
