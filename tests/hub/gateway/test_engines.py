"""Whatever carries TCP, the answers are the same: each engine in processes of its own, over real sockets.

Everything about chunks is asked twice: a server in front of the application answers the second time by itself.
"""

import asyncio
import gzip
import hashlib
import json
import os
import random
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from digm.chunks import FRAME_BYTES
from digm.cid import cid_of
from digm.ids import from_hex
from hub.storage.chunk_store import ChunkStore
from tests.hub.gateway.gateway_process import GatewayProcess
from tests.hub.gateway.http2_client import fetch_all
from tests.hub.gateway.http3_client import http3
from tests.hub.house import Published, publish_track

ENGINES = ("hypercorn", "granian", "nginx")
SPEAK_HTTP_2 = ("hypercorn", "nginx")  # docs/decisions/0018-what-carries-tcp.md
TWICE = ("first", "again")


@dataclass(frozen=True)
class Engine:
    """A gateway whose TCP `name` carries, over a published track."""

    name: str
    process: GatewayProcess
    track: Published

    @property
    def url(self) -> str:
        return self.process.url

    @property
    def store(self) -> ChunkStore:
        return ChunkStore(self.process.data)


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    data = tmp_path_factory.mktemp("data")
    track = publish_track(data)
    with GatewayProcess(data, {"DIGM_GATEWAY_TCP": request.param, "DIGM_GATEWAY_WORKERS": "2"}) as process:
        yield Engine(request.param, process, track)


async def test_metrics_are_the_sum_of_all_workers_and_of_what_is_sent_without_them(
    engine: Engine, session: aiohttp.ClientSession
) -> None:
    async def counted() -> tuple[float, float]:
        async with session.get(engine.url + "/metrics") as answer:
            text = await answer.text()
        chunks = re.findall(r'digm_http_requests_total{method="GET",route="chunk",status="206"} (.+)', text)
        sent = re.findall(r"(?m)^digm_gateway_bytes_total (.+)", text)
        return sum(map(float, chunks)), sum(map(float, sent))

    assert await counted() == (0, 0)  # so this test has to be the first
    url = f"{engine.url}/{engine.track.chunk(0, 3)}"
    for _ in range(40):  # on connections of their own, so that both workers get some
        async with session.get(url, headers={"Range": "bytes=0-9", "Connection": "close"}) as answer:
            assert answer.status == 206
    async with asyncio.timeout(10):
        while await counted() != (40, 400):
            await asyncio.sleep(0.05)


async def test_a_chunk_is_served_under_its_hash_for_any_page(
    engine: Engine, session: aiohttp.ClientSession
) -> None:
    name = engine.track.chunk(0, 0)
    for _ in TWICE:
        async with session.get(f"{engine.url}/{name}") as answer:
            body = await answer.read()
            assert answer.status == 200
            assert hashlib.sha256(body).hexdigest() == name
            assert answer.headers.getall("ETag") == [f'"{name}"']
            assert answer.headers.getall("Cache-Control") == ["public, max-age=31536000, immutable"]
            assert answer.headers.getall("Access-Control-Allow-Origin") == ["*"]
            assert "content-range" in answer.headers["Access-Control-Expose-Headers"]
            assert answer.headers["Timing-Allow-Origin"] == "*"
            assert answer.headers["Accept-Ranges"] == "bytes"
            assert answer.headers["Content-Type"] == "application/octet-stream"
            assert answer.headers["Vary"].lower() == "accept"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert "Last-Modified" not in answer.headers
            assert "X-Accel-Redirect" not in answer.headers


async def test_ranges_cut_exactly(engine: Engine, session: aiohttp.ClientSession) -> None:
    name = engine.track.chunk(0, 1)
    whole = engine.store.read(name)
    parts = (
        ("bytes=16-31", whole[16:32]),
        ("bytes=65000-", whole[65000:]),
        ("bytes=-16", whole[-16:]),
        ("bytes=0-" + "9" * 25, whole),
    )
    for header, part in (*parts, *parts):
        async with session.get(f"{engine.url}/{name}", headers={"Range": header}) as answer:
            assert answer.status == 206
            assert await answer.read() == part
            start = whole.index(part)
            assert answer.headers["Content-Range"] == f"bytes {start}-{start + len(part) - 1}/{FRAME_BYTES}"
            assert answer.headers.getall("ETag") == [f'"{name}"']


