"""A devnet with the contracts, an artist, and nodes with a key and a stake: for tests. Plain, blocking code."""

import asyncio
import contextlib
import sqlite3
import time
from pathlib import Path
from typing import Any

from digm.ids import from_hex
from digm.manifest import manifest_hash, parse_manifest
from hub.backbone.identity import NodeIdentity
from hub.chain import words
from hub.chain.deployment import contract
from hub.chain.keystore import create_key
from hub.chain.model import Log
from hub.chain.opening import open_deployed
from hub.chain.staking import stake
from hub.config import Settings
from hub.keeping.proofs import renditions_of
from hub.storage.chunk_store import ChunkStore
from tests.hub.chain.devnet import DevnetProcess
from tests.hub.chain.publisher import contracts_on
from tests.hub.node.processes import PATIENCE_S, NodeProcess

UNIT = 10**18
PASSPHRASE = "correct horse battery"  # noqa: S105 - of keys for tests
QUICK_WORK = 1 << 12
QUICK_BLOCKS, SLOW_S = 6, 2.0


class Village:
    """The chain's side. The artist is the devnet's first account, which has all tokens."""

    def __init__(self, folder: Path) -> None:
        self.devnet = DevnetProcess(folder, with_contracts=True)
        self.deployed = contracts_on(self.devnet)
        self.artist = words.checksummed(bytes.fromhex(self._rpc("eth_accounts")[0][2:]))
        self.tell("para", "approve", self.deployed.addresses["pinning"], 2**200)

    def _rpc(self, method: str, *parameters: Any) -> Any:
        answer = self.devnet.ask(method, *parameters)
        assert "result" in answer, answer
        return answer["result"]

    def tell(self, part: str, function: str, *arguments: Any) -> None:
        """A transaction of the artist."""
        data = words.data(contract(part).call_data(function, arguments))
        fields = {"from": self.artist, "to": self.deployed.addresses[part], "data": data}
        receipt = self._rpc("eth_getTransactionReceipt", self._rpc("eth_sendTransaction", fields))
        assert receipt["status"] == "0x1", (function, receipt)

    def ask(self, part: str, function: str, *arguments: Any) -> Any:
        """A view."""
        data = words.data(contract(part).call_data(function, arguments))
        said = self._rpc("eth_call", {"to": self.deployed.addresses[part], "data": data}, "latest")
        return contract(part).answer(function, len(arguments), words.content(said, "an answer"))

    def publish(self, data: Path, root: str) -> bytes:
        """A track of a data folder. Returns its id on the chain."""
        document = ChunkStore(data).manifest(root)
        manifest = parse_manifest(document)
        name = manifest_hash(document)
        renditions = renditions_of(manifest)
        self.tell("registry", "publish", from_hex(root), manifest.audit_root, name, renditions, bytes(32))
        return bytes(self.ask("registry", "track_id", self.artist, from_hex(root)))

    def order(self, track: bytes, replicas: int, duration_s: int = 86_400, price: int = UNIT) -> int:
        self.tell("pinning", "place_order", track, replicas, duration_s, price)
        return int(self.ask("pinning", "order_count"))

    def events(self, name: str) -> list[Any]:
        """The arguments of all events of `Pinning` with this name."""
        found = [contract("pinning").event(one) for one in self.logs(name)]
        return [one.arguments for one in found if one is not None]

    def logs(self, name: str) -> list[Log]:
        pinning = contract("pinning")
        wanted = {
            "fromBlock": "0x0", "toBlock": "latest", "address": self.deployed.addresses["pinning"],
            "topics": [words.data(pinning.topic(name))],
        }  # fmt: skip
        return [words.log_of(one) for one in self._rpc("eth_getLogs", wanted)]

    def give_coins(self, address: str) -> None:
        gift = {"from": self.artist, "to": address, "value": hex(10**19)}
        self._rpc("eth_sendTransaction", gift)

    # -- time

    def mine(self, blocks: int = 1) -> None:
        if blocks > 0:  # those of the nodes may have been quicker
            self._rpc("anvil_mine", hex(blocks))

    def pass_time(self, seconds: int) -> None:
        newest = int(self._rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16)
        self._rpc("evm_setNextBlockTimestamp", hex(newest + seconds))
        self.mine()

    @property
    def block(self) -> int:
        return int(self._rpc("eth_blockNumber"), 16)

    def block_hash(self, number: int) -> str:
        return str(self._rpc("eth_getBlockByNumber", hex(number), False)["hash"])

    @property
    def clock(self) -> dict[str, int]:
        return dict(self.ask("pinning", "clock"))

    def mine_until(self, is_so: Any) -> Any:
        """Until something is so: some blocks at once, for whoever waits for a turn, then one every two seconds.

        Not as fast as they can be mined: on a busy machine an epoch would be over before anybody could act.
        """
        deadline, mined, slowly_at = time.monotonic() + 2 * PATIENCE_S, 0, 0.0
        while not (answer := is_so()):
            assert time.monotonic() < deadline, "it did not become so"
            if mined < QUICK_BLOCKS or time.monotonic() > slowly_at + SLOW_S:
                self.mine()
                mined, slowly_at = mined + 1, time.monotonic()
            time.sleep(0.1)
        return answer

    def end_epoch(self) -> None:
        """To the first block of the next epoch."""
        self.mine(self.clock["ends_before_block"] - self.block)

    def round(self, *proving: str) -> int:
        """Let an epoch go by: somebody seals it, and these accounts prove. Returns the round's number."""
        number = self.open_round(*proving)
        self.end_epoch()
        return number

    def open_round(self, *proving: str) -> int:
        """The same, and the round is still open."""
        clock = self.clock
        if clock["round_epoch"] == clock["epoch"] or self.block >= clock["last_seal_block"]:
            self.end_epoch()
        self.mine(self.clock["seed_block"] - self.block)
        before = self.clock["round"]
        self.mine_until(lambda: self.clock["round"] > before)
        number = self.clock["round"]
        wait(lambda: all(self.node(one)["last_round"] == number for one in proving))
        return int(number)

    def take_back(self, event: str) -> None:
        """The chain takes back all that came behind the latest of these events."""
        newest = self.logs(event)[-1]
        self._rpc("anvil_rollback", self.block - newest.block)

    # -- nodes

    def node(self, account: str) -> dict[str, Any]:
        return dict(self.ask("pinning", "node", account))

    def settle_in(self, data: Path, amount: str = "2000") -> str:
        """Make a node's folder with a key and a stake. Returns its account."""
        settings = self.settings(data)
        address = create_key(data / "chain" / "key.json", PASSPHRASE, QUICK_WORK)
        self.give_coins(address)
        self.tell("digm", "transfer", address, 10_000 * UNIT)
        key = NodeIdentity.load(data).node_key
        source = self.devnet.data / "chain" / "deployment.json"
        (data / "chain" / "deployment.json").write_bytes(source.read_bytes())

        async def join() -> None:
            async with open_deployed(settings, with_key=True) as (client, deployed):
                await stake(client, deployed, amount, "digm", "elder", key)

        asyncio.run(join())
        return address

    def settings(self, data: Path) -> Settings:
        return Settings(data=data, chain_rpc=(self.devnet.url,), chain_passphrase=PASSPHRASE)

    def environment(self, **more: str) -> dict[str, str]:
        """What a node has to know."""
        return {"DIGM_CHAIN_RPC": self.devnet.url, "DIGM_CHAIN_PASSPHRASE": PASSPHRASE, **more}

    def close(self) -> None:
        self.devnet.kill()


def wait(is_so: Any, patience_s: float = PATIENCE_S) -> Any:
    deadline = time.monotonic() + patience_s
    while not (answer := is_so()):
        assert time.monotonic() < deadline, "it did not become so"
        time.sleep(0.1)
    return answer


def has_signed(node: NodeProcess, purpose: str) -> bool:
    """Whether its outbox has a transaction whose purpose begins so; nobody else may have seen it yet."""
    path = node.data / "chain" / "outbox.sqlite"
    with contextlib.suppress(sqlite3.OperationalError):
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as outbox:
            rows = outbox.execute("SELECT purpose FROM attempts").fetchall()
        return any(one.startswith(purpose) for (one,) in rows)
    return False


def chain_of(node: NodeProcess) -> dict[str, Any]:
    """What it says of its part in the contract."""
    with contextlib.suppress(OSError):
        return dict(node.state["chain"])
    return {}
