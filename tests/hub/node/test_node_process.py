"""`digm node`, a process of its own, beside others: keeps what is ordered, gives and proves it, comes back."""

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import pytest

from digm.fresh_index import parse_fresh_index
from digm.manifest import parse_manifest
from digm.node_ids import node_of
from hub.backbone.identity import NodeIdentity
from hub.seeding.ice import offer_loopback
from hub.signalling.tokens import load_swarm_secret, swarm_token
from hub.signatures import verify
from tests.hub.house import publish_track
from tests.hub.node.processes import (
    PATIENCE_S,
    QUICK,
    NodeProcess,
    Origin,
    get,
    hub_process,
    nodes,
    origin_of_a_track,
    until,
)
from tests.hub.seeding.listener import listening
from tests.ports import free_port

SCHEMA = Path(__file__).parents[3] / "docs" / "fresh-index.schema.json"
NAMES = ("alpha", "beta", "gamma")
CHUNKS = 6  # of each of the two renditions


@dataclass
class Network:
    """Three nodes that were started with one address, and a track of which two are to keep copies."""

    origin: Origin
    nodes: list[NodeProcess]
    order_id: str
    hub_url: str

    @property
    def holders(self) -> list[NodeProcess]:
        return [node for node in self.nodes if node.share_of(self.origin.track_root) == 1.0]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    data, port = tmp_path_factory.mktemp("network"), free_port()
    elders = ",".join(NodeIdentity.load(data / name).peer_id for name in NAMES)
    with (
        origin_of_a_track(data, CHUNKS) as origin,
        hub_process(data / "hub", port, DIGM_ELDER_NODES=elders) as hub,
    ):
        made = [
            NodeProcess(
                data / name,
                (origin.multiaddr,),
                {"DIGM_OPERATOR": name, "DIGM_NETWORK": f"AS {name}", "DIGM_SIGNAL_URL": hub},
            )
            for name in NAMES
        ]
        with nodes(*made):
            until(lambda: all(len(node.state["peers"]) == 3 for node in made))
            network = Network(origin, made, origin.ask("order", 2, 1), hub)
            until(lambda: len(network.holders) == 2)
            yield network


def test_nodes_that_were_started_with_one_address_know_each_other(network: Network) -> None:
    for node in network.nodes:
        others = {other.peer_id for other in network.nodes if other is not node} | {network.origin.peer_id}
        until(lambda node=node, others=others: {row["peer_id"] for row in node.state["peers"]} == others)
        operators = {row["operator"] for row in node.state["peers"]}
        assert operators >= {name for name in NAMES if name != node.data.name}
        until(node.is_ready)


def test_a_copy_is_kept_by_as_many_as_were_ordered_and_all_of_them_say_so(network: Network) -> None:
    expected = sorted(node.peer_id for node in network.holders)
    assert len(expected) == 2
    for node in network.nodes:
        until(lambda node=node: node.state["orders"][0]["held"] == expected)
        [order] = node.state["orders"]
        assert (order["order_id"], order["desired"], order["promised"]) == (network.order_id, 2, [])
    for node in network.holders:
        [track] = node.state["tracks"]
        assert track["pinned_by"] == [network.order_id]
        assert track["title"] == "Track 1"
        assert node.state["quota"]["held_bytes"] >= node.state["quota"]["promised_bytes"] > 0


def test_every_chunk_comes_over_libp2p_and_over_http(network: Network) -> None:
    hashes = network.origin.hashes
    for node in network.holders:
        for number, name in enumerate(hashes):
            rendition, chunk = divmod(number, CHUNKS)
            assert network.origin.ask("fetch", node.peer_id, rendition, chunk) == name
            status, body = get(f"{node.gateway}/{name}")
            assert (status, hashlib.sha256(body).hexdigest()) == (200, name)
        assert get(f"{node.gateway}/{network.origin.track_root}/index.m3u8")[0] == 200
        assert node.state["traffic"]["given_bytes"]["libp2p"] >= 65_536 * len(hashes)
        assert node.state["traffic"]["given_bytes"]["http"] >= 65_536 * len(hashes)


def test_the_cover_came_over_libp2p_and_comes_over_http(network: Network) -> None:
    for node in network.holders:
        _, body = until(lambda node=node: ok(f"{node.gateway}/{network.origin.cover}"))
        assert hashlib.sha256(body).hexdigest() == network.origin.cover


def ok(url: str) -> tuple[int, bytes] | None:
    """Status and body where that is 200."""
    answer = get(url)
    return answer if answer[0] == 200 else None


@pytest.fixture
def loopback() -> Iterator[None]:
    offer_loopback(True)
    yield
    offer_loopback(False)


