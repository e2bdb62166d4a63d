"""Clients that mean harm, against a gateway in another process: it stays up, memory flat, others are served."""

import asyncio
import itertools
import os
import random
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import h2.config
import h2.connection
import h2.events
import pytest
from aioquic.buffer import Buffer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import pull_quic_header

from digm.chunks import FRAME_BYTES
from hub.storage.chunk_store import ChunkStore
from tests.hub.gateway.gateway_process import GatewayProcess
from tests.hub.gateway.http2_client import connect
from tests.hub.gateway.http3_client import http3
from tests.hub.house import Published, publish_track

MIB = 1024 * 1024
ENGINES = ("hypercorn", "granian", "nginx")
SPEAK_HTTP_2 = ("hypercorn", "nginx")
IMPATIENT = {
    "hub.gateway.server.IDLE_WITHIN_S": 1,
    "hub.gateway.budget.GRACE_S": 1.0,
    "hub.gateway.budget.SLOWEST_BYTES_PER_S": 1e9,
    "hub.gateway.tcp.LINGER_S": 0.5,
    "hub.gateway.http3.STALLED_AFTER_S": 1.0,
    "hub.gateway.quic.HANDSHAKE_WITHIN_S": 2.0,
}


@pytest.fixture(scope="module")
def track(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Published]:
    data = tmp_path_factory.mktemp("data")
    return data, publish_track(data)


@pytest.fixture(scope="module")
def big_chunks(track: tuple[Path, Published]) -> list[str]:
    """Names of 64 chunks of 512 KiB."""
    store, noise = ChunkStore(track[0]), random.Random(5)
    return [store.put(noise.randbytes(8 * FRAME_BYTES)) for _ in range(64)]


@pytest.fixture(scope="module")
def gateway(track: tuple[Path, Published]) -> Iterator[GatewayProcess]:
    settings = {"DIGM_GATEWAY_CACHE_BYTES": str(4 * MIB)}
    with GatewayProcess(track[0], settings, IMPATIENT) as process:
        yield process


@pytest.fixture(scope="module", params=ENGINES)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, big_chunks: list[str]
) -> Iterator[GatewayProcess]:
    """Whatever carries TCP, where the attack comes over TCP. QUIC is the same with all of them."""
    if request.param == "hypercorn":
        yield request.getfixturevalue("gateway")
        return
    data: Path = request.getfixturevalue("track")[0]
    settings = {"DIGM_GATEWAY_CACHE_BYTES": str(16 * MIB), "DIGM_GATEWAY_TCP": request.param}
    with GatewayProcess(data, settings, IMPATIENT, log_name=f"{request.param}.log") as process:
        yield process


@asynccontextmanager
async def at_most_more(server: GatewayProcess, most_bytes: int) -> AsyncIterator[None]:
    """Meanwhile, and afterwards, the gateway's memory does not grow by more than that."""
    before, most = server.resident_bytes(), 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, server.resident_bytes() - before)
            await asyncio.sleep(0.05)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
    assert max(most, server.resident_bytes() - before) < most_bytes


async def until_given_up(server: GatewayProcess, open_before: int) -> None:
    """Wait until the gateway has closed the connections that were opened since, whatever the other end sees."""
    async with asyncio.timeout(30):
        while server.open_files() > open_before + 20:
            await asyncio.sleep(0.05)