@pytest.mark.parametrize("header", [f"bytes={FRAME_BYTES}-", "bytes=99999999999999999999-", "bytes=-0"])
async def test_a_range_behind_the_end_is_refused_and_the_refusal_is_not_kept(
    engine: Engine, session: aiohttp.ClientSession, header: str
) -> None:
    for _ in TWICE:
        url = f"{engine.url}/{engine.track.chunk(0, 1)}"
        async with session.get(url, headers={"Range": header}) as answer:
            assert answer.status == 416
            assert answer.headers.getall("Content-Range") == [f"bytes */{FRAME_BYTES}"]
            assert answer.headers.getall("Access-Control-Allow-Origin") == ["*"]
            assert answer.headers.getall("Cache-Control")[-1] == "no-store"
            assert json.loads(await answer.read())["error"]["code"] == "range_not_satisfiable"


async def test_conditions_are_kept(engine: Engine, session: aiohttp.ClientSession) -> None:
    name = engine.track.chunk(0, 0)
    url = f"{engine.url}/{name}"
    for _ in TWICE:
        for header in (f'"{name}"', f'W/"{name}"', f'"other", "{name}"', "*"):
            async with session.get(url, headers={"If-None-Match": header}) as answer:
                assert answer.status == 304
                assert await answer.read() == b""
                assert "Content-Length" not in answer.headers
        for condition, status in ((f'"{name}"', 206), ('"x"', 200), (f'W/"{name}"', 200)):
            headers = {"Range": "bytes=0-9", "If-Range": condition}
            async with session.get(url, headers=headers) as answer:
                assert answer.status == status, condition
        async with session.get(url, headers={"If-Modified-Since": "Fri, 31 Dec 2100 00:00:00 GMT"}) as answer:
            assert answer.status == 200
        async with session.get(url, headers={"Range": "bytes=0-1,5-6"}) as answer:
            assert answer.status == 200
            assert len(await answer.read()) == FRAME_BYTES


async def test_head_has_the_headers_of_get_and_no_body(engine: Engine, session: aiohttp.ClientSession) -> None:
    for _ in TWICE:
        async with session.head(f"{engine.url}/{engine.track.chunk(0, 0)}") as answer:
            assert answer.status == 200
            assert answer.headers["Content-Length"] == str(FRAME_BYTES)
            assert await answer.read() == b""


async def test_a_block_is_asked_for_by_parameter_or_accept(
    engine: Engine, session: aiohttp.ClientSession
) -> None:
    name = engine.track.chunk(0, 2)
    cid = cid_of(from_hex(name))
    raw = {"Accept": "application/vnd.ipld.raw"}
    asked = ((f"/{name}", {}), (f"/{name}?format=raw", {}), (f"/{name}", raw), (f"/ipfs/{cid}?format=raw", {}))
    for path, headers in (*asked, *asked):
        async with session.get(engine.url + path, headers=headers) as answer:
            assert hashlib.sha256(await answer.read()).hexdigest() == name
            is_block = bool(headers) or "?" in path
            assert answer.headers["ETag"] == (f'"{cid}.raw"' if is_block else f'"{name}"')


