"""Which hub is next: an order that everybody shares, failures, redirects."""

from hypothesis import given
from hypothesis import strategies as st

from digm.hub_choice import MAX_REDIRECTS, HubChoice
from digm.rendezvous import ranked

A, B, C = "wss://a.example/signal", "wss://b.example/signal", "wss://c.example/signal"


def test_hubs_that_fail_are_left_in_order_and_come_round_again():
    choice = HubChoice([A, B, C])
    tried = []
    for _ in range(4):
        tried.append(choice.url)
        choice.failed()
    assert tried == [A, B, C, A]


def test_a_redirect_is_followed_and_the_hub_behind_it_may_fail_too():
    choice = HubChoice([A, B])
    assert choice.redirected(C)
    assert choice.url == C
    choice.failed()
    assert choice.url == A


def test_hubs_that_send_us_in_circles_are_followed_only_so_far_until_one_lets_us_in():
    choice = HubChoice([A, B])
    followed = sum(choice.redirected(B if choice.url == A else A) for _ in range(20))
    assert followed == MAX_REDIRECTS
    choice.settled()
    assert choice.redirected(B if choice.url == A else A)


names = st.lists(st.text("abcdef0123", min_size=1, max_size=8), min_size=2, max_size=8, unique=True)


@given(st.text(max_size=10), names)
def test_a_name_that_goes_away_moves_only_what_it_was_responsible_for(key, hubs):
    order = ranked(key, hubs)
    assert sorted(order) == sorted(hubs)
    assert ranked(key, reversed(hubs)) == order
    for gone in hubs:
        assert ranked(key, [hub for hub in hubs if hub != gone]) == [hub for hub in order if hub != gone]


def test_tracks_are_spread_over_the_hubs():
    homes = [ranked(f"track {number}", [A, B, C])[0] for number in range(600)]
    assert all(150 < homes.count(hub) < 250 for hub in (A, B, C))


def test_nobody_is_sent_back_at_once_to_a_hub_that_just_failed():
    choice = HubChoice([A, B])
    choice.failed()
    assert choice.url == B
    assert not choice.redirected(A)
    assert choice.url == B
    assert choice.redirected(A), "it may be back by then"
