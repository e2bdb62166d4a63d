"""`digm fetch` finds nodes by the fresh index of a hub, the good ones only."""

import dataclasses
import time

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from digm.audits import Health
from digm.chain_standing import ChainStanding, NodeClass
from digm.fresh_index import FreshIndex, IndexNode, encode_fresh_index
from digm.node_ids import peer_id
from hub.fetching.ledger import Ledger
from hub.fetching.search import Search
from hub.fetching.targets import Target

ROOT = bytes(range(32))
KEYS = {
    name: Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32)) for name in ("hub", "good", "failed")
}


def key_of(name: str) -> bytes:
    return KEYS[name].public_key().public_bytes_raw()


def node(name: str, health: Health) -> IndexNode:
    return IndexNode(
        key_of(name), health, 1.0, name, "AS 64496", {ROOT: 1.0},
        gateway_url=f"https://{name}.example", multiaddrs=("/ip4/192.0.2.1/tcp/4001",),
    )  # fmt: skip


def index(valid_s: int = 600, age_s: int = 0) -> bytes:
    issued_at = int(time.time()) - age_s
    nodes = (node("failed", Health.FAILED), node("good", Health.HEALTHY))
    said = FreshIndex(key_of("hub"), 1, issued_at, issued_at + valid_s, nodes)
    return encode_fresh_index(said, KEYS["hub"].sign)


async def found_by(document: bytes | None) -> Search:
    """What a search knows after it has asked a hub that has this index and nothing else."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=404) if document is None else web.Response(body=document)

    app = web.Application()
    app.router.add_get("/fresh-index.json", answer)
    async with TestServer(app) as server, aiohttp.ClientSession() as http:
        hub = str(server.make_url("")).rstrip("/")
        search = Search(Target(ROOT.hex(), hubs=(hub,)), http, Ledger(), frozenset({"http"}))
        await search._ask_index(hub)
        return search


async def test_a_node_that_the_hub_finds_good_is_a_source() -> None:
    search = await found_by(index())
    assert list(search.sources) == ["https://good.example"]
    assert list(search._nodes) == [peer_id(key_of("good"))]


async def test_a_node_in_the_contracts_jail_is_a_source_that_is_asked_last() -> None:
    for jailed_until, last in ((1, {peer_id(key_of("good")), "https://good.example"}), (None, set())):
        standing = ChainStanding("0x" + "ab" * 20, NodeClass.ELDER, "digm", 800, jailed_until=jailed_until)
        good = dataclasses.replace(node("good", Health.HEALTHY), chain=standing)
        now = int(time.time())
        said = FreshIndex(key_of("hub"), 1, now, now + 600, (good,))
        search = await found_by(encode_fresh_index(said, KEYS["hub"].sign))
        assert list(search.sources) == ["https://good.example"] and search.last == last


@pytest.mark.parametrize("what", ["none", "forged", "over", "too long"])
async def test_an_index_that_is_none_names_nobody(what: str) -> None:
    document = {
        "none": None,
        "forged": index().replace(b"https://good", b"https://evil"),
        "over": index(valid_s=60, age_s=3_600),
        "too long": bytes(2 << 20),
    }[what]
    search = await found_by(document)
    assert not search.sources
    assert not search._nodes
