"""A page at a hub to which no artist is linked gets its grant, over libp2p, from a hub that has the link."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from digm.backbone_messages import GRANT, provider_key
from digm.carried_grants import CarriedRequest, vault_record
from digm.errors import Unavailable
from hub.backbone.backbone import Backbone
from hub.bridge.bridge import BRIDGE
from hub.granting import carrying
from hub.granting.issue import GrantIssuer
from hub.publishing.vault import FILE_NAME, Vault
from hub.services import SERVICES
from hub.signalling.tokens import check_swarm_token, load_swarm_secret
from hub.storage.catalogue import Catalogue
from hub.storage.chunk_store import ChunkStore
from tests.hub.backbone.nodes import backbone, until
from tests.hub.granting.test_grants_end_to_end import Page, artist_at, linked
from tests.hub.house import Published, hub_over, publish_track

HERE = ("/ip4/127.0.0.1/tcp/0",)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.bridge.member.LOOKED_AT_S", 0.05)
    monkeypatch.setattr("hub.granting.elsewhere.ANSWER_WITHIN_S", 30.0)  # two cores may have much else to do
    for name in ("LOOKED_UP_AGAIN_S", "EXPECTED_AGAIN_S"):
        monkeypatch.setattr(f"hub.granting.elsewhere.{name}", 0.2)
    monkeypatch.setattr("hub.bridge.probes.EVERY_S", 0.05)


def tell_of(track: Published, data: Path, other: Path) -> None:
    """Another hub knows of the track; it has neither its key nor its chunks."""
    here, there = Catalogue.open(data), Catalogue.open(other)
    try:
        entry = here.track(track.root)
        assert entry is not None
        release = here.release(entry.release_id)
        assert release is not None
        there.publish(release, [entry])
    finally:
        here.close()
        there.close()
    ChunkStore(other).put_manifest(track.root, ChunkStore(data).manifest(track.root))


@contextlib.asynccontextmanager
async def hub_in_backbone(
    data: Path, *bootstrap: str, **settings: Any
) -> AsyncIterator[tuple[TestServer, Backbone]]:
    async with hub_over(data, backbone_listen=HERE, backbone_bootstrap=bootstrap, **settings) as hub:
        member: Any = hub.app[BRIDGE].member  # type: ignore[attr-defined]
        await until(lambda: member.backbone is not None)
        if bootstrap:
            await until(member.backbone.peers)
        yield hub, member.backbone


async def granted(hub: TestServer, track: Published) -> tuple[Page, Any]:
    """Ask until the answer is a grant."""
    page, answers = Page(), []

    async def is_granted() -> bool:
        answers.append(await page.ask(hub, track))
        return answers[-1][0] == 200

    await until(is_granted)
    return page, answers[-1][1]


async def test_a_page_at_a_hub_without_the_artists_link_gets_a_grant_that_opens(tmp_path: Path) -> None:
    home, new = tmp_path / "home", tmp_path / "new"
    track = publish_track(home, chunk_count=6, preview_s=9)
    tell_of(track, home, new)
    async with hub_in_backbone(home) as (first, there), hub_in_backbone(new, there.multiaddrs[0]) as (hub, _):
        status, body = await Page().ask(hub, track)
        assert (status, body["error"]["code"]) == (503, "artist_offline")
        assert body["error"] == (await Page().ask(first, track))[1]["error"]
        async with artist_at(first, home):
            page, body = await granted(hub, track)
            grant = page.open(body, track)
            grant.check(track.manifest, page.public, time.time())
            assert grant.track_key is None
            assert grant.key_for(0, 0) is not None
            # The swarm's token is the new hub's own: that is where the page meets others.
            expiry = check_swarm_token(
                load_swarm_secret(new), track.manifest.track_root, body["swarm_token"], time.time()
            )
            assert expiry == grant.not_after == body["not_after"]
            several = await asyncio.gather(*(Page().ask(hub, track) for _ in range(20)))
            assert {status for status, _ in several} == {200}
        await linked(first, track.manifest.artist_key.hex(), is_linked=False)
        status, body = await Page().ask(hub, track)
        assert (status, body["error"]["code"]) == (503, "artist_offline")
        said: Any = there._host
        record = provider_key(vault_record(track.manifest.artist_key))
        await until(lambda: record not in said.dht.provider_store.providing_keys)
        async with artist_at(first, home):  # it comes back
            await until(lambda: record in said.dht.provider_store.providing_keys)
            await granted(hub, track)


async def test_where_the_dht_names_nobody_the_hub_that_holds_the_track_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrying, "MOST_PROVIDED", 0)
    home, new = tmp_path / "home", tmp_path / "new"
    track = publish_track(home)
    tell_of(track, home, new)
    async with (
        hub_in_backbone(home) as (first, there),
        hub_in_backbone(new, there.multiaddrs[0]) as (hub, _),
        artist_at(first, home),
    ):
        page, body = await granted(hub, track)
        assert page.open(body, track).track_key == track.track_key


Answer = Callable[[str, bytes], Awaitable[bytes]]


@contextlib.asynccontextmanager
async def carrier(artist_key: bytes, answer: Answer, *bootstrap: str) -> AsyncIterator[Backbone]:
    """A node that says that it has the artist's vault, and answers as it likes."""

    def before(node: Backbone) -> None:
        node.serve(GRANT.name, answer, most_bytes=96, timeout_s=20.0, parallel=32)

    async with backbone(*bootstrap, before=before) as node:
        await until(lambda: node.provide(vault_record(artist_key)))
        yield node


