"""What audits cost and what cheating earns: the tables of docs/economics.md.

    python -m bench.economics [--json] [--write]

`--write` puts them on the page; `tests/bench/test_economics.py` holds it to them. What is timed on this machine
(the last lines) is not in it word for word. Prices are in bench/economics_model.py: change them there and look.
"""

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from bench.economics_model import (
    CALLS,
    CHUNK_BYTES,
    GWEI,
    HOURS_A_MONTH,
    L1,
    L2,
    Books,
    Prices,
    Rules,
    Shop,
    Track,
    books,
    first_slashed,
    lost_per_year,
    misses,
    outages,
    part_of_bytes,
    redraws,
)
from bench.per_node_encoding import seconds_a_chunk
from bench.report import Report, arguments

MONTHS = 18.0
NODES = 1_000
RULES, RULES_L1 = Rules.deployed("l2", block_s=2.0), Rules.deployed("l1", block_s=12.0)
PRICES, SHOP, TRACK = Prices(), Shop(), Track()
# Restarts and updates once a month; once a year something that takes a day.
SPELLS = ((1.0, 2.0), (1 / 12, 24.0))
AWAY = 0.005  # epochs that an honest node misses, about what SPELLS come to
PAGE = Path(__file__).parents[1] / "docs" / "economics.md"
DEADLINE_S = 15.0  # of the audits off chain (docs/decisions/0017-audits.md)


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of text under a head."""

    name: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __str__(self) -> str:
        lines = [self.head, ["---"] * len(self.head), *self.rows]
        return "\n".join([f"<!-- {self.name} -->", *("| " + " | ".join(line) + " |" for line in lines)])


def gas() -> Table:
    """What one call costs."""
    rows = [[name, f"{call.gas:,}", usd(L1.usd(call)), usd(L2.usd(call))] for name, call in CALLS.items()]
    return Table("gas", ["call", "gas", f"L1, {L1.gwei:g} gwei", f"L2, {L2.gwei:g} gwei"], rows)


def one_track() -> Table:
    """What seven copies of a track cost over 18 months, whoever pays."""
    disk = TRACK.gigabytes * TRACK.replicas * TRACK.months * PRICES.disk
    rows = [["seven disks", usd(disk), usd(disk)]]
    for name, times in (("publish", 1), ("pin order", 1), ("accept", TRACK.replicas),
                        ("release", TRACK.replicas)):  # fmt: skip
        call = CALLS[name]
        rows.append([f"{name}, {times} x", usd(L1.usd(call, times)), usd(L2.usd(call, times))])
    share = TRACK.replicas * TRACK.months / SHOP.pins
    proofs = [SHOP.proofs_usd(rules, chain) * share for rules, chain in ((RULES_L1, L1), (RULES, L2))]
    rows.append([f"its share of proofs, {SHOP.pins:,} copies a node", *map(usd, proofs)])
    reward = TRACK.gigabytes * TRACK.replicas * TRACK.months * PRICES.reward
    rows.append(["what the nodes are paid", usd(reward), usd(reward)])
    return Table("track", ["64 MiB, 7 copies, 18 months", "L1", "L2"], rows)


def epochs() -> Table:
    """How long an epoch should be."""
    rows = []
    for hours in (1, 6, 24, 72, 168):
        rules = Rules(epoch_h=hours, window_h=hours * RULES.window_h / RULES.epoch_h)
        honest = first_slashed(rules, outages(rules, SPELLS, 12, NODES, seed=1))
        costs = [SHOP.proofs_usd(rules, chain) for chain in (L1, L2)]
        rows.append(
            [
                f"{hours} h",
                *map(usd, costs),
                # 10 % of what the node is paid.
                *(f"{10 * cost / PRICES.reward:,.0f} GB" for cost in costs),
                *(_days(_median(rules, missing), hours) for missing in (0.1, 0.5)),
                f"{(honest > 0).mean():.1%}",
            ]
        )
    head = ["epoch", "L1 a month", "L2", "node for which that is a tenth, L1", "L2",
            "10 % missing found after", "50 %", "honest nodes slashed a year"]  # fmt: skip
    return Table("epochs", head, rows)


def _median(rules: Rules, missing: float) -> float | None:
    found = first_slashed(rules, misses(missing, 2_000, NODES, seed=2))
    return float(np.median(found[found > 0])) if (found > 0).mean() > 0.5 else None


def points() -> Table:
    """How much the points should forgive."""
    rows = []
    for missed, limit in ((20, 100), (100, 500), (200, 1_000)):
        rules = dataclasses.replace(RULES, missed=missed, limit=limit)
        found = [_days(_median(rules, missing), rules.epoch_h) for missing in (0.02, 0.05, 0.1, 0.5)]
        rows.append(
            [
                f"{missed}, 1, {limit:,}",
                f"{rules.tolerated:.1%}",
                *found,
                *(f"{_slashed(rules, away):.1%}" for away in (0.005, 0.01, 0.02)),
            ]
        )
    head = ["a miss, a pass, the limit", "forgives", "2 % missing found after", "5 %", "10 %", "50 %",
            "slashed in 18 months of honest nodes that miss 0.5 %", "1 %", "2 %"]  # fmt: skip
    return Table("points", head, rows)


def _slashed(rules: Rules, away: float) -> float:
    epochs_there = int(MONTHS * rules.epochs_a_month)
    return float((first_slashed(rules, misses(away, epochs_there, 10 * NODES, seed=3)) > 0).mean())


def cheating() -> Table:
    """What a node earns that keeps less than it is paid for."""
    honest = books(SHOP, RULES, PRICES, L2, disk_missing=0, miss_chance=AWAY, months=MONTHS)
    rows = [_account("nothing", "", honest, honest.net)]
    for missing in (0.01, 0.1, 0.5):
        for how, chance in (("misses", missing), ("fetches", 0.0)):
            what = "misses the audit" if how == "misses" else "fetches the chunk when it is asked"
            account = books(
                SHOP, RULES, PRICES, L2,
                disk_missing=missing, miss_chance=1 - (1 - chance) * (1 - AWAY), months=MONTHS,
            )  # fmt: skip
            rows.append(_account(f"{missing:.0%}", what, account, honest.net))
    head = ["missing", "and", "found", "median", "income", "disk", "gas", "stake lost", "net", "beside honest"]
    return Table("cheating", head, rows)


def _account(missing: str, what: str, account: Books, honest: float) -> list[str]:
    money = [account.income, account.disk, account.gas, account.lost_stake, account.net]
    return [
        missing, what, f"{account.found:.0%}", _days(account.median_epochs, RULES.epoch_h),
        *(f"{amount:.2f}" for amount in money), f"{account.net - honest:+.2f}",
    ]  # fmt: skip


def forfeits() -> Table:
    """Why a missed audit has to cost more than the pin that it was about. Nobody is slashed here."""
    never = dataclasses.replace(RULES, in_a_row=10**9, limit=10**9)
    rows = []
    for missing in (0.01, 0.1, 0.5):
        row = [f"{missing:.0%}"]
        for whole in (False, True):
            nets = [
                books(
                    SHOP, never, PRICES, L2, disk_missing=part, miss_chance=part, months=MONTHS,
                    is_epoch_forfeited=whole,
                ).net
                for part in (0.0, missing)
            ]  # fmt: skip
            row.append(f"{nets[1] - nets[0]:+.2f}")
        rows.append(row)
    return Table("forfeits", ["missing", "it costs that pin's reward", "it costs the epoch's reward"], rows)


def sizes() -> Table:
    """Deleting the largest pins, where each pin is as likely to be asked for as any other."""
    rows = []
    for sigma in (0.5, 1.0, 1.5):
        for pins in (0.01, 0.04, 0.1):
            saved = part_of_bytes(pins, sigma)
            gain = saved * PRICES.disk / PRICES.reward - pins
            rows.append([f"{sigma:g}", f"{pins:.0%}", f"{saved:.0%}", f"{gain:+.1%}"])
    head = ["spread of sizes (sigma)", "of the pins", "of the bytes", "gain, of the income"]
    return Table("sizes", head, rows)


def one_disk() -> Table:
    """Seven names, one disk: what it saves a year, and what it risks."""
    rows = []
    for gigabytes in (10, 100, 1_000):
        shop = dataclasses.replace(SHOP, gigabytes=float(gigabytes))
        saved = 6 * gigabytes * PRICES.disk * 12
        stakes = 7 * RULES.cut * shop.stake(PRICES)
        income = 7 * 12 * shop.income(PRICES)
        rows.append([f"{gigabytes:,} GB", usd(income), usd(saved), usd(stakes), f"{saved / stakes:.0%}"])
    head = ["each name is paid for", "income of seven", "six disks saved", "slashed if the disk dies",
            "worth it while that is less likely than, a year"]  # fmt: skip
    return Table("one-disk", head, rows)


def losses() -> Table:
    """How often a track is lost that lies on so many disks in truth."""
    rows = []
    for failures, what in ((0.015, "a disk, 1.5 % a year"), (0.3, "a node that leaves, 30 % a year")):
        for days in (1.0, 4.0):
            chances = [lost_per_year(disks, failures, days) for disks in (1, 2, 3, 7)]
            rows.append([what, f"{days:g} days", *(f"{chance:.1e}" for chance in chances)])
    return Table("losses", ["what fails", "made again within", *(f"{n} disks" for n in (1, 2, 3, 7))], rows)


def seeds() -> Table:
    """How many seeds must be tried until none of k nodes is asked for what it lacks."""
    rows = [
        [f"{missing:.0%}", *(_count(redraws(missing, nodes)) for nodes in (1, 7, 50, 200))]
        for missing in (0.01, 0.1, 0.5)
    ]
    return Table("seeds", ["missing", "1 node", "7", "50", "200"], rows)


def censoring() -> Table:
    """What it costs to fill all blocks, so that nobody's transaction comes through."""
    rows = []
    for what, hours in (
        ("256 blocks: no seal", None),
        (f"a window of {RULES.window_h:g} h: no proof", RULES.window_h),
    ):
        row = [what]
        for chain, block_gas, block_s in ((L1, 45e6, 12.0), (L2, 60e6, 2.0)):
            blocks = 256 if hours is None else hours * 3600 / block_s
            # A floor: the base fee rises by an eighth with every full block (EIP-1559).
            row.append(usd(blocks * block_gas * chain.gwei * GWEI * chain.eth_usd))
        rows.append(row)
    return Table("censoring", ["to stop", "L1, at least", "L2, at least"], rows)


