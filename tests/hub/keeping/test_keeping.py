"""Real `digm node` processes keep what is ordered on a real devnet: accept, prove, are paid; one is a liar."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.hub.keeping.village import UNIT, Village, chain_of, has_signed, wait
from tests.hub.node.processes import NodeProcess, Origin, end, get, nodes, origin_of_a_track

CHUNKS = 4
SKEWED = ("-m", "tests.hub.node.skewed", "-3500")
LIAR = ("-m", "tests.hub.node.liar")


@dataclass
class Scene:
    """A track, ordered twice of two nodes that are there; a third one comes later.

    Attributes:
        honest: its clock is an hour off. liar: may delete chunks. late: is not started yet.
    """

    village: Village
    origin: Origin
    honest: NodeProcess
    liar: NodeProcess
    late: NodeProcess
    accounts: dict[str, str]
    order: int

    def account(self, node: NodeProcess) -> str:
        return self.accounts[node.data.name]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("keeping")
    (folder / "devnet").mkdir()
    village = Village(folder / "devnet")
    try:
        with origin_of_a_track(folder / "origin", CHUNKS) as origin:
            accounts, made = {}, []
            for name, program in (("honest", SKEWED), ("liar", LIAR), ("late", NodeProcess.program)):
                accounts[name] = village.settle_in(folder / name)
                environment = village.environment(DIGM_NODE_CLAIM="0")
                made.append(NodeProcess(folder / name, (origin.multiaddr,), environment, program))
            track = village.publish(folder / "origin" / "artist", origin.track_root)
            honest, liar, late = made
            try:
                with nodes(honest, liar):
                    yield Scene(village, origin, honest, liar, late, accounts, village.order(track, 2))
            finally:
                end(late)
    finally:
        village.close()


def test_a_node_that_is_killed_while_it_accepts_accepts_once_and_has_every_byte_before(scene: Scene) -> None:
    village, honest = scene.village, scene.honest
    wait(lambda: has_signed(honest, f"accept {scene.order}"))
    honest.kill()
    assert honest.data.joinpath("chain", "audit-roots", scene.origin.track_root).exists()
    honest.start()
    village.mine_until(lambda: village.ask("pinning", "order", scene.order)["taken"] == 2)
    assert honest.share_of(scene.origin.track_root) == scene.liar.share_of(scene.origin.track_root) == 1.0
    village.mine(3)
    assert sorted(said["node"] for said in village.events("PinAccepted")) == sorted(
        scene.account(one) for one in (honest, scene.liar)
    )


def test_every_round_is_proven_also_by_a_node_that_is_killed_then_and_paid(scene: Scene) -> None:
    village, honest = scene.village, scene.honest
    both = [scene.account(honest), scene.account(scene.liar)]
    first = village.round(*both)

    def kill_and_start() -> None:
        wait(lambda: has_signed(honest, f"prove {first + 1} "))
        honest.kill()
        honest.start()

    killer = threading.Thread(target=kill_and_start, name="killer")
    killer.start()
    try:
        assert village.round(*both) == first + 1
    finally:
        killer.join()
    proven = [said["round"] for said in village.events("AuditPassed") if said["node"] == both[0]]
    assert proven == [first, first + 1]
    village.mine_until(lambda: all(village.ask("para", "balanceOf", one) for one in both))
    said = wait(lambda: chain_of(honest)["node"])
    assert chain_of(honest)["account"] == both[0] and said["stake"] == "2000"
    assert said["misses_in_a_row"] == 0 and said["orders"] == [scene.order]


def test_proofs_that_the_chain_takes_back_are_given_again(scene: Scene) -> None:
    village, both = scene.village, [scene.account(scene.honest), scene.account(scene.liar)]
    number = village.open_round(*both)
    village.take_back("RoundOpened")
    assert all(village.node(one)["last_round"] < number for one in both)
    wait(lambda: all(village.node(one)["last_round"] == number for one in both))
    village.end_epoch()


def test_others_say_in_their_fresh_index_what_the_chain_says_of_a_node(scene: Scene) -> None:
    def stakes() -> dict[str, str]:
        status, body = get(scene.honest.health + "/fresh-index.json")
        said = json.loads(body)["nodes"] if status == 200 else []
        return {one["chain"]["account"]: one["chain"]["stake"] for one in said if one["chain"]}

    wait(lambda: stakes() == {scene.account(scene.liar): str(2000 * UNIT)})


def test_a_node_passes_wrapped_keys_on_to_any_page_as_a_hub_does(scene: Scene) -> None:
    village, buyer = scene.village, "0x" + "ab" * 20
    item = village.ask("pinning", "order", scene.order)["track"]
    village.tell("sales", "give", item, buyer, b"w" * 81)
    village.mine_until(lambda: b"delivered" in get(f"{scene.honest.health}/api/keys/{buyer}")[1])
    status, body = get(f"{scene.honest.health}/api/keys/{buyer}")
    (key,) = json.loads(body)["keys"]
    assert status == 200 and key["wrapped"] == (b"w" * 81).hex()
    assert key["tracks"] == [scene.origin.track_root]
    assert get(f"{scene.honest.health}/api/keys/0xab")[0] == 400


def test_while_the_chain_is_away_nodes_wait_and_then_go_on(scene: Scene) -> None:
    village = scene.village
    village.devnet.kill()
    wait(lambda: all(chain_of(one)["trouble"] == "chain_unreachable" for one in (scene.honest, scene.liar)))
    assert scene.honest.share_of(scene.origin.track_root) == 1.0  # what is kept does not depend on it
    village.devnet.start()
    wait(lambda: not any(chain_of(one)["trouble"] for one in (scene.honest, scene.liar)))
    village.round(scene.account(scene.honest), scene.account(scene.liar))


def test_who_deleted_its_chunks_never_passes_is_slashed_and_another_node_takes_its_place(scene: Scene) -> None:
    village, honest, liar = scene.village, scene.account(scene.honest), scene.account(scene.liar)
    for name in scene.origin.hashes:
        (scene.liar.data / "chunks" / name[:2] / name).unlink(missing_ok=True)
    passed = village.node(liar)["last_round"]
    scene.late.start()
    for _ in range(3):
        village.round(honest)
    village.mine_until(lambda: village.node(liar)["jailed_until"])
    (slashed,) = village.events("Slashed")
    assert slashed["node"] == liar and slashed["missed"] == 3 and slashed["cut"] == 400 * UNIT
    assert [one["round"] for one in village.events("AuditPassed") if one["node"] == liar][-1] == passed
    late = scene.account(scene.late)
    village.mine_until(lambda: village.node(late)["pins"])
    assert [one["node"] for one in village.events("PinEvicted")] == [liar]
    assert scene.late.share_of(scene.origin.track_root) == 1.0
    village.round(honest, late)
    assert village.node(honest)["missed"] == 0 and village.node(honest)["stake"] == 2000 * UNIT

    def verdict() -> object:
        body = get(scene.honest.health + "/fresh-index.json")[1]
        said = {one["peer_id"]: one["chain"] for one in json.loads(body)["nodes"]}
        return (said.get(scene.liar.peer_id) or {}).get("jailed_until")

    wait(verdict)
    wait(lambda: chain_of(scene.liar)["node"]["jailed_until"])


def test_when_an_order_ends_its_last_stretch_is_proven_and_its_places_and_bytes_are_let_go(
    scene: Scene,
) -> None:
    village, both = scene.village, [scene.account(scene.honest), scene.account(scene.late)]
    assert all(village.node(one)["pins"] for one in both)
    village.tell("pinning", "cancel", scene.order)
    village.pass_time(61)
    last = village.round(*both)
    village.mine_until(lambda: village.ask("pinning", "order", scene.order)["taken"] == 0)
    assert {said["node"] for said in village.events("PinReleased")} == set(both)
    assert [said["round"] for said in village.events("AuditPassed")][-2:] == [last, last]
    for node in (scene.honest, scene.late):
        wait(lambda node=node: not node.share_of(scene.origin.track_root))
    village.tell("pinning", "close", scene.order)  # nothing holds up what is left for the artist
