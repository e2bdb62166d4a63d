"""Which rendition: quick to save the music, slow to believe in a better line."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from digm.rendition_choice import RenditionChoice

FLAC, OPUS, SMALL = 900_000, 160_000, 64_000


def listen(
    choice: RenditionChoice, bytes_per_s: float, buffered_s: float, *, begin: float = 0.0, seconds: float = 40.0
) -> list[int]:
    """Ask once a second."""
    return [choice.choose(bytes_per_s, buffered_s, begin + second) for second in range(int(seconds))]


def test_nothing_changes_while_the_line_is_not_measured() -> None:
    choice = RenditionChoice([FLAC, OPUS], start=1)
    assert [choice.choose(None, buffered_s, 0.0) for buffered_s in (0.0, 30.0)] == [1, 1]


def test_a_line_that_is_too_slow_brings_the_smaller_one_before_the_sound_stops() -> None:
    choice = RenditionChoice([FLAC, OPUS])
    assert choice.choose(60_000, 1.9, 0.0) == 1


def test_a_slow_moment_with_enough_buffered_is_forgotten() -> None:
    choice = RenditionChoice([FLAC, OPUS])
    assert choice.choose(60_000, 6.0, 0.0) == 0
    assert choice.choose(1_000_000, 1.0, 1.0) == 0


def test_a_long_buffer_rides_out_a_slow_spell() -> None:
    choice = RenditionChoice([FLAC, OPUS])
    assert set(listen(choice, 95_000, 30.0, seconds=10)) == {0}


def test_a_slow_spell_that_goes_on_is_believed_as_the_buffer_shrinks() -> None:
    choice = RenditionChoice([FLAC, OPUS])
    chosen, buffered_s = [], 30.0
    for second in range(80):
        chosen.append(choice.choose(60_000, buffered_s, float(second)))
        rate = (FLAC, OPUS)[chosen[-1]] / 8
        buffered_s = min(30.0, buffered_s + 60_000 / rate - 1.0)
        assert buffered_s > 1.0
    assert chosen[-1] == 1


def test_up_only_after_ten_seconds_of_a_better_line() -> None:
    choice = RenditionChoice([FLAC, OPUS], start=1)
    chosen = listen(choice, 1_000_000, 20.0)
    assert chosen.index(0) == 10
    assert set(chosen[10:]) == {0}


def test_one_quick_chunk_is_no_better_line() -> None:
    choice = RenditionChoice([FLAC, OPUS], start=1)
    rates = [1_000_000 if second % 8 < 4 else 40_000 for second in range(80)]
    assert {choice.choose(rate, 20.0, float(second)) for second, rate in enumerate(rates)} == {1}


def test_up_one_step_at_a_time() -> None:
    choice = RenditionChoice([FLAC, OPUS, SMALL], start=2)
    chosen = listen(choice, 5_000_000, 30.0)
    assert [chosen[0], chosen[15], chosen[35]] == [2, 1, 0]


def test_after_going_down_the_larger_one_is_left_alone_for_a_while() -> None:
    choice = RenditionChoice([FLAC, OPUS])
    assert choice.choose(60_000, 1.9, 0.0) == 1
    chosen = listen(choice, 1_000_000, 20.0, begin=1.0)
    assert 0 not in chosen[:28]
    assert chosen[-1] == 0


def test_a_line_that_swings_around_the_limit_does_not_make_the_choice_swing() -> None:
    choice = RenditionChoice([FLAC, OPUS])
    chosen = [
        choice.choose(112_500 * (1.15 if second % 2 else 0.9), 15.0, float(second)) for second in range(120)
    ]
    assert sum(one != other for one, other in itertools.pairwise(chosen)) <= 1


@given(
    st.lists(st.integers(1, 5_000_000), min_size=1, max_size=6),
    st.lists(st.tuples(st.floats(0, 1e8), st.floats(0, 600), st.floats(0, 30)), max_size=40),
)
def test_whatever_is_measured_the_choice_is_one_of_the_renditions(
    rates: list[int], measures: list[tuple[float, float, float]]
) -> None:
    choice, now = RenditionChoice(sorted(rates, reverse=True)), 0.0
    for measured, buffered_s, seconds in measures:
        now += seconds
        assert 0 <= choice.choose(measured, buffered_s, now) < len(rates)
