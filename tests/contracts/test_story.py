"""What really happens in the contracts, as people read it."""

from collections.abc import Iterator
from typing import Any

import pytest

from digm.chain_pins import ChainPins
from digm.chain_story import STORIES, Mark, Story, Told, amount, day
from tests.contracts.house import COLD, DAY_S, UNIT, House, compiled, track_named
from tests.contracts.machine import Contract, Event


class Teller:
    """Hears every event of a house, in the order in which they happen."""

    def __init__(self, house: House) -> None:
        self.house, self.pins = house, ChainPins()
        self.story = Story({house.digm.address: "DIGM", house.para.address: "PARA"})
        self.names = dict(zip(house.nodes, ("Adagio", "Brio", "Calando"), strict=False))
        self.names |= {house.artist: "The Owls", house.stranger: "Somebody"}
        self.count = 0

    def hear(self, events: list[Event]) -> None:
        self.count += 1
        for event in events:
            block = self.house.machine.block
            self.story.take(self.count, block, str(self.count), event.name, event.fields, self.pins)
            self.pins.apply(event.name, event.fields, block)

    def say(self, told: Told) -> str:
        return told.sentence.say(self.names.__getitem__, lambda track: self.house.tracks[track].name)

    @property
    def lines(self) -> list[str]:
        return [self.say(told) for told in self.story.told]


