"""Bitfields: chunk 0 is the highest bit, lengths are exact, padding is zero."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digm.bitfield import MAX_CHUNKS, Bitfield
from digm.errors import CallerFault, PeerFault

held_sets = st.integers(1, 500).flatmap(
    lambda count: st.tuples(st.just(count), st.sets(st.integers(0, count - 1)))
)


def test_the_first_chunk_is_the_highest_bit_of_the_first_byte():
    assert Bitfield(10, [0, 9]).encode() == bytes([0b1000_0000, 0b0100_0000])


@given(held_sets)
def test_a_bitfield_is_the_set_that_went_in(case):
    count, held = case
    field = Bitfield.decode(Bitfield(count, held).encode(), count)
    assert set(field) == held
    assert len(field) == len(held)
    assert field.share == len(held) / count
    assert field.is_full == (len(held) == count)


@given(held_sets, st.lists(st.tuples(st.booleans(), st.integers(0, 499))))
def test_it_follows_a_set_through_any_changes(case, changes):
    count, held = case
    field, model = Bitfield(count, held), set(held)
    for is_addition, number in changes:
        chunk = number % count
        if is_addition:
            assert field.add(chunk) == (chunk not in model)
            model.add(chunk)
        else:
            assert field.discard(chunk) == (chunk in model)
            model.discard(chunk)
    assert set(field) == model
    assert len(field) == len(model)


@pytest.mark.parametrize(("data", "count"), [(b"", 1), (b"\0\0", 8), (b"\0", 9), (b"", MAX_CHUNKS + 1)])
def test_a_length_that_does_not_fit_is_refused(data, count):
    with pytest.raises(PeerFault) as fault:
        Bitfield.decode(data, count)
    assert fault.value.code == "bitfield_length"


def test_bits_after_the_last_chunk_are_refused():
    with pytest.raises(PeerFault) as fault:
        Bitfield.decode(b"\xff", 7)
    assert fault.value.code == "bitfield_padding"
    assert Bitfield.decode(b"\xfe", 7).is_full


def test_numbers_outside_are_our_mistake_to_add_and_simply_not_held():
    field = Bitfield(4)
    for chunk in (-1, 4):
        with pytest.raises(CallerFault):
            field.add(chunk)
        assert chunk not in field
    with pytest.raises(CallerFault):
        Bitfield(MAX_CHUNKS + 1)
