"""The contracts deployed, with tokens handed out, tracks of real bytes, and nodes that can prove: for tests."""

import hashlib
import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from digm.merkle import leaf_hash, node_hash
from tests.contracts.machine import ZERO, Contract, Event, Machine

ROOT = Path(__file__).parents[2]
ABI = ROOT / "hub" / "chain" / "abi"
UNIT = 10**18
GIB = 2**30
DAY_S = 86_400
LEAF_BYTES, LEAVES_PER_FRAME = 256, 256
MISSES_IN_A_ROW = 3
PRICE = UNIT
"""PARA for a GiB and day of one copy."""

RULES = {
    "epoch_blocks": 20,
    "quiet_blocks": 8,
    "unstake_delay_s": 1000,
    "jail_s": 300,
    "cancel_notice_s": 200,
    "release_grace_s": 100,
    "min_duration_s": 60,
    "min_pin_bytes": 2**20,
    "min_price": 10**12,
    "slash_bps": 2000,
    "bounty_bps": 1000,
    "give_back_bps": 1000,
    "fee_bps": 100,
    "seal_bounty": 10**12,
    "miss_points": 200,
    "pass_points": 1,
    "points_limit": 1000,
}
ELDERNODE, COLD = 1, 2
ELDER_MINIMUM, COLD_MINIMUM, PER_GIB = 1000 * UNIT, 250 * UNIT, 100 * UNIT
SUPPLY = 10**9 * UNIT


def compiled(name: str) -> dict[str, Any]:
    """A contract's ABI and bytecode, as they are committed."""
    return dict(json.loads((ABI / f"{name}.json").read_text(encoding="utf-8")))


@cache
def for_tests() -> dict[str, Any]:
    """The contracts that only tests use."""
    return dict(json.loads((Path(__file__).parent / "vyper" / "compiled.json").read_text(encoding="utf-8")))


class Tree:
    """An RFC 6962 tree that keeps its levels, for many proofs.

    Args:
        hashes: of the leaves.
    """

    def __init__(self, hashes: list[bytes]) -> None:
        self.levels = [hashes]
        while len(self.levels[-1]) > 1:
            below = self.levels[-1]
            level = [node_hash(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)]
            self.levels.append(level + ([below[-1]] if len(below) % 2 else []))

    @property
    def root(self) -> bytes:
        return self.levels[-1][0]

    def path(self, index: int) -> list[bytes]:
        path = []
        for level in self.levels[:-1]:
            if index ^ 1 < len(level):
                path.append(level[index ^ 1])
            index //= 2
        return path


class Track:
    """Bytes made up from a name, their audit trees, and what the registry wants to know of them.

    Args:
        renditions: (chunks, frames per chunk, frames of the last chunk) each.
    """

    def __init__(
        self, name: str, renditions: tuple[tuple[int, int, int], ...] = ((2, 1, 1), (1, 2, 2))
    ) -> None:
        self.name, self.renditions = name, renditions
        self.root = hashlib.sha256(b"root" + name.encode()).digest()
        self.manifest_hash = hashlib.sha256(b"manifest" + name.encode()).digest()
        self.leaf_counts = [
            (last if chunk == chunks - 1 else frames) * LEAVES_PER_FRAME
            for chunks, frames, last in renditions
            for chunk in range(chunks)
        ]
        self.trees = [
            Tree([leaf_hash(self.leaf(chunk, leaf)) for leaf in range(count)])
            for chunk, count in enumerate(self.leaf_counts)
        ]
        self.tree = Tree([leaf_hash(tree.root) for tree in self.trees])
        self.audit_root = self.tree.root
        self.byte_size = sum(self.leaf_counts) * LEAF_BYTES

    def leaf(self, chunk: int, leaf: int) -> bytes:
        """The 256 bytes at a place."""
        return hashlib.shake_128(f"{self.name} {chunk} {leaf}".encode()).digest(LEAF_BYTES)

    def proof(self, chunk: int, leaf: int) -> tuple[bytes, list[bytes], list[bytes]]:
        return self.leaf(chunk, leaf), self.trees[chunk].path(leaf), self.tree.path(chunk)


@cache
def track_named(name: str) -> Track:
    return Track(name)


