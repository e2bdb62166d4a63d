"""Reading a chain in stretches: forks are found by halving, and stretches end where it gets deep."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digm.chain_scan import Anchor, ForkSearch, Pace, next_stretch
from digm.errors import CallerFault


@given(st.integers(0, 200), st.integers(0, 200))
def test_the_newest_anchor_in_the_chain_is_found_in_few_questions(count: int, common: int) -> None:
    common = min(common, count)
    anchors = [Anchor(10 * n, f"0x{n:064x}") for n in range(count)]
    search, questions = ForkSearch(anchors), 0
    while (anchor := search.question) is not None:
        search.answer(anchor.number < 10 * common)
        questions += 1
    assert search.newest == (anchors[common - 1] if common else None)
    assert questions <= count.bit_length()


def test_anchors_out_of_order_are_a_bug() -> None:
    with pytest.raises(CallerFault):
        ForkSearch([Anchor(2, "0x"), Anchor(2, "0x")])


@given(st.integers(0, 500), st.integers(0, 500), st.integers(1, 40), st.integers(1, 100))
def test_stretches_cover_every_block_once_and_one_ends_where_it_gets_deep(
    first: int, head: int, confirmations: int, blocks: int
) -> None:
    read, ends, start = 0, [], first
    while (stretch := next_stretch(start, head, confirmations, blocks)) is not None:
        assert stretch[0] == start and start <= stretch[1] <= head and stretch[1] - start < blocks
        read, start = read + stretch[1] - start + 1, stretch[1] + 1
        ends.append(stretch[1])
    assert read == max(0, head - first + 1)
    deep = head - confirmations + 1
    assert deep < first or deep >= head or deep in ends


def test_a_server_that_finds_it_too_much_is_asked_for_less_until_it_is_one_block() -> None:
    pace, sizes = Pace(100), []
    while pace.was_too_much():
        sizes.append(pace.blocks)
    assert sizes == [25, 6, 1]
    pace.was_fine()
    assert pace.blocks == 2
