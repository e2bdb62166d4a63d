"""Passes: who may listen to everything of somebody, and until when."""

import pytest

from tests.contracts.house import DAY_S, PRICE, UNIT, House, compiled, for_tests
from tests.contracts.machine import ZERO, Contract

MONTH_S = 30 * DAY_S


@pytest.fixture
def issuer(house: House) -> bytes:
    """The artist, who sells passes for a month."""
    house.passes.send(house.artist, "set_pass", house.para.address, PRICE, MONTH_S)
    return house.artist


def buy(house: House, who: bytes, issuer: bytes, price: int = PRICE, duration_s: int = MONTH_S):
    return house.passes.send(who, "buy_pass", issuer, house.para.address, price, duration_s)


def test_a_pass_lasts_as_long_as_it_says_a_second_one_begins_behind_it_and_the_issuer_is_paid(house, issuer):
    buyer = house.nodes[0]
    (bought,) = buy(house, buyer, issuer)
    until = bought.fields["until"]
    assert until == house.passes.ask("until", issuer, buyer) == house.machine.now + MONTH_S
    (again,) = buy(house, buyer, issuer)
    assert again.fields["until"] == until + MONTH_S
    house.machine.mine(1, 3 * MONTH_S)
    (late,) = buy(house, buyer, issuer)  # one that is over is not added to
    assert late.fields["until"] == house.machine.now + MONTH_S
    before = house.para.ask("balanceOf", issuer)
    house.passes.send(issuer, "withdraw", house.para.address)
    assert house.para.ask("balanceOf", issuer) == before + 3 * PRICE
    assert house.passes.ask("until", house.stranger, buyer) == 0


def test_a_pass_is_given_by_its_issuer_alone(house):
    friend = house.nodes[0]
    (given,) = house.passes.send(house.artist, "give_pass", friend, DAY_S)
    assert given.name == "PassGiven" and given.fields["issuer"] == house.artist
    house.passes.send(house.stranger, "give_pass", friend, MONTH_S)  # of the stranger's own
    assert house.passes.ask("until", house.artist, friend) == given.fields["until"]


def test_what_was_shown_is_what_is_paid(house, issuer, refused):
    buyer, para = house.nodes[0], house.para.address
    house.passes.send(issuer, "set_pass", para, 2 * PRICE, MONTH_S)  # front-run
    for price, duration_s in ((PRICE, MONTH_S), (2 * PRICE, DAY_S), (0, 0), (2**256 - 1, 2**256 - 1)):
        with refused("offer_changed"):
            buy(house, buyer, issuer, price, duration_s)
    with refused("offer_changed"):
        house.passes.send(buyer, "buy_pass", issuer, ZERO, 2 * PRICE, MONTH_S, value=2 * PRICE)
    with refused("wrong_value"):
        house.passes.send(buyer, "buy_pass", issuer, para, 2 * PRICE, MONTH_S, value=1)
    buy(house, buyer, issuer, 2 * PRICE)
    house.passes.send(issuer, "end_pass")
    with refused("not_for_sale"):
        buy(house, buyer, issuer, 2 * PRICE)
    with refused("not_for_sale"):
        house.passes.send(issuer, "end_pass")
    with refused("not_for_sale"):
        house.passes.ask("offer", issuer)
    assert house.passes.ask("until", issuer, buyer) > house.machine.now  # who has one keeps it


def test_the_coin_pays_too_and_exactly(house, refused):
    buyer = house.nodes[0]
    house.passes.send(house.artist, "set_pass", ZERO, PRICE, MONTH_S)
    for value in (0, PRICE - 1, PRICE + 1):
        with refused("wrong_value"):
            house.passes.send(buyer, "buy_pass", house.artist, ZERO, PRICE, MONTH_S, value=value)
    house.passes.send(buyer, "buy_pass", house.artist, ZERO, PRICE, MONTH_S, value=PRICE)
    house.passes.send(house.artist, "withdraw", ZERO)
    assert house.machine.balance(house.passes.address) == 0
    with refused("nothing_to_withdraw"):
        house.passes.send(house.artist, "withdraw", ZERO)


def test_terms_that_cannot_be_are_refused(house, refused):
    para = house.para.address
    for token, price, duration_s, reason in (
        (house.digm.address, 1, 60, "token_not_allowed"), (para, 0, 60, "bad_price"),
        (para, 2**88, 60, "bad_price"), (para, 1, 59, "bad_duration"),
        (para, 1, 366 * DAY_S + 1, "bad_duration"),
    ):  # fmt: skip
        with refused(reason):
            house.passes.send(house.artist, "set_pass", token, price, duration_s)
    with refused("bad_purchase"):
        house.passes.send(house.artist, "give_pass", ZERO, 60)
    for duration_s in (0, 2**256 - 1):
        with refused("bad_duration"):
            house.passes.send(house.artist, "give_pass", house.nodes[0], duration_s)
    for tokens in ([], [para, para], [house.artist]):
        with refused("bad_tokens"):
            Contract.deploy(house.machine, compiled("Passes"), house.artist, tokens)


@pytest.mark.parametrize(
    ("mode", "reason"),
    [(1, "transfer_fell_short"), (2, "transfer_refused"), (3, "transfer_fell_short"), (4, "hostile")],
)
def test_a_token_that_lies_buys_no_pass(house, refused, mode, reason):
    machine, deployer, buyer = house.machine, house.machine.accounts[0], house.nodes[0]
    token = Contract.deploy(machine, for_tests()["HostileToken"], deployer)
    house.passes = Contract.deploy(machine, compiled("Passes"), deployer, [token.address])
    token.send(deployer, "give", buyer, UNIT)
    house.passes.send(house.artist, "set_pass", token.address, 100, MONTH_S)
    token.send(house.artist, "behave", mode, ZERO, b"")
    with refused(reason):
        house.passes.send(buyer, "buy_pass", house.artist, token.address, 100, MONTH_S)
    assert house.passes.ask("until", house.artist, buyer) == 0
