"""The chain on the operator's page and in /api/chain: a hub follows a real devnet, on which a node fails."""

import asyncio
import dataclasses
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from digm.announcements import PRESENCE, Announcement
from digm.bitfield import Bitfield
from digm.chain_story import day
from digm.chain_tracks import ChainTrack
from digm.fresh_index import parse_fresh_index
from digm.ids import to_hex
from digm.node_ids import peer_id
from hub.bridge.bridge import BRIDGE
from hub.bridge.chain import CHAIN
from hub.chain.state import ChainState, FoundTrack
from hub.chain.words import checksummed
from hub.overview.chain import ChainView, Names
from hub.overview.network import Published
from hub.pages.chain_view import chain_summary, drawn_chain
from hub.signatures import verify
from tests.digm.signers import Signer
from tests.hub.chain.devnet import DevnetProcess
from tests.hub.chain.played import Played
from tests.hub.house import Published as PublishedTrack
from tests.hub.house import hub_over, publish_track
from tests.ports import free_port

NAMES = ("Adagio", "<b>Brio</b>", "Calando")
PATIENCE_S = 60


@dataclasses.dataclass
class Told:
    """A devnet with a story on it, and the folder of a hub that reads it."""

    played: Played
    data: Path
    track: PublishedTrack
    order: int


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    process, data = DevnetProcess(tmp_path_factory.mktemp("devnet")), tmp_path_factory.mktemp("hub")
    try:
        played = Played(process, [Signer(name).public for name in NAMES])
        played.hand_out(data)
        track = publish_track(data, title="Night train")
        order_of = played.publish(data, track)
        played.join()
        order = played.drop_data(order_of)
        played.replace(order)
        yield Told(played, data, track, order)
    finally:
        process.kill()


def account(told: Told, number: int) -> str:
    return checksummed(told.played.nodes[number])


@asynccontextmanager
async def hub(told: Told, **settings: Any) -> AsyncIterator[TestServer]:
    """A hub that has read everything, and has heard of the three nodes."""
    url = f"{told.played.process.url}/?key=some-secret"
    async with hub_over(told.data, chain_rpc=(url,), **settings) as server:
        follower, ledger = server.app[CHAIN], server.app[BRIDGE].directory.ledger
        for number, name in enumerate(NAMES):
            ledger.add(announcement(name, account(told, number)), time.time())
        # Somebody who says that Adagio's account is his own, and who has named no key of it.
        ledger.add(announcement("Mallory", account(told, 0)), time.time())
        async with asyncio.timeout(PATIENCE_S):
            version = -1
            while not follower.is_current:
                version = await follower.changed(version)
        yield server


def announcement(name: str, chain_account: str, root: bytes = PRESENCE) -> Announcement:
    now, held = int(time.time()), {} if root == PRESENCE else {0: Bitfield.full(4)}
    return Announcement(
        node=Signer(name).public, instance=bytes(16), track_root=root, manifest_hash=bytes(32), held=held,
        operator=name, network="AS1", sequence=now + (root != PRESENCE), issued_at=now, valid_until=now + 600,
        account=chain_account, gateway_url=f"https://{Signer(name).public.hex()[:8]}.example",
    )  # fmt: skip


