"""Real `digm node` processes keep what is ordered on a real devnet: they accept, prove, and are paid."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.hub.keeping.village import UNIT, Village, chain_of, wait
from tests.hub.node.processes import NodeProcess, Origin, get, nodes, origin_of_a_track

CHUNKS = 4


@dataclass
class Scene:
    """A track, ordered twice of three nodes that could keep it."""

    village: Village
    origin: Origin
    nodes: dict[str, NodeProcess]
    order: int

    def holders(self) -> list[str]:
        return [account for account in self.nodes if self.village.node(account)["pins"]]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("keeping")
    (folder / "devnet").mkdir()
    village = Village(folder / "devnet")
    try:
        with origin_of_a_track(folder / "origin", CHUNKS) as origin:
            made = {}
            for name in ("one", "two", "three"):
                account = village.settle_in(folder / name)
                environment = village.environment(DIGM_NODE_CLAIM="0")
                made[account] = NodeProcess(folder / name, (origin.multiaddr,), environment)
            track = village.publish(folder / "origin" / "artist", origin.track_root)
            with nodes(*made.values()):
                yield Scene(village, origin, made, village.order(track, 2))
    finally:
        village.close()


def test_two_of_three_nodes_take_the_two_places_prove_every_round_and_are_paid(scene: Scene) -> None:
    village, order = scene.village, scene.order
    village.mine_until(lambda: village.ask("pinning", "order", order)["taken"] == 2)
    holders = scene.holders()
    assert len(holders) == 2
    for account in holders:  # whole, before they said so
        assert scene.nodes[account].share_of(scene.origin.track_root) == 1.0
    first = village.round(*holders)
    assert village.round(*holders) == first + 1
    assert village.round(*holders) == first + 2
    village.mine_until(lambda: all(village.ask("para", "balanceOf", one) for one in holders))
    for account in holders:
        said = chain_of(scene.nodes[account])
        assert said["account"] == account and said["node"]["stake"] == "2000"
        assert said["node"]["misses_in_a_row"] == 0 and said["node"]["orders"] == [order]
    (other,) = set(scene.nodes) - set(holders)
    assert chain_of(scene.nodes[other])["node"]["orders"] == []


def test_others_say_in_their_fresh_index_what_the_chain_says_of_a_node(scene: Scene) -> None:
    (_, judge), *others = scene.nodes.items()
    wanted = {account: str(2000 * UNIT) for account, _ in others}

    def stakes() -> dict[str, str]:
        status, body = get(judge.health + "/fresh-index.json")
        said = json.loads(body)["nodes"] if status == 200 else []
        return {one["chain"]["account"]: one["chain"]["stake"] for one in said if one["chain"]}

    wait(lambda: stakes() == wanted)
