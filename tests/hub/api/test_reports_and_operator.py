"""What players report, and what the operator sees of it: added up, bounded, and shown to nobody else."""

import base64
import json
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from digm.errors import CallerFault
from hub.api import reports
from hub.api.reports import PLAYER_REPORTS, PlayerReports
from hub.config import Settings
from hub.signalling import SIGNALLING
from hub.signalling.presence import Member
from tests.hub.house import Published, hub_over, publish_track

PASSWORD = "correct horse battery"  # noqa: S105


def report(track: str, **changes: object) -> dict[str, object]:
    fetched = {"peer": 9_000_000, "gateway": 1_000_000, "cache": 0}
    return {"track": track, "bytes": fetched, "given": 5, "stalls": 1, "played_s": 30, **changes}


async def post(hub: TestServer, body: object) -> tuple[int, str]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with aiohttp.ClientSession() as http, http.post(hub.make_url("/api/reports"), data=data) as answer:
        return answer.status, await answer.text()


async def ask(hub: TestServer, path: str, **headers: str) -> aiohttp.ClientResponse:
    async with aiohttp.ClientSession() as http, http.get(hub.make_url(path), headers=headers) as answer:
        await answer.read()
        return answer


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def enter(hub: TestServer, track: Published, peer: str, role: str, share: float) -> None:
    member = Member(peer, role, share, "192.0.2.1", time.monotonic() + 100)
    hub.app[SIGNALLING].presence.enter(track.root, member, 0)


async def test_reports_are_added_up_for_prometheus(tmp_path: Path) -> None:
    track = publish_track(tmp_path)
    before = value("digm_player_bytes_total", source="peer")
    sounds = value("digm_player_first_sound_seconds_count")
    async with hub_over(tmp_path) as hub:
        assert (await post(hub, report(track.root, first_sound_ms=250)))[0] == 204
        assert (await post(hub, report(track.root)))[0] == 204
        sums = hub.app[PLAYER_REPORTS].of(track.root)
    assert value("digm_player_bytes_total", source="peer") == before + 18_000_000
    assert value("digm_player_first_sound_seconds_count") == sounds + 1
    assert (sums.peer, sums.gateway, sums.stalls, sums.first_sound_ms) == (18_000_000, 2_000_000, 2, 250)


async def test_a_report_keeps_nothing_of_who_sent_it(tmp_path: Path) -> None:
    track = publish_track(tmp_path)
    async with hub_over(tmp_path) as hub:
        assert (await post(hub, report(track.root, peer="ab" * 32, name="Alice")))[0] == 204
        assert "Alice" not in repr(vars(hub.app[PLAYER_REPORTS]))
        assert "abab" not in repr(vars(hub.app[PLAYER_REPORTS]))


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"nonsense", 400),
        (b"[" * 1_000, 400),
        (b'"' + b"x" * 2_000 + b'"', 413),
        ({"track": "here"}, 400),
        ({"track": "0" * 64}, 404),
        ({"track": "0" * 64, "stalls": -1}, 400),
        ({"track": "0" * 64, "stalls": 10**9}, 400),
        ({"track": "0" * 64, "bytes": {"peer": 2**60}}, 400),
        ({"track": "0" * 64, "played_s": "long"}, 400),
        ({"track": "0" * 64, "first_sound_ms": 1e300}, 400),
    ],
)
async def test_a_report_out_of_bounds_is_refused(tmp_path: Path, body: object, status: int) -> None:
    async with hub_over(tmp_path) as hub:
        assert (await post(hub, body))[0] == status


async def test_an_address_may_report_so_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "PER_MINUTE", 3)
    track = publish_track(tmp_path)
    async with hub_over(tmp_path) as hub:
        statuses = [(await post(hub, report(track.root)))[0] for _ in range(4)]
    assert statuses == [204, 204, 204, 429]


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.integers(0, 5_000), max_size=60))
def test_the_sums_of_many_tracks_stay_bounded(numbers: list[int]) -> None:
    kept = PlayerReports()
    for number in [*numbers, *range(5_000, 5_000 + reports.MAX_TRACKS)]:
        kept.add(reports.PlayerReport(f"{number:064x}"))
    assert len(kept._tracks) == reports.MAX_TRACKS


async def test_the_operator_sees_the_swarms_drawn_and_as_numbers(tmp_path: Path) -> None:
    track = publish_track(tmp_path, title="<Prelude> & more")
    async with hub_over(tmp_path) as hub:
        enter(hub, track, "aa" * 32, "node", 1.0)
        for number in range(3):
            enter(hub, track, f"{number:064x}", "listener", number / 4)
        await post(hub, report(track.root, first_sound_ms=180))
        page = await ask(hub, "/operator")
        async with aiohttp.ClientSession() as http, http.get(hub.make_url("/api/operator/swarms")) as answer:
            document: dict[str, Any] = await answer.json()
    text = await page.text()
    assert page.status == 200
    assert page.headers["Cache-Control"] == "no-store"
    assert "&lt;Prelude&gt; &amp; more" in text
    assert text.count('class="post"') == 4
    assert "style=" not in text, "the policy lets none through"
    [swarm] = document["swarms"]
    assert (swarm["listeners"], swarm["nodes"], swarm["offload"]) == (3, 1, 0.9)
    assert swarm["first_sound_ms"] == 180
    assert document["totals"]["offload"] == 0.9
    assert "0" * 64 not in json.dumps(document["swarms"]), "peers are not named"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"X-Forwarded-For": "203.0.113.9"},
        {"Forwarded": "for=203.0.113.9"},
        {"Host": "127.0.0.1.evil.example:8080"},
    ],
)
async def test_nobody_else_sees_it(tmp_path: Path, headers: dict[str, str]) -> None:
    async with hub_over(tmp_path) as hub:
        for path in ("/operator", "/api/operator/swarms"):
            assert (await ask(hub, path, **headers)).status == 404


async def test_behind_a_trusted_proxy_only_the_token_opens_it(tmp_path: Path) -> None:
    far = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Host": "digm.example"}
    async with hub_over(tmp_path, trusted_proxies=("127.0.0.1",), operator_token=PASSWORD) as hub:
        refused = await ask(hub, "/operator", **far)
        assert refused.status == 401
        assert refused.headers["WWW-Authenticate"].startswith("Basic")
        basic = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
        statuses = [
            (await ask(hub, "/operator", Authorization=value, **far)).status
            for value in (f"Basic {basic}", f"Bearer {PASSWORD}", "Bearer x", "Basic !", "Basic", "Bearer ä")
        ]
    assert statuses == [200, 200, 401, 401, 401, 401]


def test_a_short_token_is_no_protection(tmp_path: Path) -> None:
    with pytest.raises(CallerFault, match="DIGM_OPERATOR_TOKEN"):
        Settings(data=tmp_path, operator_token="x" * 15)
