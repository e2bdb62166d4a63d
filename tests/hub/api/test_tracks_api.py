"""The JSON API: what players and other programs rely on."""

import io
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image

from tests.hub.house import hub_over, publish_track

NOWHERE = "0" * 64


async def get(url: object, **headers: str) -> tuple[aiohttp.ClientResponse, Any]:
    async with aiohttp.ClientSession() as session, session.get(str(url), headers=headers) as answer:
        body = await answer.read()
        return answer, json.loads(body) if answer.content_type == "application/json" else body


async def post(url: object, body: bytes) -> tuple[int, Any, aiohttp.ClientResponse]:
    async with aiohttp.ClientSession() as session, session.post(str(url), data=body) as answer:
        return answer.status, await answer.json(), answer


def jpeg() -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 80, 40)).save(target, "JPEG")
    return target.getvalue()


async def test_tracks_are_listed_for_any_page(tmp_path: Path) -> None:
    track = publish_track(tmp_path, title="Gymnopédie")
    async with hub_over(tmp_path) as hub:
        answer, body = await get(hub.make_url("/api/tracks"), Origin="null")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert [(item["track_root"], item["title"]) for item in body["tracks"]] == [(track.root, "Gymnopédie")]


async def test_a_track_tells_where_everything_is_in_absolute_urls(tmp_path: Path) -> None:
    track = publish_track(tmp_path, cover=jpeg())
    async with hub_over(tmp_path, gateway_port=4711) as hub:
        _, body = await get(hub.make_url(f"/api/tracks/{track.root}"))
        here = f"127.0.0.1:{hub.port}"
        assert body["gateways"] == ["http://127.0.0.1:4711"]
        assert body["manifest_url"] == f"http://127.0.0.1:4711/{track.root}/manifest.json"
        assert body["signal_url"] == f"ws://{here}/signal"
        assert body["duration_s"] == 16
        assert body["preview_s"] is None
        answer, picture = await get(body["cover_url"])
        assert body["cover_url"].startswith(f"http://{here}/covers/")
    assert answer.content_type == "image/jpeg"
    assert picture == jpeg()
    assert "immutable" in answer.headers["Cache-Control"]


async def test_public_urls_of_the_settings_win_over_the_request(tmp_path: Path) -> None:
    track = publish_track(tmp_path)
    async with hub_over(
        tmp_path, public_url="https://digm.example", gateway_url="https://chunks.example"
    ) as hub:
        _, body = await get(hub.make_url(f"/api/tracks/{track.root}"))
    assert body["signal_url"] == "wss://digm.example/signal"
    assert body["gateways"] == ["https://chunks.example"]


async def test_a_chunk_is_never_served_as_a_cover(tmp_path: Path) -> None:
    track = publish_track(tmp_path)
    async with hub_over(tmp_path) as hub:
        for name in (track.chunk(0, 0), NOWHERE, "..%2f..%2fvault.digm"):
            answer, body = await get(str(hub.make_url("/covers/")) + name)
            assert answer.status == 404
            assert body["error"]["code"] in ("cover_not_found", "not_found")


async def test_failures_are_json_with_a_stable_code_and_a_sentence(tmp_path: Path) -> None:
    track = publish_track(tmp_path)
    async with hub_over(tmp_path) as hub:
        answer, body = await get(hub.make_url(f"/api/tracks/{NOWHERE}"))
        assert (answer.status, body["error"]["code"]) == (404, "track_not_found")
        assert body["error"]["message"].endswith(".")
        answer, body = await get(hub.make_url("/api/tracks/NOT-HEX"))
        assert (answer.status, body["error"]["code"]) == (404, "track_not_found")
        answer, body = await get(hub.make_url(f"/api/tracks/{track.root}/grant"))
        assert (answer.status, body["error"]["code"]) == (405, "method_not_allowed")
        assert answer.headers["Access-Control-Allow-Origin"] == "*"


async def test_a_preflight_from_an_opaque_origin_is_allowed(tmp_path: Path) -> None:
    async with (
        hub_over(tmp_path) as hub,
        aiohttp.ClientSession() as session,
        session.options(
            hub.make_url(f"/api/tracks/{NOWHERE}/grant"),
            headers={"Origin": "null", "Access-Control-Request-Method": "POST"},
        ) as answer,
    ):
        assert answer.status == 204
        assert "POST" in answer.headers["Access-Control-Allow-Methods"]
        assert answer.headers["Access-Control-Allow-Headers"] == "Content-Type"


