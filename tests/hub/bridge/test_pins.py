"""Pin orders through a real hub, with real nodes: handed in over HTTP and by `digm pin`, seen to the end."""

import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from digm.audits import Outcome
from digm.errors import DigmError
from digm.fresh_index import best_first, parse_fresh_index
from digm.manifest import manifest_hash
from digm.pinning import (
    AnswerState,
    Decline,
    PinAnswer,
    PinOrder,
    encode_pin_answer,
    parse_pin_answer,
    sign_pin_order,
)
from hub.bridge.bridge import BRIDGE
from hub.pinning.pinner import PROTOCOL
from hub.pinning.records import Records
from hub.publishing.vault import FILE_NAME, Vault
from hub.signatures import verify
from hub.storage.chunk_store import ChunkStore
from tests.digm.signers import Signer
from tests.hub.backbone.nodes import backbone, until
from tests.hub.house import Published, hub_over, publish_track
from tests.hub.pinning.test_on_libp2p import RealNode, real_node

HERE = ("/ip4/127.0.0.1/tcp/0",)
SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "fresh-index.schema.json").read_text("utf-8"))


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A newcomer is told at once."""
    monkeypatch.setattr("hub.bridge.member.LOOKED_AT_S", 0.05)
    monkeypatch.setattr("hub.pinning.herald.NEWCOMERS_EVERY_S", 0.0)
    monkeypatch.setattr("hub.bridge.member.INDEX_EVERY_S", 0.2)


@asynccontextmanager
async def hub_in_backbone(data: Path, **settings: Any) -> AsyncIterator[TestServer]:
    async with hub_over(data, gateway_port=4711, backbone_listen=HERE, operator="Ann", **settings) as hub:
        member: Any = hub.app[BRIDGE].member
        await until(lambda: member.backbone is not None)
        yield hub


def order_of(data: Path, track: Published, replicas: int = 2, sequence: int = 1, **changes: Any) -> bytes:
    with Vault.open(data / FILE_NAME) as vault:
        sign = changes.pop("sign", vault.sign)
        fields: dict[str, Any] = {
            "track_root": track.manifest.track_root,
            "desired_replicas": replicas,
            "duration_s": 86_400,
            "manifest_hash": manifest_hash(ChunkStore(data).manifest(track.root)),
            "artist": vault.artist_key,
            "sequence": sequence,
            "issued_at": int(time.time()),
        }
        return sign_pin_order(PinOrder(**{**fields, **changes}), sign).document


async def call(hub: TestServer, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, hub.make_url(path), data=body) as answer,
    ):
        return answer.status, json.loads(await answer.read())


async def digm(hub: TestServer, data: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a command."""
    url = str(hub.make_url("")).rstrip("/")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hub.cli", *arguments),
        env={**os.environ, "DIGM_DATA": str(data), "DIGM_SIGNAL_URL": url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def keep_turning(nodes: list[RealNode]) -> None:
    while True:
        for node in nodes:
            with suppress(DigmError):
                await node.turn()
        await asyncio.sleep(0.05)


async def test_an_artist_orders_copies_and_sees_them_held_and_let_go(tmp_path: Path) -> None:
    data = tmp_path / "hub"
    track = publish_track(data, "Noise \x1b[31m", chunk_count=6)
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(hub_in_backbone(data))
        first = hub.app[BRIDGE].member.backbone.multiaddrs[0]
        nodes = [await real_node(stack, tmp_path / f"node {number}", True, first) for number in range(2)]
        turning = asyncio.create_task(keep_turning(nodes))
        stack.callback(turning.cancel)
        options = ("--replicas", "2", "--months", "18", "--watch", "--within", "45")
        status, out, err = await digm(hub, data, "pin", track.root, *options)
        assert (status, err) == (0, "")
        assert out.startswith("Ordered 2 copies of Noise \\x1b[31m until ")
        assert out.splitlines()[-1] == "Noise \\x1b[31m: 2 of 2 held"
        assert all(
            any(held.track_root == track.root and held.is_whole for held in node.store.tracks())
            for node in nodes
        )

        status, out, _ = await digm(hub, data, "pins", "--json")
        order = json.loads(out)
        assert (order["desired"], order["held"], order["artist"]) == (2, 2, track.manifest.artist_key.hex())
        states = {node["peer_id"]: (node["state"], node["reason"]) for node in order["nodes"]}
        assert states == {node.backbone.peer_id: ("held", None) for node in nodes}
        status, out, _ = await digm(hub, data, "pins", track.root)
        assert "2 of 2 held" in out and out.count("    held") == 2
        hubs_key = hub.app[BRIDGE].member.backbone.identity.node_key
        assert nodes[0].pinner.progress()[0].declined == {hubs_key: Decline.POLICY}  # nobody waits for it

        await the_index_names(hub, track, {node.backbone.identity.node_key for node in nodes})

        assert await nodes[0].auditor.audit(hubs_key) is Outcome.PASS

        status, out, err = await digm(hub, data, "pin", "--all", "--cancel")
        assert (status, err) == (0, "")
        await until(lambda: not any(held.pinned_by for node in nodes for held in node.store.tracks()))


async def the_index_names(hub: TestServer, track: Published, nodes: set[bytes]) -> None:
    """`/fresh-index.json` of the hub: signed, as the schema says, with every node that holds the track."""

    async def is_complete() -> bool:
        status, content = await call(hub, "GET", "/fresh-index.json")
        return (
            status == 200 and len(content["nodes"]) == len(nodes) and all(n["tracks"] for n in content["nodes"])
        )

    await until(is_complete)
    async with aiohttp.ClientSession() as session, session.get(hub.make_url("/fresh-index.json")) as answer:
        document, headers = await answer.read(), answer.headers
    jsonschema.validate(json.loads(document), SCHEMA)
    index = parse_fresh_index(document, time.time(), verify)
    assert index.author == hub.app[BRIDGE].member.backbone.identity.node_key
    found = best_first(index, time.time(), track.manifest.track_root)
    assert {node.node for node in found} == nodes
    assert all(node.tracks[track.manifest.track_root] == 1.0 and node.latency_ms is not None for node in found)
    assert (headers["Access-Control-Allow-Origin"], headers["Content-Type"]) == ("*", "application/json")


async def test_an_order_is_kept_and_known_after_a_restart_of_the_hub(tmp_path: Path) -> None:
    track = publish_track(tmp_path)
    document = order_of(tmp_path, track)
    async with hub_in_backbone(tmp_path) as hub:
        status, body = await call(hub, "POST", "/api/pins", document)
        assert (status, body["desired"], body["held"]) == (202, 2, 0)
        assert (await call(hub, "POST", "/api/pins", document))[0] == 202  # the artist did not hear the answer
    heard: list[bytes] = []
    async with hub_in_backbone(tmp_path) as hub:
        status, listed = await call(hub, "GET", "/api/pins")
        assert [order["order_id"] for order in listed["orders"]] == [body["order_id"]]
        member = hub.app[BRIDGE].member

        def listen(node: Any) -> None:
            node.on_gossip = lambda _author, payload: bool(heard.append(payload)) or True

        async with backbone(member.backbone.multiaddrs[0], before=listen) as node:
            await until(lambda: document in heard)  # a node that comes later hears of it
            answer = await node.request(
                member.backbone.peer_id, PROTOCOL, document, timeout_s=10.0, most_bytes=1024
            )
            said = parse_pin_answer(answer, time.time(), verify)
            assert (said.state, said.reason) == (AnswerState.DECLINED, Decline.POLICY)


async def test_what_nodes_answered_is_known_after_a_restart_of_the_hub(tmp_path: Path) -> None:
    track = publish_track(tmp_path)
    async with hub_in_backbone(tmp_path) as hub:
        _, order = await call(hub, "POST", "/api/pins", order_of(tmp_path, track))
        async with backbone(hub.app[BRIDGE].member.backbone.multiaddrs[0]) as node:
            now, order_id = int(time.time()), bytes.fromhex(order["order_id"])
            answer = PinAnswer(node.identity.node_key, order_id, AnswerState.ACCEPTED, None, now, now + 600)
            document, records = encode_pin_answer(answer, node.identity.sign), Records(tmp_path)

            async def is_kept() -> bool:
                await node.publish(document)  # again, for the mesh may not stand yet
                return [kept for kept, _ in records.answers()] == [document]

            await until(is_kept)
            records.close()
        _, listed = await call(hub, "GET", "/api/pins")
        expected = {"peer_id": node.peer_id, "operator": None, "network": None, "reason": None}
        # It answered, and never said that it is there.
        assert listed["orders"][0]["nodes"] == [{**expected, "state": "gone", "last_heard_at": None}]
        _, out, _ = await digm(hub, tmp_path, "pins")
        assert "0 of 2 held, 1 gone that had accepted" in out and "not heard since the hub started" in out
    async with hub_in_backbone(tmp_path) as hub:
        _, listed = await call(hub, "GET", "/api/pins")
    assert (listed["orders"][0]["accepted"], listed["orders"][0]["gone"]) == (1, 0)
    assert listed["orders"][0]["nodes"] == [{**expected, "state": "accepted", "last_heard_at": None}]


@asynccontextmanager
async def hub_process(data: Path, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """A hub in a process of its own, which is killed at the end."""
    variables = {"DIGM_DATA": str(data), "DIGM_PORT": str(port), "DIGM_BACKBONE_LISTEN": HERE[0]}
    with (data / "hub.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hub.cli", "hub"), env={**os.environ, **variables}, stderr=log, stdout=log
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def ask_until_up(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
    async with asyncio.timeout(30), aiohttp.ClientSession() as session:
        while True:
            with suppress(aiohttp.ClientError):
                async with session.request(method, f"http://127.0.0.1:{port}{path}", data=body) as answer:
                    if answer.status != 503:  # not in the backbone yet
                        return answer.status, json.loads(await answer.read())
            await asyncio.sleep(0.02)


async def test_an_order_outlives_a_hub_that_is_killed_when_it_has_just_said_yes(tmp_path: Path) -> None:
    track = publish_track(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    async with hub_process(tmp_path, port) as process:
        status, placed = await ask_until_up(port, "POST", "/api/pins", order_of(tmp_path, track))
        process.kill()
        assert status == 202
        await process.wait()
    async with hub_process(tmp_path, port):
        status, listed = await ask_until_up(port, "GET", "/api/pins")
    assert (status, [order["order_id"] for order in listed["orders"]]) == (200, [placed["order_id"]])


async def test_what_is_no_order_of_the_tracks_artist_is_refused(tmp_path: Path) -> None:
    track, stranger = publish_track(tmp_path / "hub"), Signer("stranger")
    publish_track(tmp_path / "other", seed=2)
    elsewhere = order_of(tmp_path / "other", publish_track(tmp_path / "other", seed=3))
    make: Callable[..., bytes] = lambda **changes: order_of(tmp_path / "hub", track, **changes)  # noqa: E731
    good = make(sequence=5)
    cases = {
        b"": (400, "pin_order_unsigned"),
        b"\xff" * 500: (400, "pin_order_unsigned"),
        b"x" * 3000: (413, "body_too_large"),
        good.replace(b'"desiredReplicas":2', b'"desiredReplicas":9'): (403, "pin_order_forged"),
        make(artist=stranger.public, sign=stranger.sign): (403, "pin_order_mismatch"),
        make(manifest_hash=bytes(32)): (403, "pin_order_mismatch"),
        elsewhere: (404, "track_not_found"),
        make(issued_at=int(time.time()) + 7200): (400, "pin_order_from_the_future"),
        make(issued_at=int(time.time()) - 86_400): (400, "pin_order_expired"),
        make(sequence=4): (409, "pin_order_replayed"),
        make(sequence=5, replicas=3): (409, "pin_order_conflict"),
    }
    async with hub_in_backbone(tmp_path / "hub") as hub:
        assert (await call(hub, "POST", "/api/pins", good))[0] == 202
        for document, expected in cases.items():
            status, body = await call(hub, "POST", "/api/pins", document)
            assert (status, body["error"]["code"]) == expected
        # Gossip may bring an order of anybody for this track; the artist's is the only one that is shown.
        hub.app[BRIDGE].member.orders._desk.hear_order(make(artist=stranger.public, sign=stranger.sign))
        _, body = await call(hub, "GET", f"/api/tracks/{track.root}/pins")
        assert [order["sequence"] for order in body["orders"]] == [5]
        for path in (f"/api/tracks/{'0' * 64}/pins", "/api/tracks/nonsense/pins"):
            assert (await call(hub, "GET", path))[1]["error"]["code"] == "track_not_found"


async def test_the_vault_may_lie_on_another_machine_than_the_tracks(tmp_path: Path) -> None:
    track = publish_track(tmp_path / "hub")
    document = ChunkStore(tmp_path / "hub").manifest(track.root)
    (tmp_path / "artist").mkdir()
    (tmp_path / "hub" / FILE_NAME).rename(tmp_path / "artist" / FILE_NAME)

    async def manifest(_request: web.Request) -> web.Response:
        return web.Response(body=document)

    app = web.Application()
    app.router.add_get(f"/{track.root}/manifest.json", manifest)
    async with TestServer(app) as gateway:
        url = str(gateway.make_url("")).rstrip("/")
        async with hub_in_backbone(tmp_path / "hub", gateway_url=url) as hub:
            status, out, err = await digm(hub, tmp_path / "artist", "pin", track.root, "--json")
            assert (status, err) == (0, "")
            assert json.loads(out)["artist"] == track.manifest.artist_key.hex()


async def test_a_hub_outside_of_the_backbone_says_so(tmp_path: Path) -> None:
    track = publish_track(tmp_path)
    async with hub_over(tmp_path) as hub:
        for method, path, body in (
            ("POST", "/api/pins", order_of(tmp_path, track)),
            ("GET", "/api/pins", None),
        ):
            status, answer = await call(hub, method, path, body)
            assert (status, answer["error"]["code"]) == (503, "backbone_off")
        assert (await call(hub, "GET", "/fresh-index.json"))[0] == 404
        status, out, err = await digm(hub, tmp_path, "pin", track.root)
        assert (status, out) == (2, "")
        assert "DIGM_BACKBONE_LISTEN" in err and err.count("\n") == 1


async def test_the_command_refuses_what_cannot_be_ordered(tmp_path: Path) -> None:
    track = publish_track(tmp_path / "hub")
    publish_track(tmp_path / "other", seed=2)
    document = ChunkStore(tmp_path / "hub").manifest(track.root)
    async with hub_in_backbone(tmp_path / "hub") as hub:
        cases = (
            ("other", (track.root,), "another artist"),
            ("nobody", (track.root,), "publish a track first"),
            ("hub", ("0" * 64,), "no such track"),
            ("hub", ("nonsense",), "64 lower-case hex digits"),
            ("hub", (), "or give --all"),
            ("hub", (track.root, "--replicas", "0"), "--cancel"),
            ("hub", (track.root, "--duration", "for ever"), "18 months"),
            ("hub", (track.root, "--cancel"), "no order of yours"),
            ("hub", (track.root, "--hub", "http://127.0.0.1:1"), "does not answer"),
        )
        (tmp_path / "nobody").mkdir()
        ChunkStore(tmp_path / "other").put_manifest(track.root, document)
        ended = await asyncio.gather(*(digm(hub, tmp_path / data, "pin", *words) for data, words, _ in cases))
        for (_, _, sentence), (status, out, err) in zip(cases, ended, strict=True):
            assert (status, out) == (2, ""), err
            assert sentence in err and err.count("\n") == 1
        status, _, err = await digm(hub, tmp_path / "hub", "pin", track.root, "--watch", "--within", "0.5")
        assert status == 1 and "Not all copies are held" in err
