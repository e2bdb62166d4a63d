"""A devnet with the contracts, an artist with something for sale, a real `digm artist` process, and buyers: for
tests. Plain, blocking code."""

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from digm.ids import from_hex
from digm.manifest import manifest_hash, parse_manifest
from digm.purchases import Suite, WrappedKey, key_at, purchase_aad
from hub.chain import words
from hub.chain.deployment import contract
from hub.chain.devnet.accounts import demo_accounts
from hub.chain.keystore import import_key
from hub.config import Settings
from hub.keeping.proofs import renditions_of
from hub.storage.chunk_store import ChunkStore
from hub.vault.wrapping import PrivateKey, unwrap
from tests.hub.chain.devnet import DevnetProcess
from tests.hub.chain.publisher import contracts_on
from tests.hub.house import Published, publish_track

PATIENCE_S = 90.0
PASSPHRASE = "correct horse battery"  # noqa: S105 - of keys for tests
QUICK_WORK = 1 << 12
PRICE = 10**18
COIN = "0x" + "00" * 20


def until(is_so: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    """Ask again and again; returns the first answer that counts as true."""
    deadline = time.monotonic() + patience_s
    while not (answer := is_so()):
        assert time.monotonic() < deadline, "it did not become so"
        time.sleep(0.05)
    return answer


class Market:
    """The chain's side. Account 1 of the devnet is the artist's, 2 and 3 are vaults', the others are buyers."""

    def __init__(self, folder: Path) -> None:
        self.devnet = DevnetProcess(folder, with_contracts=True)
        self.deployed = contracts_on(self.devnet)
        self.accounts = [account.address for account in demo_accounts()]
        self.artist = self.accounts[1]
        self.tokens_of(self.accounts[0], *self.accounts[4:])

    def close(self) -> None:
        self.devnet.kill()

    # -- the chain

    def rpc(self, method: str, *parameters: Any) -> Any:
        answer = self.devnet.ask(method, *parameters)
        assert "result" in answer, answer
        return answer["result"]

    def tell(self, who: str, part: str, function: str, *arguments: Any, value: int = 0) -> dict[str, Any]:
        """A transaction; its receipt."""
        data = words.data(contract(part).call_data(function, arguments))
        fields = {"from": who, "to": self.deployed.addresses[part], "data": data, "value": hex(value)}
        answer = self.devnet.ask("eth_sendTransaction", fields)
        assert "result" in answer, contract(part).reason(bytes.fromhex(answer["error"]["data"][2:]))
        receipt = self.rpc("eth_getTransactionReceipt", answer["result"])
        assert receipt["status"] == "0x1", (function, receipt)
        return dict(receipt)

    def ask(self, part: str, function: str, *arguments: Any) -> Any:
        """A view."""
        data = words.data(contract(part).call_data(function, arguments))
        said = self.rpc("eth_call", {"to": self.deployed.addresses[part], "data": data}, "latest")
        return contract(part).answer(function, len(arguments), words.content(said, "an answer"))

    def events(self, name: str, part: str = "sales") -> list[dict[str, Any]]:
        """The arguments of all events of this name that stand in the chain."""
        wanted = {
            "fromBlock": "0x0", "toBlock": "latest", "address": self.deployed.addresses[part],
            "topics": [words.data(contract(part).topic(name))],
        }  # fmt: skip
        found = [contract(part).event(words.log_of(one)) for one in self.rpc("eth_getLogs", wanted)]
        return [dict(one.arguments) for one in found if one is not None]

    def latest_log(self, name: str) -> tuple[int, dict[str, Any]]:
        """The latest event of this name of `Sales`, as servers tell it, and its block."""
        topic = words.data(contract("sales").topic(name))
        wanted = {"fromBlock": "0x0", "address": self.deployed.addresses["sales"], "topics": [topic]}
        *_, log = self.rpc("eth_getLogs", wanted)
        return int(log["blockNumber"], 16), log

    def tokens_of(self, rich: str, *buyers: str) -> None:
        for buyer in buyers:
            self.tell(rich, "para", "transfer", buyer, 1_000 * PRICE)
            self.tell(buyer, "para", "approve", self.deployed.addresses["sales"], 2**200)

    @property
    def time_s(self) -> int:
        return int(self.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16)

    def pass_time(self, seconds: int) -> None:
        self.rpc("evm_setNextBlockTimestamp", hex(self.time_s + seconds))
        self.rpc("evm_mine")

    def sent_by(self, who: str) -> int:
        """How many transactions of an account are in the chain."""
        return int(self.rpc("eth_getTransactionCount", who, "latest"), 16)

    def credit(self, who: str) -> int:
        return int(self.ask("sales", "credits", self.deployed.addresses["para"], who))

    # -- what is sold

    def publish(self, data: Path, root: str, owner: str = "") -> bytes:
        """A track of a data folder. Returns its id on the chain."""
        document = ChunkStore(data).manifest(root)
        manifest, who = parse_manifest(document), owner or self.artist
        arguments = (
            from_hex(root), manifest.audit_root, manifest_hash(document), renditions_of(manifest), bytes(32)
        )  # fmt: skip
        self.tell(who, "registry", "publish", *arguments)
        return bytes(self.ask("registry", "track_id", who, from_hex(root)))

    def sell(self, data: Path, price: int = PRICE, seed: int = 1) -> "Sold":
        """A new track in a data folder, for sale."""
        published = publish_track(data, seed=seed, preview_s=4)
        item = self.publish(data, published.root)
        self.tell(self.artist, "sales", "set_offer", item, self.deployed.addresses["para"], price, False)
        return Sold(item, published)

    def buy(self, buyer: "Buyer", item: bytes, price: int = PRICE, function: str = "buy") -> None:
        para = self.deployed.addresses["para"]
        self.tell(buyer.address, "sales", function, item, para, price, buyer.public_key)

    def purchase(self, item: bytes, buyer: "Buyer") -> dict[str, Any]:
        return dict(self.ask("sales", "purchase", item, buyer.address))

    def delivered(self, item: bytes, buyer: "Buyer") -> list[bytes]:
        """Every wrapped key that is in the chain for this purchase."""
        said = self.events("KeyDelivered")
        return [
            bytes(one["wrapped_key"]) for one in said if (one["item"], one["buyer"]) == (item, buyer.address)
        ]

    def opened(self, item: bytes, buyer: "Buyer", place: int = 0) -> bytes:
        """The track key that the buyer gets out of the chain."""
        wrapped = WrappedKey.decode(until(lambda: self.delivered(item, buyer))[-1])
        sales, who = (bytes.fromhex(one[2:]) for one in (self.deployed.addresses["sales"], buyer.address))
        aad = purchase_aad(self.deployed.chain_id, sales, item, who)
        assert wrapped.suite is (
            Suite.X25519 if isinstance(buyer.private_key, X25519PrivateKey) else Suite.P256
        )
        return key_at(unwrap(wrapped, buyer.private_key, aad), place)

    # -- vaults

    def settle_in(self, data: Path, number: int = 1) -> str:
        """Give a data folder the key of an account, and the contracts' addresses."""
        key = bytes(demo_accounts()[number].key)
        address = import_key(data / "chain" / "key.json", key, PASSPHRASE, QUICK_WORK)
        source = self.devnet.data / "chain" / "deployment.json"
        (data / "chain" / "deployment.json").write_bytes(source.read_bytes())
        return address

    def settings(self, data: Path, **more: Any) -> Settings:
        return Settings(data=data, chain_rpc=(self.devnet.url,), chain_passphrase=PASSPHRASE, **more)

    def environment(self, **more: str) -> dict[str, str]:
        return {"DIGM_CHAIN_RPC": self.devnet.url, "DIGM_CHAIN_PASSPHRASE": PASSPHRASE, **more}


def digm(market: Market, data: Path, *arguments: str) -> str:
    """A command in a data folder; what it prints."""
    environ = {**os.environ, "DIGM_DATA": str(data), **market.environment()}
    command = [sys.executable, "-m", "hub.cli", *arguments]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass(frozen=True)
class Sold:
    """A track for sale."""

    item: bytes
    published: Published


@dataclass(frozen=True)
class Buyer:
    """An account of the devnet's, and the listening key of its page."""

    address: str
    private_key: PrivateKey = field(default_factory=X25519PrivateKey.generate)

    @property
    def public_key(self) -> bytes:
        """As it is on the chain."""
        if isinstance(self.private_key, X25519PrivateKey):
            return self.private_key.public_key().public_bytes_raw()
        return self.private_key.public_key().public_numbers().x.to_bytes(32, "big")


def even_p256_key() -> EllipticCurvePrivateKey:
    """Made anew until its y is even, as a page does it."""
    while True:
        key = generate_private_key(SECP256R1())
        if key.public_key().public_numbers().y % 2 == 0:
            return key


@dataclass
class ArtistProcess:
    """A `digm artist`; `start` and `kill` as often as wanted, over the same folder."""

    data: Path
    settings: dict[str, str]
    process: Any = None
    number: int = field(default_factory=itertools.count().__next__)

    @property
    def log_path(self) -> Path:
        return self.data.with_suffix(f".{self.number}.log")

    def start(self) -> "ArtistProcess":
        """Unless it runs."""
        if self.process is not None:
            return self
        # A hub that is not there: deliveries need none.
        environ = {
            **os.environ, "DIGM_DATA": str(self.data), "DIGM_ARTIST_PORT": "0",
            "DIGM_SIGNAL_URL": "http://127.0.0.1:9", **self.settings,
        }  # fmt: skip
        with self.log_path.open("ab") as log:
            command = [sys.executable, "-m", "hub.cli", "artist"]
            self.process = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
        return self

    def kill(self) -> None:
        """kill -9, if it runs."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def said(self, event: str, **fields: str) -> list[dict[str, Any]]:
        """Lines of its log with these fields."""
        found = []
        for line in self.log_path.read_text().splitlines():
            if line.startswith("{") and f'"{event}"' in line:
                found.append(json.loads(line))
        return [one for one in found if one.items() >= {"event": event, **fields}.items()]
