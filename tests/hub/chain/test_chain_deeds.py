"""What artists, nodes and anybody tell the contracts with `digm chain`: real commands on a real devnet."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub.chain.deployment import FILE_NAME as DEPLOYMENT_FILE
from hub.chain.deployment import contract, load_deployment
from hub.chain.devnet.demo import put_contracts
from hub.chain.keystore import FILE_NAME, create_key
from hub.storage.chunk_store import ChunkStore
from tests.hub.chain.devnet import DevnetProcess
from tests.hub.chain.test_chain_commands import PASSPHRASE, Artist

JAIL_S, NOTICE_S = 120, 60  # as hub/chain/abi/rules.json has them for a devnet
AHEAD_S = 1_200  # each block that is mined at once is a second later than the one before


class Person(Artist):
    """With a key, money, and the contracts known."""

    def __init__(self, data: Path, devnet: DevnetProcess, deployment: Path) -> None:
        super().__init__(data, devnet)
        self.address = create_key(data / "chain" / FILE_NAME, PASSPHRASE, work=16)
        shutil.copy(deployment, data / "chain" / DEPLOYMENT_FILE)
        self.run("fund")

    def ask(self, function: str, *arguments: Any) -> Any:
        """What `Pinning` answers."""
        pinning, deployed = contract("pinning"), load_deployment(self.data / "chain" / DEPLOYMENT_FILE)
        data = "0x" + pinning.call_data(function, arguments).hex()
        call = {"to": deployed.addresses["pinning"], "data": data}
        said = self._devnet.ask("eth_call", call, "latest")["result"]
        return pinning.answer(function, len(arguments), bytes.fromhex(said[2:]))

    def mine_to(self, block: int) -> None:
        head = int(self._devnet.ask("eth_blockNumber")["result"], 16)
        if block > head:
            self._devnet.ask("anvil_mine", hex(block - head))

    def round_begins(self) -> None:
        """Mine until a new round can be sealed, and seal it."""
        clock = self.ask("clock")
        if clock["round_epoch"] == clock["epoch"] or self._head() > clock["last_seal_block"] - 2:
            self.mine_to(clock["ends_before_block"])
            clock = self.ask("clock")
        self.mine_to(clock["seed_block"])
        assert self.lines("seal")[0]["event"] == "RoundOpened"

    def quiet_begins(self) -> None:
        self.mine_to(self.ask("clock")["ends_before_block"])

    def later(self, seconds: int) -> None:
        self._devnet.ask("evm_increaseTime", seconds)
        self._devnet.ask("evm_mine")

    def _head(self) -> int:
        return int(self._devnet.ask("eth_blockNumber")["result"], 16)


@pytest.fixture(scope="module")
def people(devnet: DevnetProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Person, Person]]:
    """An artist with a published track, and a node with the same bytes in its folder."""
    folder = tmp_path_factory.mktemp("deeds")
    asyncio.run(put_contracts(devnet.url, folder / "chain"))
    deployment = folder / "chain" / DEPLOYMENT_FILE
    artist = Person(folder / "artist", devnet, deployment)
    artist.run("publish", artist.track.root)
    yield artist, Person(folder / "node", devnet, deployment)


def test_an_order_is_placed_extended_accepted_proven_cancelled_released_and_refunded(
    people: tuple[Person, Person],
) -> None:
    artist, node = people
    root = artist.track.root
    artist.run(
        *("order", root, "--replicas", "100", "--months", "120", "--price", "10000000"),
        refusal="nothing was sent",
    )
    artist.run("order", root, "--duration", "5 fortnights", refusal="'90 days'")
    node.run("order", root, "--price", "x", refusal="is no amount")
    placed = artist.lines("order", root, "--replicas", "2", "--duration", "6 hours")[0]
    number = str(placed["order"])
    longer = artist.lines("extend", number, "--duration", "2 hours")[0]
    assert longer["event"] == "OrderExtended" and longer["ends_at"] == placed["ends_at"] + 7_200

    node.run("accept", number, refusal="not_a_node")
    node.run("stake", "1000")
    node.quiet_begins()
    assert node.lines("accept", number)[0]["event"] == "PinAccepted"
    node.run("accept", number, refusal="already_accepted")
    artist.round_begins()
    artist.run("seal", refusal="already_sealed")
    assert node.lines("prove")[0]["event"] == "AuditPassed"
    node.run("prove", refusal="already_answered")
    node.run("release", number, refusal="order_running")
    artist.run("slash", node.address, refusal="not_slashable")
    node.run("unjail", refusal="not_jailed")
    node.run("cancel", number, refusal="not_the_owner")
    artist.run("close", number, refusal="order_running")

    assert artist.lines("cancel", number)[0]["event"] == "OrderCancelled"
    artist.later(NOTICE_S + AHEAD_S)
    node.quiet_begins()
    assert node.lines("release", number)[0]["event"] == "PinReleased"
    assert artist.lines("close", number)[0]["event"] == "OrderClosed"
    assert float(artist.run("claim").split()[0]) > 0


def test_who_misses_three_rounds_is_slashed_evicted_and_comes_back_with_more_stake(
    people: tuple[Person, Person],
) -> None:
    artist, node = people
    placed = artist.lines("order", artist.track.root, "--replicas", "1", "--duration", "6 hours")[0]
    number = str(placed["order"])
    if not node.ask("node", node.address)["stake"]:
        node.run("stake", "1000")
    node.quiet_begins()
    node.run("accept", number)
    for _ in range(3):
        artist.round_begins()
    artist.quiet_begins()
    node.run("give-back", number, refusal="slash_first")
    assert artist.lines("slash", node.address)[0]["event"] == "Slashed"
    assert artist.lines("evict", number, node.address)[0]["event"] == "PinEvicted"
    node.run("unjail", refusal="too_early")
    node.later(JAIL_S + AHEAD_S)
    node.run("unjail", refusal="stake_too_small")
    node.run("stake", "300")
    assert node.lines("unjail")[0]["event"] == "Unjailed"
    node.quiet_begins()
    node.run("accept", number)
    assert node.lines("give-back", number)[0]["event"] == "PinGivenBack"


def test_a_node_takes_no_place_for_bytes_that_it_does_not_have(
    people: tuple[Person, Person], tmp_path: Path
) -> None:
    artist, _ = people
    placed = artist.lines("order", artist.track.root, "--replicas", "1", "--duration", "6 hours")[0]
    empty = Person(tmp_path / "empty", artist._devnet, artist.data / "chain" / DEPLOYMENT_FILE)
    empty.run("stake", "250", "--class", "cold")
    ChunkStore(empty.data).delete(artist.track.chunk(1, 2))  # the house's tracks are of the same bytes
    empty.run("accept", str(placed["order"]), refusal="The chunk")
    ChunkStore(empty.data).delete_manifest(artist.track.root)
    empty.run("accept", str(placed["order"]), refusal="is not here")
    empty.run("accept", "999", refusal="no_such_order")


def test_a_track_is_shared_revised_handed_on_and_withdrawn(people: tuple[Person, Person]) -> None:
    artist, node = people
    root = artist.track.root
    artist.run("split", root, f"{artist.address}=60", refusal="100 per cent together")
    artist.run("split", root, f"{artist.address}=1.001", refusal="is no share")
    artist.run("split", root, artist.address, refusal="is no share")
    artist.run("split", root, "0x12=100", refusal="is no address")
    shared = artist.lines("split", root, f"{artist.address}=62.5", f"{node.address}=37.5")[0]
    assert [one["share_bps"] for one in shared["payees"]] == [6_250, 3_750]

    artist.run("revise", root, refusal="nothing_new")
    artist.run("withdraw-track", "ab" * 32, refusal="no_such_track")
    artist.run("withdraw-track", "ab", refusal="is neither a track root")
    offered = artist.lines("transfer", root, node.address)[0]
    assert artist.lines("transfer", root, "nobody")[0]["to"] == "0x" + "00" * 20
    node.run("take", offered["track"], refusal="not_offered")
    artist.run("transfer", root, node.address)
    assert node.lines("take", offered["track"])[0]["event"] == "TrackTransferred"
    artist.run("withdraw-track", root, refusal="not_the_owner")
    assert node.lines("withdraw-track", offered["track"])[0]["event"] == "TrackWithdrawn"
    artist.run("order", root, refusal="track_withdrawn")
    assert all(one["track_root"] != "0x" + root for one in artist.lines("tracks"))
