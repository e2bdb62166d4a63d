"""Thousands of random calls on the compiled bytecode, by honest nodes, lazy ones, liars, thieves and nobody.

After every call: each token that the contract holds is accounted for to the last unit (`Ledger`), nobody was
paid for time that was not proven, no honest node can be slashed, and who missed three audits in a row can.
"""

import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from digm.chain_pins import ChainPins
from tests.contracts.house import (
    COLD_MINIMUM,
    ELDER_MINIMUM,
    PRICE,
    ROOT,
    UNIT,
    build_house,
    compiled,
    track_named,
)
from tests.contracts.ledger import Ledger
from tests.contracts.machine import ZERO, PyEvm, Reverted

CALLS = 10_000
EXAMPLES, STEPS = 10, 100
TRACKS = [f"track {n}" for n in range(5)]
REASONS = frozenset(
    reason
    for name in ("Pinning", "Token", "TrackRegistry")
    for reason in re.findall(r', "([a-z_]+)"$', (ROOT / "contracts" / f"{name}.vy").read_text(), re.MULTILINE)
)
"""Every no that the contracts may say; an overflow or an index out of bounds would say none of them."""


def world() -> dict[str, Any]:
    """Made once; each example begins from its snapshot."""
    house = build_house(PyEvm())
    for name in TRACKS:
        house.publish(track_named(name))
    house.start_block = house.pinning.ask("start_block")
    return {"house": house, "snapshot": house.machine.snapshot(), "done": Counter(), "refused": Counter()}


WORLD: dict[str, Any] = {}
numbers = st.integers(0, 2**256 - 1) | st.sampled_from([0, 1, 2, 2**128, 2**256 - 1, UNIT, ELDER_MINIMUM])
who = st.integers(0, 7)
answers = st.lists(st.sampled_from(["right", "wrong", "none"]), min_size=3, max_size=3)
NOT_ASKED = {"no_open_round", "slash_first", "jailed", "already_answered"}


