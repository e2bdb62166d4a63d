"""Tracks sold to listeners: the key or the money back, never both, never neither."""

import contextlib
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digm.chain_sales import ChainSales
from tests.contracts.conftest import undone
from tests.contracts.house import DAY_S, PRICE, UNIT, House, compiled, for_tests, track_named
from tests.contracts.machine import ZERO, Contract, Reverted

KEY, WRAPPED = b"k" * 32, b"w" * 80
HONEST, KEEPS_A_FEE, RETURNS_FALSE, MOVES_NOTHING, REVERTS, CALLS_BACK = range(6)


def offered(house: House, price: int = PRICE, is_at_least: bool = False, token: bytes | None = None) -> bytes:
    """A track for sale, in PARA where nothing else is said. Returns its id."""
    track = house.publish(track_named("one"))
    paid_in = house.para.address if token is None else token
    house.sales.send(house.artist, "set_offer", track, paid_in, price, is_at_least)
    return track


def buy(
    house: House, buyer: bytes, track: bytes, amount: int = PRICE, token: bytes | None = None, value: int = 0
):
    paid_in = house.para.address if token is None else token
    return house.sales.send(buyer, "buy", track, paid_in, amount, KEY, value=value)


def credit(house: House, who: bytes) -> int:
    return house.sales.ask("credits", house.para.address, who)


def test_a_purchase_waits_for_the_key_and_then_pays_all_who_made_the_track(house):
    track, (buyer, drummer) = offered(house, price=101), house.nodes[:2]
    house.registry.send(house.artist, "set_split", track, [(house.artist, 7_500), (drummer, 2_500)], True)
    (bought,) = buy(house, buyer, track, 101)
    assert bought.name == "Purchased"
    assert bought.fields | {"deliver_before": 0} == {
        "item": track,
        "buyer": buyer,
        "buyer_key": KEY,
        "token": house.para.address,
        "amount": 101,
        "deliver_before": 0,
    }
    assert credit(house, house.artist) == 0
    (delivered,) = house.sales.send(house.artist, "deliver", track, buyer, WRAPPED)
    assert delivered.fields == {"item": track, "buyer": buyer, "wrapped_key": WRAPPED}
    assert (credit(house, house.artist), credit(house, drummer)) == (
        76,
        25,
    )  # what does not divide: the first's
    before = house.para.ask("balanceOf", drummer)
    house.sales.send(drummer, "withdraw", house.para.address)
    assert house.para.ask("balanceOf", drummer) == before + 25
    assert house.sales.ask("purchase", track, buyer)["is_delivered"]


def test_what_is_not_delivered_in_time_is_given_back_and_can_be_bought_again(house, refused):
    track, buyer = offered(house), house.nodes[0]
    before = house.para.ask("balanceOf", buyer)
    buy(house, buyer, track)
    with refused("too_early"):
        house.sales.send(buyer, "refund", track, buyer)
    house.machine.mine(1, DAY_S)
    with refused("too_late"):
        house.sales.send(house.artist, "deliver", track, buyer, WRAPPED)
    house.sales.send(house.stranger, "refund", track, buyer)  # anybody may ask, the buyer gets it
    with refused("nothing_to_refund"):
        house.sales.send(buyer, "refund", track, buyer)
    with refused("nothing_to_deliver"):
        house.sales.send(house.artist, "deliver", track, buyer, WRAPPED)
    house.sales.send(buyer, "withdraw", house.para.address)
    assert house.para.ask("balanceOf", buyer) == before
    buy(house, buyer, track)


def test_who_got_the_key_gets_no_money_back_and_buys_only_once(house, refused):
    track, buyer = offered(house), house.nodes[0]
    buy(house, buyer, track)
    with refused("bought_already"):
        buy(house, buyer, track)
    house.sales.send(house.artist, "deliver", track, buyer, WRAPPED)
    house.machine.mine(1, DAY_S)
    with refused("nothing_to_refund"):
        house.sales.send(buyer, "refund", track, buyer)
    with refused("nothing_to_deliver"):
        house.sales.send(house.artist, "deliver", track, buyer, WRAPPED)
    with refused("bought_already"):
        buy(house, buyer, track)


