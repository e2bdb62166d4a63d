"""Sets of chunks as numbers, and who holds the rarest: the same as with plain sets, only quicker."""

from hypothesis import given
from hypothesis import strategies as st

from digm import chunk_mask
from digm.bitfield import Bitfield
from digm.fill_turns import FillTurns
from digm.holders import Holders
from digm.splitting import shares, tail

CHUNKS = st.sets(st.integers(0, 40))


def mask_of(chunks: set[int]) -> int:
    return sum(1 << chunk for chunk in chunks)


@given(CHUNKS)
def test_a_mask_is_the_set_of_its_numbers(chunks: set[int]) -> None:
    mask = mask_of(chunks)
    assert chunk_mask.numbers(mask) == sorted(chunks)
    assert chunk_mask.of_bitfield(Bitfield(41, chunks)) == mask
    assert {n for first, count in chunk_mask.runs(mask) for n in range(first, first + count)} == chunks
    if chunks:
        assert chunk_mask.lowest(mask) == min(chunks)


@given(CHUNKS, st.integers(0, 45))
def test_the_first_one_that_is_missing(chunks: set[int], start: int) -> None:
    assert chunk_mask.first_missing(mask_of(chunks), start) == min(set(range(start, 99)) - chunks)


@given(CHUNKS.filter(bool), st.integers(0, 45))
def test_the_lowest_from_somewhere_on_or_else_the_lowest(chunks: set[int], start: int) -> None:
    expected = min((n for n in chunks if n >= start), default=min(chunks))
    assert chunk_mask.lowest_from(mask_of(chunks), start) == expected


EVENTS = st.lists(
    st.tuples(st.sampled_from(["add", "remove", "gain", "lose"]), st.sampled_from("abcd"), CHUNKS), max_size=30
)


@given(EVENTS, CHUNKS, st.integers(0, 40))
def test_the_rarest_chunk_is_the_one_that_the_fewest_hold(
    events: list[tuple[str, str, set[int]]], wanted: set[int], pivot: int
) -> None:
    holders, plain = Holders(), dict[str, set[int]]()
    for what, peer, chunks in events:
        match what:
            case "add" if peer not in plain:
                holders.add(peer, mask_of(chunks))
                plain[peer] = set(chunks)
            case "remove":
                holders.remove(peer)
                plain.pop(peer, None)
            case "gain":
                holders.gain(peer, mask_of(chunks))
                if peer in plain:
                    plain[peer] |= chunks
            case "lose":
                holders.lose(peer, mask_of(chunks))
                if peer in plain:
                    plain[peer] -= chunks
    counts = {chunk: sum(chunk in held for held in plain.values()) for chunk in range(41)}
    assert all(holders.count(chunk) == count for chunk, count in counts.items())
    assert chunk_mask.numbers(holders.anybody) == [chunk for chunk, count in counts.items() if count]
    found = holders.rarest(mask_of(wanted), pivot)
    there = {chunk for chunk in wanted if counts[chunk]}
    if not there:
        assert found is None
    else:
        fewest = min(counts[chunk] for chunk in there)
        rarest = {chunk for chunk in there if counts[chunk] == fewest}
        assert found == min((chunk for chunk in rarest if chunk >= pivot), default=min(rarest))


@given(st.integers(1, 12), st.integers(0, 500))
def test_those_who_know_the_same_peers_agree_whose_turn_it_is(members: int, chunk: int) -> None:
    names = [f"peer {number}" for number in range(members)]
    turns = []
    for me in names:
        others = FillTurns(me)
        others.set_members([name for name in names if name != me], members)
        turns.append(others.turn(chunk))
    assert sorted(turns) == list(range(members))


def test_turns_go_round() -> None:
    names = [f"peer {number}" for number in range(10)]
    firsts = []
    for me in names:
        turns = FillTurns(me)
        turns.set_members([name for name in names if name != me], 10)
        firsts.append(sum(turns.turn(chunk) == 0 for chunk in range(1_000)))
    assert sum(firsts) == 1_000
    assert all(60 <= first <= 140 for first in firsts)


def test_in_a_large_swarm_not_everybody_is_first_among_his_neighbours() -> None:
    firsts = 0
    for number in range(1_000):
        turns = FillTurns(f"peer {number}")
        turns.set_members([f"peer {(number + step * 37) % 1_000}" for step in range(1, 11)], 1_000)
        firsts += turns.turn(5) < 1
    assert firsts <= 5  # with neighbours alone it would be about 90


@given(st.integers(1, 16), st.lists(st.tuples(st.floats(0, 5), st.floats(1e3, 1e8)), min_size=1, max_size=4))
def test_shares_leave_nothing_out(frames: int, sources: list[tuple[float, float]]) -> None:
    counts = shares(frames, [wait_s for wait_s, _ in sources], [rate for _, rate in sources])
    assert sum(counts) == frames
    assert min(counts) >= 0


def test_a_source_twice_as_fast_sends_twice_as_much() -> None:
    assert shares(9, [0.0, 0.0], [2e6, 1e6]) == [6, 3]


def test_a_busy_source_gets_nothing_when_the_other_is_done_before_it_begins() -> None:
    assert shares(8, [3.0, 0.0], [1e6, 1e6]) == [0, 8]


@given(st.integers(0, 8), st.integers(1, 16), st.floats(0, 1e7), st.floats(1, 1e7))
def test_a_helper_takes_the_end(first: int, total: int, rate: float, helper_rate: float) -> None:
    begin, count = tail(chunk_mask.span(first, first + total), rate, helper_rate)
    assert begin + count == first + total
    assert 1 <= count <= total
    if rate == 0:
        assert count == total