async def test_a_listener_of_a_hub_that_named_it_gets_chunks_over_webrtc(
    network: Network, loopback: None
) -> None:
    node = network.holders[0]
    until(lambda: node.state["hub_connected"])
    manifest = parse_manifest(get(f"{node.gateway}/{network.origin.track_root}/manifest.json")[1])
    secret = load_swarm_secret(network.nodes[0].data.parent / "hub")
    token = swarm_token(secret, manifest.track_root, int(time.time()) + 60)
    async with listening(network.hub_url, manifest) as listener:
        expected = {node_of(holder.peer_id).hex() for holder in network.holders}
        async with asyncio.timeout(PATIENCE_S):
            while set(await listener.join(token)) != expected:
                await asyncio.sleep(0.1)
        session = await listener.connect(node_of(node.peer_id).hex())
        chunk = await session.fetch(1, 2)
    assert isinstance(chunk, bytes)
    assert hashlib.sha256(chunk).digest() == manifest.renditions[1].chunk_hashes[2]


def test_who_has_it_is_found_in_the_dht(network: Network) -> None:
    expected = {node.peer_id for node in network.holders}
    until(lambda: expected <= set(network.origin.ask("providers")))


def test_it_answers_audits_and_audits_others(network: Network) -> None:
    for node in network.holders:
        for _ in range(5):
            assert network.origin.ask("audit", node.peer_id) == "pass"
    first, second = network.holders
    found = until(
        lambda: [row for row in first.state["audits"] if row["peer_id"] == second.peer_id and row["passed"]]
    )
    assert (found[0]["health"], found[0]["failed"]) == ("healthy", 0)


def test_its_fresh_index_is_signed_and_as_the_schema_says(network: Network) -> None:
    node = network.holders[0]
    others = {other.peer_id for other in network.nodes if other is not node}

    def names_the_others() -> bytes:
        status, body = get(node.health + "/fresh-index.json")
        named = {row["peer_id"] for row in json.loads(body)["nodes"]} if status == 200 else set()
        return body if others <= named else b""

    document = until(names_the_others)
    jsonschema.validate(json.loads(document), json.loads(SCHEMA.read_text()))
    assert parse_fresh_index(document, time.time(), verify).author == node_of(node.peer_id)


def test_its_numbers_are_there_for_prometheus(network: Network) -> None:
    status, body = get(network.holders[0].health + "/metrics")
    values = dict(line.rsplit(" ", 1) for line in body.decode().splitlines() if not line.startswith("#"))
    assert status == 200
    assert float(values["digm_node_pinned_tracks"]) == 1
    assert float(values["digm_node_peers"]) == 3
    assert float(values["digm_node_given_bytes_total"]) > 0
    assert get(network.holders[0].health + "/healthz")[0] == 200


@pytest.mark.parametrize("header", [{"Host": "node.example"}, {"X-Forwarded-For": "203.0.113.5"}])
def test_what_it_knows_is_for_this_machine_alone(network: Network, header: dict[str, str]) -> None:
    assert get(network.nodes[0].health + "/api/node")[0] == 200
    assert get(network.nodes[0].health + "/api/node", **header)[0] == 404


def test_a_second_process_on_its_folder_is_refused(network: Network) -> None:
    done = refused(network.nodes[0].data)
    assert "already running" in done.stderr


def test_the_folder_of_a_hub_is_refused(tmp_path: Path) -> None:
    publish_track(tmp_path)
    assert "belongs to a hub" in refused(tmp_path).stderr


def refused(data: Path, **settings: str) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [sys.executable, "-m", "hub.cli", "node", "--data", str(data)],
        env={**os.environ, **QUICK, **settings}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return done


def test_after_a_power_cut_it_is_the_same_node_with_the_same_promises(network: Network) -> None:
    """Also the last source is gone, and a chunk has rotted: what it lost it gets from the other copy."""
    node = network.holders[0]
    before = (node.peer_id, node.multiaddrs, node.gateway, node.health)
    network.origin.ask("forget")
    node.kill()
    rotten = node.data / "chunks" / network.origin.hashes[3][:2] / network.origin.hashes[3]
    rotten.write_bytes(bytes(65_536))
    node.start()
    assert (node.peer_id, node.multiaddrs, node.gateway, node.health) == before
    [track] = node.state["tracks"]
    assert track["pinned_by"] == [network.order_id]
    # Until it is known that the old connection is dead, nobody is there.
    until(lambda: network.origin.attempt("pin", node.peer_id) == "held")
    until(lambda: node.events("chunk_taken_out"))
    until(lambda: b"digm_scrubbed_chunks_total" in get(node.health + "/metrics")[1])
    until(lambda: node.share_of(network.origin.track_root) == 1.0)
    status, body = get(f"{node.gateway}/{network.origin.hashes[3]}")
    assert (status, hashlib.sha256(body).hexdigest()) == (200, network.origin.hashes[3])
    assert node.state["lost"] == 0


def test_when_the_one_they_were_started_with_is_gone_they_still_find_each_other(network: Network) -> None:
    network.origin.process.kill()
    until(lambda: all(connected(node) == 2 for node in network.nodes))
    node = network.nodes[0]
    node.kill()
    node.start()
    until(lambda: all(connected(node) == 2 for node in network.nodes))


def connected(node: NodeProcess) -> int:
    return sum(row["is_connected"] for row in node.state["peers"])


def test_it_drains_and_ends_when_it_is_told_to(network: Network) -> None:
    for node in network.nodes:
        node.process.terminate()
    assert [node.status_at_end() for node in network.nodes] == [0, 0, 0]
    for node in network.nodes:
        assert not node.events("turn_crashed")