def test_the_chains_own_coin_pays_too(house, refused):
    track, buyer = offered(house, token=ZERO), house.nodes[0]
    for value in (0, PRICE - 1, PRICE + 1):
        with refused("wrong_value"):
            buy(house, buyer, track, token=ZERO, value=value)
    buy(house, buyer, track, token=ZERO, value=PRICE)
    assert house.machine.balance(house.sales.address) == PRICE
    house.sales.send(house.artist, "deliver", track, buyer, WRAPPED)
    house.sales.send(house.artist, "withdraw", ZERO)
    assert house.machine.balance(house.sales.address) == 0
    with refused("nothing_to_withdraw"):
        house.sales.send(house.artist, "withdraw", ZERO)


def test_a_price_is_what_the_buyer_was_shown(house, refused):
    track, buyer = offered(house), house.nodes[0]
    house.sales.send(house.artist, "set_offer", track, house.para.address, 2 * PRICE, False)  # front-run
    for amount in (PRICE, 3 * PRICE, 0, 2**256 - 1):
        with refused("offer_changed"):
            buy(house, buyer, track, amount)
    with refused("offer_changed"):
        buy(house, buyer, track, 2 * PRICE, token=ZERO, value=2 * PRICE)
    with refused("wrong_value"):
        buy(house, buyer, track, 2 * PRICE, value=1)
    with refused("bad_purchase"):
        house.sales.send(buyer, "buy", track, house.para.address, 2 * PRICE, bytes(32))
    buy(house, buyer, track, 2 * PRICE)


def test_a_buyer_may_give_more_where_the_price_is_the_least(house, refused):
    track, buyer = offered(house, is_at_least=True), house.nodes[0]
    assert house.sales.ask("offer", track) == {
        "token": house.para.address,
        "price": PRICE,
        "is_at_least": True,
    }
    with refused("offer_changed"):
        buy(house, buyer, track, PRICE - 1)
    with refused("bad_purchase"):
        buy(house, buyer, track, 2**88)
    buy(house, buyer, track, 5 * PRICE)
    assert house.sales.ask("purchase", track, buyer)["amount"] == 5 * PRICE


def test_only_the_owner_sells_and_only_for_what_the_contract_takes(house, refused):
    track, thief = house.publish(track_named("one")), house.stranger
    with refused("not_for_sale"):
        buy(house, thief, track)
    with refused("not_the_owner"):
        house.sales.send(thief, "set_offer", track, house.para.address, PRICE, False)
    with refused("not_the_owner"):
        house.sales.send(ZERO[:19] + b"\1", "set_offer", b"?" * 32, house.para.address, PRICE, False)
    with refused("token_not_allowed"):
        house.sales.send(house.artist, "set_offer", track, house.digm.address, PRICE, False)
    for price in (0, 2**88, 2**256 - 1):
        with refused("bad_price"):
            house.sales.send(house.artist, "set_offer", track, house.para.address, price, False)


def test_a_track_that_is_withdrawn_or_no_longer_for_sale_is_not_paid_for(house, refused):
    track, (early, late) = offered(house), house.nodes[:2]
    buy(house, early, track)
    with refused("not_the_owner"):
        house.sales.send(late, "end_offer", track)
    snapshot = house.machine.snapshot()
    house.sales.send(house.artist, "end_offer", track)
    with refused("not_for_sale"):
        buy(house, late, track)
    house.machine.revert(snapshot)
    house.registry.send(house.artist, "withdraw", track)
    with refused("withdrawn"):
        buy(house, late, track)
    house.sales.send(house.artist, "deliver", track, early, WRAPPED)  # who paid before gets the key


def test_keys_come_from_the_owner_or_a_vault_that_the_owner_appointed(house, refused):
    track, (buyer, label, heir) = offered(house), house.nodes[:3]
    buy(house, buyer, track)
    for stranger in (buyer, label, house.stranger):
        with refused("not_the_vault"):
            house.sales.send(stranger, "deliver", track, buyer, WRAPPED)
    house.sales.send(house.artist, "appoint", label, True)
    with refused("empty_key"):
        house.sales.send(label, "deliver", track, buyer, b"")
    snapshot = house.machine.snapshot()
    house.sales.send(label, "deliver", track, buyer, WRAPPED)
    with refused("nothing_to_deliver"):  # two vaults: the second comes too late
        house.sales.send(house.artist, "deliver", track, buyer, WRAPPED)
    house.machine.revert(snapshot)
    house.registry.send(house.artist, "offer", track, heir)
    house.registry.send(heir, "take", track)
    with refused("not_the_vault"):  # the vault was the old owner's
        house.sales.send(label, "deliver", track, buyer, WRAPPED)
    house.sales.send(heir, "deliver", track, buyer, WRAPPED)
    assert credit(house, heir) == PRICE


