"""Tokens that lie about transfers, call back, return nothing or break: what they can and cannot do."""

import pytest

from tests.contracts.house import (
    COLD_MINIMUM,
    ELDER_MINIMUM,
    PER_GIB,
    RULES,
    SUPPLY,
    compiled,
    for_tests,
    rules_tuple,
    track_named,
)
from tests.contracts.machine import ZERO, Contract

HONEST, KEEPS_A_FEE, RETURNS_FALSE, MOVES_NOTHING, REVERTS, CALLS_BACK = range(6)


@pytest.fixture
def town(house):
    """Another Pinning, whose list of stake tokens has a hostile and a silent one beside DIGM."""
    machine, deployer = house.machine, house.machine.accounts[0]
    house.hostile = Contract.deploy(machine, for_tests()["HostileToken"], deployer)
    house.silent = Contract.deploy(machine, for_tests()["SilentToken"], deployer)
    tokens = (house.hostile, house.silent, house.digm)
    house.pinning = Contract.deploy(
        machine,
        compiled("Pinning"),
        deployer,
        house.registry.address,
        house.para.address,
        rules_tuple(RULES),
        [(token.address, ELDER_MINIMUM, COLD_MINIMUM, PER_GIB) for token in tokens],
    )
    for who in (house.artist, *house.nodes):
        house.para.send(who, "approve", house.pinning.address, 2**256 - 1)
        house.digm.send(who, "approve", house.pinning.address, 2**256 - 1)
        house.hostile.send(deployer, "give", who, SUPPLY)
        house.silent.send(deployer, "give", who, SUPPLY)
    return house


def join(town, node, token):
    return town.pinning.send(node, "join", 1, token.address, ELDER_MINIMUM, bytes(32))


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        (KEEPS_A_FEE, "transfer_fell_short"),
        (RETURNS_FALSE, "transfer_refused"),
        (MOVES_NOTHING, "transfer_fell_short"),
        (REVERTS, "hostile"),
    ],
)
def test_a_stake_that_did_not_arrive_whole_is_no_stake(town, refused, mode, reason):
    town.hostile.send(town.artist, "behave", mode, ZERO, b"")
    with refused(reason):
        join(town, town.nodes[0], town.hostile)
    assert town.pinning.ask("node", town.nodes[0])["node_class"] == 0


def test_a_token_that_returns_nothing_is_taken_by_what_it_moved(town):
    join(town, town.nodes[0], town.silent)
    assert town.silent.ask("balanceOf", town.pinning.address) == ELDER_MINIMUM
    town.pinning.send(town.nodes[0], "request_unstake", ELDER_MINIMUM)
    town.machine.mine(0, 1000)
    town.pinning.send(town.nodes[0], "collect_stake")
    assert town.silent.ask("balanceOf", town.nodes[0]) == SUPPLY


@pytest.mark.parametrize("mode", [RETURNS_FALSE, REVERTS])
def test_a_payment_that_failed_is_still_owed(town, refused, mode):
    node = town.nodes[0]
    join(town, node, town.hostile)
    town.pinning.send(node, "request_unstake", ELDER_MINIMUM)
    town.machine.mine(0, 1000)
    town.hostile.send(town.artist, "behave", mode, ZERO, b"")
    with refused("hostile" if mode == REVERTS else "transfer_refused"):
        town.pinning.send(node, "collect_stake")
    assert town.pinning.ask("node", node)["leaving"] == ELDER_MINIMUM
    town.hostile.send(town.artist, "behave", HONEST, ZERO, b"")
    town.pinning.send(node, "collect_stake")
    assert town.hostile.ask("balanceOf", node) == SUPPLY


def test_a_token_that_calls_back_cannot_take_a_stake_twice(town):
    other, token = town.nodes[0], town.hostile
    join(town, other, token)  # somebody else's stake lies there too
    token.send(town.artist, "give", token.address, 2 * ELDER_MINIMUM)
    calls = {
        name: town.pinning.message(name, *arguments)
        for name, arguments in {
            "join": (1, token.address, ELDER_MINIMUM, bytes(32)),
            "add_stake": (ELDER_MINIMUM,),
            "request_unstake": (ELDER_MINIMUM,),
            "collect_stake": (),
            "withdraw": (token.address,),
            "burn_slashed": (token.address,),
        }.items()
    }

    def act(name):
        token.send(town.artist, "act", town.pinning.address, calls[name])

    for inner in calls:
        token.send(town.artist, "behave", CALLS_BACK, town.pinning.address, calls[inner])
        snapshot = town.machine.snapshot()
        act("join")
        assert token.ask("called_back") == 1
        assert token.ask("succeeded") == 0, inner
        town.machine.revert(snapshot)
    token.send(town.artist, "behave", HONEST, ZERO, b"")
    act("join")
    act("request_unstake")
    town.machine.mine(0, 1000)
    token.send(town.artist, "behave", CALLS_BACK, town.pinning.address, calls["collect_stake"])
    act("collect_stake")
    assert (token.ask("called_back"), token.ask("succeeded")) == (1, 0)
    assert token.ask("balanceOf", town.pinning.address) == ELDER_MINIMUM  # the other's
    assert token.ask("balanceOf", token.address) == 2 * ELDER_MINIMUM


def test_what_is_read_while_a_token_calls_back_is_not_half_done(town):
    token = town.hostile
    token.send(town.artist, "give", token.address, ELDER_MINIMUM)
    reading = town.pinning.message("node", token.address)
    token.send(town.artist, "behave", CALLS_BACK, town.pinning.address, reading)
    join_it = town.pinning.message("join", 1, token.address, ELDER_MINIMUM, bytes(32))
    token.send(town.artist, "act", town.pinning.address, join_it)
    assert (token.ask("called_back"), token.ask("succeeded")) == (1, 0)


def test_a_hostile_token_harms_its_own_stakers_only(town, refused):
    good, bad = town.nodes[:2]
    join(town, good, town.digm)
    join(town, bad, town.hostile)
    order = town.order(town.publish(track_named("one")), 2, 50_000)
    town.accept(good, order)
    town.accept(bad, order)
    town.hostile.send(town.artist, "behave", REVERTS, ZERO, b"")
    town.rounds(3, [good])
    town.pinning.send(town.stranger, "slash", bad)  # nothing moves, so nothing can refuse
    with refused("hostile"):
        town.pinning.send(town.stranger, "withdraw", town.hostile.address)
    with refused("hostile"):
        town.pinning.send(town.stranger, "burn_slashed", town.hostile.address)
    town.pinning.send(good, "settle", order, good)
    town.pinning.send(good, "withdraw", town.para.address)
    town.pinning.send(good, "add_stake", 1)
