"""A small HTTP/2 client on the h2 library: many requests at once on one connection."""

import asyncio
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import h2.config
import h2.connection
import h2.events

AT_ONCE = 100


@dataclass
class Answer:
    """What came back on one stream."""

    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_whole: bool = False


async def connect(port: int, certificate: Path | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which HTTP/2 is spoken: by ALPN with TLS, by prior knowledge without."""
    if certificate is None:
        return await asyncio.open_connection("127.0.0.1", port)
    trusting = ssl.create_default_context(cafile=str(certificate))
    trusting.set_alpn_protocols(["h2"])
    return await asyncio.open_connection("127.0.0.1", port, ssl=trusting)


async def fetch_all(
    port: int,
    paths: list[str],
    headers: tuple[tuple[str, str], ...] = (),
    method: str = "GET",
    certificate: Path | None = None,
) -> list[Answer]:
    """Ask for all paths, 100 at once; the answers in the same order.

    Args:
        certificate: that of the server, which speaks TLS then.
    Raises:
        ConnectionError: the server reset a stream or went away.
    """
    reader, writer = await connect(port, certificate)
    connection = h2.connection.H2Connection(
        h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
    )
    connection.initiate_connection()
    connection.increment_flow_control_window(16 * 1024 * 1024)
    answers: dict[int, Answer] = {}
    to_ask = list(reversed(paths))

    def ask() -> None:
        running = sum(not answer.is_whole for answer in answers.values())
        while to_ask and running < AT_ONCE:
            stream = connection.get_next_available_stream_id()
            answers[stream] = Answer()
            scheme = "https" if certificate else "http"
            where = ((":path", to_ask.pop()), (":scheme", scheme), (":authority", f"127.0.0.1:{port}"))
            connection.send_headers(stream, [(":method", method), *where, *headers], end_stream=True)
            running += 1
        writer.write(connection.data_to_send())

    try:
        ask()
        while to_ask or not all(answer.is_whole for answer in answers.values()):
            data = await reader.read(65_536)
            if not data:
                raise ConnectionError("the server hung up")
            for event in connection.receive_data(data):
                _take(event, connection, answers)
            ask()
    finally:
        writer.close()
        await writer.wait_closed()
    return list(answers.values())


async def vanish_after_asking(port: int, paths: list[str]) -> None:
    """Ask for all paths, wait for the first bytes, and cut the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    connection.initiate_connection()
    for path in paths:
        where = ((":path", path), (":scheme", "http"), (":authority", "x"))
        stream = connection.get_next_available_stream_id()
        connection.send_headers(stream, [(":method", "GET"), *where], end_stream=True)
    writer.write(connection.data_to_send())
    await reader.read(65_536)
    writer.transport.abort()


async def post_slowly_then_get(port: int, path: str) -> list[Answer]:
    """On one connection: half a body, its rest only after the answer, and then a GET.

    Raises:
        ConnectionError: the server reset a stream or went away.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    connection = h2.connection.H2Connection(
        h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
    )
    connection.initiate_connection()
    answers = {1: Answer(), 3: Answer()}
    where = ((":path", path), (":scheme", "http"), (":authority", "x"))

    async def read_until_whole(stream: int) -> None:
        writer.write(connection.data_to_send())
        while not answers[stream].is_whole:
            data = await reader.read(65_536)
            if not data:
                raise ConnectionError("the server hung up")
            for event in connection.receive_data(data):
                _take(event, connection, answers)
            writer.write(connection.data_to_send())

    try:
        connection.send_headers(1, [(":method", "POST"), *where])
        connection.send_data(1, b"half")
        await read_until_whole(1)
        connection.send_data(1, b"the rest", end_stream=True)
        connection.send_headers(3, [(":method", "GET"), *where], end_stream=True)
        await read_until_whole(3)
    finally:
        writer.close()
        await writer.wait_closed()
    return list(answers.values())


def _take(event: h2.events.Event, connection: h2.connection.H2Connection, answers: dict[int, Answer]) -> None:
    if isinstance(event, h2.events.ResponseReceived):
        answers[event.stream_id].headers = dict(event.headers)
    elif isinstance(event, h2.events.DataReceived):
        answers[event.stream_id].body += event.data
        connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
    elif isinstance(event, h2.events.StreamEnded):
        answers[event.stream_id].is_whole = True
    elif isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
        raise ConnectionError(repr(event))