def test_a_key_for_another_buyer_or_track_is_delivered_to_nobody(house, refused):
    track, (buyer, other) = offered(house), house.nodes[:2]
    buy(house, buyer, track)
    with refused("nothing_to_deliver"):
        house.sales.send(house.artist, "deliver", track, other, WRAPPED)
    with refused("nothing_to_deliver"):
        house.sales.send(house.artist, "deliver", house.publish(track_named("two")), buyer, WRAPPED)


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        (KEEPS_A_FEE, "transfer_fell_short"),
        (RETURNS_FALSE, "transfer_refused"),
        (MOVES_NOTHING, "transfer_fell_short"),
        (REVERTS, "hostile"),
    ],
)
def test_what_did_not_arrive_whole_buys_nothing(house, refused, mode, reason):
    machine, deployer, buyer = house.machine, house.machine.accounts[0], house.nodes[0]
    token = Contract.deploy(machine, for_tests()["HostileToken"], deployer)
    house.sales = Contract.deploy(
        machine, compiled("Sales"), deployer, house.registry.address, DAY_S, [token.address]
    )
    token.send(deployer, "give", buyer, UNIT)
    track = offered(house, price=100, token=token.address)
    token.send(house.artist, "behave", mode, ZERO, b"")
    with refused(reason):
        buy(house, buyer, track, 100, token=token.address)
    assert house.sales.ask("purchase", track, buyer)["amount"] == 0


def test_a_token_that_calls_back_is_not_paid_twice(house):
    machine, deployer = house.machine, house.machine.accounts[0]
    token = Contract.deploy(machine, for_tests()["HostileToken"], deployer)
    house.sales = sales = Contract.deploy(
        machine, compiled("Sales"), deployer, house.registry.address, DAY_S, [token.address]
    )
    for who in (token.address, house.nodes[0]):
        token.send(deployer, "give", who, 100)
    track = offered(house, price=100, token=token.address)
    buy(house, house.nodes[0], track, 100, token=token.address)  # somebody else's money lies there too
    token.send(deployer, "act", sales.address, sales.message("buy", track, token.address, 100, KEY))
    machine.mine(1, DAY_S)
    sales.send(deployer, "refund", track, token.address)
    again = sales.message("withdraw", token.address)
    token.send(deployer, "behave", CALLS_BACK, sales.address, again)
    token.send(deployer, "act", sales.address, again)
    assert (token.ask("called_back"), token.ask("succeeded")) == (1, 0)
    assert token.ask("balanceOf", sales.address) == 100


@pytest.mark.parametrize(
    ("delay_s", "tokens", "reason"),
    [
        (3_599, ["para"], "bad_delay"),
        (30 * DAY_S + 1, ["para"], "bad_delay"),
        (DAY_S, [], "bad_tokens"),
        (DAY_S, ["para", "para"], "bad_tokens"),
        (DAY_S, ["artist"], "bad_tokens"),
    ],
)
def test_terms_that_are_out_of_bounds_are_not_deployed(house, refused, delay_s, tokens, reason):
    places = {"para": house.para.address, "artist": house.artist}
    with refused(reason):
        Contract.deploy(
            house.machine,
            compiled("Sales"),
            house.artist,
            house.registry.address,
            delay_s,
            [places[name] for name in tokens],
        )


ACTS = st.tuples(
    st.sampled_from(
        ["buy", "buy_p256", "deliver", "second vault", "give", "refund", "wait", "withdraw", "end", "offer"]
    ),
    st.integers(0, 3),
    st.integers(0, 2),
)


