"""Connections that misbehave: half a request, no HTTP at all, a client that has gone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import structlog

from hub.api import bodies, server
from hub.api.server import SAFE_HEADERS, Runner
from hub.app import create_app
from hub.config import Settings
from hub.lifecycle import health_server, listen

ROOT = "0" * 64
HALF_A_BODY = f"POST /api/tracks/{ROOT}/grant HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{{".encode()


@asynccontextmanager
async def hub_on(data: Path) -> AsyncIterator[int]:
    """The hub as the process runs it; yields its port."""
    runner = Runner(create_app(Settings(data=data, port=0)), drain_s=1)
    await runner.setup()
    try:
        yield await listen(runner, "127.0.0.1", 0)
    finally:
        await runner.cleanup()


async def everything_after(port: int, sent: bytes) -> bytes:
    """Send and read until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


async def test_half_a_body_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_WITHIN_S", 0.2)
    monkeypatch.setattr(server, "LINGER_S", 0.2)
    async with hub_on(tmp_path) as port:
        answer = await everything_after(port, HALF_A_BODY)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"body_too_slow" in answer


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nX-Half: "])
async def test_half_a_head_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(server, "HEAD_WITHIN_S", 0.2)
    async with hub_on(tmp_path) as port:
        assert await everything_after(port, sent) == b""


async def test_a_client_that_goes_in_the_middle_of_its_body_is_no_error(tmp_path: Path) -> None:
    async with hub_on(tmp_path) as port:
        with structlog.testing.capture_logs() as logs:
            for _ in range(5):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(HALF_A_BODY)
                await writer.drain()
                await asyncio.sleep(0.05)
                writer.transport.abort()
            async with asyncio.timeout(5):
                while sum(entry["event"] == "client_gone" for entry in logs) < 5:
                    await asyncio.sleep(0.02)
    assert {entry["log_level"] for entry in logs} == {"debug"}


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01<script>",
        b"BR<script>W / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /" + b"<script>" * 2000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"<script>" * 2000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n<script> : 1\r\n\r\n",
    ],
)
async def test_what_is_no_http_gets_a_safe_answer_that_repeats_nothing(tmp_path: Path, sent: bytes) -> None:
    async with hub_on(tmp_path) as port:
        answer = await everything_after(port, sent + b"\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith((b"HTTP/1.0 400 ", b"HTTP/1.1 400 "))
    assert b"application/json" in head
    assert b"bad_request" in body
    for name in SAFE_HEADERS:
        assert name.encode() in head
    assert b"script" not in answer
    assert b"aiohttp" not in answer
    assert b"Python" not in answer


async def test_every_process_answers_safely_and_without_naming_versions(tmp_path: Path) -> None:
    async def ready() -> dict[str, bool]:
        return {"something": False}

    async with (
        hub_on(tmp_path) as hub,
        health_server(Settings(data=tmp_path, port=0), 0, ready) as other,
        aiohttp.ClientSession() as session,
    ):
        for port in (hub, other):
            for path, status in (("healthz", 200), ("readyz", 503), ("metrics", 200), ("nothing", 404)):
                async with session.get(f"http://127.0.0.1:{port}/{path}") as answer:
                    assert answer.status == status
                    assert answer.headers["Server"] == "digm"
                    assert answer.headers["Cache-Control"] == "no-store", path
                    for name, value in SAFE_HEADERS.items():
                        assert answer.headers[name] == value
            async with session.post(f"http://127.0.0.1:{port}/healthz") as answer:
                assert answer.status == 405
                assert (await answer.json())["error"]["code"] == "method_not_allowed"