@pytest.fixture
def teller(house: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[Teller]:
    teller, send = Teller(house), Contract.send

    def heard(contract: Contract, *arguments: Any) -> list[Event]:
        events = send(contract, *arguments)
        if contract.address != house.digm.address:
            teller.hear(events)
        return events

    monkeypatch.setattr(Contract, "send", heard)
    yield teller


def test_a_node_that_drops_its_data_loses_a_fifth_of_its_stake_and_its_place(
    house: House, teller: Teller
) -> None:
    adagio, brio, calando, *_ = house.nodes
    track = house.publish(track_named("Night train"))
    for node in (adagio, brio):
        house.join(node)
    house.join(calando, COLD, 300 * UNIT)
    order = house.order(track, replicas=2)
    for node in (adagio, brio):
        house.accept(node, order)
    house.rounds(3, proving=[brio])
    house.pinning.send(brio, "slash", adagio)
    house.accept(calando, order, instead_of=adagio)
    lines = teller.lines
    missed = [f"Adagio missed round {number}" for number in ("1", "2, 2 in a row")]
    slashed = (
        "Adagio lost 20 % of its stake: 3 rounds missed (400 DIGM; in jail until "
        f"{day(house.pinning.ask('node', adagio)['jailed_until'])}; reported by Brio)"
    )
    assert lines[:2] == [
        "The Owls published Night train: 3 chunks, 0.3 MB",
        "Adagio became an Eldernode with a stake of 2,000 DIGM",
    ]
    assert lines[3] == "Calando became a COLD L3 node with a stake of 300 DIGM"
    assert lines[4].startswith("The Owls ordered 2 copies of Night train until 20")
    assert lines[5:7] == [
        "Adagio keeps a copy of Night train: 1 of 2",
        "Brio keeps a copy of Night train: 2 of 2",
    ]
    assert [line for line in lines if line.startswith("Adagio missed")] == missed
    assert "Brio proved in round 3 that it has Night train" in lines
    assert "Round 3 of audits was opened by Somebody" in lines
    assert slashed in lines
    assert lines[-2:] == [
        "Adagio lost its place with Night train",
        "Calando keeps Night train in the place of Adagio",
    ]
    bad = [teller.say(told) for told in teller.story.told if told.sentence.is_bad]
    assert bad == [*missed, slashed, "Adagio lost its place with Night train"]
    assert teller.story.marks[adagio] == {1: Mark.MISSED, 2: Mark.MISSED, 3: Mark.SLASHED}
    assert set(teller.story.marks[brio].values()) == {Mark.PASSED}


def test_the_end_of_an_order_is_told_with_what_everybody_got(house: House, teller: Teller) -> None:
    adagio, brio, *_ = house.nodes
    track = house.publish(track_named("Night train"))
    for node in (adagio, brio):
        house.join(node)
        house.pinning.send(node, "add_stake", UNIT // 2)
    order = house.order(track, replicas=1, duration_s=2000)
    house.accept(adagio, order)
    house.rounds(1, proving=[adagio])
    house.pinning.send(house.stranger, "extend", order, 500)
    house.pinning.send(adagio, "settle", order, adagio)
    house.pinning.send(adagio, "give_back", order)
    house.accept(brio, order)
    house.pinning.send(house.artist, "cancel", order)
    house.machine.mine(1, 4000)
    house.pinning.send(brio, "release", order, brio)
    house.pinning.send(house.artist, "close", order)
    house.pinning.send(adagio, "withdraw", house.para.address)
    house.pinning.send(adagio, "request_unstake", UNIT)
    house.machine.mine(1, 2000)
    house.pinning.send(adagio, "collect_stake")
    house.registry.send(house.artist, "withdraw", track)
    said = "\n".join(teller.lines)
    for words in (
        "Adagio added 0.5 DIGM to its stake",
        "Order 1 of Night train lasts until ",
        "PARA with Night train",
        "Adagio gave its copy of Night train back early, for 0.0",
        "The Owls cancelled order 1 of Night train: it ends ",
        "Brio gave up its copy of Night train, as the order is over",
        "PARA back from order 1 of Night train, which is closed",
        "Adagio was paid 0.0",
        "Adagio asked 1 DIGM of its stake back, for ",
        "Adagio took 1 DIGM of its stake out",
        "Night train was withdrawn",
    ):
        assert words in said, words


def test_sales_are_told_with_what_was_paid_and_who_got_what(house: House, teller: Teller) -> None:
    adagio, brio, _, label, *_ = house.nodes
    teller.names |= {label: "The Label"}
    track, para = house.publish(track_named("Night train")), house.para.address
    house.sales.send(house.artist, "set_offer", track, para, 5 * UNIT // 2, True)
    house.sales.send(house.artist, "appoint", label, True)
    house.sales.send(adagio, "buy", track, para, 3 * UNIT, b"k" * 32)
    house.sales.send(brio, "buy_p256", track, para, 3 * UNIT, b"k" * 32)
    house.sales.send(label, "deliver", track, adagio, b"w")
    house.machine.mine(1, DAY_S)
    house.sales.send(brio, "refund", track, brio)
    house.sales.send(house.artist, "give", track, brio, b"w")
    house.sales.send(house.artist, "end_offer", track)
    house.passes.send(house.artist, "set_pass", para, UNIT, 30 * DAY_S)
    house.passes.send(adagio, "buy_pass", house.artist, para, UNIT, 30 * DAY_S)
    house.passes.send(house.artist, "end_pass")
    said = "\n".join(teller.lines)
    for words in (
        "Night train is for sale: 2.5 PARA or more",
        "The Owls lets The Label deliver its keys",
        "Adagio bought Night train for 3 PARA",
        "Brio bought Night train for 3 PARA",
        "Adagio got the key of Night train, and its payees the money",
        "Brio got the money for Night train back: its key did not come in time",
        "Brio was given Night train",
        "Night train is no longer for sale",
        "The Owls sells passes: 1 PARA for 30 days",
        "Adagio has a pass of The Owls until",
        "The Owls sells no passes any more",
    ):
        assert words in said, words
    assert [told.event for told in teller.story.told if told.sentence.is_bad] == ["Refunded"]


def test_there_is_something_to_say_of_every_event() -> None:
    contracts = ("TrackRegistry", "Pinning", "Sales", "Passes")
    events = {one["name"] for name in contracts for one in compiled(name)["abi"] if one["type"] == "event"}
    assert events == STORIES


def test_what_the_chain_takes_back_is_told_again_as_such(house: House, teller: Teller) -> None:
    house.join(house.nodes[0])
    [told] = teller.story.told
    [undone] = teller.story.undo(9, [told])
    assert (undone.is_undone, undone.sequence, teller.say(undone)) == (True, 9, teller.say(told))


@pytest.mark.parametrize(
    ("units", "words"),
    [
        (0, "0"),
        (1, "0.000000000000000001"),
        (UNIT // 3, "0.3333"),
        (UNIT * 1_234_567 // 1000, "1,234.567"),
        (12 * UNIT, "12"),
        (UNIT // 12_345, "0.00008100"),
        (2**128, "340,282,366,920,938,463,463.3746"),
    ],
)
def test_amounts_have_the_digits_that_say_something(units: int, words: str) -> None:
    assert amount(units) == words.rstrip("0") if "." in words else words


def test_a_time_beyond_all_calendars_is_no_crash() -> None:
    assert day(2**48) == "the far future"
