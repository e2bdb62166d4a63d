"""A story that is played on a devnet in a moment: short epochs, nodes that prove and one that does not.

Its nodes are accounts alone; who wants real ones starts `digm node`.
"""

from pathlib import Path

import msgspec

from digm.chain_tracks import binding_message
from hub.chain.deployment import FILE_NAME, Deployment
from hub.chain.words import checksummed
from hub.publishing.vault import FILE_NAME as VAULT
from hub.publishing.vault import Vault
from tests.contracts.house import COLD, SUPPLY, UNIT, House, Track, build_house, compiled
from tests.contracts.machine import Anvil, Contract
from tests.hub.chain.devnet import DevnetProcess
from tests.hub.house import Published

CHAIN_ID = 31_337


class Devnet(Anvil):
    """The machine of the contracts' tests, over a devnet that runs already."""

    name = "devnet"

    def __init__(self, process: DevnetProcess) -> None:
        self._url = process.url
        self.accounts = [bytes.fromhex(one[2:]) for one in process.ask("eth_accounts")["result"]]
        self.calls = 0


class Played:
    """Contracts on a devnet, and what may happen on them.

    Attributes:
        nodes: accounts: the first drops its data, the second and third do not.
        keys: the Ed25519 keys that these accounts name.
    """

    def __init__(self, process: DevnetProcess, keys: list[bytes]) -> None:
        self.process, self.keys = process, keys
        self.house: House = build_house(Devnet(process))
        self.heat = Contract.deploy(
            self.house.machine, compiled("Token"), self.house.artist, "Heat", "HEAT", SUPPLY, self.house.artist
        )
        self.nodes = self.house.nodes[: len(keys)]
        self.first_block = 1

    def hand_out(self, data: Path) -> None:
        """Put the deployment into a data folder."""
        house = self.house
        contracts = {
            "registry": house.registry, "para": house.para, "digm": house.digm, "xfg": house.xfg,
            "heat": self.heat, "pinning": house.pinning,
        }  # fmt: skip
        genesis = self.process.ask("eth_getBlockByNumber", "0x0", False)["result"]["hash"]
        addresses = {part: checksummed(one.address) for part, one in contracts.items()}
        folder = data / "chain"
        folder.mkdir(parents=True, exist_ok=True)
        found = Deployment(CHAIN_ID, genesis, self.first_block, addresses)
        (folder / FILE_NAME).write_bytes(msgspec.json.encode(found))

    def publish(self, data: Path, track: Published) -> bytes:
        """The track's title and root, with bytes made up: nobody fetches them here. Returns its id."""
        house, made_up = self.house, Track("made up")
        made_up.root = bytes.fromhex(track.root)
        message = binding_message(CHAIN_ID, house.registry.address, house.artist)
        with Vault.open(data / VAULT) as vault:
            house.registry.send(house.artist, "bind_key", vault.artist_key, vault.sign(message))
        return house.publish(made_up)

    def join(self) -> None:
        house = self.house
        for number, (node, key) in enumerate(zip(self.nodes, self.keys, strict=True)):
            kind, stake = (COLD, 300 * UNIT) if number == 2 else (1, 2000 * UNIT)
            house.pinning.send(node, "join", kind, house.digm.address, stake, key)

    def drop_data(self, track: bytes) -> int:
        """Two nodes keep a track, the first of them proves nothing for three rounds. Returns the order's id."""
        house, (bad, good, *_) = self.house, self.nodes
        order = house.order(track, replicas=2, duration_s=100_000)
        for node in (bad, good):
            house.accept(node, order)
        house.rounds(3, proving=[good])
        house.pinning.send(good, "slash", bad)
        return order

    def replace(self, order: int) -> None:
        self.house.accept(self.nodes[2], order, instead_of=self.nodes[0])
