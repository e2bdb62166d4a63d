"""Placement and repair, with nodes that hear of each other late: each has its own plan and its own view."""

import dataclasses
import heapq
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digm.pinning import MONTH_S, AnswerState, Decline, PinAnswer, PinOrder
from digm.placement import Candidate, Promises, RepairPlan, placement, surplus

ROOT = bytes(range(32))
NOW = 1_800_000_000.0
STEP_S, GRACE_S, PROMISE_S = 30.0, 300.0, 600.0


def nodes(count: int, operators: int | None = None, networks: int | None = None) -> list[Candidate]:
    return [
        Candidate(bytes([n + 1]) * 32, f"operator {n % (operators or count)}", f"AS{n % (networks or count)}")
        for n in range(count)
    ]


def order_for(replicas: int) -> PinOrder:
    return PinOrder(ROOT, replicas, 18 * MONTH_S, bytes(32), bytes(32), 1, int(NOW))


@given(st.integers(0, 20), st.randoms(use_true_random=False), st.integers(1, 5), st.integers(1, 5))
def test_every_node_comes_to_the_same_placement(count, shuffler, operators, networks):
    known = nodes(count, operators, networks)
    mixed = shuffler.sample(known, len(known))
    assert placement(ROOT, known) == placement(ROOT, mixed)
    assert sorted(placement(ROOT, known)) == sorted(item.node for item in known)


@given(st.integers(1, 24), st.integers(1, 8), st.integers(1, 8), st.integers(1, 24))
def test_copies_are_spread_over_operators_as_evenly_as_can_be(count, operators, networks, replicas):
    known = nodes(count, operators, networks)
    of = {item.node: item for item in known}
    chosen = placement(ROOT, known, most=replicas)
    taken = Counter(of[node].operator for node in chosen)
    there = Counter(item.operator for item in known)
    for operator, copies in taken.items():
        assert all(taken[other] >= min(copies - 1, there[other]) for other in there), operator


def test_seven_copies_in_a_mixed_network_lie_with_seven_operators_and_seven_networks():
    rng = random.Random(4)
    known = [Candidate(rng.randbytes(32), f"o{n % 10}", f"n{n % 12}") for n in range(60)]
    of = {item.node: item for item in known}
    chosen = placement(ROOT, known, most=7)
    assert len({of[node].operator for node in chosen}) == 7
    assert len({of[node].network for node in chosen}) == 7


@given(st.integers(2, 20), st.integers(1, 10), st.data())
def test_a_node_that_goes_moves_no_other_copy(count, replicas, data):
    known = nodes(count)
    before = placement(ROOT, known, most=replicas)
    gone = data.draw(st.sampled_from(known))
    after = placement(ROOT, [item for item in known if item != gone], most=replicas)
    assert set(before) - {gone.node} <= set(after)


@given(st.integers(1, 12), st.integers(1, 12))
def test_what_is_surplus_is_what_is_beyond_the_order_and_the_same_for_all(count, replicas):
    holders = nodes(count)
    extra = surplus(order_for(replicas), holders)
    assert len(extra) == max(0, count - replicas)
    assert extra == surplus(order_for(replicas), holders[::-1])


LOOK_S = 3.0