async def get(server: TestServer, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as http, http.get(server.make_url(path)) as answer:
        return answer.status, await answer.text()


async def test_orders_nodes_and_what_happened_are_there_for_programs(told: Told) -> None:
    async with hub(told) as server:
        status, text = await get(server, "/api/chain")
    assert status == 200 and "some-secret" not in text
    said = json.loads(text)
    assert (said["chain_id"], said["is_current"], said["round"], said["running"]) == (31_337, True, 3, 1)
    [order] = said["orders"]
    assert (order["title"], order["held"], order["wanted"], order["state"]) == ("Night train", 2, 2, "full")
    assert order["owner"] == "Nobody"  # as the artist's key signed it
    assert set(order["holders"]) == {"<b>Brio</b>", "Calando"} and int(order["escrow"]) > 0
    nodes = {node["name"]: node for node in said["nodes"]}
    assert set(nodes) == set(NAMES)
    adagio, brio = nodes["Adagio"], nodes["<b>Brio</b>"]
    assert (adagio["stake"], adagio["slashed"], adagio["times_slashed"]) == (
        str(1600 * 10**18), str(400 * 10**18), 1
    )  # fmt: skip
    assert adagio["jailed_until"] and adagio["peer_id"] == peer_id(Signer("Adagio").public)
    assert adagio["rounds"] == {"1": "missed", "2": "missed", "3": "slashed"}
    assert (brio["passed"], brio["last_proof"], brio["misses_in_a_row"]) == (3, 3, 0)
    words = [event["words"] for event in said["events"]]
    assert words[0] == "Calando keeps “Night train” in the place of Adagio"
    assert any(line.startswith("Adagio lost 20 % of its stake: 3 rounds missed") for line in words)


async def test_the_page_shows_it_and_strangers_names_change_nothing_on_it(told: Told) -> None:
    async with hub(told) as server:
        _, page = await get(server, "/operator")
        _, nodes = await get(server, "/api/nodes")
    assert "1 order, 3 nodes with a stake. Every place is taken. Adagio is in jail." in page
    jailed_until = told.played.house.pinning.ask("node", told.played.nodes[0])["jailed_until"]
    assert f"in jail, until {day(jailed_until)} at least" in page
    assert "Adagio lost 20 % of its stake: 3 rounds missed" in page
    assert "&lt;b&gt;Brio&lt;/b&gt; proved in round 3 that it has “Night train”" in page
    assert "<b>" not in page and "some-secret" not in page
    assert "1,600 DIGM, lost 400, in jail" in page
    standing = {node["operator"]: node["chain"] for node in json.loads(nodes)["nodes"]}
    assert standing["Adagio"]["slashed"] == str(400 * 10**18) and standing["Mallory"] is None


async def test_who_is_in_jail_is_named_last_as_a_source_and_the_index_says_why(told: Told) -> None:
    listen = f"/ip4/127.0.0.1/tcp/{free_port()}"
    async with hub(told, backbone_listen=(listen,)) as server:
        directory, root = server.app[BRIDGE].directory, bytes.fromhex(told.track.root)
        for number, name in enumerate(NAMES):
            directory.ledger.add(announcement(name, account(told, number), root), time.time())
        found = directory.nodes_of(told.track.root, time.time())
        assert [node.peer_id for node in found][-1] == peer_id(Signer("Adagio").public)
        async with asyncio.timeout(PATIENCE_S):
            while (answer := await get(server, "/fresh-index.json"))[0] != 200:
                await asyncio.sleep(0.05)
    index = parse_fresh_index(answer[1].encode(), time.time(), verify)
    chain = {node.operator: node.chain for node in index.nodes}
    assert chain["Mallory"] is None and chain["Calando"] is not None and chain["Adagio"] is not None
    assert (chain["Adagio"].slashed, chain["Adagio"].is_jailed) == (400 * 10**18, True)
    assert (chain["Calando"].node_class, chain["Calando"].stake) == ("cold", 300 * 10**18)
    assert index.nodes[-1].operator == "Adagio"


async def test_without_a_chain_the_page_says_how_to_have_one(tmp_path: Path) -> None:
    async with hub_over(tmp_path) as server:
        _, page = await get(server, "/operator")
        _, said = await get(server, "/api/chain")
    assert "No chain is followed here" in page and json.loads(said)["chain_id"] is None


async def test_only_the_operator_sees_it(told: Told) -> None:
    async with hub(told, operator_token="a secret of 16 letters") as server, aiohttp.ClientSession() as http:  # noqa: S106
        url = server.make_url("/api/chain")
        async with http.get(url, headers={"Host": "hub.example"}) as answer:
            assert answer.status == 401


async def test_when_the_chain_is_gone_the_page_says_so_and_shows_what_was_known(told: Told) -> None:
    async with hub(told) as server:
        told.played.process.kill()
        try:
            async with asyncio.timeout(PATIENCE_S):
                while "Not up to date: no server answers." not in (page := (await get(server, "/operator"))[1]):
                    await asyncio.sleep(0.1)
        finally:
            told.played.process.start()
    assert "Adagio lost 20 % of its stake" in page and "Night train" in page


def test_a_server_that_is_away_is_said_in_words() -> None:
    view = ChainView(chain_id=1, servers=("rpc.example",), head=7, trouble="chain_unreachable")
    assert drawn_chain(view)["trouble"] == "no server answers"
    assert chain_summary(view) == "0 orders, 0 nodes with a stake."


@pytest.mark.parametrize(("second", "said"), [("Satie", "Satie"), ("Bach", "0x3f17…8a1c")])
def test_who_publishes_for_several_artists_is_called_by_none_of_their_names(second: str, said: str) -> None:
    account, key = "0x3f178e6043B2946F6d1A7a706b3C77d92ce08a1c", bytes(32)
    tracks = [
        FoundTrack(ChainTrack(root, account, account, root, root, root, 1, 65_536), key)
        for root in (b"1" * 32, b"2" * 32)
    ]
    artists = zip(tracks, ("Satie", second), strict=True)
    published = {to_hex(one.said.track_root): Published("T", name, to_hex(key)) for one, name in artists}
    assert Names(ChainState(tracks=tracks), [], published).account(account) == said
