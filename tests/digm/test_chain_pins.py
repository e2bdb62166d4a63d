"""What the events of `Pinning` say; that it is what the contract says: tests/contracts/test_properties.py."""

from typing import Any

from digm.chain_pins import ELDER, ChainPins, Ending

NODE, OTHER, OWNER, TOKEN = ("0x" + digits * 20 for digits in ("aa", "bb", "cc", "dd"))
KEY = b"k" * 32


def joined(node: str = NODE, stake: int = 1_000, key: bytes = KEY) -> tuple[str, dict[str, Any], int]:
    said = {"node": node, "node_key": key, "node_class": ELDER, "token": TOKEN, "stake": stake}
    return "NodeJoined", said, 1


def ordered(order_id: int = 1) -> tuple[str, dict[str, Any], int]:
    said = {
        "order_id": order_id, "track": b"t" * 32, "owner": OWNER, "replicas": 2, "ends_at": 5_000, "rate": 3,
        "escrow": 6_000,
    }  # fmt: skip
    return "PinOrdered", said, 2


def seat(name: str, node: str = NODE, order_id: int = 1, **more: Any) -> tuple[str, dict[str, Any], int]:
    return name, {"order_id": order_id, "node": node, **more}, 3


def opened(number: int, epoch: int | None = None) -> tuple[str, dict[str, Any], int]:
    said = {"round": number, "epoch": epoch or number, "seed": b"s" * 32, "sealer": OTHER, "bounty": 1}
    return "RoundOpened", said, 10 * number


def slashed(cut: int) -> tuple[str, dict[str, Any], int]:
    said = {"node": NODE, "reporter": OTHER, "cut": cut, "bounty": 1, "missed": 3, "jailed_until": 9_000}
    return "Slashed", said, 50


def test_an_order_has_what_was_paid_in_less_what_was_paid_out() -> None:
    paid = seat("PinSettled", amount=600, proven_s=200)
    found = ChainPins.of([joined(), ordered(), seat("PinAccepted"), paid])
    assert (found.orders[1].escrow, found.orders[1].block, found.copies[1][NODE].paid) == (5_400, 2, 600)
    assert (found.holders(1), found.orders_of(NODE), found.nodes[NODE].copies) == ([NODE], [1], 1)
    found.apply("OrderExtended", {"order_id": 1, "ends_at": 6_000, "added": 1_000})
    found.apply("OrderCancelled", {"order_id": 1, "ends_at": 5_500})
    assert (found.orders[1].escrow, found.orders[1].ends_at, found.orders[1].is_cancelled) == (
        6_400,
        5_500,
        True,
    )
    assert [one.order_id for one in found.running(5_499)] == [1] and found.running(5_500) == []
    found.apply("OrderClosed", {"order_id": 1, "refund": 6_400})
    assert found.orders[1].escrow == 0 and found.orders[1].is_closed and found.running(0) == []


def test_a_copy_ends_in_one_of_three_ways() -> None:
    for event, how in (("PinReleased", Ending.RELEASED), ("PinEvicted", Ending.EVICTED)):
        found = ChainPins.of([joined(), ordered(), seat("PinAccepted"), seat(event)])
        assert found.copies[1][NODE].ended is how
        assert (found.holders(1), found.nodes[NODE].copies, found.nodes[NODE].stake) == ([], 0, 1_000)
    found = ChainPins.of([joined(), ordered(), seat("PinAccepted"), seat("PinGivenBack", cost=50)])
    assert found.copies[1][NODE].ended is Ending.GIVEN_BACK and found.nodes[NODE].stake == 950
    found.apply(*seat("PinAccepted"))
    assert found.copies[1][NODE].ended is None and found.nodes[NODE].copies == 1


def test_rounds_are_missed_from_the_first_copy_on_and_until_one_is_passed() -> None:
    found = ChainPins.of([joined(), ordered(), opened(1), seat("PinAccepted")])
    assert found.missed(NODE, epoch=2) == 0
    for event in (opened(2), opened(3)):
        found.apply(*event)
    assert (found.missed(NODE), found.missed(NODE, epoch=3), found.missed(NODE, epoch=4)) == (1, 1, 2)
    found.apply("AuditPassed", {"node": NODE, "round": 3, "order_id": 1, "missed_before": 1, "points": 199})
    assert found.missed(NODE, epoch=4) == 0
    assert (found.nodes[NODE].passed, found.nodes[NODE].last_passed, found.nodes[NODE].points) == (1, 3, 199)


def test_what_was_missed_before_the_last_copy_ended_stays() -> None:
    found = ChainPins.of([joined(), ordered(), seat("PinAccepted"), opened(1), seat("PinReleased")])
    assert (found.nodes[NODE].carried_misses, found.missed(NODE, epoch=9)) == (1, 0)


def test_a_cut_takes_from_the_stake_first_and_jails() -> None:
    leaving = ("StakeLeaving", {"node": NODE, "amount": 900, "ready_at": 700}, 4)
    found = ChainPins.of([joined(), ordered(), seat("PinAccepted"), leaving, opened(1), slashed(200)])
    node = found.nodes[NODE]
    assert (node.stake, node.leaving, node.slashed, node.slashed_amount) == (0, 800, 1, 200)
    assert node.is_jailed and found.missed(NODE, epoch=9) == 0
    found.apply("Unjailed", {"node": NODE})
    assert not found.nodes[NODE].is_jailed and found.nodes[NODE].last_round == 1


def test_who_leaves_and_joins_again_has_the_past_that_it_had() -> None:
    gone = ("StakeCollected", {"node": NODE, "amount": 1_000}, 5)
    found = ChainPins.of([joined(), slashed(200), gone, joined(stake=300, key=b"n" * 32)])
    assert (found.nodes[NODE].stake, found.nodes[NODE].slashed) == (300, 1)
    assert found.by_key(KEY) == [] and found.by_key(b"n" * 32) == [found.nodes[NODE]]


def test_no_key_is_nobodys_and_events_of_unknown_things_change_nothing() -> None:
    found = ChainPins.of([joined(key=bytes(32))])
    assert found.by_key(bytes(32)) == []
    for name in ("PinSettled", "PinEvicted", "StakeAdded", "AuditPassed", "Unjailed", "OrderCancelled"):
        said = {"order_id": 7, "node": OTHER, "amount": 1, "proven_s": 1, "ends_at": 1}
        found.apply(name, said)
    found.apply("TrackPublished", {})
    assert found.orders == {} and set(found.nodes) == {NODE}
