"""docs/economics.md says what the program says, and the program's arithmetic agrees with plain counting."""

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.economics import TABLES
from bench.economics_model import (
    CALLS,
    L2,
    Prices,
    Rules,
    Shop,
    books,
    first_slashed,
    lost_per_year,
    misses,
    outages,
    part_of_bytes,
    redraws,
)
from bench.per_node_encoding import BLOCK_BYTES, CODED_BYTES, PRIME, decode, encode

DOCS = Path(__file__).parents[2] / "docs"
PAGE, CONTRACTS = ((DOCS / name).read_text() for name in ("economics.md", "contracts.md"))


@pytest.mark.parametrize("make", TABLES, ids=lambda make: make.__name__)
def test_the_page_shows_each_table_as_it_is_computed(make):
    assert str(make()) in PAGE, "run `python -m bench.economics --write`, and read what the page says about it"


def test_the_gas_is_what_the_contracts_take():
    """As docs/contracts.md shows it; a call may get 5 % dearer before this page has to be computed anew."""
    lines = [line.split("|") for line in CONTRACTS.splitlines() if line.startswith("| ")]
    measured = {line[1].strip(): line[2].strip().replace(",", "") for line in lines if len(line) == 5}
    for name, call in CALLS.items():
        if name != "purchase":  # which is the budget: that contract is still to come
            gas = int(measured["accept (further)" if name == "accept" else name])
            assert call.gas == pytest.approx(gas, rel=0.05), name


def counted(rules: Rules, missed: list[bool]) -> int:
    """One node, epoch by epoch, as contracts/Pinning.vy says it."""
    row = points = 0
    for number, is_missed in enumerate(missed, 1):
        if not is_missed:
            row, points = 0, points - min(points, rules.passed)
            continue
        row, points = row + 1, points + rules.missed
        if row >= rules.in_a_row or points >= rules.limit:
            return number
    return 0


@given(st.lists(st.lists(st.booleans(), min_size=40, max_size=40), min_size=1, max_size=5))
@settings(max_examples=100, deadline=None)
def test_all_nodes_at_once_are_slashed_when_each_alone_would_be(nodes):
    rules = Rules(missed=5, passed=1, limit=22)
    assert list(first_slashed(rules, np.array(nodes).T)) == [counted(rules, node) for node in nodes]


def test_three_in_a_row_takes_as_long_as_the_formula_says():
    chance, rules = 0.3, Rules(limit=10**9)
    found = first_slashed(rules, misses(chance, 2_000, 2_000, seed=1))
    assert (found > 0).all()
    expected = (1 - chance**3) / (chance**3 * (1 - chance))
    assert found.mean() == pytest.approx(expected, rel=0.06)


def test_who_proves_every_time_is_never_slashed_and_earns_everything():
    shop, prices = Shop(), Prices()
    account = books(shop, Rules(), prices, L2, disk_missing=0, miss_chance=0)
    assert account.found == 0 and account.lost_stake == 0
    assert account.income == pytest.approx(18 * shop.income(prices), rel=0.003)


@pytest.mark.parametrize("missing", [0.01, 0.1, 0.5])
def test_deleting_never_pays_where_a_missed_audit_costs_the_epoch(missing):
    never = Rules(in_a_row=10**9, limit=10**9)
    honest, cheat = (
        books(Shop(), never, Prices(), L2, disk_missing=part, miss_chance=part) for part in (0, missing)
    )
    assert cheat.net < honest.net


def test_an_outage_is_missed_only_if_it_covers_the_window():
    rules = Rules(epoch_h=24, window_h=22)
    assert not outages(rules, [(1.0, 0.5)], 12, 200, seed=1).any()
    long = outages(rules, [(0.1, 1_000.0)], 12, 50, seed=1)
    assert long.any()
    down = outages(rules, [(0.0, 24.0)], 12, 50, seed=1)
    assert not down.any()


def test_a_track_is_lost_as_often_as_its_only_disk():
    assert lost_per_year(1, 0.3, 4) == pytest.approx(0.3)
    rate, repair = 0.3, 365.2425 / 4
    assert lost_per_year(2, 0.3, 4) == pytest.approx(2 * rate**2 / (3 * rate + repair))
    assert lost_per_year(7, 0.3, 4) < 1e-6 * lost_per_year(2, 0.3, 4)


def test_who_may_choose_the_seed_tries_as_often_as_the_formula_says():
    rng, tries = random.Random(1), []
    for _ in range(2_000):
        count = 1
        while any(rng.random() < 0.3 for _ in range(5)):
            count += 1
        tries.append(count)
    assert np.mean(tries) == pytest.approx(redraws(0.3, 5), rel=0.1)


def test_the_largest_pins_hold_as_many_bytes_as_in_a_sample():
    sample = np.sort(np.random.default_rng(1).lognormal(0, 1, 200_000))[::-1]
    assert sample[:20_000].sum() / sample.sum() == pytest.approx(part_of_bytes(0.1, 1), rel=0.02)


def test_a_nodes_own_copy_is_another_one_for_each_node_and_can_be_undone():
    data = random.Random(1).randbytes(3 * BLOCK_BYTES)
    ours, theirs = encode(data, b"a" * 32), encode(data, b"b" * 32)
    assert decode(ours, b"a" * 32) == data
    assert all(
        ours[at : at + CODED_BYTES] != theirs[at : at + CODED_BYTES] for at in range(0, len(ours), CODED_BYTES)
    )
    assert pow(2, PRIME - 1, PRIME) == 1 and PRIME % 4 == 3 and PRIME.bit_length() == 2048
