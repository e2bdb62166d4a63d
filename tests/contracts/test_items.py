"""Albums, P-256 keys and keys that are given: bought, delivered and refunded like a track."""

import eth_abi
import pytest
from eth_utils.crypto import keccak

from digm.purchases import MAX_WRAPPED_BYTES
from tests.contracts.conftest import undone
from tests.contracts.house import DAY_S, PRICE, House, track_named
from tests.contracts.machine import ZERO, Reverted

KEY, WRAPPED = b"k" * 32, b"w" * 81
WHOLE = 10_000


def album(house: House, price: int = PRICE, payees: object = None) -> tuple[bytes, list[bytes]]:
    """Two tracks that are sold together, in PARA. Returns the album's id and theirs."""
    tracks = [house.publish(track_named(name)) for name in ("one", "two")]
    shares = payees or [(house.artist, WHOLE)]
    house.sales.send(house.artist, "set_album", tracks, shares, house.para.address, price, False)
    return bytes(house.sales.ask("album_id", house.artist, tracks)), tracks


def buy(house: House, buyer: bytes, item: bytes, amount: int = PRICE, function: str = "buy"):
    return house.sales.send(buyer, function, item, house.para.address, amount, KEY)


def credit(house: House, who: bytes) -> int:
    return house.sales.ask("credits", house.para.address, who)


def test_an_album_is_bought_as_one_and_pays_the_payees_that_it_names(house):
    buyer, drummer = house.nodes[:2]
    item, tracks = album(house, 101, [(house.artist, 7_500), (drummer, 2_500)])
    assert item == keccak(eth_abi.encode(["address", "bytes32[]"], [house.artist, tracks]))
    assert house.sales.ask("album", item)["tracks"] == tracks
    (bought,) = buy(house, buyer, item, 101)
    assert (bought.name, bought.fields["item"], bought.fields["amount"]) == ("Purchased", item, 101)
    wrapped = bytes(MAX_WRAPPED_BYTES)  # the keys of 64 tracks for a P-256 key
    (delivered,) = house.sales.send(house.artist, "deliver", item, buyer, wrapped)
    assert delivered.fields == {"item": item, "buyer": buyer, "wrapped_key": wrapped}
    assert (credit(house, house.artist), credit(house, drummer)) == (76, 25)
    assert not house.sales.ask("purchase", tracks[0], buyer)["is_delivered"]  # a track of it is another item


def test_an_album_whose_key_does_not_come_is_paid_back(house, refused):
    (item, _), buyer = album(house), house.nodes[0]
    before = house.para.ask("balanceOf", buyer)
    buy(house, buyer, item)
    house.machine.mine(1, DAY_S)
    with refused("too_late"):
        house.sales.send(house.artist, "deliver", item, buyer, WRAPPED)
    house.sales.send(house.stranger, "refund", item, buyer)
    house.sales.send(buyer, "withdraw", house.para.address)
    assert house.para.ask("balanceOf", buyer) == before


def test_an_album_with_a_track_that_is_withdrawn_or_somebody_elses_is_not_sold(house, refused):
    (item, tracks), (early, late, heir) = album(house), house.nodes[:3]
    buy(house, early, item)
    snapshot = house.machine.snapshot()
    house.registry.send(house.artist, "withdraw", tracks[1])
    with refused("withdrawn"):
        buy(house, late, item)
    with refused("withdrawn"):
        house.sales.send(house.artist, "set_album", tracks, [(house.artist, WHOLE)], ZERO, 1, False)
    house.machine.revert(snapshot)
    house.registry.send(house.artist, "offer", tracks[0], heir)
    house.registry.send(heir, "take", tracks[0])
    with refused("album_changed"):
        buy(house, late, item)
    house.sales.send(house.artist, "deliver", item, early, WRAPPED)  # who paid before gets the keys
    house.sales.send(house.artist, "end_offer", item)
    with refused("not_for_sale"):
        buy(house, late, item)


def test_only_ones_own_tracks_make_an_album_and_its_shares_make_a_whole(house, refused):
    tracks = [house.publish(track_named(name)) for name in ("one", "two")]
    mine, para = [(house.artist, WHOLE)], house.para.address
    with refused("not_the_owner"):
        house.sales.send(house.stranger, "set_album", tracks, mine, para, 1, False)
    with refused("bad_album"):
        house.sales.send(house.artist, "set_album", tracks[:1], mine, para, 1, False)
    for wrong in ([], [(house.artist, 9_999)], [(ZERO, WHOLE)], [(house.artist, WHOLE), (house.stranger, 0)]):
        with refused("bad_split"):
            house.sales.send(house.artist, "set_album", tracks, wrong, para, 1, False)
    for price, token, reason in ((0, para, "bad_price"), (1, house.digm.address, "token_not_allowed")):
        with refused(reason):
            house.sales.send(house.artist, "set_album", tracks, mine, token, price, False)
    house.sales.send(house.artist, "set_album", tracks, mine, para, 1, False)
    item = house.sales.ask("album_id", house.artist, tracks)
    with refused("not_the_owner"):
        house.sales.send(house.stranger, "end_offer", item)
    with refused("not_the_vault"):
        house.sales.send(house.stranger, "give", item, house.stranger, WRAPPED)