class Network:
    """Nodes with a plan each. A word of one reaches each other one after a delay of its own."""

    def __init__(
        self, known: list[Candidate], replicas: int, rng: random.Random, delay_s: float, fetch_s: float
    ):
        self.now, self.rng, self.delay_s, self.fetch_s = NOW, rng, delay_s, fetch_s
        self.candidates = known
        self.alive = {item.node for item in known}
        self.broken: set[bytes] = set()
        self.holding: dict[bytes, set[bytes]] = {item.node: set() for item in known}  # what each believes
        self.promises = {item.node: Promises() for item in known}
        self.plans = {item.node: RepairPlan(order_for(replicas), item.node, STEP_S, GRACE_S) for item in known}
        self.stepped_in: list[bytes] = []
        self._events: list[tuple[float, int, object]] = []
        self._count = 0

    @property
    def holders(self) -> set[bytes]:
        return {node for node in self.alive if node in self.holding[node]}

    def after(self, seconds: float, action) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.now + seconds, self._count, action))

    def tell_all(self, action) -> None:
        for node in list(self.holding):
            self.after(self.rng.uniform(0, self.delay_s), lambda node=node: action(node))

    def hold(self, node: bytes) -> None:
        if node not in self.alive:
            return
        self.holding[node].add(node)
        self.tell_all(lambda other: self.holding[other].add(node))

    def lose(self, node: bytes) -> None:
        self.alive.discard(node)
        self.tell_all(lambda other: self.holding[other].discard(node))

    def step_in(self, node: bytes) -> None:
        self.stepped_in.append(node)
        until = int(self.now + PROMISE_S)
        answer = PinAnswer(node, bytes(32), AnswerState.ACCEPTED, None, int(self.now), until)
        self.promises[node].record(answer, self.now)
        self.tell_all(lambda other: self.promises[other].record(answer, self.now))
        if node not in self.broken:
            self.after(self.fetch_s, lambda: self.hold(node))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += LOOK_S
            while self._events and self._events[0][0] <= self.now:
                heapq.heappop(self._events)[2]()
            for node in self.rng.sample(sorted(self.alive), len(self.alive)):  # nobody is always first
                self.look(node)

    def look(self, node: bytes) -> None:
        plan, promises, holders = self.plans[node], self.promises[node], self.holding[node]
        promised, out = promises.promised(holders, self.now), promises.out(self.now)
        waiting = [item for item in self.candidates if item.node not in out]
        plan.look(holders, promised, waiting, self.now)
        if plan.is_due(self.now):
            self.step_in(node)
            plan.look(holders, promises.promised(holders, self.now), waiting, self.now)


seeds = st.integers(0, 1 << 32)


@given(seeds, st.integers(1, 14), st.integers(1, 8))
@settings(max_examples=15, deadline=None)
def test_an_order_is_placed_on_exactly_as_many_nodes_as_it_asks_for(seed, count, replicas):
    network = Network(nodes(count, 5, 4), replicas, random.Random(seed), delay_s=15, fetch_s=40)
    network.run(120)
    assert len(network.stepped_in) == len(network.holders) == min(count, replicas)
    assert network.stepped_in and set(network.stepped_in) == set(
        placement(ROOT, network.candidates, most=replicas)
    )


