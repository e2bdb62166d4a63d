"""What a node does next for the contract: decided from facts alone, whatever they are."""

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from digm.keeping import (
    GIB,
    Account,
    Clock,
    Deed,
    Facts,
    Kind,
    Offer,
    Own,
    Policy,
    may_begin,
    next_deeds,
    turn_of,
    wanted,
)

ME, OTHER = "0x" + "aa" * 20, "0x" + "bb" * 20
NOW = 1_000_000
UNIT = 10**18
QUIET = Clock(
    block=105, time_s=NOW, epoch=4, seed_block=110, last_seal_block=120, ends_before_block=130, round=3,
    round_epoch=3, opened_at=NOW - 60,
)  # fmt: skip
STAKED = Account(ME, stake=1_000 * UNIT, minimum=1_000 * UNIT, per_gib=10 * UNIT)


def offer(order_id: int = 1, **changes: object) -> Offer:
    plain = Offer(
        order_id=order_id, audit_root=bytes([order_id]) * 32, billed_bytes=1 << 20, byte_size=1 << 20,
        price=UNIT, ends_at=NOW + 10_000, replicas=2, taken=0,
    )  # fmt: skip
    return replace(plain, **changes)  # type: ignore[arg-type]


def deeds(
    clock: Clock = QUIET,
    account: Account = STAKED,
    offers: tuple[Offer, ...] = (),
    own: Own | None = None,
    policy: Policy | None = None,
    **more: object,
) -> list[Deed]:
    own = own or Own(free_bytes=1 << 40)
    found = Facts(clock, account, own, {one.order_id: one for one in offers}, **more)  # type: ignore[arg-type]
    return next_deeds(found, policy or Policy())


def own(*ready: int, kept: tuple[int, ...] = ()) -> Own:
    return Own(frozenset(ready), frozenset(ready) | frozenset(kept), 1 << 40)


def test_bytes_are_fetched_and_only_then_the_place_is_taken() -> None:
    assert deeds(offers=(offer(),)) == [Deed(Kind.FETCH, 1)]
    assert deeds(offers=(offer(),), own=own(1)) == [Deed(Kind.ACCEPT, 1)]
    accepted = replace(STAKED, pins=(1,), pinned_bytes=1 << 20, last_round=3)
    assert deeds(account=accepted, offers=(offer(taken=1),), own=own(1)) == []
    assert deeds(account=accepted, offers=(offer(taken=1),)) == [
        Deed(Kind.FETCH, 1)
    ]  # what is owed is got again


def test_what_nobody_gives_takes_no_room_from_what_somebody_does() -> None:
    big = GIB * 60
    both = tuple(offer(number, billed_bytes=big, byte_size=big) for number in (1, 2))
    assert deeds(offers=both, given_up={1}) == [Deed(Kind.FETCH, 2)]


def test_slow_fetches_hold_up_nothing_else_and_a_proof_waits_for_nobody() -> None:
    fetches = {Deed(Kind.FETCH, number) for number in range(1, 4)}
    assert not may_begin(Deed(Kind.FETCH, 9), fetches) and may_begin(Deed(Kind.ACCEPT, 9), fetches)
    busy = fetches | {Deed(Kind.ACCEPT, number) for number in range(11, 19)}
    assert not may_begin(Deed(Kind.ACCEPT, 9), busy) and may_begin(Deed(Kind.PROVE, round=4), busy)
    assert not may_begin(Deed(Kind.ACCEPT, 11, node=OTHER), {Deed(Kind.ACCEPT, 11)})
    assert may_begin(Deed(Kind.PROVE, round=4), {Deed(Kind.PROVE, round=3)})
    assert not may_begin(Deed(Kind.PROVE, round=4), {Deed(Kind.PROVE, round=4)})


def test_who_sits_in_jail_has_to_be_slashed_or_has_no_stake_takes_no_place() -> None:
    for account in (
        replace(STAKED, jailed_until=NOW), replace(STAKED, is_slashable=True), Account(ME),
        replace(STAKED, has_open_challenge=True),
    ):  # fmt: skip
        assert deeds(account=account, offers=(offer(),), own=own(1)) == [], account


def test_a_place_of_an_order_that_nobody_has_told_of_yet_is_left_as_it_is() -> None:
    assert deeds(account=replace(STAKED, pins=(7,), last_round=3)) == []


def test_an_order_is_left_that_pays_too_little_ends_too_soon_is_full_withdrawn_or_not_our_turn() -> None:
    for left in (
        offer(price=UNIT - 1), offer(ends_at=NOW + 59), offer(ends_at=NOW), offer(taken=2),
        offer(is_withdrawn=True), offer(turn=None), offer(turn=2), offer(turn=3, waited_s=59.0),
    ):  # fmt: skip
        assert deeds(offers=(left,), policy=Policy(least_price=UNIT)) == [], left
    assert deeds(offers=(offer(turn=3, waited_s=60.0),)) == [Deed(Kind.FETCH, 1)]
    assert deeds(offers=(offer(),), policy=Policy(is_taking=False)) == []


