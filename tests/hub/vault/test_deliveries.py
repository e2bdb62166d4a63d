"""A real artist process on a real devnet: who paid gets the key or the money, never both, never neither."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from digm.keys import key_commitment
from tests.hub.vault.market import PRICE, ArtistProcess, Buyer, Market, Sold

HOUR_S = 3_600


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    found = Market(tmp_path_factory.mktemp("chain"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def data(market: Market, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artist") / "data"
    folder.mkdir()
    market.settle_in(folder)
    return folder


@pytest.fixture(scope="module")
def sold(market: Market, data: Path) -> Sold:
    return market.sell(data)


@pytest.fixture
def artist(market: Market, data: Path) -> Iterator[ArtistProcess]:
    process = ArtistProcess(data, market.environment())
    yield process
    if process.process is not None:
        process.kill()


def test_who_pays_gets_the_key_and_the_artist_the_money(
    market: Market, sold: Sold, artist: ArtistProcess
) -> None:
    buyer, before = Buyer(market.accounts[4]), market.credit(market.artist)
    artist.start()
    market.buy(buyer, sold.item)
    key = market.opened(sold.item, buyer)
    assert key_commitment(key) == sold.published.manifest.key_commitment
    assert market.credit(market.artist) == before + PRICE
    assert market.purchase(sold.item, buyer)["is_delivered"]
    artist.waits_to_say("key_delivered")
    assert key.hex() not in artist.log_path.read_text()
