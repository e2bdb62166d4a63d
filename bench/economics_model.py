"""What keeping copies earns and costs, and what cheating at it does: the arithmetic behind docs/economics.md.

The rules are those of `contracts/Pinning.vy` with the numbers of `hub/chain/abi/rules.json`, the gas is what
`bench/gas.py` measures. Prices are assumptions, all of them here: nothing asks a market. Fixed seeds,
no clock, no network.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

HOURS_A_MONTH = 730.485  # a twelfth of the Gregorian year, as in digm.pinning
GWEI = 1e-9
CHUNK_BYTES = 512 * 1024
RULES_FILE = Path(__file__).parents[1] / "hub" / "chain" / "abi" / "rules.json"

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Call:
    """One call of a contract: its gas as `bench/gas.py` measures it, and the bytes of its calldata."""

    gas: int
    calldata_bytes: int


CALLS = {
    "publish": Call(119_000, 260),
    "purchase": Call(75_000, 100),  # its budget; the contract is still to come
    "pin order": Call(229_000, 132),
    "accept": Call(143_000, 68),
    "audit proof": Call(87_000, 1_060),  # a leaf of 256 bytes and two paths, of 11 and 8 hashes
    "release": Call(82_000, 68),  # settles the copy, however many rounds that is for
    "seal": Call(46_000, 4),
    "slash": Call(91_000, 68),
}


@dataclass(frozen=True)
class Chain:
    """What gas costs. Data is what a rollup pays to put calldata into blobs (EIP-4844: one gas a byte)."""

    name: str
    gwei: float
    blob_gwei: float
    eth_usd: float = 3_000.0

    def usd(self, call: Call, times: float = 1.0) -> float:
        """What so many calls cost."""
        wei = call.gas * self.gwei + call.calldata_bytes * self.blob_gwei
        return times * wei * GWEI * self.eth_usd


L1 = Chain("L1", gwei=5.0, blob_gwei=0.0)
L2 = Chain("L2", gwei=0.02, blob_gwei=1.0)


@dataclass(frozen=True)
class Prices:
    """In USD a GB and month. A disk of one's own costs less, one of a cloud more."""

    disk: float = 0.01
    reward: float = 0.05


@dataclass(frozen=True)
class Rules:
    """When a node is slashed.

    Attributes:
        epoch_h, window_h: one challenge an epoch; so long after it is drawn the proof may come.
        in_a_row: missed epochs with none passed between them.
        missed, passed, limit: points that a missed epoch adds and a passed one takes off; slashed at the limit.
        cut: part of the stake that goes.
    """

    epoch_h: float = 24.0
    window_h: float = 18.0
    in_a_row: int = 3
    missed: int = 200
    passed: int = 1
    limit: int = 1_000
    cut: float = 0.2

    @classmethod
    def deployed(cls, name: str, block_s: float) -> "Rules":
        """What a chain of that kind is deployed with."""
        said = json.loads(RULES_FILE.read_text())[name]
        block_h = block_s / 3600
        return cls(
            epoch_h=said["epoch_blocks"] * block_h,
            window_h=(said["epoch_blocks"] - said["quiet_blocks"]) * block_h,
            missed=said["miss_points"],
            passed=said["pass_points"],
            limit=said["points_limit"],
            cut=said["slash_bps"] / 10_000,
        )

    @property
    def epochs_a_month(self) -> float:
        return HOURS_A_MONTH / self.epoch_h

    @property
    def tolerated(self) -> float:
        """Part of the epochs that a node may miss for ever without its points growing."""
        return self.passed / (self.passed + self.missed)


@dataclass(frozen=True)
class Track:
    """One track and its pin order. 64 MiB: four minutes of lossless and Opus, and the least that is billed."""

    gigabytes: float = 2**26 / 1e9
    minutes: float = 4.0
    replicas: int = 7
    months: float = 18.0


@dataclass(frozen=True)
class Shop:
    """One node: what it keeps, and what it has at stake in months of its income."""

    gigabytes: float = 100.0
    pins: int = 1_490
    stake_months: float = 12.0

    def income(self, prices: Prices) -> float:
        """USD a month when every epoch is passed."""
        return self.gigabytes * prices.reward

    def stake(self, prices: Prices) -> float:
        return self.stake_months * self.income(prices)

    def proofs_usd(self, rules: Rules, chain: Chain) -> float:
        """A month's proofs: one an epoch, whatever number of copies."""
        return chain.usd(CALLS["audit proof"], rules.epochs_a_month)

    def pins_usd(self, chain: Chain) -> float:
        """What its copies cost once: each is accepted, and settled and released at the end."""
        return chain.usd(CALLS["accept"], self.pins) + chain.usd(CALLS["release"], self.pins)