def test_no_more_is_promised_than_stake_and_disk_are_enough_for() -> None:
    big = GIB * 60
    both = (offer(1, billed_bytes=big, byte_size=big), offer(2, billed_bytes=big, byte_size=big))
    assert deeds(offers=both) == [Deed(Kind.FETCH, 1)]
    assert deeds(offers=both, own=own(2)) == [Deed(Kind.ACCEPT, 2)]  # what is here already comes first
    assert deeds(offers=both, own=Own(free_bytes=big - 1)) == []
    assert deeds(offers=both, account=replace(STAKED, stake=999 * UNIT)) == []
    same = (offer(1), offer(2, audit_root=bytes([1]) * 32))
    assert deeds(offers=same) == [Deed(Kind.FETCH, 1)]  # one copy of the same bytes is paid


def test_a_round_is_answered_and_until_then_no_place_is_taken_or_left() -> None:
    is_open = replace(QUIET, block=112, round=4, round_epoch=4)
    asked = replace(STAKED, pins=(1,), last_round=3, has_open_challenge=True)
    over, more = offer(1, ends_at=NOW - 1, taken=1), offer(2)
    assert deeds(is_open, asked, (over, more), own(1, 2)) == [Deed(Kind.PROVE, round=4)]
    answered = replace(asked, last_round=4, has_open_challenge=False)
    ended = replace(is_open, opened_at=NOW)
    assert deeds(ended, answered, (over, more), own(1, 2)) == [Deed(Kind.RELEASE, 1), Deed(Kind.ACCEPT, 2)]
    assert deeds(is_open, replace(asked, jailed_until=NOW), (over,), own(1)) == []


def test_a_place_is_kept_behind_the_end_until_the_last_stretch_is_proven_or_it_takes_too_long() -> None:
    account, policy = replace(STAKED, pins=(1,), last_round=3), Policy(release_grace_s=300)
    for ends_at, expected in ((NOW - 30, []), (NOW - 60, [Kind.RELEASE]), (NOW + 1, [])):
        over = offer(ends_at=ends_at, taken=1)
        assert [one.kind for one in deeds(QUIET, account, (over,), own(1), policy)] == expected
    unproven = replace(account, last_round=2)
    for ends_at, expected in ((NOW - 299, []), (NOW - 300, [Kind.RELEASE])):
        over = offer(ends_at=ends_at, taken=1)
        assert [one.kind for one in deeds(QUIET, unproven, (over,), own(1), policy)] == expected
    jailed = replace(unproven, jailed_until=NOW)
    assert deeds(QUIET, jailed, (offer(ends_at=NOW),), own(1), policy) == [Deed(Kind.RELEASE, 1)]
    assert deeds(QUIET, jailed, (offer(ends_at=NOW + 1),), own(1), policy) == []
    assert deeds(QUIET, unproven, (offer(is_withdrawn=True),), own(1)) == [Deed(Kind.RELEASE, 1)]


def test_nothing_is_begun_that_would_come_when_the_seed_is_known() -> None:
    near = replace(QUIET, block=108)
    assert deeds(near, STAKED, (offer(),), own(1)) == [Deed(Kind.ACCEPT, 1)]  # its first: no question yet
    bound = replace(STAKED, pins=(2,), last_round=3)
    assert deeds(near, bound, (offer(), offer(2, taken=1)), own(1, 2)) == []


def test_one_after_the_other_seals_and_in_the_second_half_of_the_window_all_do() -> None:
    account = replace(STAKED, pins=(1,), last_round=3, has_open_challenge=True)

    def seals(block: int, turn: int) -> bool:
        found = deeds(replace(QUIET, block=block), account, (offer(taken=1),), own(1), seal_turn=turn)
        return Deed(Kind.SEAL, round=4) in found

    assert [block for block in range(100, 130) if seals(block, 0)] == list(range(110, 120))
    assert [block for block in range(100, 130) if seals(block, 2)] == list(range(114, 120))
    assert [block for block in range(100, 130) if seals(block, 99)] == list(range(115, 120))
    assert not deeds(replace(QUIET, block=112), STAKED)  # who has promised nothing needs no rounds


def test_a_place_of_a_node_in_jail_is_taken_where_no_other_is_free() -> None:
    assert deeds(offers=(offer(taken=2, jailed=(OTHER,)),), own=own(1)) == [Deed(Kind.ACCEPT, 1, node=OTHER)]
    assert deeds(offers=(offer(taken=1, jailed=(OTHER,)),), own=own(1)) == [Deed(Kind.ACCEPT, 1)]


def test_guilty_nodes_are_slashed_one_after_the_other_and_never_by_themselves() -> None:
    early, later = replace(QUIET, block=100), replace(QUIET, block=104)
    policy = Policy(epoch_blocks=30)
    assert deeds(early, guilty={OTHER: 0, ME: 0}, policy=policy) == [Deed(Kind.SLASH, node=OTHER)]
    assert deeds(early, guilty={OTHER: 2}, policy=policy) == []
    assert deeds(later, guilty={OTHER: 2}, policy=policy) == [Deed(Kind.SLASH, node=OTHER)]