class Market(RuleBasedStateMachine):
    """Nodes 0 to 2 are honest, 3 is lazy, 4 lacks data, 5 comes and goes; 6 is the artist, 7 a stranger."""

    def __init__(self) -> None:
        super().__init__()
        self.house = WORLD["house"]
        self.house.machine.revert(WORLD["snapshot"])
        house = self.house
        self.people = [*house.nodes, house.artist, house.stranger]
        self.honest = set(house.nodes[:3])
        self.track_ids = list(house.tracks)
        self.ledger = Ledger(house, self.honest)
        self.told = ChainPins()
        self.is_keeping = False

    # -- how it is done

    def do(self, sender: bytes, name: str, *arguments: Any) -> str:
        """One call; empty if it went through, else the reason. Honest nodes prove before their time is over."""
        self.keep()
        house = self.house
        try:
            outcome = house.pinning.transact(sender, name, *arguments)
            WORLD["done"][name] += 1
        except Reverted as refusal:
            WORLD["refused"][name, refusal.reason] += 1
            assert refusal.reason in REASONS, f"{name} said no without a known reason: {refusal}"
            return refusal.reason
        self.ledger.take(outcome)
        for event in house.pinning.events(outcome):
            self.told.apply(event.name, event.fields, house.machine.block)
        return ""

    def keep(self) -> None:
        """What honest nodes do at the last moment: answer, before the epoch is over."""
        ledger, machine = self.ledger, self.house.machine
        if self.is_keeping or ledger.round_epoch == 0:
            return
        length = self.house.rules["epoch_blocks"]
        end = self.house.start_block + ledger.round_epoch * length
        if not end - 6 <= machine.block + 1 < end:
            return
        self.is_keeping = True
        for node in self.house.nodes[:3]:
            standing = ledger.nodes[node]
            if standing.pins and standing.last_round < ledger.round:
                self.prove(node)
                assert standing.last_round == ledger.round
        self.is_keeping = False

    def prove(self, node: bytes, lies: bool = False) -> str:
        place = self.ledger.challenge(node)
        if place is None:
            return "nothing_to_prove"
        track, chunk, leaf = place
        proof = self.house.tracks[track].proof(chunk, leaf)
        if lies:
            proof = (bytes(256), *proof[1:])
        said = self.do(node, "prove", node, *proof)
        assert said == ("wrong_proof" if lies else "") or said in NOT_ASKED
        return said

    def wait(self, blocks: int, seconds: int) -> None:
        """Time goes by, block by block where an honest node's time could run out."""
        for _ in range(blocks):
            self.keep()
            self.house.machine.mine()
        self.house.machine.mine(0, seconds)

    def some_order(self, number: int) -> int:
        return 1 + number % max(1, len(self.ledger.escrow))

    def some_seat(self, number: int) -> tuple[int, bytes]:
        seats = list(self.ledger.seats)
        return seats[number % len(seats)] if seats else (1, self.people[0])

    # -- what happens

    @initialize(replicas=st.integers(1, 6), proofs=answers, count=st.integers(0, 4))
    def begin(self, replicas: int, proofs: list[str], count: int) -> None:
        for node in self.house.nodes[:5]:
            self.do(node, "join", 1, self.house.digm.address, 2 * ELDER_MINIMUM, bytes(32))
        self.busy_days(0, replicas, proofs, count)

    def place(self, person: int, track: bytes, replicas: int, duration_s: int, price: int) -> None:
        self.do(self.people[person], "place_order", track, replicas, duration_s, price)

    @rule(person=who, track=st.integers(0, 4), replicas=st.integers(1, 4), duration_s=st.integers(60, 5000))
    def order(self, person: int, track: int, replicas: int, duration_s: int) -> None:
        self.place(person, self.track_ids[track], replicas, duration_s, PRICE)

    @rule(person=who, order=who, seconds=st.integers(1, 2000))
    def extend(self, person: int, order: int, seconds: int) -> None:
        self.do(self.people[person], "extend", self.some_order(order), seconds)

    @rule(person=st.sampled_from([6, 6, 7, 5]), order=who)
    def cancel(self, person: int, order: int) -> None:
        self.do(self.people[person], "cancel", self.some_order(order))

    @rule(person=who, order=who)
    def close(self, person: int, order: int) -> None:
        self.do(self.people[person], "close", self.some_order(order))

    @rule(node=st.integers(0, 5), amount=st.sampled_from([COLD_MINIMUM, ELDER_MINIMUM]), kind=st.integers(1, 2))
    def join(self, node: int, amount: int, kind: int) -> None:
        self.do(self.people[node], "join", kind, self.house.digm.address, amount, bytes(32))

    @rule(node=st.integers(0, 5), amount=st.integers(1, ELDER_MINIMUM))
    def add_stake(self, node: int, amount: int) -> None:
        self.do(self.people[node], "add_stake", amount)

    @rule(node=st.integers(0, 5), amount=st.integers(1, ELDER_MINIMUM))
    def unstake(self, node: int, amount: int) -> None:
        person = self.people[node]
        is_whole = node == 5 and not self.ledger.nodes[person].pins
        self.do(person, "request_unstake", self.ledger.nodes[person].stake if is_whole else amount)

    @rule(node=st.integers(0, 5), waits=st.booleans())
    def collect(self, node: int, waits: bool) -> None:
        if waits:
            self.do(self.people[node], "request_unstake", 1)
            self.house.machine.mine(0, self.house.rules["unstake_delay_s"])
        self.do(self.people[node], "collect_stake")

    @rule(node=st.integers(0, 5), order=who)
    def accept(self, node: int, order: int) -> None:
        self.do(self.people[node], "accept", self.some_order(order), ZERO)

    @rule(node=st.integers(0, 5), seat=who)
    def replace(self, node: int, seat: int) -> None:
        order, jailed = self.some_seat(seat)
        self.do(self.people[node], "accept", order, jailed)

    @rule(person=who, seat=who, what=st.sampled_from(["settle", "release", "evict"]), is_own=st.booleans())
    def end_seat(self, person: int, seat: int, what: str, is_own: bool) -> None:
        order, node = self.some_seat(seat)
        self.do(node if is_own else self.people[person], what, order, node)

    @rule(seat=who)
    def give_back(self, seat: int) -> None:
        order, node = self.some_seat(seat)
        self.do(node, "give_back", order)

    @rule(proofs=answers, ends=st.booleans())
    def round(self, proofs: list[str], ends: bool) -> None:
        """An epoch is sealed; the unreliable answer as it comes; the honest at the latest when it ends."""
        self.one_round(proofs, ends)

    @rule(track=st.integers(0, 4), replicas=st.integers(3, 6), proofs=answers, count=st.integers(1, 4))
    def busy_days(self, track: int, replicas: int, proofs: list[str], count: int) -> None:
        """An order that every node wants, and some rounds in which each unreliable node has one habit."""
        self.place(6, self.track_ids[track], replicas, 3000, PRICE)
        self.end_epoch()
        order = len(self.ledger.escrow)
        for node in [*self.house.nodes[3:], *self.house.nodes[:3]]:
            self.do(node, "accept", order, ZERO)
        for _ in range(count):
            self.one_round(proofs, ends=True)

    def one_round(self, proofs: list[str], ends: bool) -> None:
        rules, machine = self.house.rules, self.house.machine
        epoch = self.ledger.epoch()
        if self.ledger.round_epoch == epoch:
            self.end_epoch()
            epoch = self.ledger.epoch()
        seed_block = self.house.start_block + (epoch - 1) * rules["epoch_blocks"] + rules["quiet_blocks"]
        self.wait(max(0, seed_block - machine.block), 0)
        self.do(self.house.stranger, "seal")
        for node, proof in zip(self.house.nodes[3:], proofs, strict=True):
            if proof != "none":
                self.prove(node, lies=proof == "wrong")
        if ends:
            self.end_epoch()

    def end_epoch(self) -> None:
        end = self.house.start_block + self.ledger.epoch() * self.house.rules["epoch_blocks"]
        self.wait(end - self.house.machine.block, 0)

    @rule(node=st.integers(0, 5))
    def slash(self, node: int) -> None:
        person = self.people[node]
        self.keep()
        self.house.machine.mine()  # the model speaks of the block before: let it be one epoch with the next
        was = self.ledger.slashes
        said = self.do(self.house.stranger, "slash", person)
        assert said in ("", "not_slashable")
        if said:
            assert not self.ledger.is_slashable(person), "who missed three in a row got away"
        else:
            assert self.ledger.slashes == was + 1

    @rule(person=who)
    def unjail(self, person: int) -> None:
        self.do(self.people[person], "unjail")

    @rule(person=who, is_para=st.booleans())
    def withdraw(self, person: int, is_para: bool) -> None:
        token = self.house.para if is_para else self.house.digm
        owed = self.ledger.credits[token.address, self.people[person]]
        said = self.do(self.people[person], "withdraw", token.address)
        assert said == ("" if owed else "nothing_to_withdraw")

    @rule(person=who)
    def burn(self, person: int) -> None:
        self.do(self.people[person], "burn_slashed", self.house.digm.address)

    @rule(blocks=st.integers(0, 8), seconds=st.integers(0, 100))
    def time(self, blocks: int, seconds: int) -> None:
        self.wait(blocks, seconds)

    @rule(data=st.data(), person=who)
    def anything(self, data: st.DataObject, person: int) -> None:
        """Any function with any numbers, as somebody would try who has read nothing."""
        name = data.draw(st.sampled_from(sorted(FUZZED)))
        self.do(self.people[person], name, *[data.draw(self.value(kind)) for kind in FUZZED[name]])

    def value(self, kind: str) -> st.SearchStrategy[Any]:
        if kind == "address":
            tokens = [self.house.para.address, self.house.digm.address, self.house.pinning.address, ZERO]
            return st.sampled_from([*self.people, *tokens])
        if kind == "bytes32":
            return st.sampled_from([*self.track_ids, bytes(32)])
        if kind == "bytes":
            return st.sampled_from([b"", bytes(256), bytes(255)])
        if kind == "bytes32[]":
            return st.sampled_from([[], [bytes(32)], [bytes(32)] * 20])
        if kind == "uint256[]":
            return st.lists(st.integers(0, 5), max_size=3)
        return numbers | st.integers(1, 6)

    @rule(evicts=st.booleans(), waits=st.booleans())
    def justice(self, evicts: bool, waits: bool) -> None:
        """Whoever can be slashed is, loses its places and comes back."""
        for node in self.house.nodes[3:]:
            if self.do(self.house.stranger, "slash", node):
                continue
            for order in [*self.ledger.nodes[node].pins] if evicts else []:
                assert not self.do(self.house.stranger, "evict", order, node)
            self.house.machine.mine(0, self.house.rules["jail_s"] if waits else 0)
            self.do(node, "add_stake", ELDER_MINIMUM)
            self.do(node, "unjail")

    @rule(number=who, proofs=answers)
    def see_it_out(self, number: int, proofs: list[str]) -> None:
        """An order's time goes by; its last stretch is proven, its copies are released, it is closed."""
        order = self.some_order(number)
        self.house.machine.mine(0, max(0, self.ledger.ends_at.get(order, 0) - self.house.machine.now))
        self.one_round(proofs, ends=True)
        for node in [node for seat, node in self.ledger.seats if seat == order]:
            self.do(node, "release", order, node)
        self.do(self.house.artist, "close", order)

    @rule(node=st.integers(0, 5))
    def settle_all(self, node: int) -> None:
        person = self.people[node]
        assert not self.do(self.house.stranger, "settle_many", self.ledger.nodes[person].pins, person)

    def teardown(self) -> None:
        self.ledger.compare()
        assert not any(self.ledger.is_slashable(node) for node in self.honest)
        self.compare_told()

    def compare_told(self) -> None:
        """What those know who only read events is what the contract knows."""
        ask, epoch = self.house.pinning.ask, self.house.clock()["epoch"]
        for who, told in self.told.nodes.items():
            facts, missed = ask("node", who), self.told.missed(who, epoch)
            points = told.points + (told.carried_misses + missed) * self.house.rules["miss_points"]
            assert (facts["stake"], facts["leaving"]) == (told.stake, told.leaving)
            assert (facts["missed"], facts["points"]) == (missed, points)
            assert (facts["pins"], facts["jailed_until"]) == (told.copies, told.jailed_until)
            assert {*ask("pins_of", who, 0, 256)} == {*self.told.orders_of(who)}
        for number, order in self.told.orders.items():
            facts = ask("order", number)
            assert (facts["escrow"], facts["ends_at"]) == (order.escrow, order.ends_at)
            assert facts["taken"] == len(self.told.holders(number))


FUZZED = {
    entry["name"]: [one["type"] for one in entry["inputs"]]
    for entry in compiled("Pinning")["abi"]
    if entry["type"] == "function" and entry["stateMutability"] == "nonpayable"
}


def calls() -> int:
    return int(WORLD["done"].total() + WORLD["refused"].total())


@pytest.mark.timeout(600)
def test_ten_thousand_random_calls_lose_no_token_and_slash_nobody_who_is_honest(capsys):
    WORLD.update(world())
    # Until there are so many, and each function has gone through: how many calls an example makes is drawn.
    while calls() < CALLS or (FUZZED.keys() - WORLD["done"].keys() and calls() < 2 * CALLS):
        run_state_machine_as_test(
            Market,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                database=None,
                # Shrinking thousands of calls takes longer than reading them.
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
    with capsys.disabled():
        print(f"\n{calls()} calls; went through: {dict(WORLD['done'].most_common())}")
    assert not FUZZED.keys() - WORLD["done"].keys(), "something never went through"
