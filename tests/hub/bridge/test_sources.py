"""`GET /api/tracks/{root}/sources` of a real hub, with gateways that are real servers."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from hub.api.sources import PER_MINUTE
from hub.app import create_app
from hub.bridge import probes
from hub.bridge.bridge import BRIDGE, Bridge
from hub.config import Settings
from tests.hub.bridge.test_directory import TRACK, hear, node, said
from tests.hub.house import hub_over, publish_track

OWN = "http://127.0.0.1:4711"


@asynccontextmanager
async def other_gateway(status: int = 200) -> AsyncIterator[TestServer]:
    """Answers every HEAD."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=status)

    app = web.Application()
    app.router.add_route("HEAD", "/{path:.*}", answer)
    async with TestServer(app) as server:
        server.asked = asked  # type: ignore[attr-defined]
        yield server


async def ask(hub: TestServer, root: str) -> tuple[int, Any]:
    url = hub.make_url(f"/api/tracks/{root}/sources")
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.json()


async def until(hub: TestServer, root: str, is_so: Any) -> Any:
    async with asyncio.timeout(30):
        while not is_so(body := (await ask(hub, root))[1]):
            await asyncio.sleep(0.02)
    return body


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for the next round."""
    monkeypatch.setattr(probes, "EVERY_S", 0.01)
    for name in ("ASKED_AGAIN_S", "DOUBTED_S", "DEAD_S"):
        monkeypatch.setattr(probes, name, 0.01)
    monkeypatch.setattr("hub.api.sources.PER_MINUTE", 100_000)


async def test_the_own_gateway_is_named_for_what_lies_here(tmp_path: Path) -> None:
    track = publish_track(tmp_path)
    async with hub_over(tmp_path, gateway_port=4711) as hub:
        status, body = await ask(hub, track.root)
    assert status == 200
    assert body["peers"] == 0
    assert body["nodes"] == []
    assert [gateway["url"] for gateway in body["gateways"]] == [OWN]


async def test_a_mirror_that_answers_comes_before_an_own_gateway_that_does_not(tmp_path: Path) -> None:
    track = publish_track(tmp_path)
    async with other_gateway() as mirror:
        url = str(mirror.make_url("")).rstrip("/")
        async with hub_over(tmp_path, gateway_port=4711, gateways=(url,)) as hub:
            body = await until(hub, track.root, lambda body: body["gateways"][-1]["score"] == 0.0)
    assert [gateway["url"] for gateway in body["gateways"]] == [url, OWN]
    assert body["gateways"][0]["score"] > 0
    assert f"/{track.root}/manifest.json" in mirror.asked  # type: ignore[attr-defined]


async def test_an_own_gateway_that_lost_the_track_comes_last(tmp_path: Path) -> None:
    track = publish_track(tmp_path)
    async with other_gateway() as mirror, other_gateway() as own:
        url, own_url = (str(server.make_url("")).rstrip("/") for server in (mirror, own))
        async with hub_over(tmp_path, gateway_port=own.port, gateways=(url,)) as hub:
            await until(hub, track.root, lambda body: body["gateways"][-1]["score"] > 0)
            (tmp_path / "manifests" / f"{track.root}.json").unlink()
            body = await until(hub, track.root, lambda body: body["gateways"][-1]["score"] == 0.0)
    assert [gateway["url"] for gateway in body["gateways"]] == [url, own_url]


async def test_a_mirror_without_the_track_is_left_out(tmp_path: Path) -> None:
    track = publish_track(tmp_path)
    async with other_gateway(status=404) as mirror:
        url = str(mirror.make_url("")).rstrip("/")
        async with hub_over(tmp_path, gateway_port=4711, gateways=(url,)) as hub:
            body = await until(hub, track.root, lambda body: len(body["gateways"]) == 1)
    assert [gateway["url"] for gateway in body["gateways"]] == [OWN]


async def test_a_track_that_only_others_hold_has_sources(tmp_path: Path) -> None:
    publish_track(tmp_path)
    async with hub_over(tmp_path, gateway_port=4711) as hub:
        now = int(time.time())
        document = said("ann", issued_at=now, valid_until=now + 600, gateway_url=None)
        hear(hub.app[BRIDGE].directory, document, now)
        status, body = await ask(hub, TRACK)
    assert status == 200
    assert [item["peer_id"] for item in body["nodes"]] == [node("ann")]
    assert body["nodes"][0]["multiaddrs"] == ["/dns/ann.example/tcp/4001"]


async def test_what_a_stranger_names_in_a_private_network_is_not_asked(tmp_path: Path) -> None:
    publish_track(tmp_path)
    async with other_gateway() as neighbour:
        async with hub_over(tmp_path, gateway_port=4711, public_url="https://digm.example") as hub:
            now, directory = int(time.time()), hub.app[BRIDGE].directory
            for number, host in enumerate(("127.0.0.1", "localhost")):
                url = f"http://{host}:{neighbour.port}"
                document = said(f"eve{number}", issued_at=now, valid_until=now + 600, gateway_url=url)
                hear(directory, document, now)
            await until(hub, TRACK, lambda body: len(body["gateways"]) == 1)
        assert neighbour.asked == []  # type: ignore[attr-defined]


@pytest.mark.parametrize("root", ["0" * 64, "nonsense", "AB" * 32])
async def test_a_track_that_nobody_knows_is_not_found(tmp_path: Path, root: str) -> None:
    async with hub_over(tmp_path) as hub:
        status, body = await ask(hub, root)
    assert (status, body["error"]["code"]) == (404, "track_not_found")


async def test_a_bridge_that_crashed_begins_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began = asyncio.Event()
    crashes = iter([RuntimeError("a mistake"), ExceptionGroup("several", [OSError()])])

    async def run(_bridge: Bridge) -> None:
        for crash in crashes:
            raise crash
        began.set()
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr("hub.bridge.bridge.AGAIN_S", 0.01)
    monkeypatch.setattr(Bridge, "run", run)
    async with hub_over(tmp_path), asyncio.timeout(30):
        await began.wait()


def test_a_hub_is_made_outside_of_its_loop(tmp_path: Path) -> None:
    assert create_app(Settings(data=tmp_path, port=0))[BRIDGE].directory


async def test_who_asks_too_often_is_told_to_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.api.sources.PER_MINUTE", 3)
    track = publish_track(tmp_path)
    async with hub_over(tmp_path) as hub:
        answers = [await ask(hub, track.root) for _ in range(5)]
    assert [status for status, _ in answers] == [200, 200, 200, 429, 429]
    assert answers[-1][1]["error"]["code"] == "too_many_requests"
    assert PER_MINUTE == 240
