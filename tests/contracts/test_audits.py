"""Epochs, challenges, proofs, slashing, jail and the way back."""

import pytest

from tests.contracts.house import ELDER_MINIMUM, MISSES_IN_A_ROW, build_house, track_named
from tests.contracts.machine import PyEvm, Reverted

STAKE = 2 * ELDER_MINIMUM


@pytest.fixture
def one(house):
    """A track ordered twice, held by two nodes."""
    return held_by_two(house)


def held_by_two(house):
    house.track = house.publish(track_named("one"))
    house.order_id = house.order(house.track, replicas=2, duration_s=50_000)
    for node in house.nodes[:2]:
        house.join(node)
        house.accept(node, house.order_id)
    return house


def test_a_seed_is_sealed_once_an_epoch_behind_its_block_and_pays_a_bounty(one, refused):
    one.end_epoch()
    clock = one.clock()
    one.before_block(clock["seed_block"])
    with refused("too_early"):
        one.pinning.send(one.stranger, "seal")
    one.before_block(clock["seed_block"] + 1)
    (event,) = one.pinning.send(one.stranger, "seal")
    assert (event.fields["round"], event.fields["epoch"]) == (1, clock["epoch"])
    assert event.fields["bounty"] == one.rules["seal_bounty"]
    assert one.pinning.ask("credits", one.para.address, one.stranger) == one.rules["seal_bounty"]
    assert event.fields["seed"] == one.pinning.ask("seed") != bytes(32)
    with refused("already_sealed"):
        one.pinning.send(one.stranger, "seal")


def test_sealing_goes_on_when_the_audit_pool_is_empty(house):
    house.open_round()
    house.end_epoch()
    assert house.pinning.ask("audit_pool") == 0
    house.open_round()
    assert house.pinning.ask("credits", house.para.address, house.stranger) == 0


def test_a_seed_that_is_forgotten_leaves_an_epoch_without_a_round():
    house = held_by_two(build_house(PyEvm(), epoch_blocks=1000, quiet_blocks=8))
    node = house.nodes[0]
    seed_block = house.clock()["seed_block"]
    house.before_block(seed_block + 257)
    with pytest.raises(Reverted, match="too_late"):
        house.pinning.send(house.stranger, "seal")
    assert not house.pinning.ask("node", node)["has_open_challenge"]
    for _ in range(MISSES_IN_A_ROW + 1):
        house.end_epoch()
    assert house.pinning.ask("node", node)["missed"] == 0


def test_a_seed_that_comes_late_is_refused_so_that_half_of_the_time_is_left_to_answer(one, refused):
    one.end_epoch()
    clock = one.clock()
    assert clock["last_seal_block"] - clock["seed_block"] == 6
    one.before_block(clock["last_seal_block"] + 1)
    with refused("too_late"):
        one.pinning.send(one.stranger, "seal")
    assert not one.pinning.ask("node", one.nodes[0])["has_open_challenge"]
    one.rounds(1, one.nodes[:2])


def test_who_proves_its_256_bytes_has_passed(one):
    node = one.nodes[0]
    number = one.open_round()
    asked = one.pinning.ask("challenge", node)
    assert asked["round"] == number
    assert asked["track"] == one.track
    assert one.pinning.ask("node", node)["has_open_challenge"]
    (event,) = one.prove(node)
    assert event.fields == {
        "node": node,
        "round": number,
        "order_id": one.order_id,
        "missed_before": 0,
        "points": 0,
    }
    facts = one.pinning.ask("node", node)
    assert (facts["missed"], facts["last_round"], facts["has_open_challenge"]) == (0, number, False)


def test_anybody_may_carry_a_nodes_proof_and_it_counts_for_the_node(one, refused):
    node = one.nodes[0]
    one.open_round()
    one.prove(node, sender=one.stranger)
    with refused("already_answered"):
        one.prove(node)


