"""WebSocket frames (RFC 6455): however the bytes are cut, the messages are the same; nonsense has a code."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.signalling.frames import (
    MAX_FRAGMENTS,
    FrameFault,
    FrameReader,
    Opcode,
    close_code_of,
    close_frame,
    frame,
    unmask,
    unmask_in_python,
)

MOST = 1_000
MASK = b"\x01\xfe\x33\x80"


def masked(payload: bytes, opcode: int = Opcode.TEXT, first: int = 0x80, mask: bytes = MASK) -> bytes:
    """One frame of a client's."""
    body = bytearray(payload)
    unmask_in_python(mask, body)
    head = frame(b"x" * len(payload))[: -len(payload) or None]
    return bytes((first | opcode, 0x80 | head[1])) + head[2:] + mask + bytes(body)


def read(data: bytes, cuts: list[int] | None = None) -> list[tuple[int, bytes]]:
    """What a reader makes of it, in pieces."""
    reader, places = FrameReader(MOST), sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts or [])})
    found = []
    for start, end in itertools.pairwise(places):
        reader.feed(data[start:end])
        while (message := reader.next()) is not None:
            found.append((message[0], bytes(message[1])))
    return found


payloads = st.binary(max_size=300) | st.sampled_from([b"", b"a" * 125, b"b" * 126, b"c" * MOST])


@given(st.lists(payloads, max_size=6), st.lists(st.integers(0, 5_000), max_size=12))
def test_messages_are_the_same_however_their_bytes_arrive(messages: list[bytes], cuts: list[int]) -> None:
    data = b"".join(map(masked, messages))
    assert read(data, cuts) == [(Opcode.TEXT, message) for message in messages]


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=8), st.lists(st.integers(0, 900), max_size=9))
def test_fragments_are_joined_and_control_frames_may_come_between_them(
    parts: list[bytes], cuts: list[int]
) -> None:
    frames = []
    for place, part in enumerate(parts):
        first = 0x80 if place == len(parts) - 1 else 0
        frames.append(masked(part, Opcode.CONTINUATION if place else Opcode.TEXT, first))
        frames.append(masked(b"ping", Opcode.PING))
    found = read(b"".join(frames), cuts)
    assert [message for message in found if message[0] == Opcode.TEXT] == [(Opcode.TEXT, b"".join(parts))]
    assert sum(opcode == Opcode.PING for opcode, _ in found) == len(parts)


@given(payloads, st.binary(min_size=4, max_size=4))
def test_a_frame_that_arrives_whole_is_read_in_one_go(payload: bytes, mask: bytes) -> None:
    reader, data = FrameReader(MOST), masked(payload, mask=mask)
    if len(data) >= 8:
        assert reader.whole(data, 0) == (payload, len(data))
        assert reader.whole(b"before" + data + b"\x81", 6) == (payload, 6 + len(data))
    assert reader.whole(data[:-1], 0) is None
    assert reader.whole(masked(payload, Opcode.PING), 0) is None
    assert reader.whole(masked(payload, first=0), 0) is None
    assert reader.is_between
    reader.feed(data[:3])
    assert not reader.is_between


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(b"hello"), 1002),  # not masked
        (masked(b"x", first=0xC0), 1002),  # compressed, which was not agreed on
        (masked(b"x", opcode=3), 1002),
        (masked(b"x", Opcode.CONTINUATION), 1002),  # of nothing
        (masked(b"x", first=0) + masked(b"y"), 1002),  # a new message within another
        (masked(b"x", Opcode.PING, first=0), 1002),
        (masked(b"x" * 126, Opcode.PING), 1002),
        (masked(b"x" * (MOST + 1)), 1009),
        (masked(b"x" * 70_000), 1009),
        (b"\x81\xff" + b"\xff" * 12, 1009),  # says that it has 2^64 bytes
        (masked(b"x" * 600, first=0) + masked(b"x" * 600, Opcode.CONTINUATION), 1009),
        (masked(b"", first=0) + masked(b"", Opcode.CONTINUATION, 0) * MAX_FRAGMENTS, 1008),
    ],
)
def test_what_is_no_frame_of_a_clients_ends_the_connection_by_its_code(data: bytes, code: int) -> None:
    with pytest.raises(FrameFault) as fault:
        read(data)
    assert fault.value.close_code == code


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=9))
def test_any_bytes_are_read_or_refused(data: bytes, cuts: list[int]) -> None:
    try:
        read(data, cuts)
    except FrameFault as fault:
        assert fault.close_code in (1002, 1008, 1009)


@given(st.binary(max_size=200), st.binary(min_size=4, max_size=4))
def test_both_ways_to_unmask_agree(payload: bytes, mask: bytes) -> None:
    one, other = bytearray(payload), bytearray(payload)
    unmask(mask, one)
    unmask_in_python(mask, other)
    assert one == other


@given(st.integers(0, 65_535))
def test_a_close_code_that_must_not_be_sent_is_not_sent_back(code: int) -> None:
    payload = close_frame(code)[2:]
    answered = close_code_of(payload)
    assert (
        answered == code if 1000 <= code <= 4999 and code not in (1004, 1005, 1006, 1015) else answered == 1000
    )
    assert close_code_of(b"") == 1000
