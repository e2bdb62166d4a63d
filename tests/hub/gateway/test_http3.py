"""HTTP/3, and the same bytes over all three versions, from a gateway in a process of its own."""

import asyncio
import hashlib
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from digm.chunks import FRAME_BYTES
from hub.storage.chunk_store import ChunkStore
from tests.hub.gateway.gateway_process import GatewayProcess
from tests.hub.gateway.http3_client import http3
from tests.hub.house import Published, publish_track


@pytest.fixture(scope="module")
def track(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Published]:
    data = tmp_path_factory.mktemp("data")
    return data, publish_track(data)


@pytest.fixture(scope="module")
def gateway(track: tuple[Path, Published]) -> Iterator[GatewayProcess]:
    with GatewayProcess(track[0]) as process:
        yield process


def curl(gateway: GatewayProcess, *arguments: str) -> bytes:
    done = subprocess.run(
        ["curl", "-sS", "--cacert", gateway.certificate, *arguments], capture_output=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_the_same_bytes_come_over_1_1_and_2_and_3(
    gateway: GatewayProcess, track: tuple[Path, Published]
) -> None:
    published = track[1]
    name = published.chunk(0, 1)
    whole = ChunkStore(track[0]).read(name)
    url = f"https://localhost:{gateway.tls_port}/{name}"
    for version, number in (("--http1.1", b"1.1"), ("--http2", b"2")):
        assert curl(gateway, version, url) == whole
        assert curl(gateway, version, "-r", "100-199", url) == whole[100:200]
        assert curl(gateway, version, "-o", "/dev/null", "-w", "%{http_version}", url) == number
    async with http3(gateway.tls_port) as client:
        answer = await client.fetch(f"/{name}")
        assert answer.body == whole
        assert answer.headers[":status"] == "200"
        part = await client.fetch(f"/{name}", range="bytes=100-199")
        assert (part.headers[":status"], part.body) == ("206", whole[100:200])
        for document in ("manifest.json", "index.m3u8", "manifest.mpd", "0.m3u8"):
            path = f"/{published.root}/{document}"
            over_2 = curl(gateway, "--http2", f"https://localhost:{gateway.tls_port}{path}")
            assert (await client.fetch(path)).body == over_2


async def test_tls_tells_of_http_3_and_plain_http_does_not(gateway: GatewayProcess) -> None:
    url = f"https://localhost:{gateway.tls_port}/healthz"
    head = curl(gateway, "-D", "-", "-o", "/dev/null", url).decode().lower()
    assert f'alt-svc: h3=":{gateway.tls_port}"; ma=86400' in head
    plain = curl(gateway, "-D", "-", "-o", "/dev/null", f"http://localhost:{gateway.port}/healthz").decode()
    assert "alt-svc" not in plain.lower()


async def test_many_streams_at_once_all_arrive(gateway: GatewayProcess, track: tuple[Path, Published]) -> None:
    names = [track[1].chunk(rendition, number) for rendition in (0, 1) for number in range(4)] * 3
    async with http3(gateway.tls_port) as client:
        answers = await asyncio.gather(*(client.fetch(f"/{name}") for name in names))
    assert [hashlib.sha256(answer.body).hexdigest() for answer in answers] == names


async def test_an_http_3_connection_outlives_more_requests_than_its_first_limit_of_streams(
    gateway: GatewayProcess, track: tuple[Path, Published]
) -> None:
    async with http3(gateway.tls_port) as client:
        for _ in range(200):
            answer = await client.fetch(f"/{track[1].chunk(0, 0)}", range="bytes=0-9")
            assert len(answer.body) == 10


async def test_head_conditions_and_refusals_over_http_3(
    gateway: GatewayProcess, track: tuple[Path, Published]
) -> None:
    path = f"/{track[1].chunk(0, 0)}"
    async with http3(gateway.tls_port) as client:
        whole = await client.fetch(path)
        head = await client.fetch(path, method="HEAD")
        assert (head.headers[":status"], head.body) == ("200", b"")
        assert {**head.headers, "date": ""} == {**whole.headers, "date": ""}
        assert head.headers["content-length"] == str(FRAME_BYTES)
        assert (await client.fetch(path, if_none_match=whole.headers["etag"])).headers[":status"] == "304"
        assert (await client.fetch(path, range=f"bytes={FRAME_BYTES}-")).headers[":status"] == "416"
        assert (await client.fetch("/../vault.digm")).headers[":status"] == "404"
        assert (await client.fetch(path, method="DELETE")).headers[":status"] == "405"


async def test_the_self_made_certificate_is_kept_and_its_key_is_private(gateway: GatewayProcess) -> None:
    assert (gateway.data / "gateway-key.pem").stat().st_mode & 0o777 == 0o600
    trusting = ssl.create_default_context(cafile=str(gateway.certificate))
    for name in ("localhost", "127.0.0.1"):
        _, writer = await asyncio.open_connection(
            "127.0.0.1", gateway.tls_port, ssl=trusting, server_hostname=name
        )
        writer.close()
    before = gateway.certificate.read_bytes()
    with GatewayProcess(gateway.data):
        assert gateway.certificate.read_bytes() == before


async def test_a_worker_that_dies_is_started_again_and_the_others_go_on(
    track: tuple[Path, Published],
) -> None:
    path = f"/{track[1].chunk(0, 0)}"
    with GatewayProcess(track[0], {"DIGM_GATEWAY_WORKERS": "2"}) as gateway:
        first, second = gateway.worker_pids()
        for _ in range(12):  # over both of them, whichever the kernel chooses
            async with http3(gateway.tls_port) as client:
                assert len((await client.fetch(path)).body) == FRAME_BYTES
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(30):
            while first in (now := gateway.worker_pids()) or len(now) < 2:
                await asyncio.sleep(0.05)
        assert second in gateway.worker_pids()
        for _ in range(12):
            async with http3(gateway.tls_port) as client:
                assert len((await client.fetch(path)).body) == FRAME_BYTES
            assert len(curl(gateway, f"https://localhost:{gateway.tls_port}{path}")) == FRAME_BYTES


def test_a_port_that_is_taken_is_not_shared(track: tuple[Path, Published], tmp_path: Path) -> None:
    with GatewayProcess(track[0], {"DIGM_GATEWAY_WORKERS": "2"}) as gateway:
        environment = {
            **os.environ, "DIGM_DATA": str(tmp_path), "DIGM_GATEWAY_PORT": str(gateway.port),
            "DIGM_GATEWAY_WORKERS": "2",
        }  # fmt: skip
        second = subprocess.run(
            [sys.executable, "-m", "hub.cli", "gateway"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert second.returncode == 2
    assert str(gateway.port) in second.stderr