async def assert_serves(gateway: GatewayProcess, name: str) -> None:
    """Over TCP and over QUIC."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{gateway.port}/{name}") as it:
        assert it.status == 200
        assert len(await it.read()) == FRAME_BYTES
    async with http3(gateway.tls_port) as client:
        assert len((await client.fetch(f"/{name}")).body) == FRAME_BYTES


async def until_closed(reader: asyncio.StreamReader) -> None:
    async with asyncio.timeout(20):
        try:
            while await reader.read(65_536):
                pass
        except ConnectionError:
            pass


def forged_initials(count: int) -> Iterator[bytes]:
    """First datagrams of handshakes that nobody will go on with, each of another connection (RFC 9001 §5.2)."""
    client = QuicConnection(
        configuration=QuicConfiguration(is_client=True, alpn_protocols=["h3"], server_name="localhost")
    )
    client.connect(("127.0.0.1", 1), now=0.0)
    datagram = client.datagrams_to_send(now=0.0)[0][0]
    id_ends = 6 + datagram[5]
    # What it encloses stays the same; only the keys are made of the connection's id.
    opened = CryptoPair()
    opened.setup_initial(cid=datagram[6:id_ends], is_client=False, version=client._version)
    head = Buffer(data=datagram)
    length = pull_quic_header(head).packet_length
    header, payload, number = opened.decrypt_packet(datagram[:length], head.tell(), 0)
    for _ in range(count):
        connection_id = os.urandom(datagram[5])
        sealed = CryptoPair()
        sealed.setup_initial(cid=connection_id, is_client=True, version=client._version)
        packet = sealed.encrypt_packet(header[:6] + connection_id + header[id_ends:], payload, number)
        yield packet.ljust(len(datagram), b"\0")


async def test_three_thousand_forged_quic_initials_leave_no_connections_behind(
    gateway: GatewayProcess, track: tuple[Path, Published]
) -> None:
    name = track[1].chunk(0, 0)
    await assert_serves(gateway, name)
    before = gateway.resident_bytes()
    async with http3(gateway.tls_port) as bystander:
        datagrams = forged_initials(3_000)
        while batch := list(itertools.islice(datagrams, 50)):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forger:
                # From many addresses, as far as one machine has them.
                forger.bind((f"127.0.0.{random.randrange(2, 250)}", 0))
                for datagram in batch:
                    forger.sendto(datagram, ("127.0.0.1", gateway.tls_port))
            # Also sees to it that the gateway has read them all: none is lost in a full buffer.
            answer = await bystander.fetch(f"/{name}", range="bytes=0-9")
            assert len(answer.body) == 10
    await assert_serves(gateway, name)
    assert gateway.resident_bytes() - before < 12 * MIB


async def test_garbage_and_torn_datagrams_harm_nobody(
    gateway: GatewayProcess, track: tuple[Path, Published]
) -> None:
    noise = random.Random(3)
    async with http3(gateway.tls_port) as bystander:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(300):
                sender.sendto(noise.randbytes(noise.randrange(0, 1500)), ("127.0.0.1", gateway.tls_port))
            for datagram in forged_initials(10):
                torn = bytearray(datagram)
                torn[noise.randrange(len(torn))] ^= 0xFF
                sender.sendto(bytes(torn[: noise.randrange(1, len(torn))]), ("127.0.0.1", gateway.tls_port))
                sender.sendto(bytes(torn), ("127.0.0.1", gateway.tls_port))
        answer = await bystander.fetch(f"/{track[1].chunk(0, 0)}")
        assert len(answer.body) == FRAME_BYTES


@pytest.mark.parametrize(
    "headers",
    [
        [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"x")],
        [(b":scheme", b"https"), (b":authority", b"x"), (b":path", b"/healthz")],
        [(b":method", b"CONNECT"), (b":authority", b"x")],
        [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"x"), (b":path", b"/\xff\xfe")],
        [(b":method", b"\xff"), (b":scheme", b"https"), (b":authority", b"x"), (b":path", b"/")],
        [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"x"), (b":path", b"/"), (b"\xff", b"")],
    ],
    ids=["no path", "no method", "connect", "path not ASCII", "method not ASCII", "name not ASCII"],
)
async def test_a_malformed_request_over_http_3_ends_at_most_its_own_connection(
    gateway: GatewayProcess, track: tuple[Path, Published], headers: list[tuple[bytes, bytes]]
) -> None:
    async with http3(gateway.tls_port) as bystander, http3(gateway.tls_port) as attacker:
        answer = attacker.send(headers)
        try:
            async with asyncio.timeout(10):
                await answer.ended
            assert answer.headers[":status"] in ("400", "404", "405")
        except ConnectionError:
            pass
        assert len((await bystander.fetch(f"/{track[1].chunk(0, 0)}")).body) == FRAME_BYTES


async def test_readers_over_http_3_that_take_nothing_are_dropped_and_hold_little(
    gateway: GatewayProcess, track: tuple[Path, Published], big_chunks: list[str]
) -> None:
    await assert_serves(gateway, track[1].chunk(0, 0))
    before = gateway.resident_bytes()
    async with http3(gateway.tls_port, max_stream_data=2_000, max_data=1_000_000) as client:
        client._quic._write_stream_limits = lambda *_, **__: None  # never lets more come
        answers = [client.ask(f"/{name}") for name in big_chunks[:30]]
        for answer in answers:
            async with asyncio.timeout(20):
                with pytest.raises(ConnectionError):
                    await answer.ended
            assert len(answer.body) < 4_000
        assert gateway.resident_bytes() - before < 40 * MIB
    await assert_serves(gateway, track[1].chunk(0, 0))


async def test_readers_over_http_1_that_take_nothing_are_dropped(
    server: GatewayProcess, track: tuple[Path, Published], big_chunks: list[str]
) -> None:
    await assert_serves(server, track[1].chunk(0, 0))
    stalled, open_before = [], server.open_files()
    async with at_most_more(server, 90 * MIB):
        for number in range(100):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", server.port))
            name = big_chunks[number % len(big_chunks)]
            # More than the kernel takes off our hands.
            sock.send(f"GET /{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 16)
            stalled.append(sock)
        await assert_serves(server, track[1].chunk(0, 0))  # on a connection that was accepted after them
        await until_given_up(server, open_before)
    for sock in stalled:
        sock.close()
    await assert_serves(server, track[1].chunk(0, 0))


@pytest.mark.parametrize("server", SPEAK_HTTP_2, indirect=True)
async def test_readers_over_http_2_that_take_nothing_are_dropped_and_hold_little(
    server: GatewayProcess, track: tuple[Path, Published], big_chunks: list[str]
) -> None:
    await assert_serves(server, track[1].chunk(0, 0))

    async def stall() -> None:
        reader, writer = await connect(server.tls_port, server.certificate)
        client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        client.initiate_connection()
        waiting = set()
        for name in (big_chunks * 2)[:100]:
            stream = client.get_next_available_stream_id()
            head = [(":method", "GET"), (":path", f"/{name}"), (":scheme", "https"), (":authority", "x")]
            client.send_headers(stream, head, end_stream=True)
            waiting.add(stream)
        writer.write(client.data_to_send())
        # Frames are read and pings are answered, but no window is ever opened again.
        while waiting and (data := await reader.read(65_536)):
            for event in client.receive_data(data):
                if isinstance(event, h2.events.StreamReset | h2.events.StreamEnded):
                    waiting.discard(event.stream_id)
            writer.write(client.data_to_send())
        writer.close()

    async with at_most_more(server, 120 * MIB), asyncio.timeout(60):
        outcomes = await asyncio.gather(*(stall() for _ in range(5)), return_exceptions=True)
    assert all(outcome is None or isinstance(outcome, ConnectionError) for outcome in outcomes), outcomes
    await assert_serves(server, track[1].chunk(0, 0))


async def test_who_sends_a_head_drop_by_drop_is_cut_off(
    server: GatewayProcess, track: tuple[Path, Published]
) -> None:
    pairs = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(50)]

    async def dribble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
        closing = asyncio.ensure_future(until_closed(reader))
        while not closing.done():
            writer.write(b"x")
            await asyncio.wait((closing,), timeout=0.2)
        await closing
        writer.close()

    async with asyncio.timeout(20):
        await asyncio.gather(*(dribble(*pair) for pair in pairs))
    await assert_serves(server, track[1].chunk(0, 0))


@pytest.mark.parametrize("server", SPEAK_HTTP_2, indirect=True)
async def test_rapid_reset_over_http_2_ends_the_connection(
    server: GatewayProcess, track: tuple[Path, Published], big_chunks: list[str]
) -> None:
    await assert_serves(server, track[1].chunk(0, 0))
    before = server.resident_bytes()
    for _ in range(5):
        reader, writer = await connect(server.tls_port, server.certificate)
        client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        client.initiate_connection()
        head = [(":method", "GET"), (":path", f"/{big_chunks[0]}"), (":scheme", "https"), (":authority", "x")]
        for _ in range(5_000):
            stream = client.get_next_available_stream_id()
            client.send_headers(stream, head, end_stream=True)
            client.reset_stream(stream)
        try:
            writer.write(client.data_to_send())
            await writer.drain()
            await until_closed(reader)
        except ConnectionError:
            pass
        writer.close()
    if server.settings.get("DIGM_GATEWAY_TCP", "hypercorn") == "hypercorn":
        assert server.log.count("rapid_reset_stopped") >= 5
    await assert_serves(server, track[1].chunk(0, 0))
    assert server.resident_bytes() - before < 30 * MIB


async def test_a_hundred_ranges_in_one_request_are_answered_once(
    server: GatewayProcess, track: tuple[Path, Published]
) -> None:
    name = track[1].chunk(0, 0)
    many = "bytes=" + ",".join(f"{first}-{FRAME_BYTES}" for first in range(0, 5_000, 50))
    async with aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{server.port}/{name}"
        async with session.get(url, headers={"Range": many}) as answer:
            assert answer.status == 200
            assert len(await answer.read()) == FRAME_BYTES


async def test_tiny_ranges_of_everything_at_once_do_not_grow_the_memory(
    server: GatewayProcess, track: tuple[Path, Published], big_chunks: list[str]
) -> None:
    await assert_serves(server, track[1].chunk(0, 0))
    before = server.resident_bytes()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:

        async def one_byte(name: str) -> int:
            url = f"http://127.0.0.1:{server.port}/{name}"
            async with session.get(url, headers={"Range": "bytes=9-9"}) as answer:
                assert len(await answer.read()) == 1
                return answer.status

        statuses = await asyncio.gather(*(one_byte(name) for name in big_chunks * 8))
    assert set(statuses) == {206}
    assert server.resident_bytes() - before < 60 * MIB


async def test_connections_beyond_the_limit_are_refused_and_places_come_back(
    track: tuple[Path, Published],
) -> None:
    with GatewayProcess(track[0], {}, {"hub.gateway.tcp.MOST_CONNECTIONS": 20}) as gateway:
        pairs = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(20)]
        for _, writer in pairs:
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        for reader, _ in pairs:
            assert b"200" in await reader.readline()
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        await until_closed(reader)
        for _, taken in (*pairs, (reader, writer)):
            taken.close()
        async with asyncio.timeout(10):
            while True:
                try:
                    await assert_serves(gateway, track[1].chunk(0, 0))
                    return
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.02)


def test_nothing_that_was_tried_broke_anything_inside(server: GatewayProcess) -> None:
    assert server.process.poll() is None
    assert not re.search(r"Traceback|Error in ASGI|request_crashed|never retrieved", server.log)
    assert not re.search(r"_ended", server.log)