class Market:
    """Two tracks and an album of both for sale; whatever is done to it, the books have to be right."""

    def __init__(self, house: House) -> None:
        self.house, self.sales = house, house.sales
        tracks = [house.publish(track_named(name)) for name in ("one", "two")]
        self.items = [*tracks, bytes(house.sales.ask("album_id", house.artist, tracks))]
        self.label = house.nodes[4]
        self.buyers = house.nodes[:4]
        self.events: list[tuple[str, dict[str, Any], int]] = []
        shares = [(house.artist, 5_000), (self.label, 5_000)]
        self.tell(house.artist, "set_album", tracks, shares, house.para.address, PRICE, False)
        self.tell(house.artist, "appoint", self.label, True)
        for track in tracks:
            self.tell(house.artist, "set_offer", track, house.para.address, PRICE, False)
        self.people = [*self.buyers, house.artist, self.label]
        self.before = {who: house.para.ask("balanceOf", who) for who in self.people}
        self.paid: Counter[bytes] = Counter()
        self.keys: set[tuple[bytes, bytes]] = set()
        self.gifts: set[tuple[bytes, bytes]] = set()

    def tell(self, who: bytes, function: str, *arguments: Any) -> None:
        for one in self.sales.send(who, function, *arguments):
            self.events.append((one.name, one.fields, len(self.events) + 1))

    def act(self, act: str, number: int, place: int) -> None:
        buyer, item, artist = self.buyers[number], self.items[place], self.house.artist
        match act:
            case "buy" | "buy_p256":
                self.tell(buyer, act, item, self.house.para.address, PRICE, KEY)
                self.paid[buyer] += 1
            case "deliver" | "second vault":
                self.tell(artist if act == "deliver" else self.label, "deliver", item, buyer, WRAPPED)
                self.keys.add((item, buyer))
            case "give":
                self.tell(artist, "give", item, buyer, WRAPPED)
                self.gifts.add((item, buyer))
            case "refund":
                self.tell(buyer, "refund", item, buyer)
                self.paid[buyer] -= 1
            case "withdraw":
                self.tell(buyer, "withdraw", self.house.para.address)
            case "end":
                self.tell(artist, "end_offer", item)
            case "offer" if place < 2:
                self.tell(artist, "set_offer", item, self.house.para.address, PRICE, True)
            case "wait":
                self.house.machine.mine(1, DAY_S // 2)

    def check_money(self) -> None:
        """Who has a key has paid, who has not paid has none but gifts, and nothing is lost or made."""
        house, waiting = self.house, 0
        for who in self.buyers:
            waits = sum(
                said["amount"]
                for said in (self.sales.ask("purchase", item, who) for item in self.items)
                if not said["is_delivered"]
            )
            keys = sum((item, who) in self.keys for item in self.items)
            spent = self.before[who] - house.para.ask("balanceOf", who) - credit(house, who)
            assert spent == PRICE * keys + waits == PRICE * self.paid[who]
            waiting += waits
        earned = sum(
            house.para.ask("balanceOf", who) - self.before[who] + credit(house, who)
            for who in (house.artist, self.label)
        )
        assert earned == PRICE * len(self.keys)
        owed = sum(credit(house, who) for who in self.people)
        assert house.para.ask("balanceOf", self.sales.address) == owed + waiting

    def check_told(self) -> None:
        """What is told from the events is what the contract says."""
        told = ChainSales.of(self.events)
        for item in self.items:
            try:
                offer = self.sales.ask("offer", item)
            except Reverted:
                assert item not in told.offers
            else:
                one = told.offers[item]
                assert (one.token, one.price, one.is_at_least) == tuple(offer.values())
            for who in self.buyers:
                said, known = self.sales.ask("purchase", item, who), told.purchase(item, who)
                assert said["is_delivered"] == (known is not None and known.has_key)
                assert ((item, who) in told.waiting) == (said["amount"] > 0 and not said["is_delivered"])
                assert known is None or not known.is_waiting or known.amount == said["amount"]
                assert ((item, who) in self.keys | self.gifts) == said["is_delivered"]
        assert told.may_deliver(self.house.artist, self.label)


@settings(max_examples=60, deadline=None)
@given(st.lists(ACTS, max_size=40))
def test_whatever_happens_nobody_has_both_the_key_and_the_money_and_nothing_is_lost(py_evm_house, acts):
    with undone(py_evm_house) as house:
        market = Market(house)
        for act in acts:
            with contextlib.suppress(Reverted):
                market.act(*act)
        market.check_money()
        market.check_told()