async def test_carriers_that_replay_refuse_or_say_nothing_keep_nobody_from_the_grant(tmp_path: Path) -> None:
    home, new = tmp_path / "home", tmp_path / "new"
    track = publish_track(home)
    tell_of(track, home, new)
    asked, is_silent, enough = list[str](), asyncio.Event(), asyncio.Event()
    with Vault.open(home / FILE_NAME) as vault:
        issuer = GrantIssuer(vault, ChunkStore(home), 3600)
        for_another = issuer.issue(track.root, "09" + "00" * 31, time.time()).encode()

    async def replay(_peer: str, _request: bytes) -> bytes:
        asked.append("replay")
        return for_another

    async def refuse(_peer: str, _request: bytes) -> bytes:
        asked.append("silence" if is_silent.is_set() else "refusal")
        if is_silent.is_set():
            await enough.wait()
        raise Unavailable("grant_refused", "Not for you.")

    artist = track.manifest.artist_key
    async with (
        hub_in_backbone(home) as (first, there),
        hub_in_backbone(new, there.multiaddrs[0]) as (hub, known),
        carrier(artist, replay, known.multiaddrs[0]),
        carrier(artist, refuse, known.multiaddrs[0]) as obstinate,
    ):
        status, body = await Page().ask(hub, track)
        assert (status, body["error"]["code"]) == (403, "grant_refused")
        assert sorted(asked) == ["refusal", "replay"]
        is_silent.set()
        async with artist_at(first, home):
            for _ in range(3):
                page, body = await granted(hub, track)
                assert page.open(body, track).track_key == track.track_key
                vaults: Any = hub.app[BRIDGE].member.vaults  # type: ignore[attr-defined]
                vaults._artists[artist.hex()].gave(obstinate.peer_id)  # asked first, the next time
        enough.set()
    assert asked.count("replay") == 1  # who lied is left alone
    assert asked.count("silence") >= 2


async def ask(node: Backbone, peer: str, request: bytes) -> bytes:
    return await node.request(peer, GRANT.name, request, timeout_s=8.0, most_bytes=GRANT.most_answer_bytes - 1)


async def reason(node: Backbone, peer: str, request: bytes) -> tuple[str, str]:
    with pytest.raises(Unavailable) as refused:
        await ask(node, peer, request)
    return refused.value.data["status"], refused.value.data["reason"]


async def test_a_hub_answers_with_its_own_links_and_asks_no_third_hub(tmp_path: Path) -> None:
    home, between = tmp_path / "home", tmp_path / "between"
    track = publish_track(home)
    tell_of(track, home, between)
    request = CarriedRequest(track.manifest.artist_key, track.manifest.track_root, bytes(31) + b"\x09").encode()
    async with (
        hub_in_backbone(home) as (first, there),
        hub_in_backbone(between, there.multiaddrs[0]) as (second, middle),
        artist_at(first, home),
        backbone(middle.multiaddrs[0], there.multiaddrs[0]) as stranger,
    ):
        await granted(second, track)  # it knows where the vault is
        await until(lambda: len(stranger.peers()) == 2)
        assert await reason(stranger, middle.peer_id, request) == ("not_here", "artist_offline")
        assert await ask(stranger, there.peer_id, request)


