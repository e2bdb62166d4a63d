"""Static files: compressed, cached, typed, and nothing outside of their folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from yarl import URL

from tests.hub.house import hub_over, static_folder

WASM = "/static/dist/pyodide-0123456789abcdef/pyodide.asm.wasm"


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[TestServer]:
    (tmp_path / "secret.js").write_text("secret")
    folder = static_folder(tmp_path / "static")
    (folder / "link.js").symlink_to(tmp_path / "secret.js")
    (folder / ".hidden.js").write_text("hidden")
    (folder / "notes.txt").write_text("not for the web")
    async with hub_over(tmp_path / "data", folder) as server:
        yield server


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


@pytest.mark.parametrize(
    ("accepted", "encoding", "body"),
    [
        ("br, gzip", "br", b"brotli pyodide.asm.wasm"),
        ("gzip;q=1.0, br;q=0", "gzip", b"gzip pyodide.asm.wasm"),
        ("identity", None, b"plain pyodide.asm.wasm"),
        ("*", "br", b"brotli pyodide.asm.wasm"),
    ],
)
async def test_the_best_encoding_that_both_sides_have_is_sent(
    hub: TestServer, session: aiohttp.ClientSession, accepted: str, encoding: str | None, body: bytes
) -> None:
    async with session.get(hub.make_url(WASM), headers={"Accept-Encoding": accepted}) as answer:
        assert answer.headers.get("Content-Encoding") == encoding
        assert await answer.read() == body
        assert answer.headers["Vary"] == "Accept-Encoding"
        assert answer.content_type == "application/wasm"
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_hashed_names_are_immutable_and_others_are_asked_for_again(
    hub: TestServer, session: aiohttp.ClientSession
) -> None:
    async with session.get(hub.make_url(WASM)) as answer:
        assert "immutable" in answer.headers["Cache-Control"]
    for name in ("/static/digm-player.js", "/static/dist/assets.js", "/static/digm.css"):
        async with session.get(hub.make_url(name)) as answer:
            assert answer.status == 200
            assert answer.headers["Cache-Control"] == "no-cache"
            etag = answer.headers["ETag"]
        async with session.get(hub.make_url(name), headers={"If-None-Match": etag}) as answer:
            assert answer.status == 304
            assert await answer.read() == b""


async def test_a_new_build_is_seen_without_a_restart(
    hub: TestServer, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with session.get(hub.make_url("/static/digm.css")) as answer:
        before = answer.headers["ETag"]
    (tmp_path / "static" / "digm.css").write_text("body { margin: 1px; padding: 0 }\n")
    async with session.get(hub.make_url("/static/digm.css")) as answer:
        assert answer.headers["ETag"] != before
        assert b"padding" in await answer.read()


@pytest.mark.parametrize(
    "path",
    [
        "/static/../secret.js",
        "/static/%2e%2e/secret.js",
        "/static/..%2fsecret.js",
        "/static/dist/..%5c..%5csecret.js",
        "/static//etc/passwd",
        "/static/link.js",
        "/static/.hidden.js",
        "/static/notes.txt",
        "/static/dist",
        "/static/digm.css%00.js",
        "/static/" + "a" * 5000 + ".js",
    ],
)
async def test_nothing_outside_the_folder_is_served(
    hub: TestServer, session: aiohttp.ClientSession, path: str
) -> None:
    async with session.get(URL(str(hub.make_url("")).rstrip("/") + path, encoded=True)) as answer:
        assert answer.status == 404
        assert b"secret" not in (await answer.read()).replace(b"secret.js", b"")
