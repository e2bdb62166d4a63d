"""What is played after what."""

import random

import pytest

from web.queue import PlayQueue, Repeat

TRACKS = ["a", "b", "c", "d", "e"]


def queue_of(tracks: list[str], repeat: Repeat = Repeat.OFF) -> PlayQueue:
    queue = PlayQueue(tracks, random=random.Random(4).random)
    queue.repeat = repeat
    return queue


def played(queue: PlayQueue, first: int, most: int = 12) -> list[int]:
    """The places in the order in which they are heard."""
    order = [first]
    while len(order) < most and (index := queue.after(order[-1])) is not None:
        order.append(index)
    return order


def test_tracks_follow_each_other_and_the_last_one_is_the_end() -> None:
    assert played(queue_of(TRACKS), 0) == [0, 1, 2, 3, 4]
    assert queue_of(TRACKS).after(4, is_asked=True) is None
    assert queue_of(TRACKS).before(0) is None
    assert queue_of(TRACKS).before(3) == 2


def test_repeating_all_comes_round_both_ways() -> None:
    queue = queue_of(TRACKS, Repeat.ALL)
    assert played(queue, 3, 5) == [3, 4, 0, 1, 2]
    assert queue.before(0) == 4
    assert played(queue_of(["a"], Repeat.ALL), 0, 3) == [0, 0, 0]


def test_repeating_one_plays_it_again_until_the_listener_asks_for_the_next() -> None:
    queue = queue_of(TRACKS, Repeat.ONE)
    assert played(queue, 2, 4) == [2, 2, 2, 2]
    assert queue.after(2, is_asked=True) == 3
    assert queue.after(4, is_asked=True) == 0


def test_shuffling_plays_every_track_once_and_begins_with_the_one_that_is_heard() -> None:
    queue = queue_of(TRACKS)
    queue.shuffle(True, 2)
    order = played(queue, 2)
    assert order[0] == 2
    assert sorted(order) == [0, 1, 2, 3, 4]
    assert order != [2, 0, 1, 3, 4]
    assert queue.before(order[1]) == 2
    queue.shuffle(False, 2)
    assert played(queue, 2) == [2, 3, 4]


def test_every_order_is_as_likely_as_another() -> None:
    chance, counts = random.Random(1), dict.fromkeys([(1, 2), (2, 1)], 0)
    for _ in range(2_000):
        queue = PlayQueue(["a", "b", "c"], random=chance.random)
        queue.shuffle(True, 0)
        counts[queue.order[1], queue.order[2]] += 1
    assert all(900 < count < 1_100 for count in counts.values())


@pytest.mark.parametrize("repeat", list(Repeat))
def test_what_cannot_be_played_is_left_out(repeat: Repeat) -> None:
    queue = queue_of(TRACKS, repeat)
    queue.leave_out(1)
    assert queue.after(0, is_asked=True) == 2
    assert queue.before(2) == 0
    for index in range(5):
        queue.leave_out(index)
    assert queue.after(0) is None
