"""Who is asked for which chunk: everybody at once, each again only after a rest, nobody who lied."""

import hashlib

import pytest

from hub.fetching.allotment import HEDGE_AFTER_S, REST_FIRST_S, Allotment, Ask, Drop, Wanted

SIZE = 524_288


def wanted(count: int) -> list[Wanted]:
    return [Wanted(0, number, SIZE, hashlib.sha256(bytes([number])).digest()) for number in range(count)]


def allotment(count: int = 8, ahead: int | None = None, **slots: int) -> Allotment:
    made = Allotment(wanted(count), 0.0, ahead=ahead)
    for name, number in slots.items():
        made.add_source(name, slots=number, silence_s=8.0)
    return made


def asks(made: Allotment, now: float) -> list[Ask]:
    return [action for action in made.poll(now) if isinstance(action, Ask)]


def give(made: Allotment, ask: Ask, now: float) -> None:
    assert made.came(ask.number, now)
    made.verified(ask.number, now)


def test_every_source_is_asked_at_once_up_to_its_slots_and_each_chunk_only_of_one() -> None:
    made = allotment(near=2, far=1)
    first = asks(made, 0.0)
    assert sorted(ask.source for ask in first) == ["far", "near", "near"]
    assert sorted(ask.index for ask in first) == [0, 1, 2]
    assert asks(made, 0.1) == []


def test_all_comes_in_the_end() -> None:
    made, now = allotment(near=2, far=1), 0.0
    while not made.is_complete:
        for ask in asks(made, now):
            give(made, ask, now + 0.1)
        now += 0.2
    assert made.missing == []


def test_who_is_to_be_last_is_asked_only_where_all_others_fail_or_lack_it_or_are_slow() -> None:
    made = allotment(3, good=1)
    made.add_source("jailed", slots=4, silence_s=8.0, is_last=lambda: True)
    [first] = asks(made, 0.0)
    assert first.source == "good" and asks(made, 0.1) == []
    give(made, first, 0.2)
    [second] = asks(made, 0.2)
    made.failed(second.number, 0.3)  # rests
    assert {ask.source for ask in asks(made, 0.3)} == {"jailed"}

    made = allotment(1, good=1)
    made.add_source("jailed", slots=4, silence_s=8.0, is_last=lambda: True)
    [ask] = asks(made, 0.0)
    [hedge] = asks(made, HEDGE_AFTER_S + 0.5)
    assert (ask.source, hedge.source) == ("good", "jailed")
    made.failed(hedge.number, 2.0, is_missing=True)
    made.failed(ask.number, 2.0, is_missing=True)
    assert made.hopeless() == 0


def test_what_a_source_does_not_have_is_asked_of_another_at_once() -> None:
    made = allotment(1, near=1, other=1)
    [ask] = asks(made, 0.0)
    made.failed(ask.number, 0.1, is_missing=True)
    [again] = asks(made, 0.1)
    assert again.source != ask.source
    made.failed(again.number, 0.2, is_missing=True)
    assert asks(made, 0.2) == []
    assert made.hopeless() == 0


def test_a_source_that_says_that_it_lacks_a_chunk_is_not_asked_for_it() -> None:
    made = Allotment(wanted(3), 0.0)
    made.add_source("partial", slots=4, silence_s=8.0, holds=lambda item: item.chunk == 1)
    assert [ask.index for ask in asks(made, 0.0)] == [1]
    assert made.hopeless() == 0


def test_a_source_that_fails_rests_and_each_time_twice_as_long() -> None:
    made, now, rests = allotment(1, near=1), 0.0, []
    for _ in range(3):
        [ask] = asks(made, now)
        made.failed(ask.number, now)
        deadline = made.next_deadline(now)
        assert deadline is not None
        rests.append(deadline - now)
        assert asks(made, deadline - 0.01) == []
        now = deadline
    assert rests == [REST_FIRST_S, 2 * REST_FIRST_S, 4 * REST_FIRST_S]
    assert made.hopeless() is None


