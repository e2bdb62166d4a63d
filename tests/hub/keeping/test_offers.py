"""Who takes which place, where many nodes could: the same sum on every node."""

from dataclasses import replace

from digm.chain_pins import ChainPins, NodeOnChain, PinOrderOnChain
from digm.chain_tracks import ChainTrack
from digm.keeping import Account, Clock, Deed, Facts, Kind, Own, Policy, next_deeds
from digm.placement import Candidate
from hub.chain.state import ChainState, FoundTrack
from hub.keeping.offers import MOST_OFFERS, Offers, guilty_of, seal_turn

UNIT, NOW, NODES, PLACES = 10**18, 1_000_000, 30, 7
TRACK = b"t" * 32
CLOCK = Clock(
    block=105, time_s=NOW, epoch=4, seed_block=110, last_seal_block=120, ends_before_block=130, round=3,
    round_epoch=3, opened_at=NOW,
)  # fmt: skip
RULES = {"miss_points": 200, "points_limit": 1000}


def account(number: int) -> str:
    return f"0x{number:040x}"


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def candidate(number: int) -> Candidate:
    return Candidate(key(number), f"operator {number % 10}", f"network {number % 3}")


PRESENT = {account(number): candidate(number) for number in range(NODES)}


def state(orders: int = 1, replicas: int = PLACES) -> ChainState:
    said = ChainTrack(TRACK, account(99), account(99), b"r" * 32, b"a" * 32, b"m" * 32, 2, 1 << 20)
    pins = ChainPins()
    for number in range(NODES):
        who = account(number)
        pins.nodes[who] = NodeOnChain(who, 1, account(98), 1_000 * UNIT, key(number))
    for number in range(1, orders + 1):
        pins.orders[number] = PinOrderOnChain(
            number, TRACK, account(99), replicas, NOW + 9_000, number * 10**9, 10**18
        )
    return ChainState(tracks=(FoundTrack(said, None),), pins=pins)


def deeds_of(number: int, known: ChainState, now: float = 0.0, began: Offers | None = None) -> list[Deed]:
    mine = began or Offers(account(number), candidate(number), now=lambda: now)
    facts = Facts(
        CLOCK,
        Account(account(number), stake=1_000 * UNIT, minimum=1, per_gib=1),
        Own(free_bytes=1 << 40),
        mine.of(known, PRESENT, 1 << 20, NOW, ()),
    )
    return next_deeds(facts, Policy(step_s=30))


def test_of_thirty_nodes_as_many_begin_as_there_are_places_and_another_one_every_step() -> None:
    known = state()
    clock = [0.0]
    all_of_them = [Offers(account(number), candidate(number), now=lambda: clock[0]) for number in range(NODES)]

    def beginning() -> set[int]:
        return {n for n, one in enumerate(all_of_them) if deeds_of(n, known, began=one)}

    first = beginning()
    assert len(first) == PLACES
    assert len({number % 10 for number in first}) == PLACES  # each of another operator
    for steps in (1, 2, 3):
        clock[0] = 30.0 * steps
        assert len(beginning()) == PLACES + steps and first <= beginning()


def test_holders_and_those_in_jail_have_no_turn_and_a_place_in_jail_is_free() -> None:
    known = state(replicas=2)
    first = [number for number in range(NODES) if deeds_of(number, known)]
    known.pins.copies[1] = {}
    for number in first:
        known.pins.apply("PinAccepted", {"order_id": 1, "node": account(number)})
    assert not any(deeds_of(number, known) for number in range(NODES))
    jailed = account(first[0])
    known.pins.nodes[jailed] = replace(known.pins.nodes[jailed], jailed_until=NOW + 60)
    heirs = [number for number in range(NODES) if number not in first and deeds_of(number, known)]
    assert len(heirs) == 1
    offer = Offers(account(heirs[0]), candidate(heirs[0])).of(known, PRESENT, 1 << 20, NOW, ())[1]
    assert (offer.jailed, offer.free_places, offer.turn) == ((jailed,), 1, 0)


def test_ten_thousand_orders_are_looked_at_for_the_best_paid_only() -> None:
    known = state(orders=10_000)
    mine = Offers(account(0), candidate(0), least_price=1)
    found = mine.of(known, PRESENT, 1 << 20, NOW, also=(5,))
    assert len(found) == MOST_OFFERS + 1 and 5 in found
    assert set(found) - {5} == set(range(10_000 - MOST_OFFERS + 1, 10_001))


def test_an_account_that_the_node_does_not_name_has_no_turn_and_holds_nobody_up() -> None:
    known = state(replicas=1)
    (first,) = [number for number in range(NODES) if deeds_of(number, known)]
    present = {who: one for who, one in PRESENT.items() if who != account(first)}
    turns = [
        Offers(account(number), candidate(number)).of(known, present, 1 << 20, NOW, ())[1].turn
        for number in range(NODES)
        if number != first
    ]
    assert sorted(turn for turn in turns if turn is not None) == list(range(NODES - 1))


def test_those_who_missed_three_rounds_or_too_many_at_all_are_guilty_and_each_has_a_turn_to_say_so() -> None:
    known = state()
    for number in (1, 2, 3):
        known.pins.apply("PinAccepted", {"order_id": 1, "node": account(number)})
    for number in (1, 2, 3):
        said = {"round": number, "epoch": number, "seed": b"s" * 32, "sealer": account(9), "bounty": 0}
        known.pins.apply("RoundOpened", said)
    assert guilty_of(known.pins, account(9), 3, RULES) == {}
    assert set(guilty_of(known.pins, account(9), 4, RULES)) == {account(1), account(2), account(3)}
    for number, last, points in ((1, 3, 0), (2, 2, 799), (3, 2, 800)):
        node = known.pins.nodes[account(number)]
        known.pins.nodes[account(number)] = replace(node, last_round=last, points=points)
    assert set(guilty_of(known.pins, account(1), 4, RULES)) == {account(3)}
    turns = [guilty_of(known.pins, account(number), 4, RULES)[account(3)] for number in (1, 2)]
    assert sorted(turns) == [0, 1]
    assert sorted(seal_turn(known.pins, account(number), 4) for number in (1, 2, 3)) == [0, 1, 2]
    assert Deed(Kind.SEAL).is_transaction and not Deed(Kind.FETCH).is_transaction
