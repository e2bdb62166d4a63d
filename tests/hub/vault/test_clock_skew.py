"""An artist's machine whose clock is wrong by an hour: buyers get their keys all the same."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from digm.keys import key_commitment
from tests.hub.vault.market import ArtistProcess, Buyer, Market

HOUR_S = 3_600
ROOT = Path(__file__).resolve().parents[3]
# What Python runs before anything else, in a process of its own.
SITE = """
import os, time
right, right_ns, seconds = time.time, time.time_ns, float(os.environ["SKEW_S"])
time.time = lambda: right() + seconds
time.time_ns = lambda: right_ns() + int(seconds * 1e9)
"""


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    found = Market(tmp_path_factory.mktemp("chain"))
    yield found
    found.close()


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_vault_whose_clock_is_an_hour_off_delivers_and_says_when_it_is_ahead(
    market: Market, tmp_path: Path, hours: int
) -> None:
    data, site, buyer = tmp_path / "data", tmp_path / "site", Buyer(market.accounts[5 + hours])
    data.mkdir()
    site.mkdir()
    (site / "sitecustomize.py").write_text(SITE)
    market.settle_in(data)
    sold = market.sell(data, seed=2 + hours)
    # Off from the chain's clock, which the tests before may have moved.
    skew_s = market.time_s - time.time() + hours * (HOUR_S + 60)
    path = os.pathsep.join([str(site), str(ROOT)])
    process = ArtistProcess(data, market.environment(PYTHONPATH=path, SKEW_S=str(skew_s)))
    process.start()
    try:
        market.buy(buyer, sold.item)
        assert key_commitment(market.opened(sold.item, buyer)) == sold.published.manifest.key_commitment
        assert bool(process.said("clock_ahead_of_chain")) is (hours > 0)
    finally:
        process.kill()