@given(seeds, st.integers(8, 14), st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_a_loss_is_repaired_by_as_many_as_are_missing_and_not_by_all_who_notice(seed, count, lost):
    # Two nodes notice a loss a delay apart, and the first's promise takes another one: with the time between
    # two looks this must fit into one step, or the second does not know of it in time.
    rng, delay_s = random.Random(seed), 13.0
    assert 2 * delay_s + LOOK_S < STEP_S
    network = Network(nodes(count), 5, rng, delay_s, fetch_s=60)
    network.run(180)
    network.stepped_in.clear()
    for node in rng.sample(sorted(network.holders), lost):
        network.lose(node)
    network.run(GRACE_S + 200)
    assert len(network.stepped_in) == lost
    assert len(network.holders) == 5


@given(seeds)
@settings(max_examples=5, deadline=None)
def test_an_ordinary_restart_moves_nothing(seed):
    network = Network(nodes(12), 5, random.Random(seed), delay_s=5, fetch_s=20)
    network.run(100)
    network.stepped_in.clear()
    node = min(network.holders)
    network.lose(node)
    network.run(GRACE_S - 30)
    network.alive.add(node)
    network.hold(node)
    network.run(GRACE_S)
    assert network.stepped_in == []
    assert len(network.holders) == 5


@given(seeds, st.integers(1, 4))
@settings(max_examples=15, deadline=None)
def test_when_the_first_in_line_are_dead_the_next_step_in_one_after_the_other(seed, dead):
    network = Network(nodes(14), 3, random.Random(seed), delay_s=5, fetch_s=40)
    for node in placement(ROOT, network.candidates, most=dead):
        network.alive.discard(node)
    network.run(dead * STEP_S * 3 + 200)
    assert len(network.stepped_in) == len(network.holders) == 3


@given(seeds, st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_who_breaks_its_word_is_replaced_once_its_time_is_over(seed, liars):
    network = Network(nodes(14), 4, random.Random(seed), delay_s=5, fetch_s=40)
    network.broken = set(placement(ROOT, network.candidates, most=liars))
    network.run(PROMISE_S - 10)
    assert len(network.holders) == 4 - liars
    network.run(200)
    assert len(network.holders) == 4
    assert len(network.stepped_in) == 4 + liars


def test_when_several_before_us_leave_at_once_it_is_still_one_after_the_other():
    known = nodes(8)
    ranks, of = placement(ROOT, known), {item.node: item for item in known}
    plans = [RepairPlan(order_for(1), node, STEP_S, GRACE_S) for node in ranks[5:]]
    rest = [of[node] for node in ranks[5:]]
    for plan in plans:
        plan.look((), (), known, NOW)
    late = NOW + 4.5 * STEP_S
    for plan in plans:
        plan.look((), (), rest, late)
    assert [plan.is_due(late) for plan in plans] == [True, False, False]
    assert [plan.is_due(late + STEP_S) for plan in plans] == [True, True, False]


def test_the_last_word_of_a_node_counts_and_old_ones_are_no_news():
    promises = Promises()
    word = PinAnswer(b"n" * 32, bytes(32), AnswerState.ACCEPTED, None, 100, 700)
    assert promises.record(word, 100)
    assert not promises.record(word, 100)
    assert promises.promised((), 699) == {b"n" * 32}
    assert promises.promised((), 700) == set()
    assert promises.out(700) == {b"n" * 32}
    declined = dataclasses.replace(word, state=AnswerState.DECLINED, reason=Decline.NO_SPACE)
    assert promises.record(declined, 100), "promised and taken back within one second"
    assert not promises.record(word, 100)
    assert promises.record(dataclasses.replace(word, state=AnswerState.HELD, issued_at=300), 300)
    assert not promises.record(dataclasses.replace(word, issued_at=200), 300)
    assert promises.states() == {b"n" * 32: AnswerState.HELD}


@pytest.mark.parametrize("skew_s", [-3600, 3600])
def test_what_a_node_says_is_good_for_as_long_whatever_its_clock_says(skew_s):
    promises, node, now = Promises(), b"n" * 32, 1_000_000
    said = PinAnswer(node, bytes(32), AnswerState.ACCEPTED, None, now + skew_s, now + skew_s + 600)
    promises.record(said, now)
    assert promises.promised((), now + 599) == {node}
    assert promises.out(now + 599) == set()
    assert promises.promised((), now + 600) == set()
    declined = dataclasses.replace(
        said, state=AnswerState.DECLINED, reason=Decline.POLICY, issued_at=now + skew_s + 1
    )
    promises = Promises()
    promises.record(declined, now)
    assert promises.out(now + 598) == {node}
    assert promises.out(now + 599) == set()


def test_answers_that_are_over_make_room_for_new_ones(monkeypatch):
    monkeypatch.setattr("digm.placement.MAX_ANSWERS", 3)
    no = PinAnswer(b"a" * 32, bytes(32), AnswerState.DECLINED, Decline.POLICY, 100, 700)
    promises = Promises()
    promises.record(no, 100)
    promises.record(dataclasses.replace(no, node=b"b" * 32, valid_until=900), 100)
    promises.record(dataclasses.replace(no, node=b"c" * 32, state=AnswerState.ACCEPTED, reason=None), 100)
    fourth = dataclasses.replace(no, node=b"d" * 32, issued_at=650, valid_until=1000)
    assert not promises.record(fourth, 650), "all three still count"
    assert promises.record(fourth, 750)
    assert promises.out(750) == {b"b" * 32, b"d" * 32}
    assert promises.promised((), 750) == set()
    assert promises.broken(750) == {b"c" * 32}, "a promise that was not kept is not forgotten unjudged"