async def test_documents_are_exact_and_packed_for_those_who_want_it(
    engine: Engine, session: aiohttp.ClientSession
) -> None:
    document = engine.store.manifest(engine.track.root)
    url = f"{engine.url}/{engine.track.root}/manifest.json"
    async with session.get(url, headers={"Accept-Encoding": "identity"}) as answer:
        assert await answer.read() == document
        assert answer.headers["Cache-Control"] == "no-cache"
    async with session.get(url, headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(await answer.read()) == document
        etag = answer.headers["ETag"]
    async with session.get(url, headers={"Accept-Encoding": "gzip", "If-None-Match": etag}) as answer:
        assert answer.status == 304
    url = f"{engine.url}/{engine.track.root}/index.m3u8"
    async with session.get(url, headers={"Accept-Encoding": "identity"}) as answer:
        assert (await answer.text()).startswith("#EXTM3U")


async def test_only_64_hex_digits_reach_the_file_system(engine: Engine, session: aiohttp.ClientSession) -> None:
    root, name = engine.track.root, engine.track.chunk(0, 0)
    for _ in TWICE:
        for path in (
            "/", "/" + "A" * 64, "/" + "a" * 63, "/..%2fvault.digm", "/../vault.digm", "/%2e%2e/vault.digm",
            f"/{root}/../vault.digm", f"/{root}/manifest.json%00", f"/{root}/", "/" + "a" * 64 + "%0a",
            "/" + "a" * 64 + "/" + "b" * 64, "/vault.digm", "/catalogue.sqlite", "//etc/passwd",
            f"/{name}/", f"/{name}%0a", f"/{name}%00", f"//{name}/..", f"/{name}/..%2f..%2fvault.digm",
            f"/shelf/{name}", "/shelf/", "/nginx.conf", "/key.pem", "/shelf/../nginx.conf", "/0.sock",
            "/refused/404", "/refused/",
        ):  # fmt: skip
            async with session.get(URL(engine.url + path, encoded=True)) as answer:
                assert answer.status in (400, 404), path
                body = json.loads(await answer.read())
                assert set(body["error"]) == {"code", "message"}
                assert answer.headers["Cache-Control"] == "no-store"
        async with session.get(f"{engine.url}/{name}") as answer:
            assert answer.status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "BREW"])
async def test_other_methods_are_refused(engine: Engine, session: aiohttp.ClientSession, method: str) -> None:
    async with session.request(method, f"{engine.url}/{engine.track.chunk(0, 0)}") as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == "GET, HEAD, OPTIONS"


async def test_a_preflight_allows_ranges(engine: Engine, session: aiohttp.ClientSession) -> None:
    url = f"{engine.url}/{engine.track.chunk(0, 0)}"
    async with session.options(url, headers={"Origin": "null"}) as answer:
        assert answer.status == 204
        assert "range" in answer.headers["Access-Control-Allow-Headers"]
        assert answer.headers.getall("Access-Control-Allow-Origin") == ["*"]


@pytest.mark.parametrize("body_bytes", [1, 5_000_000])
async def test_a_body_that_nobody_asked_for_is_forgotten_or_refused(
    engine: Engine, tmp_path: Path, body_bytes: int
) -> None:
    name = engine.track.chunk(0, 0)
    (tmp_path / "body").write_bytes(bytes(body_bytes))
    sent = ("-X", "GET", "-H", "Expect:", "--data-binary", f"@{tmp_path / 'body'}")
    for version in ("--http1.1", "--http2"):
        body = await curl(engine, version, *sent, f"https://localhost:{engine.process.tls_port}/{name}")
        if body_bytes > 65_536 and engine.name == "nginx":  # docs/gateway.md
            assert json.loads(body)["error"]["code"] == "body_too_large"
        else:
            assert hashlib.sha256(body).hexdigest() == name


async def test_a_damaged_chunk_is_an_error_and_never_bytes(
    engine: Engine, session: aiohttp.ClientSession
) -> None:
    name = engine.store.put(random.Random(7).randbytes(FRAME_BYTES))
    rot(engine.store.path(name))
    for headers in ({}, {"Range": "bytes=0-15"}, {}, {"If-None-Match": '"x"'}):
        async with session.get(f"{engine.url}/{name}", headers=headers) as answer:
            assert answer.status == 502
            assert json.loads(await answer.read())["error"]["code"] == "chunk_damaged"


async def test_a_chunk_that_rots_after_it_was_sent_is_not_sent_rotten(
    engine: Engine, session: aiohttp.ClientSession
) -> None:
    name = engine.store.put(random.Random(8).randbytes(FRAME_BYTES))
    for _ in TWICE:
        async with session.get(f"{engine.url}/{name}") as answer:
            assert hashlib.sha256(await answer.read()).hexdigest() == name
    rot(engine.store.path(name))
    for _ in range(4):
        async with session.get(f"{engine.url}/{name}") as answer:
            body = await answer.read()
            assert answer.status == 502 or hashlib.sha256(body).hexdigest() == name


def rot(path: Path) -> None:
    damaged = bytearray(path.read_bytes())
    damaged[100] ^= 1
    path.chmod(0o644)
    path.write_bytes(damaged)


