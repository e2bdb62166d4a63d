"""Frames, answers and keys of the backbone's streams."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digm.backbone_messages import (
    MAX_PREFIX_BYTES,
    PROTOCOLS,
    FrameReader,
    Status,
    decode_answer,
    encode_answer,
    encode_frame,
    encode_refusal,
    provider_key,
    track_root_of,
)
from digm.errors import CallerFault, DigmError, PeerFault, Unavailable


def frames_of(reader: FrameReader, data: bytes) -> list[bytes]:
    """What is complete with these bytes."""
    reader.feed(data)
    frames = []
    while (frame := reader.next()) is not None:
        frames.append(frame)
    return frames


@given(st.lists(st.binary(max_size=400), max_size=8), st.integers(1, 50))
def test_frames_come_out_as_they_went_in_however_the_stream_is_cut(payloads: list[bytes], cut: int) -> None:
    stream = b"".join(map(encode_frame, payloads))
    reader = FrameReader(400)
    out = [frame for at in range(0, len(stream), cut) for frame in frames_of(reader, stream[at : at + cut])]
    assert out == payloads
    assert not reader.is_inside_frame


def test_lengths_are_unsigned_varints() -> None:
    assert encode_frame(b"abc") == b"\x03abc"
    assert encode_frame(bytes(300))[:2] == b"\xac\x02"
    assert encode_frame(b"") == b"\x00"


def test_a_frame_over_the_limit_is_refused_by_its_prefix_alone() -> None:
    with pytest.raises(PeerFault) as fault:
        frames_of(FrameReader(100), b"\x65")
    assert fault.value.code == "frame_too_large"


@pytest.mark.parametrize("prefix", [b"\xff\xff\xff\xff", b"\x81\x00", b"\x80\x80\x00"])
def test_a_length_that_is_endless_or_padded_is_refused(prefix: bytes) -> None:
    with pytest.raises(PeerFault) as fault:
        frames_of(FrameReader(1 << 27), prefix)
    assert fault.value.code == "frame_prefix"


def test_half_a_prefix_waits_for_the_rest() -> None:
    reader = FrameReader(1 << 20)
    assert frames_of(reader, b"\xac") == []
    assert reader.is_inside_frame
    assert frames_of(reader, b"\x02" + bytes(300)) == [bytes(300)]


@given(st.binary(max_size=64))
def test_no_bytes_make_the_readers_raise_anything_without_a_name(raw: bytes) -> None:
    for read in (partial(frames_of, FrameReader(32)), decode_answer, track_root_of):
        try:
            read(raw)
        except DigmError as error:
            assert error.code


def test_an_answer_is_its_body_or_a_refusal_with_a_reason() -> None:
    assert decode_answer(encode_answer(b"body")) == b"body"
    with pytest.raises(Unavailable) as refusal:
        decode_answer(encode_refusal(Status.BUSY, "no_slot"))
    assert (refusal.value.data["status"], refusal.value.data["reason"]) == ("busy", "no_slot")


@pytest.mark.parametrize("answer", [b"", b"\x63no", b"\x01", b"\x01\xff", b"\x02" + b"a" * 65])
def test_an_answer_without_sense_is_its_senders_fault(answer: bytes) -> None:
    with pytest.raises(PeerFault) as fault:
        decode_answer(answer)
    assert fault.value.code == "answer_malformed"


def test_a_refusal_needs_a_code() -> None:
    with pytest.raises(CallerFault):
        encode_refusal(Status.FAILED, "Not a code!")
    with pytest.raises(CallerFault):
        encode_refusal(Status.OK, "fine")


def test_a_provider_key_is_the_multihash_of_the_digest() -> None:
    assert provider_key(bytes(32)).hex() == "1220" + "00" * 32
    with pytest.raises(CallerFault):
        provider_key(bytes(31))


def test_every_limit_fits_a_prefix() -> None:
    for protocol in PROTOCOLS.values():
        assert protocol.most_answer_bytes < 1 << 7 * MAX_PREFIX_BYTES
