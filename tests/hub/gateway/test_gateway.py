"""The gateway on Hypercorn, in this process: what another server in front would hide (see test_engines.py)."""

import asyncio
import hashlib
import json
import shutil
import socket
import subprocess
from pathlib import Path

import aiohttp
import pytest

from digm.chunks import FRAME_BYTES
from hub.gateway.cache import ByteCache
from hub.storage.chunk_store import ChunkStore
from tests.hub.gateway.conftest import RunningGateway
from tests.hub.gateway.http2_client import fetch_all, post_slowly_then_get, vanish_after_asking


async def test_gzip_is_not_forced_on_a_client_that_refuses_it(
    gateway: RunningGateway, session: aiohttp.ClientSession
) -> None:
    url = f"{gateway.url}/{gateway.track.root}/manifest.json"
    async with session.get(url, headers={"Accept-Encoding": "gzip;q=0"}) as answer:
        assert "Content-Encoding" not in answer.headers
        assert json.loads(await answer.read())


@pytest.mark.parametrize("body_bytes", [1, 5_000_000])
@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
async def test_a_body_that_nobody_asked_for_does_not_cost_the_answer(
    gateway: RunningGateway, tmp_path: Path, version: str, body_bytes: int
) -> None:
    name = gateway.track.chunk(0, 0)
    (tmp_path / "body").write_bytes(bytes(body_bytes))
    sent = ("-X", "GET", "-H", "Expect:", "--data-binary", f"@{tmp_path / 'body'}")
    body = await curl(version, *sent, f"{gateway.url}/{name}")
    assert hashlib.sha256(body).hexdigest() == name


async def test_half_a_body_is_not_waited_for(gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.gateway.app.BODY_WITHIN_S", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1")
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"body_too_slow" in answer


async def test_the_rest_of_a_late_body_does_not_end_an_http_2_connection(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.gateway.app.BODY_WITHIN_S", 0.2)
    async with asyncio.timeout(10):
        slow, quick = await post_slowly_then_get(gateway.port, "/healthz")
    assert slow.headers[":status"] == "408"
    assert "connection" not in slow.headers
    assert quick.headers[":status"] == "200"


async def test_health_readiness_and_metrics(gateway: RunningGateway, session: aiohttp.ClientSession) -> None:
    for path in ("/healthz", "/readyz"):
        async with session.get(gateway.url + path) as answer:
            assert answer.status == 200
    async with session.get(gateway.url + "/metrics") as answer:
        text = await answer.text()
    assert "digm_gateway_bytes_total" in text
    shutil.rmtree(gateway.data)
    async with session.get(gateway.url + "/readyz") as answer:
        assert answer.status == 503


async def curl(*arguments: str) -> bytes:
    process = await asyncio.create_subprocess_exec("curl", "-sS", *arguments, stdout=subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out


async def test_http_2_without_tls_serves_the_same_bytes(gateway: RunningGateway) -> None:
    name = gateway.track.chunk(1, 0)
    whole = ChunkStore(gateway.data).read(name)
    assert await curl("--http2-prior-knowledge", f"{gateway.url}/{name}") == whole
    assert await curl("--http2-prior-knowledge", "-r", "100-199", f"{gateway.url}/{name}") == whole[100:200]
    version = await curl(
        "--http2-prior-knowledge", "-o", "/dev/null", "-w", "%{http_version}", f"{gateway.url}/{name}"
    )
    assert version == b"2"


async def test_many_streams_on_one_http_2_connection_all_arrive(gateway: RunningGateway) -> None:
    names = [gateway.track.chunk(rendition, number) for rendition in (0, 1) for number in range(4)] * 12
    answers = await fetch_all(gateway.port, [f"/{name}" for name in names])
    assert [hashlib.sha256(answer.body).hexdigest() for answer in answers] == names


async def test_an_http_2_connection_outlives_a_thousand_requests(gateway: RunningGateway) -> None:
    name = gateway.track.chunk(0, 0)
    answers = await fetch_all(gateway.port, [f"/{name}"] * 1100, (("range", "bytes=0-15"),))
    assert {answer.headers[":status"] for answer in answers} == {"206"}
    heads = await fetch_all(gateway.port, [f"/{name}"], method="HEAD")
    assert (heads[0].headers["content-length"], heads[0].body) == (str(FRAME_BYTES), b"")


async def test_clients_that_vanish_leave_nothing_behind(gateway: RunningGateway) -> None:
    await vanish_after_asking(gateway.port, ["/healthz"])  # it has started
    before = len(asyncio.all_tasks())
    for _ in range(3):
        await vanish_after_asking(gateway.port, [f"/{gateway.track.chunk(0, 0)}"] * 90)
    async with asyncio.timeout(10):
        while len(asyncio.all_tasks()) > before + 1:
            await asyncio.sleep(0.02)


async def test_the_cache_is_bounded_and_joins_simultaneous_reads() -> None:
    reads: list[str] = []

    async def read(key: str) -> bytes:
        reads.append(key)
        await asyncio.sleep(0)
        return key.encode() * 100

    cache = ByteCache(250)
    bodies = await asyncio.gather(*(cache.get("a", lambda: read("a")) for _ in range(5)))
    assert bodies == [b"a" * 100] * 5
    assert reads == ["a"]
    for key in "bc":
        await cache.get(key, lambda key=key: read(key))
    assert cache.held_bytes == 200
    await cache.get("c", lambda: read("c"))
    await cache.get("a", lambda: read("a"))
    assert reads == ["a", "b", "c", "a"]


async def test_a_reader_that_gives_up_does_not_take_the_read_from_the_others() -> None:
    may_finish = asyncio.Event()

    async def read() -> bytes:
        await may_finish.wait()
        return b"chunk"

    cache = ByteCache(100)
    first = asyncio.create_task(cache.get("a", read))
    second = asyncio.create_task(cache.get("a", read))
    await asyncio.sleep(0)
    first.cancel()
    may_finish.set()
    assert await second == b"chunk"
    assert first.cancelled()


async def test_it_stops_soon_even_while_clients_keep_connections_open(gateway: RunningGateway) -> None:
    idle = socket.create_connection(("127.0.0.1", gateway.port))
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200" in await reader.readline()
        async with asyncio.timeout(5):
            gateway.stop.set()
            await reader.read()
        writer.close()
    finally:
        idle.close()