async def test_what_strangers_ask_is_refused_by_name_and_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrying, "PER_PEER_AT_ONCE", 10.0)
    monkeypatch.setattr(carrying, "PER_PEER_S", 0.001)
    track = publish_track(tmp_path)
    artist, root = track.manifest.artist_key, track.manifest.track_root
    async with (
        hub_in_backbone(tmp_path) as (hub, there),
        artist_at(hub, tmp_path),
        backbone(there.multiaddrs[0]) as stranger,
        backbone(there.multiaddrs[0]) as other,
    ):
        await until(lambda: stranger.peers() and other.peers())
        for wrong in (b"", bytes(95)):
            assert await reason(stranger, there.peer_id, wrong) == ("refused", "bad_grant_request")
        refusals = [
            await reason(stranger, there.peer_id, CarriedRequest(*parts).encode())
            for parts in ((bytes(32), root, artist), (artist, bytes(32), artist), (artist, root, bytes(32)))
        ]
        assert refusals == [
            ("not_here", "artist_offline"), ("not_here", "grant_refused"), ("not_here", "grant_refused"),
        ]  # fmt: skip
        good = CarriedRequest(artist, root, bytes(31) + b"\x09").encode()
        for _ in range(7):
            await ask(stranger, there.peer_id, good)
        assert await reason(stranger, there.peer_id, good) == ("busy", "too_many_requests")
        assert await ask(other, there.peer_id, good)
        assert (await Page().ask(hub, track))[0] == 200


async def test_pages_at_a_hub_that_asks_too_often_wait_a_moment_and_get_their_grants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrying, "PER_PEER_AT_ONCE", 50.0)
    monkeypatch.setattr("hub.granting.elsewhere.BUSY_AGAIN_S", (0.05, 0.1))
    home, new = tmp_path / "home", tmp_path / "new"
    track = publish_track(home)
    tell_of(track, home, new)
    async with (
        hub_in_backbone(home) as (first, there),
        hub_in_backbone(new, there.multiaddrs[0]) as (hub, _),
        artist_at(first, home),
    ):
        await granted(hub, track)
        pages = [Page() for _ in range(100)]
        answers = await asyncio.gather(*(page.ask(hub, track) for page in pages))
        for page, (status, body) in zip(pages, answers, strict=True):
            assert status == 200, body
            assert page.open(body, track).player_key == page.public


async def test_half_of_a_vaults_places_stay_free_for_the_pages_of_its_own_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrying, "MOST_PENDING", 0)
    track = publish_track(tmp_path)
    request = CarriedRequest(track.manifest.artist_key, track.manifest.track_root, bytes(31) + b"\x09").encode()
    async with (
        hub_in_backbone(tmp_path) as (hub, there),
        artist_at(hub, tmp_path),
        backbone(there.multiaddrs[0]) as stranger,
    ):
        await until(stranger.peers)
        assert await reason(stranger, there.peer_id, request) == ("busy", "artist_busy")
        assert (await Page().ask(hub, track))[0] == 200
        assert hub.app[SERVICES].vaults.artists  # type: ignore[attr-defined]


async def test_a_hub_is_ready_when_the_vault_and_the_chunks_are_elsewhere(tmp_path: Path) -> None:
    home, new = tmp_path / "home", tmp_path / "new"
    track = publish_track(home)
    tell_of(track, home, new)
    async with (
        gateway_of(track) as gateway,
        hub_in_backbone(home) as (first, there),
        hub_in_backbone(new, there.multiaddrs[0], gateways=(gateway,)) as (hub, _),
    ):
        assert (await readiness(hub))["vault_connected"] is False
        async with artist_at(first, home):

            async def is_ready() -> bool:
                found = await readiness(hub)
                return found["chunks_held"] and found["vault_connected"]

            await until(is_ready)


async def readiness(hub: TestServer) -> dict[str, bool]:
    async with aiohttp.ClientSession() as session, session.get(hub.make_url("/readyz")) as answer:
        conditions: dict[str, bool] = (await answer.json())["conditions"]
        return conditions


@contextlib.asynccontextmanager
async def gateway_of(track: Published) -> AsyncIterator[str]:
    """Somebody who says that he has the track's manifest."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=200)

    app = web.Application()
    app.router.add_route("HEAD", f"/{track.root}/manifest.json", answer)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")