def listening() -> Table:
    """Gas for an hour of music. Hearing it costs none: what costs is that it is published, kept and bought."""
    a_copy = CALLS["accept"].gas + CALLS["release"].gas
    a_copy += round(MONTHS * RULES.epochs_a_month * CALLS["audit proof"].gas / SHOP.pins)
    fixed = CALLS["publish"].gas + CALLS["pin order"].gas + TRACK.replicas * a_copy
    rows = []
    for plays in (100, 10_000, 1_000_000):
        hours = plays * TRACK.minutes / 60
        each = fixed / hours
        rows.append([f"{plays:,} plays, free", *_an_hour(each)])
    rows.append(["a purchase, heard 20 times", *_an_hour(CALLS["purchase"].gas / (20 * TRACK.minutes / 60))])
    return Table("listening", ["of a track", "gas an hour", "L1", "L2"], rows)


def _an_hour(amount: float) -> list[str]:
    """Gas, and what it costs; without calldata, which is a few per cent of it."""
    return [f"{amount:,.0f}", *(usd(amount * chain.gwei * GWEI * chain.eth_usd) for chain in (L1, L2))]


def encoding(report: Report) -> None:
    """Timed on this machine: a copy of one's own for each node."""
    encode_s, decode_s = seconds_a_chunk()
    chunks = TRACK.gigabytes * 1e9 / CHUNK_BYTES
    for faster in (1, 10, 100):
        # Somebody with hardware that is so much faster must not be done with a chunk before the deadline.
        needed_s = DEADLINE_S * faster
        report.row(
            faster_hardware=faster,
            encode_s_a_chunk=needed_s,
            rounds=round(needed_s / encode_s, 1),
            core_hours_a_copy=round(needed_s * chunks / 3600, 1),
            core_years_a_terabyte=round(needed_s * 1e12 / CHUNK_BYTES / 3600 / 24 / 365, 1),
            decode_ms_a_chunk=round(decode_s * 1000 * needed_s / encode_s, 1),
        )


