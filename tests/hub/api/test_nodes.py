"""`GET /api/nodes` and the map on the operator's page, of a real hub that heard real announcements."""

import time
from pathlib import Path

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from digm.announcements import parse_announcement
from hub.bridge.bridge import BRIDGE
from hub.overview import overview
from tests.digm.signers import verify
from tests.hub.bridge.test_directory import TRACK, node, said
from tests.hub.house import hub_over, publish_track


async def get(hub: TestServer, path: str, **headers: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as http, http.get(hub.make_url(path), headers=headers) as answer:
        return answer.status, await answer.text()


async def nodes_of(hub: TestServer) -> dict[str, list[dict[str, object]]]:
    async with aiohttp.ClientSession() as http, http.get(hub.make_url("/api/nodes")) as answer:
        document: dict[str, list[dict[str, object]]] = await answer.json()
        return document


def hear(hub: TestServer, name: str, lifetime_s: int = 600, **changes: object) -> None:
    now = int(time.time())
    document = said(name, issued_at=now, valid_until=now + lifetime_s, **changes)
    hub.app[BRIDGE].directory.ledger.add(parse_announcement(document, now, verify), now)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "FRESH_FOR_S", 0.0)


async def test_who_holds_what_as_json(tmp_path: Path) -> None:
    track = publish_track(tmp_path, title="Night train")
    async with hub_over(tmp_path) as hub:
        hear(hub, "ann", held=3)
        document = await nodes_of(hub)
    [ann] = document["nodes"]
    assert (ann["peer_id"], ann["operator"], ann["state"]) == (node("ann"), "ann", "unproven")
    assert ann["tracks"] == [{"track_root": TRACK, "share": 0.75, "pinned": False}]
    assert [(one["track_root"], one["title"], one["desired"], one["held"]) for one in document["tracks"]] == [
        (track.root, "Night train", None, 0), (TRACK, None, None, 0)
    ]  # fmt: skip


async def test_the_page_draws_it_without_a_script_or_a_style_of_its_own(tmp_path: Path) -> None:
    track = publish_track(tmp_path, title="<Night> & train")
    async with hub_over(tmp_path) as hub:
        hear(hub, "ann", operator="<b>ann", network="</svg>")
        status, text = await get(hub, "/operator")
    assert status == 200
    assert "&lt;Night&gt; &amp; train" in text
    assert "&lt;b&gt;ann" in text
    assert "<b>" not in text
    assert "style=" not in text, "the policy lets none through"
    assert text.count('class="star"') == 1
    assert f'href="/tracks/{track.root}"' in text


async def test_a_node_that_left_is_shown_as_gone_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hub_over(tmp_path) as hub:
        hear(hub, "ann")
        assert [one["state"] for one in (await nodes_of(hub))["nodes"]] == ["unproven"]
        monkeypatch.setattr(overview, "network_of", lambda *_: overview.Network())
        assert [one["state"] for one in (await nodes_of(hub))["nodes"]] == ["gone"]
        monkeypatch.setattr(overview, "REMEMBERED_S", 0.0)
        assert (await nodes_of(hub))["nodes"] == []


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"X-Forwarded-For": "203.0.113.9"}])
async def test_nobody_else_sees_it(tmp_path: Path, headers: dict[str, str]) -> None:
    async with hub_over(tmp_path) as hub:
        assert (await get(hub, "/api/nodes", **headers))[0] == 404