def test_every_wrong_proof_is_refused_and_the_right_one_still_counts(one, refused):
    node, other = one.nodes[:2]
    track = one.tracks[one.track]
    one.open_round()
    asked = one.pinning.ask("challenge", node)
    chunk, leaf = asked["chunk"], asked["leaf"]
    data, chunk_path, track_path = track.proof(chunk, leaf)
    wrong = [
        track.proof(chunk, (leaf + 1) % asked["leaves"]),  # another range
        track.proof((chunk + 1) % asked["chunks"], 0),  # another chunk
        track_named("two").proof(chunk, leaf),  # another track
        (data[:-1], chunk_path, track_path),
        (b"", chunk_path, track_path),
        (data[:-1] + b"?", chunk_path, track_path),
        (data, chunk_path[:-1], track_path),
        (data, [*chunk_path, bytes(32)], track_path),
        (data, chunk_path, track_path[:-1]),
        (data, chunk_path, [*track_path, bytes(32)]),
        (data, [], []),
        (data, [bytes(32)] * 20, [bytes(32)] * 20),
        (data, track_path, chunk_path),
    ]
    for proof in wrong:
        with refused("wrong_proof"):
            one.pinning.ask("prove", node, *proof)
    for nobody in (one.stranger, bytes(20)):
        with refused("nothing_to_prove"):
            one.pinning.ask("prove", nobody, data, chunk_path, track_path)
    theirs = one.pinning.ask("challenge", other)
    if (theirs["chunk"], theirs["leaf"]) != (chunk, leaf):
        with refused("wrong_proof"):
            one.pinning.ask("prove", other, data, chunk_path, track_path)
    one.pinning.send(node, "prove", node, data, chunk_path, track_path)


def test_a_proof_that_is_late_replayed_or_for_a_coming_round_is_refused(one, refused):
    node = one.nodes[0]
    with refused("no_open_round"):
        one.pinning.ask("challenge", node)
    one.open_round()
    asked = one.pinning.ask("challenge", node)
    proof = one.tracks[one.track].proof(asked["chunk"], asked["leaf"])
    one.pinning.send(node, "prove", node, *proof)
    with refused("already_answered"):
        one.pinning.send(node, "prove", node, *proof)
    one.end_epoch()
    with refused("no_open_round"):
        one.pinning.send(node, "prove", node, *proof)
    one.open_round()
    again = one.pinning.ask("challenge", node)
    if (again["chunk"], again["leaf"]) != (asked["chunk"], asked["leaf"]):
        with refused("wrong_proof"):
            one.pinning.send(node, "prove", node, *proof)


def test_nodes_and_rounds_are_asked_for_different_places(one):
    asked = set()
    for _ in range(6):
        one.open_round()
        for node in one.nodes[:2]:
            challenge = one.pinning.ask("challenge", node)
            asked.add((challenge["chunk"], challenge["leaf"]))
            one.prove(node)
        one.end_epoch()
    assert len(asked) > 8


def test_while_the_question_may_be_known_the_list_of_pins_cannot_change(one, refused):
    node = one.nodes[0]
    other = one.order(one.publish(track_named("two")), 2)
    one.end_epoch()
    one.before_block(one.clock()["seed_block"])
    for change in (("accept", other, bytes(20)), ("give_back", one.order_id)):
        with refused("challenge_open"):
            one.pinning.send(node, *change)
    one.open_round()
    with refused("challenge_open"):
        one.accept(node, other)
    one.prove(node)
    one.accept(node, other)
    assert one.pinning.ask("pins_of", node, 0, 9) == [one.order_id, other]
    assert not one.pinning.ask("node", node)["has_open_challenge"]


def test_a_node_that_takes_its_first_pin_late_in_an_epoch_is_asked_from_the_next_round_on(one):
    late = one.nodes[2]
    one.join(late)
    order = one.order(one.track, 1)
    one.open_round()
    one.accept(late, order)
    facts = one.pinning.ask("node", late)
    assert (facts["missed"], facts["has_open_challenge"]) == (0, False)
    one.end_epoch()
    assert one.pinning.ask("node", late)["missed"] == 0
    one.rounds(1, [])
    assert one.pinning.ask("node", late)["missed"] == 1


