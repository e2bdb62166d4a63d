"""Whom a newcomer meets: good ones first, a mesh that stays whole, nobody who was reported."""

import random

from hypothesis import given
from hypothesis import strategies as st

from digm.signalling import LISTENER, NODE
from hub.signalling.presence import MAX_KNOWN, REPORTERS_TO_SHUN, LocalPresence, Member

TRACK = "ab" * 32


def member(name: int | str, share: float = 0.0, role: str = LISTENER, network: str | None = None) -> Member:
    return Member(str(name), role, share, network or f"network {name}", 100.0)


def swarm(*members: Member, seed: int = 1) -> LocalPresence:
    presence = LocalPresence(random.Random(seed))
    for one in members:
        presence.enter(TRACK, one, 0)
    return presence


def met(presence: LocalPresence, newcomer: Member, want: int = 10) -> list[str]:
    return [other.peer for other in presence.enter(TRACK, newcomer, want).chosen]


def test_those_who_hold_what_is_missing_come_first() -> None:
    presence = swarm(*(member(number, number / 40) for number in range(40)))
    first, second, *_ = met(presence, member("new"))
    assert {int(first), int(second)} <= set(range(30, 40))


def test_whole_holders_are_found_in_a_swarm_of_thousands() -> None:
    presence = swarm(*(member(n) for n in range(5_000)), member("whole", 1.0))
    assert all("whole" in met(presence, member(f"new {n}")) for n in range(30))


def test_two_nodes_at_most_are_named_and_they_are_not_named_to_each_other() -> None:
    nodes = [member(f"node {n}", 1.0, NODE) for n in range(5)]
    presence = swarm(*nodes, *(member(n) for n in range(20)))
    named = met(presence, member("new"))
    assert sum(name.startswith("node") for name in named) == 2
    assert len(named) == 10
    assert not any(name.startswith("node") for name in met(presence, member("node 9", 1.0, NODE)))


def test_members_behind_the_same_address_come_last() -> None:
    presence = swarm(
        *(member(f"near {n}", 1.0, network="home") for n in range(5)), *(member(n) for n in range(4))
    )
    named = met(presence, member("new", network="home"))
    assert len(named) == 9
    assert not any(name.startswith("near") for name in named[:2])


def test_a_reported_member_comes_last_and_one_that_several_networks_report_not_at_all() -> None:
    presence = swarm(member("bad", 1.0), *(member(n) for n in range(5)))
    presence.report(TRACK, "bad", "network A")
    presence.report(TRACK, "bad", "network A")
    assert "bad" not in met(presence, member("new"), want=2)
    assert "bad" in met(presence, member("newer"))
    for number in range(REPORTERS_TO_SHUN):
        presence.report(TRACK, "bad", f"network {number}")
    assert all("bad" not in met(presence, member(f"newest {n}")) for n in range(10))
    presence.leave(TRACK, "bad")
    presence.enter(TRACK, member("bad", 1.0), 0)
    assert "bad" not in met(presence, member("last")), "to leave and come back does not help"


def test_a_listener_who_met_many_is_named_after_those_who_did_not() -> None:
    presence = swarm(member("popular", 0.6), *(member(n, 0.5) for n in range(30)))
    for number in range(12):
        met(presence, member(f"asker {number}"), want=1)
    assert met(presence, member("new"), want=1) != ["popular"]


def test_listeners_that_all_begin_at_once_form_one_mesh() -> None:
    presence, links = LocalPresence(random.Random(5)), {n: set() for n in range(300)}
    for number in range(300):
        for other in met(presence, member(number), want=10)[:4]:
            links[number].add(int(other))
            links[int(other)].add(number)
    reached, border = {0}, [0]
    while border:
        border = [n for at in border for n in links[at] if n not in reached and not reached.add(n)]
    assert len(reached) == 300


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.floats(0, 1)), max_size=120))
def test_after_any_coming_and_going_the_books_are_right(steps: list[tuple[int, int, float]]) -> None:
    presence, here = LocalPresence(random.Random(2)), {}
    for action, number, share in steps:
        name = str(number)
        if action <= 1:
            role = NODE if number % 4 == 0 else LISTENER
            entrance = presence.enter(TRACK, member(name, share, role), number)
            assert name not in {other.peer for other in entrance.chosen}
            assert len(entrance.chosen) <= number
            here[name] = role
        elif action == 2:
            told = presence.leave(TRACK, name)
            assert name not in told
            assert set(told) <= set(here)
            here.pop(name, None)
        else:
            assert presence.renew(TRACK, name, share, 100.0) == (name in here)
        assert set(presence.members(TRACK)) == set(here)
        for view in presence.views():
            assert view.listeners == sum(role == LISTENER for role in here.values())
            assert view.listeners + view.nodes == len(here) == len(view.members)
        for one in here:
            found = presence.member(TRACK, one)
            assert found is not None
            assert len(found.known) <= MAX_KNOWN