async def test_a_chunk_put_there_by_another_process_is_served_at_once(
    engine: Engine, session: aiohttp.ClientSession
) -> None:
    chunk = random.Random(9).randbytes(FRAME_BYTES)
    name = hashlib.sha256(chunk).hexdigest()
    async with session.get(f"{engine.url}/{name}") as answer:
        assert answer.status == 404
        assert json.loads(await answer.read())["error"]["code"] == "chunk_not_held"
    engine.store.put(chunk)
    async with session.get(f"{engine.url}/{name}") as answer:
        assert await answer.read() == chunk


async def test_answers_about_this_moment_are_not_kept_and_tell_no_version(
    engine: Engine, session: aiohttp.ClientSession
) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/nothing"):
        async with session.get(engine.url + path) as answer:
            # nginx and Granian cannot be kept from their names.
            assert answer.headers.get("Server") == (None if engine.name == "hypercorn" else engine.name)
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.status == (404 if path == "/nothing" else 200)


async def curl(engine: Engine, *arguments: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *("curl", "-sS", "--cacert", str(engine.process.certificate), *arguments), stdout=subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out


async def test_the_same_bytes_come_over_1_1_and_2_and_3_and_tls_tells_of_3(engine: Engine) -> None:
    name, port = engine.track.chunk(1, 0), engine.process.tls_port
    whole, url = engine.store.read(name), f"https://localhost:{port}/{name}"
    number_of_2 = b"2" if engine.name in SPEAK_HTTP_2 else b"1.1"
    for version, number in (("--http1.1", b"1.1"), ("--http2", number_of_2)):
        assert await curl(engine, version, url) == whole
        assert await curl(engine, version, "-r", "100-199", url) == whole[100:200]
        assert await curl(engine, version, "-o", "/dev/null", "-w", "%{http_version}", url) == number
        head = (await curl(engine, version, "-D", "-", "-o", "/dev/null", url)).decode().lower()
        assert head.count(f'alt-svc: h3=":{port}"; ma=86400') == 1
    async with http3(port) as client:
        assert (await client.fetch(f"/{name}", x_digm_shelf="1")).body == whole
    plain = await curl(engine, "-D", "-", "-o", "/dev/null", f"{engine.url}/healthz")
    assert b"alt-svc" not in plain.lower()


@pytest.mark.parametrize("engine", SPEAK_HTTP_2, indirect=True)
async def test_many_streams_on_one_http_2_connection_all_arrive(engine: Engine) -> None:
    names = [engine.track.chunk(rendition, number) for rendition in (0, 1) for number in range(4)] * 12
    tls_port, certificate = engine.process.tls_port, engine.process.certificate
    answers = await fetch_all(tls_port, [f"/{name}" for name in names], certificate=certificate)
    assert [hashlib.sha256(answer.body).hexdigest() for answer in answers] == names
    ranged = await fetch_all(
        tls_port, [f"/{names[0]}"] * 1100, (("range", "bytes=0-15"),), certificate=certificate
    )
    assert {answer.headers[":status"] for answer in ranged} == {"206"}
    heads = await fetch_all(tls_port, [f"/{names[0]}"], method="HEAD", certificate=certificate)
    assert (heads[0].headers["content-length"], heads[0].body) == (str(FRAME_BYTES), b"")


async def test_whatever_dies_is_started_again(engine: Engine, session: aiohttp.ClientSession) -> None:
    names = iter([engine.store.put(random.Random(seed).randbytes(FRAME_BYTES)) for seed in range(20, 40)])
    victims = set(engine.process.worker_pids() + engine.process.program_pids(engine.name))
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    name = next(names)

    def living() -> set[int]:
        return set(engine.process.worker_pids() + engine.process.program_pids(engine.name))

    async with asyncio.timeout(30):
        while victims & living() or len(living()) < len(victims):
            await asyncio.sleep(0.05)
        while True:
            try:
                async with session.get(f"{engine.url}/{name}") as answer:
                    if answer.status == 200:
                        break
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.05)
    for name in names:  # over all workers
        async with session.get(f"{engine.url}/{name}") as answer:
            assert hashlib.sha256(await answer.read()).hexdigest() == name