def test_three_audits_missed_in_a_row_cost_a_part_of_the_stake_and_jail(one, refused):
    good, bad = one.nodes[:2]
    one.rounds(MISSES_IN_A_ROW - 1, [good])
    with refused("not_slashable"):
        one.pinning.send(one.stranger, "slash", bad)
    one.rounds(1, [good])
    facts = one.pinning.ask("node", bad)
    assert (facts["missed"], facts["is_slashable"]) == (MISSES_IN_A_ROW, True)
    (event,) = one.pinning.send(one.stranger, "slash", bad)
    cut = STAKE * 2000 // 10_000
    assert (event.fields["cut"], event.fields["bounty"], event.fields["missed"]) == (cut, cut // 10, 3)
    assert one.pinning.ask("node", bad)["stake"] == STAKE - cut
    assert one.pinning.ask("credits", one.digm.address, one.stranger) == cut // 10
    assert one.pinning.ask("slashed", one.digm.address) == cut - cut // 10
    for nobody in (bad, good, one.stranger):
        with refused("not_slashable"):
            one.pinning.send(one.stranger, "slash", nobody)


def test_two_misses_and_a_pass_are_no_three_in_a_row(one, refused):
    good, lazy = one.nodes[:2]
    for _ in range(2):
        one.rounds(2, [good])
        one.rounds(1, [good, lazy])
    with refused("not_slashable"):
        one.pinning.send(one.stranger, "slash", lazy)
    assert one.pinning.ask("node", lazy)["points"] == 2 * (2 * 200 - 1)


def test_too_many_misses_at_all_slash_too_however_they_are_spread(one):
    good, lazy = one.nodes[:2]
    passed = 0
    while not one.pinning.ask("node", lazy)["is_slashable"]:
        one.rounds(1, [good])
        if not one.pinning.ask("node", lazy)["is_slashable"]:
            one.rounds(1, [good, lazy])
            passed += 1
    assert one.pinning.ask("node", lazy)["missed"] == 1
    assert passed == 5  # 5 x 199, and one more miss is 1,195 points
    one.pinning.send(one.stranger, "slash", lazy)


def test_who_can_be_slashed_can_do_nothing_else_before(one, refused):
    good, bad = one.nodes[:2]
    other = one.order(one.publish(track_named("two")), 2)
    one.pinning.send(bad, "request_unstake", ELDER_MINIMUM)
    one.machine.mine(0, 1000)
    one.rounds(MISSES_IN_A_ROW, [good])
    one.machine.mine(0, 60_000)
    for attempt in (
        ("accept", other, bytes(20)),
        ("give_back", one.order_id),
        ("release", one.order_id, bad),
        ("request_unstake", 1),
        ("collect_stake",),
    ):
        with refused("slash_first"):
            one.pinning.send(bad, *attempt)
    with refused("slash_first"):
        one.pinning.send(one.stranger, "release", one.order_id, bad)
    one.open_round()
    with refused("slash_first"):
        one.prove(bad)
    one.pinning.send(one.stranger, "slash", bad)
    # What was leaving is cut with the rest.
    facts = one.pinning.ask("node", bad)
    assert facts["stake"] + facts["leaving"] == STAKE - STAKE // 5


def test_a_jailed_node_is_replaced_keeps_what_it_earned_and_comes_back(one, refused):
    good, bad, heir = one.nodes[:3]
    one.join(heir)
    one.rounds(1, [good, bad])
    with refused("not_jailed"):
        one.accept(heir, one.order_id, instead_of=bad)
    one.rounds(MISSES_IN_A_ROW, [good])
    one.pinning.send(one.stranger, "slash", bad)
    with refused("jailed"):
        one.accept(bad, one.order_id)
    with refused("jailed"):
        one.pinning.send(bad, "give_back", one.order_id)
    with refused("too_early"):
        one.pinning.send(bad, "unjail")
    one.accept(heir, one.order_id, instead_of=bad)
    assert one.pinning.ask("credits", one.para.address, bad) > 0
    assert one.pinning.ask("order", one.order_id)["taken"] == 2
    one.machine.mine(1, 300)
    one.pinning.send(bad, "unjail")
    with refused("not_jailed"):
        one.pinning.send(bad, "unjail")
    one.accept(bad, one.order(one.publish(track_named("two")), 1))
    one.rounds(1, [good, bad, heir])


def test_a_jailed_node_is_not_audited_and_nothing_is_missed_meanwhile(one, refused):
    good, bad = one.nodes[:2]
    one.rounds(MISSES_IN_A_ROW, [good])
    one.pinning.send(one.stranger, "slash", bad)
    one.rounds(MISSES_IN_A_ROW, [good])
    assert one.pinning.ask("node", bad)["missed"] == 0
    one.open_round()
    with refused("jailed"):
        one.pinning.ask("challenge", bad)
    one.machine.mine(1, 300)
    one.pinning.send(bad, "unjail")
    assert one.pinning.ask("node", bad)["missed"] == 0
    one.rounds(1, [good, bad])


def test_time_in_jail_is_not_paid_for_by_the_first_round_after_it(one):
    good, bad = one.nodes[:2]
    one.rounds(1, [good, bad])
    earned = one.pinning.ask("earned", one.order_id, bad)
    one.rounds(MISSES_IN_A_ROW, [good])
    one.pinning.send(one.stranger, "slash", bad)
    one.machine.mine(1, 500)
    one.pinning.send(bad, "unjail")
    free_since = one.machine.now
    one.rounds(1, [good, bad])
    rate = one.pinning.ask("order", one.order_id)["rate"]
    more = one.pinning.ask("earned", one.order_id, bad) - earned
    assert more == (one.clock()["opened_at"] - free_since) * rate


def test_who_is_slashed_below_the_minimum_tops_up_before_it_comes_back(house, refused):
    house.track = house.publish(track_named("one"))
    order = house.order(house.track, 1, 50_000)
    node = house.nodes[0]
    house.join(node, stake=ELDER_MINIMUM)
    house.accept(node, order)
    house.rounds(MISSES_IN_A_ROW, [])
    house.pinning.send(house.stranger, "slash", node)
    house.machine.mine(1, 300)
    with refused("stake_too_small"):
        house.pinning.send(node, "unjail")
    with refused("already_joined"):
        house.join(node)
    house.pinning.send(node, "add_stake", ELDER_MINIMUM // 5)
    house.pinning.send(node, "unjail")
    house.rounds(1, [node])


def test_pins_behind_the_removed_one_are_still_audited_and_paid(one):
    node = one.nodes[0]
    orders = [one.order_id] + [
        one.order(one.publish(track_named(name)), 1, 50_000) for name in ("two", "three")
    ]
    for order in orders[1:]:
        one.accept(node, order)
    one.rounds(1, one.nodes[:2])
    one.pinning.send(node, "give_back", orders[0])
    assert one.pinning.ask("pins_of", node, 0, 9) == [orders[2], orders[1]]
    asked = set()
    for _ in range(12):
        one.open_round()
        asked.add(one.pinning.ask("challenge", node)["order_id"])
        one.prove(node)
        one.prove(one.nodes[1])
        one.end_epoch()
    assert asked == set(orders[1:])
    one.pinning.send(node, "give_back", orders[1])
    one.pinning.send(node, "give_back", orders[2])
    assert one.pinning.ask("pins_of", node, 0, 9) == []
    one.pinning.send(node, "settle_many", [], node)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"quiet_blocks": 0}, "bad_epoch"),
        ({"quiet_blocks": 17}, "bad_epoch"),
        ({"epoch_blocks": 4}, "bad_epoch"),
        ({"epoch_blocks": 1_000_001}, "bad_epoch"),
        ({"unstake_delay_s": 2**255}, "bad_delay"),
        ({"jail_s": 366 * 86_400}, "bad_delay"),
        ({"cancel_notice_s": 91 * 86_400}, "bad_delay"),
        ({"release_grace_s": 91 * 86_400}, "bad_delay"),
        ({"min_duration_s": 0}, "bad_duration"),
        ({"min_pin_bytes": 0}, "bad_pin_bytes"),
        ({"min_price": 2**121}, "bad_price"),
        ({"slash_bps": 5_001}, "bad_slash"),
        ({"slash_bps": 0}, "bad_slash"),
        ({"bounty_bps": 2_001}, "bad_slash"),
        ({"give_back_bps": 5_001}, "bad_slash"),
        ({"fee_bps": 501}, "bad_fee"),
        ({"seal_bounty": 2**121}, "bad_fee"),
        ({"pass_points": 0}, "bad_points"),
        ({"pass_points": 201}, "bad_points"),
        ({"points_limit": 200}, "bad_points"),
    ],
)
def test_rules_out_of_bounds_cannot_be_deployed(py_evm_house, refused, changed, reason):
    from tests.contracts.house import ELDER_MINIMUM, PER_GIB, RULES, compiled, rules_tuple
    from tests.contracts.machine import Contract

    house = py_evm_house
    terms = [(house.digm.address, ELDER_MINIMUM, ELDER_MINIMUM, PER_GIB)]
    rules = rules_tuple(RULES | changed)
    with refused(reason):
        Contract.deploy(
            house.machine,
            compiled("Pinning"),
            house.artist,
            house.registry.address,
            house.para.address,
            rules,
            terms,
        )