async def test_a_grant_request_that_makes_no_sense_is_refused_before_anyone_is_asked(tmp_path: Path) -> None:
    track = publish_track(tmp_path)
    async with hub_over(tmp_path) as hub:
        url = hub.make_url(f"/api/tracks/{track.root}/grant")
        for body in (b"", b"[]", b"{}", b'{"player_key": 7}', b"\xff\xfe", b"[" * 900):
            assert (await post(url, body))[:2][0] == 400
        assert (await post(url, b'{"player_key": "zz"}'))[1]["error"]["code"] == "bad_player_key"
        status, body, _ = await post(url, b'{"player_key": "' + b"a" * 5000 + b'"}')
        assert (status, body["error"]["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    "body",
    [
        b'{"player_key": "\xff"}',
        b'{"player_key": "\\ud800"}',
        b'{"player_key": "' + b"\xc3" * 64 + b'"}',
        b'{"other": ' + b"[" * 900,
        b'{"other": ' + b"[" * 400 + b"]" * 400 + b"}",
        b'"text"',
        b"[[]]",
        b"null",
        b"7",
    ],
)
async def test_a_body_that_is_not_the_json_we_ask_for_is_the_callers_fault(tmp_path: Path, body: bytes) -> None:
    async with hub_over(tmp_path) as hub:
        status, answer, _ = await post(hub.make_url(f"/api/tracks/{NOWHERE}/grant"), body)
    assert (status, answer["error"]["code"]) == (400, "bad_body")


async def test_a_body_that_does_not_unpack_is_the_callers_fault(tmp_path: Path) -> None:
    async with hub_over(tmp_path) as hub, aiohttp.ClientSession() as session:
        url = hub.make_url(f"/api/tracks/{NOWHERE}/grant")
        async with session.post(
            url, data=b"no gzip", headers={"Content-Encoding": "gzip"}, compress=None
        ) as answer:
            assert answer.status == 400
            assert (await answer.json())["error"]["code"] in ("bad_body", "bad_request")


async def test_one_address_cannot_ask_for_grants_without_end(tmp_path: Path) -> None:
    track = publish_track(tmp_path)
    async with hub_over(tmp_path, grants_per_minute=3) as hub:
        url = hub.make_url(f"/api/tracks/{track.root}/grant")
        answers = [await post(url, json.dumps({"player_key": "ab" * 32}).encode()) for _ in range(4)]
    assert [status for status, _, _ in answers] == [503, 503, 503, 429]
    assert 1 <= int(answers[-1][2].headers["Retry-After"]) <= 21


async def test_readiness_names_what_is_missing(tmp_path: Path) -> None:
    async with hub_over(tmp_path, gateway_url="http://127.0.0.1:9") as hub:
        answer, body = await get(hub.make_url("/readyz"))
        assert answer.status == 503
        assert body["conditions"]["track_published"] is False
        assert "digm publish" in body["reasons"]["track_published"]
        publish_track(tmp_path)
        _, body = await get(hub.make_url("/readyz"))
        assert body["conditions"]["track_published"] is True
        assert body["conditions"]["chunks_held"] is True
        assert body["conditions"]["gateway_answers"] is False
        assert body["conditions"]["vault_connected"] is False
        assert set(body["reasons"]) == {"gateway_answers", "vault_connected"} | (
            set() if body["conditions"]["player_built"] else {"player_built"}
        )
        assert "no artist process answers for Nobody (key " in body["reasons"]["vault_connected"]
        answer, _ = await get(hub.make_url("/healthz"))
        assert answer.status == 200


async def test_metrics_count_routes_and_not_tracks(tmp_path: Path) -> None:
    track = publish_track(tmp_path)
    async with hub_over(tmp_path) as hub:
        await get(hub.make_url(f"/api/tracks/{track.root}"))
        _, body = await get(hub.make_url("/metrics"))
    assert b'digm_http_requests_total{method="GET",route="/api/tracks/{track_root}",status="200"}' in body
    assert track.root.encode() not in body


async def test_a_release_lists_its_tracks_in_order_for_any_page(tmp_path: Path) -> None:
    release = "ab" * 32
    tracks = [
        publish_track(tmp_path, title=title, seed=seed, release=release)
        for seed, title in enumerate(("Opening", "Middle", "End"))
    ]
    async with hub_over(tmp_path) as hub:
        answer, body = await get(hub.make_url(f"/api/releases/{release}"), Origin="null")
        _, single = await get(hub.make_url(f"/api/tracks/{tracks[1].root}"))
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert body["title"] == "Opening"
    assert [item["track_root"] for item in body["tracks"]] == [track.root for track in tracks]
    assert single["release_id"] == release


@pytest.mark.parametrize("name", [NOWHERE, "ABC", "..%2f", "x" * 500])
async def test_a_release_that_is_not_here_is_said_so(name: str, tmp_path: Path) -> None:
    async with hub_over(tmp_path) as hub:
        answer, body = await get(str(hub.make_url("/api/releases/")) + name)
    assert answer.status == 404
    assert body["error"]["code"] == "release_not_found"