def test_several_requests_that_fail_together_are_one_failure() -> None:
    made = allotment(4, near=4)
    for ask in asks(made, 0.0):
        made.failed(ask.number, 0.1)
    assert made.next_deadline(0.1) == 0.1 + REST_FIRST_S


def test_a_liar_is_left_and_what_it_still_sends_is_dropped() -> None:
    made = Allotment(wanted(4), 0.0)
    made.add_source("liar", slots=2, silence_s=8.0)
    first, second = asks(made, 0.0)
    made.add_source("honest", slots=4, silence_s=8.0)
    made.came(first.number, 0.1)
    assert made.wrong(first.number, 0.1)
    actions = made.poll(0.1)
    assert Drop(second.number) in actions
    assert {action.source for action in actions if isinstance(action, Ask)} == {"honest"}
    assert made.banned == ["liar"]


def test_a_gateway_with_one_damaged_chunk_is_asked_for_the_others() -> None:
    made = Allotment(wanted(3), 0.0)
    made.add_source("gateway", slots=1, silence_s=8.0, wrongs_allowed=2)
    [ask] = asks(made, 0.0)
    made.came(ask.number, 0.1)
    assert not made.wrong(ask.number, 0.1)
    [ask] = asks(made, 0.1)
    assert ask.index == 1
    give(made, ask, 0.2)
    [ask] = asks(made, 0.2)
    assert ask.index == 2
    made.came(ask.number, 0.3)
    assert not made.wrong(ask.number, 0.3), "a right one in between is forgiveness"


def test_silence_moves_a_chunk_elsewhere_and_says_so() -> None:
    made = allotment(1, mute=1)
    [ask] = asks(made, 0.0)
    made.progress(ask.number, 1_000, 5.0)
    assert made.poll(12.9) == []
    assert made.poll(13.0) == [Drop(ask.number, is_silent=True)]
    assert not made.came(ask.number, 13.1), "what comes later is not wanted any more"


def test_an_idle_source_takes_what_a_slow_one_owes_and_who_is_first_wins() -> None:
    made = allotment(2, quick=1, slow=1)
    by_source = {ask.source: ask for ask in asks(made, 0.0)}
    give(made, by_source["quick"], 0.1)
    assert asks(made, 0.2) == []
    made.progress(by_source["slow"].number, 1_000, HEDGE_AFTER_S)
    [second] = asks(made, HEDGE_AFTER_S)
    assert (second.source, second.index) == ("quick", by_source["slow"].index)
    give(made, second, HEDGE_AFTER_S + 0.1)
    assert made.is_complete
    assert made.poll(HEDGE_AFTER_S + 0.1) == [Drop(by_source["slow"].number)]


def test_a_source_that_goes_takes_nothing_along() -> None:
    made = allotment(2, here=1, gone=1)
    lost = next(ask for ask in asks(made, 0.0) if ask.source == "gone")
    made.lose_source("gone")
    assert Drop(lost.number) in made.poll(0.1)
    made.verified(lost.number, 0.2)
    assert lost.index in made.missing


def test_a_liar_that_comes_back_is_still_a_liar() -> None:
    made = allotment(1, liar=1)
    [ask] = asks(made, 0.0)
    made.failed(ask.number, 0.1, is_fault=True)
    made.lose_source("liar")
    made.add_source("liar", slots=1, silence_s=8.0)
    assert asks(made, 60.0) == []


@pytest.mark.parametrize("ahead", [0, 2])
def test_a_listener_gets_the_beginning_first(ahead: int) -> None:
    made = allotment(8, ahead=ahead, near=8)
    first = asks(made, 0.0)
    assert [ask.index for ask in first] == list(range(ahead + 1))
    give(made, first[0], 0.1)
    assert [ask.index for ask in asks(made, 0.1)] == [ahead + 1]
