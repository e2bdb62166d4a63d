"""Peers introduce peers: who is told of whom, and what a common neighbour passes on."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from digm.peer_exchange import Arrived, Forward, PeerExchange
from digm.wire import Relay, RelayKind

ME = "00" * 32


def peer(number: int) -> str:
    return f"{number:064x}"


def exchange_of(*numbers: int, now: float = 0.0) -> PeerExchange:
    exchange = PeerExchange(ME, random=random.Random(1).random)
    for number in numbers:
        exchange.joined(peer(number), now)
    return exchange


def message(sender: str, recipient: str) -> Relay:
    return Relay(bytes.fromhex(sender), bytes.fromhex(recipient), RelayKind.OFFER, bytes(64), "v=0")


def test_neighbours_are_told_of_each_other_shortly_after_one_came_and_then_regularly():
    exchange = exchange_of(1, 2, 3)
    assert exchange.due(2.9) == []
    told = dict(exchange.due(3.0))
    assert set(told) == {peer(1), peer(2), peer(3)}
    assert {other.hex() for other in told[peer(1)]} == {peer(2), peer(3)}
    assert exchange.due(20.0) == []
    assert len(exchange.due(41.0)) == 3


def test_a_newcomer_makes_the_others_hear_of_it_but_not_more_than_every_ten_seconds():
    exchange = exchange_of(1, 2)
    exchange.due(3.0)
    exchange.joined(peer(3), 4.0)
    assert [name for name, _ in exchange.due(7.0)] == [peer(3)]
    assert {name for name, _ in exchange.due(13.0)} == {peer(1), peer(2)}


def test_nodes_are_not_handed_around_because_they_make_the_offers():
    exchange = exchange_of(1, 2)
    exchange.joined(peer(9), 0.0, is_listener=False)
    told = dict(exchange.due(3.0))
    assert {other.hex() for other in told[peer(1)]} == {peer(2)}
    assert {other.hex() for other in told[peer(9)]} == {peer(1), peer(2)}


def test_at_most_ten_are_named_and_nobody_hears_of_himself():
    exchange = exchange_of(*range(1, 16))
    for name, others in exchange.due(3.0):
        assert len(set(others)) == 10
        assert bytes.fromhex(name) not in others


def test_a_neighbour_is_alone_and_hears_nothing():
    assert exchange_of(1).due(3.0) == []


def test_a_description_is_passed_on_between_two_neighbours_and_reaches_us_when_it_is_ours():
    exchange = exchange_of(1, 2)
    offer = message(peer(1), peer(2))
    assert exchange.relayed(peer(1), offer, 0.0) == Forward(peer(2), offer)
    ours = message(peer(5), ME)
    assert exchange.relayed(peer(2), ours, 0.0) == Arrived(peer(2), ours)


def test_nothing_is_passed_on_in_another_name_to_a_stranger_or_back():
    exchange = exchange_of(1, 2)
    assert exchange.relayed(peer(1), message(peer(3), peer(2)), 0.0) is None
    assert exchange.relayed(peer(1), message(peer(1), peer(3)), 0.0) is None
    assert exchange.relayed(peer(1), message(peer(1), peer(1)), 0.0) is None
    assert exchange.relayed(peer(1), message(ME, peer(2)), 0.0) is None
    assert exchange.relayed(peer(4), message(peer(4), peer(2)), 0.0) is None
    exchange.left(peer(2))
    assert exchange.relayed(peer(1), message(peer(1), peer(2)), 0.0) is None


def test_one_neighbour_cannot_make_us_pass_on_a_flood():
    exchange = exchange_of(1, 2, 3)
    passed = [exchange.relayed(peer(1), message(peer(1), peer(2)), 0.0) for _ in range(100)]
    assert sum(item is not None for item in passed) == 20
    assert exchange.relayed(peer(3), message(peer(3), peer(2)), 0.0) is not None


def test_a_route_goes_through_a_neighbour_that_is_there():
    exchange = exchange_of(1, 2)
    assert exchange.route(peer(7), [peer(3), peer(2)]) == peer(2)
    assert exchange.route(peer(7), [peer(3)]) is None
    assert exchange.route(peer(2), [peer(2)]) is None


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(0, 6), st.floats(0, 5)), max_size=60)
)
def test_what_is_passed_on_is_always_from_its_author_to_a_neighbour(script):
    exchange, now = exchange_of(1, 2, 3), 0.0
    for via, sender, recipient, later in script:
        now += later
        outcome = exchange.relayed(peer(via), message(peer(sender), peer(recipient)), now)
        if isinstance(outcome, Forward):
            assert via == sender
            assert outcome.peer == peer(recipient) != peer(sender)
            assert {via, recipient} <= {1, 2, 3}
        if isinstance(outcome, Arrived):
            assert recipient == 0
            assert via in {1, 2, 3}
