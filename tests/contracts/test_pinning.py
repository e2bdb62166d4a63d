"""Orders, stakes and payments: what is promised, what it costs, and who is paid when."""

import pytest

from tests.contracts.house import COLD, COLD_MINIMUM, DAY_S, ELDER_MINIMUM, GIB, PER_GIB, PRICE, track_named
from tests.contracts.machine import ZERO

BILLED = 2**20  # the tracks here are smaller than the smallest pin that is billed
RATE = BILLED * PRICE // (GIB * DAY_S)


@pytest.fixture
def one(house):
    """A track, an order for two copies, and two nodes with a stake."""
    house.track = house.publish(track_named("one"))
    house.order_id = house.order(house.track, replicas=2, duration_s=2000)
    for node in house.nodes[:2]:
        house.join(node)
    return house


def credit(house, who, token=None):
    return house.pinning.ask("credits", (token or house.para).address, who)


def test_an_order_locks_what_it_costs_and_an_audit_fee_on_top(house):
    track = house.publish(track_named("one"))
    before = house.para.ask("balanceOf", house.artist)
    cost, fee = house.pinning.ask("quote", track, 3, 500, PRICE)
    assert (cost, fee) == (RATE * 3 * 500, RATE * 3 * 500 // 100)
    (event,) = house.pinning.send(house.artist, "place_order", track, 3, 500, PRICE)
    assert (event.name, event.fields["rate"], event.fields["escrow"]) == ("PinOrdered", RATE, cost)
    assert house.para.ask("balanceOf", house.artist) == before - cost - fee
    assert house.para.ask("balanceOf", house.pinning.address) == cost + fee
    assert house.pinning.ask("audit_pool") == fee
    order = house.pinning.ask("order", event.fields["order_id"])
    assert (order["replicas"], order["taken"], order["billed_bytes"]) == (3, 0, BILLED)
    assert order["ends_at"] - order["created_at"] == 500


@pytest.mark.parametrize(
    ("replicas", "duration_s", "price", "reason"),
    [
        (0, 500, PRICE, "bad_replicas"),
        (101, 500, PRICE, "bad_replicas"),
        (2**256 - 1, 500, PRICE, "bad_replicas"),
        (1, 59, PRICE, "bad_duration"),
        (1, 2**256 - 1, PRICE, "bad_duration"),
        (1, 500, 0, "bad_price"),
        (1, 500, 2**120 + 1, "bad_price"),
        (1, 500, 2**256 - 1, "bad_price"),
        (100, 10**8, 2**110, "balance_too_small"),
    ],
)
def test_an_order_of_nothing_or_of_too_much_is_refused(house, refused, replicas, duration_s, price, reason):
    track = house.publish(track_named("one"))
    with refused(reason):
        house.pinning.send(house.artist, "place_order", track, replicas, duration_s, price)


def test_copies_are_ordered_of_tracks_that_are_published_and_not_withdrawn(house, refused):
    with refused("no_such_track"):
        house.order(b"?" * 32)
    track = house.publish(track_named("one"))
    house.registry.send(house.artist, "withdraw", track)
    with refused("track_withdrawn"):
        house.order(track)


def test_a_node_needs_the_stake_of_its_class_in_a_token_that_is_allowed(house, refused):
    node, digm = house.nodes[0], house.digm.address
    join = house.pinning.send
    with refused("no_such_class"):
        join(node, "join", 3, digm, ELDER_MINIMUM, bytes(32))
    with refused("token_not_allowed"):
        join(node, "join", 1, house.para.address, ELDER_MINIMUM, bytes(32))
    with refused("stake_too_small"):
        join(node, "join", 1, digm, ELDER_MINIMUM - 1, bytes(32))
    with refused("stake_too_small"):
        join(node, "join", 1, digm, 0, bytes(32))
    with refused("too_much"):
        join(node, "join", 1, digm, 2**256 - 1, bytes(32))
    with refused("not_a_node"):
        join(node, "add_stake", 1)
    (event,) = join(node, "join", COLD, digm, COLD_MINIMUM, b"k" * 32)
    assert event.fields["node_key"] == b"k" * 32
    with refused("already_joined"):
        join(node, "join", COLD, digm, COLD_MINIMUM, bytes(32))
    with refused("nothing_to_add"):
        join(node, "add_stake", 0)
    with refused("too_much"):
        join(node, "add_stake", 2**256 - 1)
    join(house.nodes[1], "join", 1, house.xfg.address, ELDER_MINIMUM, bytes(32))
    assert house.xfg.ask("balanceOf", house.pinning.address) == ELDER_MINIMUM


def test_the_stake_bounds_what_a_node_can_promise(house, refused):
    node = house.nodes[0]
    house.join(node, COLD, COLD_MINIMUM)
    big = house.publish(track_named("big"))
    small = house.publish(track_named("small"))
    room = COLD_MINIMUM * GIB // PER_GIB
    order = house.order(big, 1)
    house.accept(node, order)
    facts = house.pinning.ask("node", node)
    assert (facts["pins"], facts["pinned_bytes"]) == (1, BILLED)
    with refused("stake_too_small"):
        house.pinning.send(node, "request_unstake", 1)
    assert room > BILLED
    assert house.pinning.ask("pins_of", node, 0, 10) == [order]
    assert house.pinning.ask("pins_of", node, 1, 10) == []
    assert house.pinning.ask("pins_of", node, 2**256 - 1, 2**256 - 1) == []
    assert small != big


def test_a_place_is_taken_once_and_only_while_there_is_one(one, refused):
    first, second, third = one.nodes[:3]
    one.end_epoch()
    with refused("no_such_order"):
        one.accept(first, 99)
    with refused("not_a_node"):
        one.accept(third, one.order_id)
    one.accept(first, one.order_id)
    with refused("already_accepted"):
        one.accept(first, one.order_id)
    one.accept(second, one.order_id)
    one.join(third)
    with refused("order_full"):
        one.accept(third, one.order_id)
    one.end_epoch()
    other = one.order(one.track, 1)
    with refused("already_paid_for_it"):
        one.accept(first, other)  # one disk is not paid twice for the same bytes
    one.accept(third, other)


def test_a_node_is_paid_for_the_time_that_it_proved_to_the_second(one):
    node = one.nodes[0]
    one.accept(node, one.order_id)
    accepted_at = one.pinning.ask("pin", one.order_id, node)["accepted_at"]
    one.rounds(3, [node])
    opened_at = one.clock()["opened_at"]
    assert one.pinning.ask("earned", one.order_id, node) == (opened_at - accepted_at) * RATE
    one.pinning.send(one.stranger, "settle", one.order_id, node)
    assert credit(one, node) == (opened_at - accepted_at) * RATE
    assert one.pinning.send(node, "settle", one.order_id, node) == []
    before = one.para.ask("balanceOf", node)
    one.pinning.send(node, "withdraw", one.para.address)
    assert one.para.ask("balanceOf", node) == before + (opened_at - accepted_at) * RATE
    assert credit(one, node) == 0


def test_a_round_that_was_missed_is_not_paid_for(one):
    steady, lazy = one.nodes[:2]
    one.accept(steady, one.order_id)
    one.accept(lazy, one.order_id)
    one.rounds(1, [steady, lazy])
    paid_until = one.clock()["opened_at"]
    one.rounds(1, [steady])
    missed_until = one.clock()["opened_at"]
    one.rounds(1, [steady, lazy])
    difference = one.pinning.ask("earned", one.order_id, steady) - one.pinning.ask("earned", one.order_id, lazy)
    late = one.pinning.ask("pin", one.order_id, lazy)["accepted_at"]
    early = one.pinning.ask("pin", one.order_id, steady)["accepted_at"]
    assert difference == (missed_until - paid_until + late - early) * RATE


def test_when_an_order_is_over_its_nodes_are_paid_to_its_end_and_the_rest_goes_back(one, refused):
    node = one.nodes[0]
    one.accept(node, one.order_id)
    accepted_at = one.pinning.ask("pin", one.order_id, node)["accepted_at"]
    order = one.pinning.ask("order", one.order_id)
    with refused("order_running"):
        one.pinning.send(node, "release", one.order_id, node)
    with refused("order_running"):
        one.pinning.send(one.artist, "close", one.order_id)
    while one.clock()["opened_at"] < order["ends_at"]:
        one.rounds(1, [node])
        one.machine.mine(0, 150)
    with refused("copies_not_released"):
        one.pinning.send(one.artist, "close", one.order_id)
    one.pinning.send(node, "release", one.order_id, node)
    earned = (order["ends_at"] - accepted_at) * RATE
    assert credit(one, node) == earned
    with refused("order_over"):
        one.accept(one.nodes[1], one.order_id)
    one.pinning.send(one.stranger, "close", one.order_id)
    assert credit(one, one.artist) == order["escrow"] - earned
    with refused("already_closed"):
        one.pinning.send(one.artist, "close", one.order_id)
    with refused("no_such_pin"):
        one.pinning.send(node, "release", one.order_id, node)
    assert one.pinning.ask("node", node)["pinned_bytes"] == 0


def test_proving_on_after_the_end_earns_nothing_more(one):
    node = one.nodes[0]
    one.accept(node, one.order_id)
    accepted_at = one.pinning.ask("pin", one.order_id, node)["accepted_at"]
    ends_at = one.pinning.ask("order", one.order_id)["ends_at"]
    one.rounds(1, [node])
    one.machine.mine(0, 3000)
    one.rounds(4, [node])
    assert one.pinning.ask("earned", one.order_id, node) == (ends_at - accepted_at) * RATE


def test_everybody_may_release_what_is_long_over(one, refused):
    node = one.nodes[0]
    one.accept(node, one.order_id)
    ends_at = one.pinning.ask("order", one.order_id)["ends_at"]
    one.machine.mine(0, ends_at - one.machine.now)
    with refused("order_running"):
        one.pinning.send(one.stranger, "release", one.order_id, node)
    one.machine.mine(0, 100)
    one.end_epoch()
    one.pinning.send(one.stranger, "release", one.order_id, node)
    assert one.pinning.ask("node", node)["pins"] == 0


def test_a_cancelled_order_ends_after_its_notice_and_what_was_not_earned_is_refunded(one, refused):
    node = one.nodes[0]
    one.accept(node, one.order_id)
    accepted_at = one.pinning.ask("pin", one.order_id, node)["accepted_at"]
    escrow = one.pinning.ask("order", one.order_id)["escrow"]
    with refused("not_the_owner"):
        one.pinning.send(one.stranger, "cancel", one.order_id)
    one.pinning.send(one.artist, "cancel", one.order_id)
    ends_at = one.machine.now + 200
    assert one.pinning.ask("order", one.order_id)["ends_at"] == ends_at
    with refused("order_cancelled"):
        one.pinning.send(one.artist, "cancel", one.order_id)
    with refused("order_cancelled"):
        one.pinning.send(one.stranger, "extend", one.order_id, 100)
    one.rounds(1, [node])
    one.machine.mine(0, 200)
    one.rounds(1, [node])
    one.pinning.send(node, "release", one.order_id, node)
    one.pinning.send(one.artist, "close", one.order_id)
    assert credit(one, node) == (ends_at - accepted_at) * RATE
    assert credit(one, one.artist) == escrow - credit(one, node)


def test_an_order_that_nobody_took_is_refunded_at_once_and_whole(one):
    escrow = one.pinning.ask("order", one.order_id)["escrow"]
    one.pinning.send(one.artist, "cancel", one.order_id)
    one.pinning.send(one.artist, "close", one.order_id)
    assert credit(one, one.artist) == escrow


def test_everybody_may_pay_for_an_order_to_last_longer(one, refused):
    order = one.pinning.ask("order", one.order_id)
    one.pinning.send(one.stranger, "extend", one.order_id, 500)
    longer = one.pinning.ask("order", one.order_id)
    assert longer["ends_at"] == order["ends_at"] + 500
    assert longer["escrow"] == order["escrow"] + RATE * 2 * 500
    for duration_s in (0, 2**256 - 1, 120 * 2_629_746):
        with refused("bad_duration"):
            one.pinning.send(one.artist, "extend", one.order_id, duration_s)
    with refused("no_such_order"):
        one.pinning.send(one.artist, "extend", 99, 100)
    one.machine.mine(0, 10_000)
    with refused("order_over"):
        one.pinning.send(one.artist, "extend", one.order_id, 100)
    with refused("order_over"):
        one.pinning.send(one.artist, "cancel", one.order_id)


def test_a_withdrawn_track_may_be_dropped_at_once(one, refused):
    node = one.nodes[0]
    one.accept(node, one.order_id)
    one.rounds(1, [node])
    one.registry.send(one.artist, "withdraw", one.track)
    with refused("track_withdrawn"):
        one.accept(one.nodes[1], one.order_id)
    one.pinning.send(node, "release", one.order_id, node)
    assert credit(one, node) > 0


def test_a_copy_is_given_back_early_at_the_cost_of_a_part_of_the_stake_behind_it(one):
    node = one.nodes[0]
    one.accept(node, one.order_id)
    one.rounds(1, [node])
    (_, event) = one.pinning.send(node, "give_back", one.order_id)
    behind = BILLED * PER_GIB // GIB
    assert (event.name, event.fields["cost"]) == ("PinGivenBack", behind // 10)
    assert one.pinning.ask("slashed", one.digm.address) == behind // 10
    assert one.pinning.ask("order", one.order_id)["taken"] == 0
    one.pinning.send(one.stranger, "burn_slashed", one.digm.address)
    assert one.digm.ask("balanceOf", bytes.fromhex("dEaD".rjust(40, "0"))) == behind // 10


def test_a_stake_leaves_after_its_delay_and_only_what_is_not_needed(one, refused):
    node = one.nodes[0]
    one.accept(node, one.order_id)
    with refused("stake_too_small"):
        one.pinning.send(node, "request_unstake", 2 * ELDER_MINIMUM)
    with refused("stake_too_small"):
        one.pinning.send(node, "request_unstake", 2**256 - 1)
    with refused("nothing_to_unstake"):
        one.pinning.send(node, "request_unstake", 0)
    one.pinning.send(node, "request_unstake", ELDER_MINIMUM)
    with refused("too_early"):
        one.pinning.send(node, "collect_stake")
    one.machine.mine(0, 1000)
    before = one.digm.ask("balanceOf", node)
    one.pinning.send(node, "collect_stake")
    assert one.digm.ask("balanceOf", node) == before + ELDER_MINIMUM
    with refused("nothing_to_collect"):
        one.pinning.send(node, "collect_stake")


def test_a_node_leaves_whole_and_may_come_back_in_another_class_and_token(one, refused):
    node = one.nodes[0]
    one.pinning.send(node, "request_unstake", 2 * ELDER_MINIMUM)
    with refused("already_joined"):
        one.join(node)
    with refused("stake_too_small"):
        one.accept(node, one.order_id)
    one.machine.mine(0, 1000)
    one.pinning.send(node, "collect_stake")
    one.pinning.send(node, "join", COLD, one.xfg.address, COLD_MINIMUM, bytes(32))
    assert one.pinning.ask("node", node)["token"] == one.xfg.address


def test_nobody_withdraws_what_is_not_theirs(one, refused):
    with refused("nothing_to_withdraw"):
        one.pinning.send(one.stranger, "withdraw", one.para.address)
    with refused("nothing_to_withdraw"):
        one.pinning.send(one.stranger, "withdraw", ZERO)
    with refused("nothing_to_collect"):
        one.pinning.send(one.stranger, "collect_stake")
    with refused("nothing_to_burn"):
        one.pinning.send(one.stranger, "burn_slashed", one.digm.address)


def test_a_later_node_is_paid_from_when_it_came_and_a_freed_place_is_paid_once(one):
    first, second, late = one.nodes[:3]
    one.accept(first, one.order_id)
    one.rounds(2, [first])
    one.join(late)
    one.accept(late, one.order_id)
    came_at = one.pinning.ask("pin", one.order_id, late)["accepted_at"]
    one.rounds(2, [first, late])
    opened_at = one.clock()["opened_at"]
    assert one.pinning.ask("earned", one.order_id, late) == (opened_at - came_at) * RATE
    assert second != late


def test_the_tokens_of_a_stake_and_their_terms_are_open_to_all(house):
    assert house.pinning.ask("tokens") == [house.digm.address, house.xfg.address]
    terms = house.pinning.ask("stake_terms", house.xfg.address)
    assert terms == {
        "token": house.xfg.address,
        "elder_minimum": ELDER_MINIMUM,
        "cold_minimum": COLD_MINIMUM,
        "per_gib": PER_GIB,
    }
    assert house.pinning.ask("rules") == house.rules
