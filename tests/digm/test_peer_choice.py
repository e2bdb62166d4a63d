"""Who is met, left, tried again and accepted."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from digm.peer_choice import AskHub, ChoiceSettings, Meet, Part, PeerChoice

ME = "00" * 32


def peer(number: int) -> str:
    return f"{number:064x}"


def choice_of(**changes: object) -> PeerChoice:
    return PeerChoice(ME, random=lambda: 0.5, settings=ChoiceSettings(**changes))


def connect(choice: PeerChoice, number: int, now: float = 0.0) -> None:
    choice.connecting(peer(number), now)
    choice.opened(peer(number), now)


def met(steps: list) -> list[str]:
    return [step.peer for step in steps if isinstance(step, Meet)]


def run(choice: PeerChoice, now: float, hub_is_there: bool = True, **options: bool) -> list:
    """Poll, and do what it says."""
    steps = choice.poll(now, hub_is_there, **options)
    for name in met(steps):
        choice.connecting(name, now)
    return steps


def test_a_newcomer_meets_four_at_once_and_the_others_as_those_open():
    choice = choice_of()
    choice.told([peer(i) for i in range(1, 11)], 0.0)
    first = met(run(choice, 0.0))
    assert len(first) == 4
    assert met(run(choice, 0.0)) == []
    choice.opened(first[0], 0.1)
    assert len(met(run(choice, 0.1))) == 1
    for name in choice.links:
        choice.opened(name, 0.2)
    run(choice, 0.2)
    for name in choice.links:
        choice.opened(name, 0.3)
    assert met(run(choice, 0.3)) == []
    assert len(choice.links) == 8


def test_we_never_meet_ourselves_or_somebody_who_is_banned():
    choice = choice_of()
    choice.ban(peer(2))
    choice.told([ME, peer(1), peer(2)], 0.0)
    assert met(run(choice, 0.0)) == [peer(1)]
    assert choice.accepts(ME, 0.0) == (False, None)
    assert choice.accepts(peer(2), 0.0) == (False, None)


def test_a_peer_that_was_not_reached_is_tried_again_later_and_not_for_ever():
    choice = choice_of()
    choice.told([peer(1)], 0.0)
    now, tries = 0.0, 0
    for _ in range(20):
        if run(choice, now, hub_is_there=True) and met([Meet(peer(1))]) and peer(1) in choice.links:
            tries += 1
            choice.closed(peer(1), "connect_timeout", now)
            assert met(run(choice, now)) == []
        now = choice.next_deadline(now, True) or now + 1.0
    assert tries == 4


def test_a_peer_that_broke_a_rule_rests_and_is_not_answered_meanwhile():
    choice = choice_of()
    choice.told([peer(1)], 0.0)
    run(choice, 0.0)
    choice.opened(peer(1), 0.0)
    choice.closed(peer(1), "claims_false", 1.0)
    assert choice.accepts(peer(1), 2.0) == (False, None)
    assert met(run(choice, 200.0)) == []
    assert choice.accepts(peer(1), 302.0) == (True, None)
    assert met(run(choice, 302.0)) == [peer(1)]


def test_without_the_hub_only_those_are_met_whom_a_neighbour_can_introduce():
    choice = choice_of()
    connect(choice, 1)
    choice.told([peer(1), peer(2)], 0.0)
    choice.told([peer(3)], 0.0, by=peer(1))
    assert run(choice, 0.0, hub_is_there=False) == [Meet(peer(3), (peer(1),))]
    choice.closed(peer(3), "connect_timeout", 1.0)
    choice.closed(peer(1), "channel_closed", 1.0)
    assert met(run(choice, 100.0, hub_is_there=False)) == []
    assert set(met(run(choice, 100.0))) == {peer(1), peer(2)}


def test_a_newcomer_has_time_to_make_its_offer_before_we_make_one():
    choice = choice_of()
    choice.told([peer(1)], 0.0, wait_s=10.0)
    assert met(run(choice, 9.0)) == []
    assert choice.accepts(peer(1), 9.0) == (True, None)
    assert met(run(choice, 10.0)) == [peer(1)]


def test_with_few_links_and_nobody_to_try_the_hub_is_asked_again_ever_less_often():
    choice = choice_of()
    now, asked_at = 0.0, []
    while now < 300.0:
        if AskHub() in run(choice, now):
            asked_at.append(now)
        assert AskHub() not in run(choice, now)
        now = choice.next_deadline(now, True)
    gaps = [b - a for a, b in itertools.pairwise(asked_at)]
    assert gaps == sorted(gaps)
    assert gaps[0] > 8
    assert gaps[-1] <= 60
    assert choice.next_deadline(now, hub_is_there=False) is None


def test_four_links_are_enough_not_to_ask():
    choice = choice_of()
    for number in range(1, 5):
        connect(choice, number)
    assert run(choice, 0.0) + run(choice, 1_000.0) == []


def test_ten_links_are_kept_and_an_idle_one_makes_room_for_who_comes():
    choice = choice_of()
    for number in range(1, 11):
        connect(choice, number)
    assert choice.accepts(peer(11), 59.0) == (False, None)
    for number in range(1, 11):
        if number != 7:
            choice.used(peer(number), 30.0)
    assert choice.accepts(peer(11), 61.0) == (True, peer(7))
    assert choice.accepts(peer(3), 61.0) == (True, None)  # it lost us and comes again


def test_who_gives_nothing_is_given_up_for_another_while_we_are_hungry():
    choice = choice_of()
    for number in range(1, 9):
        connect(choice, number)
    for number in range(1, 9):
        choice.used(peer(number), 55.0 if number != 4 else 1.0)
    assert run(choice, 70.0) == []
    choice.told([peer(20)], 70.0)
    assert run(choice, 70.0, is_hungry=False) == []
    assert run(choice, 70.0) == [Part(peer(4), "idle")]
    choice.closed(peer(4), "idle", 70.0)
    assert met(run(choice, 70.0)) == [peer(20)]


def test_somebody_who_left_is_forgotten_unless_a_neighbour_knows_it():
    choice = choice_of()
    choice.told([peer(1), peer(2)], 0.0)
    choice.told([peer(2)], 0.0, by=peer(9))
    choice.left(peer(1))
    choice.left(peer(2))
    connect(choice, 9)
    assert run(choice, 0.0, hub_is_there=False) == [Meet(peer(2), (peer(9),))]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_whatever_happens_the_limits_hold(data):
    choice = choice_of(known_most=16)
    now = 0.0
    numbers = st.integers(0, 40)
    codes = st.sampled_from(["closed", "connect_timeout", "claims_false", "idle", "wrong_bytes"])
    for _ in range(data.draw(st.integers(1, 40))):
        now += data.draw(st.floats(0, 30))
        match data.draw(st.integers(0, 6)):
            case 0:
                by = data.draw(st.one_of(st.none(), numbers.map(peer)))
                choice.told([peer(i) for i in data.draw(st.lists(numbers, max_size=10))], now, by=by)
            case 1:
                choice.closed(peer(data.draw(numbers)), data.draw(codes), now)
            case 2:
                asked = peer(data.draw(numbers))
                is_welcome, goes = choice.accepts(asked, now)
                if goes is not None:
                    choice.closed(goes, "idle", now)
                if is_welcome:
                    choice.connecting(asked, now)
            case 3:
                choice.ban(peer(data.draw(numbers)))
            case 4:
                choice.left(peer(data.draw(numbers)))
            case 5:
                for name in choice.links:
                    choice.opened(name, now)
            case 6:
                steps = run(choice, now, data.draw(st.booleans()))
                assert len(met(steps)) <= 4
                for step in steps:
                    if isinstance(step, Part):
                        choice.closed(step.peer, step.code, now)
        assert len(choice.links) <= 10
        assert len(choice._peers) <= 16
        assert not set(choice.links) & choice._banned
        deadline = choice.next_deadline(now, True)
        assert deadline is None or deadline >= now
