"""Chunks as IPFS blocks: the raw part of the trustless gateway specification."""

import hashlib
import json

import aiohttp
import pytest

from digm.cid import cid_of
from hub.gateway.content import RAW
from hub.storage.chunk_store import ChunkStore
from tests.hub.gateway.conftest import RunningGateway


@pytest.mark.parametrize(
    ("by", "query", "accept"),
    [
        ("cid", "?format=raw", "*/*"),
        ("cid", "", RAW),
        ("cid", "?format=raw", "application/vnd.ipld.car"),
        ("hex", "?format=raw", "*/*"),
        ("hex", "", f"text/html, {RAW};q=0.9"),
    ],
)
async def test_a_chunk_is_a_raw_block(
    gateway: RunningGateway, session: aiohttp.ClientSession, by: str, query: str, accept: str
) -> None:
    name = gateway.track.chunk(0, 0)
    cid = cid_of(bytes.fromhex(name))
    url = f"{gateway.url}/{name if by == 'hex' else f'ipfs/{cid}'}{query}"
    async with session.get(url, headers={"Accept": accept}) as answer:
        assert answer.status == 200
        assert hashlib.sha256(await answer.read()).hexdigest() == name
        assert answer.headers["Content-Type"] == RAW
        assert answer.headers["ETag"] == f'"{cid}.raw"'
        assert answer.headers["Content-Disposition"] == f'attachment; filename="{cid}.bin"'
        assert answer.headers["X-Ipfs-Path"] == f"/ipfs/{cid}"
        assert answer.headers["X-Ipfs-Roots"] == cid
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "immutable" in answer.headers["Cache-Control"]
        assert answer.headers["Vary"] == "accept"
    async with session.get(url, headers={"Accept": accept, "If-None-Match": f'"{cid}.raw"'}) as answer:
        assert answer.status == 304
    async with session.head(url, headers={"Accept": accept}) as answer:
        assert answer.headers["Content-Type"] == RAW
        assert int(answer.headers["Content-Length"]) == len(ChunkStore(gateway.data).read(name))
    async with session.get(url, headers={"Accept": accept, "Range": "bytes=5-9"}) as answer:
        assert (answer.status, await answer.read()) == (206, ChunkStore(gateway.data).read(name)[5:10])


async def test_a_block_and_a_chunk_are_told_apart_by_their_etags(
    gateway: RunningGateway, session: aiohttp.ClientSession
) -> None:
    url = f"{gateway.url}/{gateway.track.chunk(0, 0)}"
    async with session.get(url) as plain, session.get(url + "?format=raw") as block:
        assert plain.headers["Content-Type"] == "application/octet-stream"
        assert plain.headers["ETag"] != block.headers["ETag"]


@pytest.mark.parametrize(
    ("path", "accept", "status", "code"),
    [
        ("{cid}", "*/*", 400, "format_missing"),
        ("{cid}?format=car", RAW, 406, "format_not_offered"),
        ("{cid}?format=", "application/vnd.ipld.car", 406, "format_not_offered"),
        ("QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG?format=raw", "*/*", 400, "bad_cid"),
        ("{cid}/0?format=raw", "*/*", 400, "bad_cid"),
        ("..%2f..%2fvault.digm?format=raw", "*/*", 400, "bad_cid"),
        (
            "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku?format=raw",
            "*/*",
            404,
            "chunk_not_held",
        ),
        ("?format=raw", "*/*", 400, "bad_cid"),
    ],
)
async def test_what_is_not_a_raw_block_is_refused_by_name(
    gateway: RunningGateway, session: aiohttp.ClientSession, path: str, accept: str, status: int, code: str
) -> None:
    cid = cid_of(bytes.fromhex(gateway.track.chunk(0, 0)))
    async with session.get(f"{gateway.url}/ipfs/{path.format(cid=cid)}", headers={"Accept": accept}) as answer:
        assert (answer.status, json.loads(await answer.read())["error"]["code"]) == (status, code)


async def test_a_gateway_can_be_tried_with_the_block_of_no_bytes(
    gateway: RunningGateway, session: aiohttp.ClientSession
) -> None:
    for method in ("GET", "HEAD"):
        async with session.request(method, f"{gateway.url}/ipfs/bafkqaaa?format=raw") as answer:
            assert (answer.status, await answer.read()) == (200, b"")


async def test_only_if_cached_says_that_it_is_not_here(
    gateway: RunningGateway, session: aiohttp.ClientSession
) -> None:
    url = f"{gateway.url}/ipfs/bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku?format=raw"
    async with session.get(url, headers={"Cache-Control": "only-if-cached"}) as answer:
        assert answer.status == 412