@dataclass
class House:
    """Everything deployed on one machine.

    Attributes:
        tracks: id -> track, of those that were published through this house.
    """

    machine: Machine
    registry: Contract
    pinning: Contract
    para: Contract
    digm: Contract
    xfg: Contract
    artist: bytes
    nodes: list[bytes]
    stranger: bytes
    sales: Contract
    passes: Contract
    rules: dict[str, int] = field(default_factory=lambda: dict(RULES))
    tracks: dict[bytes, Track] = field(default_factory=dict)

    # -- artists

    def publish(self, track: Track, artist: bytes | None = None, replaces: bytes = bytes(32)) -> bytes:
        """Returns the track's id."""
        artist = artist or self.artist
        events = self.registry.send(
            artist, "publish", track.root, track.audit_root, track.manifest_hash, track.renditions, replaces
        )
        found = next(event for event in events if event.name == "TrackPublished").fields["track"]
        self.tracks[found] = track
        return bytes(found)

    def order(self, track: bytes, replicas: int = 2, duration_s: int = 2000, price: int = PRICE) -> int:
        """Returns the order's id."""
        self.pinning.send(self.artist, "place_order", track, replicas, duration_s, price)
        return int(self.pinning.ask("order_count"))

    # -- nodes

    def join(self, node: bytes, node_class: int = ELDERNODE, stake: int = 2 * ELDER_MINIMUM) -> None:
        self.pinning.send(node, "join", node_class, self.digm.address, stake, bytes(32))

    def accept(self, node: bytes, order: int, instead_of: bytes = ZERO) -> None:
        self.pinning.send(node, "accept", order, instead_of)

    def prove(self, node: bytes, sender: bytes | None = None) -> list[Event]:
        """Answer the node's challenge rightly."""
        asked = self.pinning.ask("challenge", node)
        proof = self.tracks[asked["track"]].proof(asked["chunk"], asked["leaf"])
        return self.pinning.send(sender or node, "prove", node, *proof)

    # -- time

    def clock(self) -> dict[str, int]:
        """As the next transaction will see it."""
        return dict(self.pinning.ask("clock"))

    def before_block(self, block: int) -> None:
        """Mine so that the next transaction is in this block, or stay where it is later already."""
        missing = block - 1 - self.machine.block
        if missing > 0:
            self.machine.mine(missing)

    def open_round(self) -> int:
        """Go to the next epoch that is not sealed, and seal it. Returns the round's number."""
        clock = self.clock()
        if clock["round_epoch"] == clock["epoch"] or self.machine.block >= clock["last_seal_block"]:
            self.before_block(clock["ends_before_block"])
            clock = self.clock()
        self.before_block(clock["seed_block"] + 1)
        self.pinning.send(self.stranger, "seal")
        return clock["round"] + 1

    def end_epoch(self) -> None:
        """Go to the quiet phase of the next epoch."""
        self.before_block(self.clock()["ends_before_block"])

    def rounds(self, count: int, proving: list[bytes]) -> None:
        """So many rounds in which these nodes prove and the others do not."""
        for _ in range(count):
            self.open_round()
            for node in proving:
                self.prove(node)
            self.end_epoch()


def rules_tuple(rules: dict[str, int]) -> tuple[int, ...]:
    """In the order of the struct."""
    inputs = next(one for one in compiled("Pinning")["abi"] if one["type"] == "constructor")["inputs"]
    return tuple(rules[one["name"]] for one in inputs[2]["components"])


def build_house(machine: Machine, **changed_rules: int) -> House:
    """Deploy everything; the artist has PARA, nodes and the stranger have DIGM and XFG, all have approved."""
    deployer, artist, stranger, *others = machine.accounts
    nodes = others[:6]
    tokens = {
        symbol: Contract.deploy(machine, compiled("Token"), deployer, name, symbol, SUPPLY, deployer)
        for name, symbol in (("Para", "PARA"), ("DIGM", "DIGM"), ("Fango", "XFG"))
    }
    registry = Contract.deploy(machine, compiled("TrackRegistry"), deployer)
    paid_in = [ZERO, tokens["PARA"].address]
    sales = Contract.deploy(machine, compiled("Sales"), deployer, registry.address, DAY_S, paid_in)
    passes = Contract.deploy(machine, compiled("Passes"), deployer, paid_in)
    for who in (artist, stranger, *nodes):
        tokens["PARA"].send(who, "approve", sales.address, 2**256 - 1)
        tokens["PARA"].send(who, "approve", passes.address, 2**256 - 1)
    rules = RULES | changed_rules
    terms = [(tokens[symbol].address, ELDER_MINIMUM, COLD_MINIMUM, PER_GIB) for symbol in ("DIGM", "XFG")]
    pinning = Contract.deploy(
        machine,
        compiled("Pinning"),
        deployer,
        registry.address,
        tokens["PARA"].address,
        rules_tuple(rules),
        terms,
    )
    for who in (artist, stranger, *nodes):
        for token in tokens.values():
            token.send(deployer, "transfer", who, SUPPLY // 100)
            token.send(who, "approve", pinning.address, 2**256 - 1)
    return House(
        machine,
        registry,
        pinning,
        tokens["PARA"],
        tokens["DIGM"],
        tokens["XFG"],
        artist,
        nodes,
        stranger,
        sales,
        passes,
        rules,
    )