def test_what_is_owed_is_claimed_from_a_threshold_on_and_what_is_not_needed_is_let_go() -> None:
    assert deeds(account=replace(STAKED, owed=UNIT)) == [Deed(Kind.CLAIM)]
    assert deeds(account=replace(STAKED, owed=UNIT - 1)) == []
    assert deeds(account=STAKED, policy=Policy(claim_at=0)) == []
    leaving = replace(STAKED, pins=(1,), last_round=3, owed=UNIT)
    assert deeds(account=leaving, offers=(offer(taken=1, is_withdrawn=True),)) == [Deed(Kind.RELEASE, 1)]
    for gone in (offer(taken=2), offer(ends_at=NOW), offer(is_withdrawn=True)):
        assert deeds(offers=(gone,), own=own(1)) == [Deed(Kind.LET_GO, 1)]
    assert deeds(offers=(offer(taken=2),), own=own(1), resting=[Deed(Kind.LET_GO, 1)]) == []


@given(st.sets(st.integers(0, 999), min_size=1, max_size=30), st.binary(max_size=8))
def test_turns_are_one_for_each(numbers: set[int], subject: bytes) -> None:
    everybody = [f"0x{number:040x}" for number in numbers]
    assert sorted(turn_of(subject, one, everybody) for one in everybody) == list(range(len(everybody)))


orders = st.builds(
    offer,
    st.integers(1, 12),
    audit_root=st.sampled_from([b"a" * 32, b"b" * 32, b"c" * 32, b"d" * 32]),
    billed_bytes=st.integers(1, GIB * 60),
    byte_size=st.integers(1, GIB * 60),
    ends_at=st.integers(NOW - 1_000, NOW + 1_000),
    replicas=st.integers(1, 5),
    taken=st.integers(0, 5),
    is_withdrawn=st.booleans(),
    turn=st.none() | st.integers(0, 9),
    waited_s=st.floats(0, 400),
)
ids = st.frozensets(st.integers(1, 12))


@given(
    offers=st.lists(orders, max_size=12, unique_by=lambda one: one.order_id),
    pins=st.frozensets(st.integers(1, 12), max_size=4),
    ready=ids,
    kept=ids,
    block=st.integers(100, 129),
    is_sealed=st.booleans(),
    last_round=st.integers(0, 4),
    jailed_until=st.sampled_from([0, 0, NOW]),
    is_slashable=st.booleans(),
    has_open_challenge=st.booleans(),
    free_bytes=st.integers(0, GIB * 200),
)
def test_whatever_the_facts_are_nothing_is_done_that_the_contract_refuses_or_that_could_cost_the_stake(
    offers: list[Offer],
    pins: frozenset[int],
    ready: frozenset[int],
    kept: frozenset[int],
    block: int,
    is_sealed: bool,
    last_round: int,
    jailed_until: int,
    is_slashable: bool,
    has_open_challenge: bool,
    free_bytes: int,
) -> None:
    number = 4 if is_sealed else 3
    clock = replace(QUIET, block=block, round=number, round_epoch=number)
    account = replace(
        STAKED,
        pins=tuple(pins),
        pinned_bytes=sum(one.billed_bytes for one in offers if one.order_id in pins),
        last_round=min(last_round, number),
        jailed_until=jailed_until,
        is_slashable=is_slashable,
        has_open_challenge=has_open_challenge,
    )
    here = Own(ready, ready | kept, free_bytes)
    facts, policy = Facts(clock, account, here, {one.order_id: one for one in offers}), Policy()
    found, known = next_deeds(facts, policy), facts.offers
    assert found == next_deeds(facts, policy) and max(Counter(found).values(), default=1) == 1
    assert found == sorted(found)
    for deed in found:
        if deed.kind in (Kind.ACCEPT, Kind.RELEASE):
            assert not (is_slashable or has_open_challenge)
        if deed.kind is Kind.ACCEPT:
            assert (
                not jailed_until
                and deed.order_id in ready
                and known[deed.order_id].is_open(NOW)
                and deed.order_id not in pins
            )
        if deed.kind is Kind.RELEASE:
            assert known[deed.order_id].is_over(NOW) or known[deed.order_id].is_withdrawn
        if deed.kind is Kind.LET_GO:
            assert deed.order_id not in pins
    must = is_sealed and pins and account.last_round < number and not jailed_until and not is_slashable
    assert (Deed(Kind.PROVE, round=number) in found) == bool(must)
    more = wanted(facts, policy)
    assert not more or account.has_room_for(sum(one.billed_bytes for one in more))
    assert sum(one.byte_size for one in more if one.order_id not in here.kept) <= free_bytes
    roots = [known[one].audit_root for one in pins if one in known]
    assert not {one.audit_root for one in more} & set(roots)
    assert len({one.audit_root for one in more}) == len(more)
