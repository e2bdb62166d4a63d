"""Wire messages: the vectors are the protocol, and nothing else gets through."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digm import wire
from digm.bitfield import Bitfield
from digm.errors import CallerFault, PeerFault
from tests.vectors import wire as vectors

u8, u16, u32 = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF_FFFF)
ids = st.binary(min_size=32, max_size=32)
bitfields = st.integers(0, 300).flatmap(
    lambda count: st.sets(st.integers(0, count - 1) if count else st.nothing()).map(
        lambda held: Bitfield(count, held)
    )
)
reasons = st.sampled_from(wire.Reason)
requests = st.integers(0, 15).flatmap(
    lambda first: st.builds(wire.Request, u32, u16, u32, st.just(first), st.integers(1, 16 - first))
)
messages = st.one_of(
    st.builds(
        wire.Hello, ids, st.dictionaries(u16, bitfields, min_size=1, max_size=16), st.sampled_from(wire.Flag)
    ),
    st.builds(wire.Have, u16, u32),
    requests,
    st.builds(wire.Data, u32, u32, st.binary(min_size=1, max_size=2_000)),
    st.builds(wire.Reject, u32, reasons),
    st.builds(wire.Cancel, u32, reasons),
    st.builds(wire.Rate, u32, u8),
    st.builds(wire.Peers, st.lists(ids, max_size=10).map(tuple)),
    st.builds(
        wire.Relay,
        ids,
        ids,
        st.sampled_from(wire.RelayKind),
        st.binary(min_size=64, max_size=64),
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=200),
    ),
    st.builds(wire.Gone, u16, u32),
)


class ForeignBuffer:
    """What a Uint8Array looks like through a thin wrapper: length, slices, conversion; nothing else."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.converted = 0

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: slice) -> "ForeignBuffer":
        assert isinstance(index, slice)
        return ForeignBuffer(self.data[index])

    def __bytes__(self) -> bytes:
        assert len(self.data) <= 4_000, "a payload was copied out of the foreign buffer"
        return self.data


def test_the_vectors_hold_for_bytes_views_and_foreign_buffers():
    document = json.loads(vectors.WIRE_VECTORS.read_text(encoding="utf-8"))
    for as_message in (bytes, memoryview, ForeignBuffer):
        assert vectors.check(document, as_message) == len(vectors.GOOD) + len(vectors.BAD)


def test_the_file_of_vectors_is_what_the_protocol_says_today():
    assert json.loads(vectors.WIRE_VECTORS.read_text(encoding="utf-8")) == vectors.make()


def test_the_payload_of_data_stays_where_it_is():
    message = ForeignBuffer(wire.data_header(7, 131_054, 60_000) + bytes(60_000))
    data = wire.decode(message)
    assert isinstance(data, wire.Data)
    assert (data.request_id, data.offset) == (7, 131_054)
    assert isinstance(data.payload, ForeignBuffer)
    assert len(data.payload) == 60_000


def test_the_largest_payload_makes_the_largest_message():
    message = wire.encode(wire.Data(1, 0, bytes(wire.MAX_PAYLOAD_BYTES)))
    assert len(message) == 65_536
    with pytest.raises(PeerFault, match="65536"):
        wire.decode(message + b"x")
    for size in (0, wire.MAX_PAYLOAD_BYTES + 1):
        with pytest.raises(CallerFault):
            wire.data_header(1, 0, size)


@given(messages)
def test_what_is_encoded_is_decoded_as_it_was(message):
    raw = wire.encode(message)
    assert len(raw) <= wire.MAX_MESSAGE_BYTES
    assert wire.decode(raw) == message
    assert wire.decode(memoryview(raw)) == message


@given(st.binary(max_size=200))
def test_garbage_is_a_fault_of_the_peer_or_a_message_that_encodes_to_itself(raw):
    try:
        message = wire.decode(raw)
    except PeerFault as fault:
        assert fault.code.startswith(("message_", "bitfield_", "version_"))
        return
    encoded = wire.encode(message)
    is_unknown_reason = raw[0] in (wire.Type.REJECT, wire.Type.CANCEL) and raw[-1] > max(wire.Reason)
    has_unknown_flags = raw[0] == wire.Type.HELLO
    assert encoded == raw or is_unknown_reason or has_unknown_flags


@given(messages, st.data())
def test_a_message_cut_short_or_with_a_byte_more_is_refused_or_is_data(message, data):
    raw = wire.encode(message)
    cut = raw[: data.draw(st.integers(0, len(raw) - 1))]
    for broken in (cut, raw + b"\0"):
        if isinstance(message, wire.Data) and len(broken) > wire.DATA_HEADER_BYTES:
            continue
        if isinstance(message, wire.Relay) and len(broken) > 130:
            continue  # a shorter or longer text
        with pytest.raises(PeerFault):
            wire.decode(broken)


@pytest.mark.parametrize(
    "message",
    [
        wire.Have(-1, 0),
        wire.Have(0, 1 << 32),
        wire.Request(1, 0, 0, 0, 0),
        wire.Request(1, 0, 0, 15, 2),
        wire.Request(1 << 32, 0, 0, 0, 1),
        wire.Rate(1 << 32, 1),
        wire.Rate(1, 256),
        wire.Peers((b"short",)),
        wire.Peers((bytes(32),) * 11),
        wire.Relay(bytes(32), bytes(31), wire.RelayKind.OFFER, bytes(64), "v=0"),
        wire.Relay(bytes(32), bytes(32), wire.RelayKind.OFFER, bytes(63), "v=0"),
        wire.Relay(bytes(32), bytes(32), wire.RelayKind.OFFER, bytes(64), ""),
        wire.Relay(bytes(32), bytes(32), wire.RelayKind.OFFER, bytes(64), "v" * 16_385),
        wire.Gone(0, 1 << 32),
        wire.Hello(b"short", {0: Bitfield(1)}),
        wire.Hello(bytes(32), {}),
        wire.Hello(bytes(32), {1 << 16: Bitfield(1)}),
        wire.Hello(bytes(32), {i: Bitfield(65_536) for i in range(16)}),
    ],
)
def test_our_own_mistakes_are_named_before_they_leave_the_house(message):
    with pytest.raises(CallerFault):
        wire.encode(message)