def test_a_new_price_and_new_shares_leave_an_album_the_one_that_it_is(house):
    (item, tracks), (buyer, drummer) = album(house), house.nodes[:2]
    buy(house, buyer, item)
    shares = [(drummer, WHOLE)]
    said = house.sales.send(house.artist, "set_album", tracks, shares, house.para.address, 2 * PRICE, True)
    assert [one.name for one in said] == ["AlbumSet", "OfferSet"] and said[0].fields["item"] == item
    assert house.sales.ask("offer", item)["price"] == 2 * PRICE
    house.sales.send(house.artist, "deliver", item, buyer, WRAPPED)
    assert credit(house, drummer) == PRICE  # those who wait are the new payees', too


def test_a_p256_key_is_named_as_such(house):
    (item, _), buyer = album(house), house.nodes[0]
    (bought,) = buy(house, buyer, item, function="buy_p256")
    assert (bought.name, bought.fields["buyer_key"]) == ("PurchasedP256", KEY)
    assert house.sales.ask("purchase", item, buyer)["amount"] == PRICE


def test_a_key_is_given_for_nothing_and_once_more_to_who_has_it(house, refused):
    (item, tracks), (friend, label) = album(house), house.nodes[:2]
    for stranger in (friend, label):
        with refused("not_the_vault"):
            house.sales.send(stranger, "give", tracks[0], friend, WRAPPED)
    house.sales.send(house.artist, "appoint", label, True)
    (given,) = house.sales.send(label, "give", tracks[0], friend, WRAPPED)
    assert (given.name, given.fields["wrapped_key"]) == ("KeyGiven", WRAPPED)
    said = house.sales.ask("purchase", tracks[0], friend)
    assert (said["amount"], said["is_delivered"]) == (0, True)
    house.sales.send(house.artist, "give", tracks[0], friend, b"another key of the same person")
    house.sales.send(house.artist, "set_offer", tracks[0], house.para.address, PRICE, False)
    with refused("bought_already"):
        buy(house, friend, tracks[0])
    with refused("nothing_to_refund"):
        house.sales.send(friend, "refund", tracks[0], friend)
    with refused("nothing_to_deliver"):
        house.sales.send(house.artist, "deliver", tracks[0], friend, WRAPPED)
    with refused("empty_key"):
        house.sales.send(house.artist, "give", item, friend, b"")
    with refused("bad_purchase"):
        house.sales.send(house.artist, "give", item, ZERO, WRAPPED)


def test_a_gift_answers_no_purchase_so_that_nobody_has_both_or_neither(house, refused):
    (item, _), buyer = album(house), house.nodes[0]
    buy(house, buyer, item)
    with refused("deliver_it"):
        house.sales.send(house.artist, "give", item, buyer, WRAPPED)
    house.machine.mine(1, DAY_S)
    with refused("deliver_it"):  # the money goes back first
        house.sales.send(house.artist, "give", item, buyer, WRAPPED)
    house.sales.send(buyer, "refund", item, buyer)
    house.sales.send(house.artist, "give", item, buyer, WRAPPED)
    assert credit(house, buyer) == PRICE and credit(house, house.artist) == 0


@pytest.mark.parametrize("count", [64, 65])
def test_an_album_has_64_tracks_at_most(py_evm_house, count):
    with undone(py_evm_house) as house:
        tracks, hash_, buyer = [], b"h" * 32, house.nodes[0]
        for number in range(1, count + 1):
            root = number.to_bytes(32, "big")
            house.registry.send(house.artist, "publish", root, hash_, hash_, [(1, 1, 1)], bytes(32))
            tracks.append(house.registry.ask("track_id", house.artist, root))
        message = ("set_album", tracks, [(house.artist, WHOLE)], house.para.address, PRICE, False)
        if count > 64:
            with pytest.raises(Reverted):
                house.sales.send(house.artist, *message)
            return
        house.sales.send(house.artist, *message)
        item = house.sales.ask("album_id", house.artist, tracks)
        buy(house, buyer, item)
        house.sales.send(house.artist, "deliver", item, buyer, WRAPPED)
        assert credit(house, house.artist) == PRICE