def usd(amount: float) -> str:
    """An amount that people can read."""
    if amount >= 1000:
        return f"${amount:,.0f}"
    return f"${amount:.2f}" if amount >= 1 else f"${amount:.2g}"


def _days(number: float | None, epoch_h: float) -> str:
    if number is None:
        return "never"
    days = number * epoch_h / 24
    return f"{days:,.0f} days" if days >= 2 else f"{days * 24:.0f} h"


def _count(number: float) -> str:
    return f"{number:,.1f}" if number < 100 else f"{number:,.0f}" if number < 1e6 else f"{number:.0e}"


TABLES: tuple[Callable[[], Table], ...] = (
    gas, one_track, epochs, points, cheating, forfeits, sizes, one_disk, losses, seeds, censoring, listening,
)  # fmt: skip


def write() -> None:
    """Put each table in the place of the one of its name on the page."""
    page = PAGE.read_text(encoding="utf-8")
    for make in TABLES:
        table = make()
        page = re.sub(rf"<!-- {table.name} -->\n(\|.*\n)*", lambda _, table=table: f"{table}\n", page)
    PAGE.write_text(page, encoding="utf-8")


def main() -> None:
    options = arguments("What audits cost and what cheating earns.", write=False)
    if options.write:
        write()
        return
    report = Report("economics", options.json)
    for make in TABLES:
        table = make()
        if options.json:
            for row in table.rows:
                report.row(table=table.name, **dict(zip(table.head, row, strict=True)))
        else:
            print(f"\n{table.name}: {make.__doc__}\n\n{table}")
    encoding(report)
    report.summary(hours_a_month=HOURS_A_MONTH)


if __name__ == "__main__":
    main()
