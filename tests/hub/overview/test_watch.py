"""Watched nodes: real HTTP, with nodes that tell the truth, that lie, that are silent or never end."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from digm.fresh_index import FreshIndex, encode_fresh_index
from digm.node_ids import peer_id
from hub.overview import watch
from hub.overview.status import MAX_STATUS_BYTES
from hub.overview.watch import Watch
from tests.digm.signers import Signer

ANN, EVE = Signer("ann"), Signer("eve")


def fresh_index(author: Signer) -> bytes:
    now = int(time.time())
    return encode_fresh_index(FreshIndex(author.public, 1, now, now + 600, ()), author.sign)


def status(given: int = 0) -> dict[str, Any]:
    return {"peer_id": peer_id(ANN.public), "traffic": {"given_bytes": {"http": given}, "taken_bytes": 0}}


@asynccontextmanager
async def watched(node: Callable[[], Any], index: bytes = fresh_index(ANN)) -> AsyncIterator[Watch]:
    """A watch that runs, over one node that answers so."""

    async def say(_request: web.Request) -> web.StreamResponse:
        answer = node()
        return answer if isinstance(answer, web.StreamResponse) else web.json_response(answer)

    async def give_index(_request: web.Request) -> web.Response:
        return web.Response(body=index)

    app = web.Application()
    app.add_routes([web.get("/api/node", say), web.get("/fresh-index.json", give_index)])
    async with TestServer(app) as server:
        watch = Watch([str(server.make_url("/"))])
        watch.look()
        task = asyncio.create_task(watch.run())
        try:
            yield watch
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def until(is_so: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not is_so():
            await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "EVERY_S", 0.01)


async def test_what_a_node_says_and_its_traffic_are_known() -> None:
    sums = iter(range(0, 10_000_000, 1000))
    async with watched(lambda: status(next(sums))) as watch:
        await until(lambda: watch.indexes() and any(traffic.recent for _, traffic in watch.statuses().values()))
        ((said, traffic),) = watch.statuses().values()
    assert said.peer_id == peer_id(ANN.public)
    assert traffic is not None
    assert traffic.sent_per_s > 0
    assert [index.author for index in watch.indexes()] == [ANN.public]


async def test_an_index_that_somebody_else_signed_is_not_the_nodes() -> None:
    async with watched(status, fresh_index(EVE)) as watch:
        await until(watch.statuses)
    assert watch.indexes() == []


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(status=500),
        lambda: web.Response(status=302, headers={"Location": "/fresh-index.json"}),
        lambda: {"peer_id": "me", "quota": []},
        lambda: web.Response(body=b" " * (MAX_STATUS_BYTES + 1) + msgspec.json.encode(status())),
    ],
    ids=["an error", "a redirect", "nonsense", "too much"],
)
async def test_what_is_no_answer_is_asked_for_again(answer: Callable[[], Any]) -> None:
    asked = 0

    def first_wrong() -> Any:
        nonlocal asked
        asked += 1
        return answer() if asked <= 3 else status()

    async with watched(first_wrong) as watch:
        await until(lambda: asked > 3 and watch.statuses())
    assert asked > 3


async def test_the_last_words_of_a_node_that_is_gone_are_not_shown_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = True
    async with watched(lambda: status() if answers else web.Response(status=503)) as looked:
        await until(looked.statuses)
        answers = False
        monkeypatch.setattr(watch, "STATUS_GOOD_FOR_S", 0.05)
        await until(lambda: not looked.statuses())


async def test_a_look_wakes_a_watch_that_nobody_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LOOKED_FOR_S", 0.0)
    monkeypatch.setattr(watch, "SELDOM_S", 3600.0)
    asked = 0

    def count() -> Any:
        nonlocal asked
        asked += 1
        return status()

    async with watched(count) as looked:
        await until(lambda: asked)
        before = asked
        await until(lambda: looked.look() or asked > before)
