"""A real artist process on a real devnet: who paid gets the key or the money, never both, never neither."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from digm.keys import key_commitment
from tests.hub.keeping.village import has_signed
from tests.hub.vault.market import PRICE, ArtistProcess, Buyer, Market, Sold, even_p256_key, until

HOUR_S = 3_600
DELIVER_WITHIN_S = 2 * HOUR_S


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


@pytest.fixture(scope="module")
def artist(market: Market, data: Path) -> Iterator[ArtistProcess]:
    """The artist's process: who needs it away kills it, who needs it starts it."""
    process = ArtistProcess(data, market.environment())
    yield process
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
    assert key.hex() not in artist.log_path.read_text()


def test_buyers_wait_an_hour_for_a_vault_that_is_away_and_then_get_their_keys(
    market: Market, sold: Sold, artist: ArtistProcess
) -> None:
    artist.kill()
    buyers = [Buyer(market.accounts[number]) for number in (5, 6)]
    for buyer in buyers:
        market.buy(buyer, sold.item)
    market.pass_time(HOUR_S)
    artist.start()
    for buyer in buyers:
        assert key_commitment(market.opened(sold.item, buyer)) == sold.published.manifest.key_commitment
        with pytest.raises(AssertionError, match="nothing_to_refund"):
            market.tell(buyer.address, "sales", "refund", sold.item, buyer.address)


def test_a_vault_that_returns_too_late_sends_no_key_and_the_money_goes_back(
    market: Market, data: Path, artist: ArtistProcess
) -> None:
    sold, late, in_time = market.sell(data, seed=2), Buyer(market.accounts[4]), Buyer(market.accounts[5])
    artist.kill()
    market.buy(late, sold.item)
    market.pass_time(DELIVER_WITHIN_S - 600)  # less than the margin is left
    market.buy(in_time, sold.item)
    artist.start()
    market.opened(sold.item, in_time)  # so it has looked, and passed over what came first
    assert not market.delivered(sold.item, late) and not has_signed(
        artist, f"deliver {sold.item.hex()} {late.address}"
    )
    market.pass_time(600)
    market.tell(market.accounts[9], "sales", "refund", sold.item, late.address)
    assert market.ask("sales", "credits", market.deployed.addresses["para"], late.address) == PRICE
    market.buy(late, sold.item)  # once more, and now somebody is there
    market.opened(sold.item, late)
    assert len(market.delivered(sold.item, late)) == 1


def test_a_vault_that_is_killed_while_it_delivers_delivers_once(
    market: Market, data: Path, artist: ArtistProcess
) -> None:
    sold, buyer = market.sell(data, seed=3), Buyer(market.accounts[4])
    artist.kill()
    sent = market.sent_by(market.artist)
    market.buy(buyer, sold.item)
    artist.start()
    until(lambda: has_signed(artist, f"deliver {sold.item.hex()}"))
    artist.kill()
    artist.start()
    market.opened(sold.item, buyer)
    artist.kill()
    artist.start()
    other = Buyer(market.accounts[5])
    market.buy(other, sold.item)
    market.opened(sold.item, other)
    assert market.sent_by(market.artist) == sent + 2


def test_a_vault_restored_from_an_old_backup_delivers_nothing_twice_and_names_what_it_lost(
    market: Market, data: Path, artist: ArtistProcess, tmp_path: Path
) -> None:
    known = market.sell(data, seed=4)
    backup = shutil.copytree(data, tmp_path / "backup")
    lost, buyer, other = market.sell(data, seed=5), Buyer(market.accounts[4]), Buyer(market.accounts[5])
    market.buy(buyer, known.item)
    artist.start()
    market.opened(known.item, buyer)
    artist.kill()
    sent = market.sent_by(market.artist)
    restored = ArtistProcess(backup, market.environment()).start()
    try:
        market.buy(other, lost.item)
        market.buy(other, known.item)
        market.opened(known.item, other)
        until(lambda: restored.said("delivery_failed", code="track_key_missing"))
        assert market.sent_by(market.artist) == sent + 1
    finally:
        restored.kill()
    artist.start()  # the one with the key
    assert key_commitment(market.opened(lost.item, other)) == lost.published.manifest.key_commitment


def test_a_delivery_that_the_chain_takes_back_is_sent_again_with_the_same_key(
    market: Market, data: Path, artist: ArtistProcess
) -> None:
    sold, buyer = market.sell(data, seed=6), Buyer(market.accounts[4])
    market.buy(buyer, sold.item)
    artist.start()
    market.opened(sold.item, buyer)
    (before,) = market.delivered(sold.item, buyer)
    until(lambda: artist.said("key_delivered", item=sold.item.hex()[:8]))
    market.rpc("anvil_rollback", 1)
    market.rpc("evm_mine")
    market.opened(sold.item, buyer)
    assert market.delivered(sold.item, buyer) == [before]


def test_a_purchase_that_the_chain_takes_back_with_its_delivery_is_nobodys_and_what_follows_is_served(
    market: Market, data: Path, artist: ArtistProcess
) -> None:
    sold, gone, other = market.sell(data, seed=7), Buyer(market.accounts[4]), Buyer(market.accounts[5])
    market.buy(gone, sold.item)
    artist.start()
    market.opened(sold.item, gone)
    until(lambda: artist.said("key_delivered", item=sold.item.hex()[:8]))
    credit = market.credit(market.artist)
    market.rpc("anvil_rollback", 2)
    assert market.credit(market.artist) == credit - PRICE
    market.buy(other, sold.item)
    market.opened(sold.item, other)
    assert not market.delivered(sold.item, gone) and market.purchase(sold.item, gone)["amount"] == 0
    market.buy(gone, sold.item)
    market.opened(sold.item, gone)
    assert market.credit(market.artist) == credit + PRICE


def test_an_albums_keys_come_in_one_delivery_also_to_a_p256_key(
    market: Market, data: Path, artist: ArtistProcess
) -> None:
    tracks = [market.sell(data, seed=seed) for seed in (8, 9)]
    ids, para = [one.item for one in tracks], market.deployed.addresses["para"]
    market.tell(market.artist, "sales", "set_album", ids, [(market.artist, 10_000)], para, PRICE, False)
    album = bytes(market.ask("sales", "album_id", market.artist, ids))
    buyer = Buyer(market.accounts[4], even_p256_key())
    market.buy(buyer, album, function="buy_p256")
    artist.start()
    for place, track in enumerate(tracks):
        key = market.opened(album, buyer, place)
        assert key_commitment(key) == track.published.manifest.key_commitment


def test_to_a_key_that_is_none_nothing_is_delivered_and_the_money_goes_back(
    market: Market, data: Path, artist: ArtistProcess
) -> None:
    sold, para = market.sell(data, seed=10), market.deployed.addresses["para"]
    odd, other = market.accounts[6], Buyer(market.accounts[5])
    market.tell(odd, "sales", "buy", sold.item, para, PRICE, b"\x01" + bytes(31))
    market.buy(other, sold.item)
    artist.start()
    market.opened(sold.item, other)
    until(lambda: artist.said("delivery_failed", code="bad_buyer_key"))
    market.pass_time(DELIVER_WITHIN_S)
    market.tell(odd, "sales", "refund", sold.item, odd)