def first_slashed(rules: Rules, missed: Bools) -> Ints:
    """The number of epochs until each node is slashed.

    Args:
        missed: epochs x nodes, whether the proof did not come.
    Returns:
        for each node; 0 where it never is.
    """
    epochs, nodes = missed.shape
    row, points = np.zeros(nodes, np.int64), np.zeros(nodes, np.int64)
    found = np.zeros(nodes, np.int64)
    for epoch in range(epochs):
        row = np.where(missed[epoch], row + 1, 0)
        points = np.maximum(0, points + np.where(missed[epoch], rules.missed, -rules.passed))
        is_now = (found == 0) & ((row >= rules.in_a_row) | (missed[epoch] & (points >= rules.limit)))
        found[is_now] = epoch + 1
    return found


def misses(chance: float, epochs: int, nodes: int, seed: int) -> Bools:
    """Whether each node misses each epoch, at random: what it lacks is asked for, or it is away."""
    return np.random.default_rng(seed).random((epochs, nodes)) < chance


def outages(rules: Rules, spells: Iterable[tuple[float, float]], months: float, nodes: int, seed: int) -> Bools:
    """Whether honest nodes miss epochs because they are down for all of a window.

    Args:
        spells: (how often a month, mean hours) of each kind of outage; lengths are exponential.
    """
    rng, hours = np.random.default_rng(seed), months * HOURS_A_MONTH
    epochs = int(hours / rules.epoch_h)
    missed = np.zeros((epochs, nodes), np.bool_)
    for per_month, mean_h in spells:
        counts = rng.poisson(per_month * months, nodes)
        for node, count in enumerate(counts):
            begins, lengths = rng.uniform(0, hours, count), rng.exponential(mean_h, count)
            firsts = np.ceil(begins / rules.epoch_h).astype(int)
            lasts = np.floor((begins + lengths - rules.window_h) / rules.epoch_h).astype(int)
            for first, last in zip(firsts, lasts, strict=True):
                missed[first : last + 1, node] = True
    return missed


@dataclass(frozen=True)
class Books:
    """One node over the months of an order, in USD; means over many runs."""

    income: float
    disk: float
    gas: float
    lost_stake: float
    found: float
    median_epochs: float | None

    @property
    def net(self) -> float:
        return self.income - self.disk - self.gas - self.lost_stake


def books(
    shop: Shop,
    rules: Rules,
    prices: Prices,
    chain: Chain,
    *,
    disk_missing: float,
    miss_chance: float,
    months: float = 18.0,
    is_epoch_forfeited: bool = True,
    nodes: int = 1_000,
    seed: int = 1,
) -> Books:
    """What a node earns that saves a part of its disk.

    Args:
        disk_missing: part of the bytes that it does not keep.
        miss_chance: how often it therefore (or for any other reason) misses an epoch.
        is_epoch_forfeited: a missed audit costs the reward of the epoch for everything that the node keeps,
            not for the pin that was asked for.
    """
    epochs = int(months * rules.epochs_a_month)
    missed = misses(miss_chance, epochs, nodes, seed)
    found = first_slashed(rules, missed)
    lived = np.where(found == 0, epochs, found)
    is_alive = np.arange(1, epochs + 1)[:, None] <= lived
    paid = (is_alive & ~missed).sum(0) if is_epoch_forfeited else lived - (is_alive & missed).sum(0) / shop.pins
    per_epoch = shop.income(prices) / rules.epochs_a_month
    disk = shop.gigabytes * prices.disk * (1 - disk_missing) / rules.epochs_a_month
    proofs = shop.proofs_usd(rules, chain) / rules.epochs_a_month
    return Books(
        income=float(paid.mean() * per_epoch),
        disk=float(lived.mean() * disk),
        gas=float(lived.mean() * proofs) + shop.pins_usd(chain),
        lost_stake=float((found > 0).mean() * rules.cut * shop.stake(prices)),
        found=float((found > 0).mean()),
        median_epochs=float(np.median(found[found > 0])) if (found > 0).any() else None,
    )


def lost_per_year(disks: int, failures_a_year: float, repair_days: float) -> float:
    """How often a year a track with copies on so many disks is lost, each lost copy being made again.

    A birth-death chain: each copy fails at a rate, and missing ones are repaired side by side.
    """
    rate, repair = failures_a_year, 365.2425 / repair_days
    # Mean time to absorption at 0 copies (Karlin and Taylor 1975, 4.7), summed from the top.
    total, below = 0.0, 0.0
    for copies in range(disks, 0, -1):
        # Expected time to go from `copies` to `copies - 1`.
        below = (1 + (disks - copies) * repair * below) / (copies * rate)
        total += below
    return 1 / total


def redraws(missing: float, nodes: int) -> float:
    """How many seeds somebody who may choose must try until none of his nodes is asked for what it lacks."""
    return float((1 - missing) ** -nodes)


def part_of_bytes(part_of_pins: float, sigma: float) -> float:
    """What part of the bytes the largest pins make up, sizes being log-normal.

    Args:
        part_of_pins: the largest so many of all.
        sigma: of the logarithm; the Lorenz curve of a log-normal is Phi(Phi^-1(p) - sigma).
    """
    normal = NormalDist()
    return 1 - normal.cdf(normal.inv_cdf(1 - part_of_pins) - sigma)
