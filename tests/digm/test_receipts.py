"""Receipts: what they say, and what they cannot say."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as some

from digm.chunks import FRAME_BYTES
from digm.errors import CallerFault, PeerFault
from digm.manifest import Rendition
from digm.receipts import BUCKET_S, MAX_RANGES, MAX_RECEIPT_BYTES, Receipt, Taken, decode_receipt, taken_of
from tests.hub.house import CONFIGS

NOW_S = 1_700_000_123.0
ROOT, GIVER, LISTENER = b"\x01" * 32, b"\x02" * 32, b"\x03" * 32
RENDITIONS = tuple(
    Rendition(
        id=number, config=config, bit_rate=1, frames_per_chunk=8, last_chunk_frames=3, duration=1, init=b"",
        chunk_hashes=tuple(bytes([number, chunk]) * 16 for chunk in range(10)), fragments=(((0, 0),),) * 10,
    )
    for number, config in enumerate(CONFIGS)
)  # fmt: skip


def receipt(*taken: Taken, bucket: int = int(NOW_S) // BUCKET_S) -> Receipt:
    return Receipt(ROOT, GIVER, LISTENER, bucket, taken, b"\x04" * 64)


def refusal(data: Receipt | bytes) -> str:
    with pytest.raises((PeerFault, CallerFault)) as refused:
        (decode_receipt(data) if isinstance(data, bytes) else data).check(RENDITIONS, NOW_S)
    return refused.value.code


def test_a_receipt_says_how_many_bytes_of_which_chunks_came() -> None:
    said = receipt(Taken(0, 0, 2, 16), Taken(0, 5, 1, 3), Taken(1, 9, 1, 3))
    said.check(RENDITIONS, NOW_S)
    assert said.bytes_taken == 22 * FRAME_BYTES
    read = decode_receipt(said.encode())
    assert read == said
    assert read.signed_part == b"digm/1 receipt" + said.encode()[:-64]


def test_a_receipt_cannot_name_more_than_the_track_has() -> None:
    for taken in (
        (Taken(2, 0, 1, 1),),
        (Taken(0, 9, 2, 2),),
        (Taken(0, 10, 1, 1),),
        (Taken(0, 0, 1, 9),),
        (Taken(0, 9, 1, 4),),  # the last chunk is shorter
        (Taken(0, 0, 3, 24), Taken(0, 2, 2, 16)),  # one of them twice
        (Taken(0, 5, 1, 8), Taken(0, 0, 1, 8)),
    ):
        assert refusal(receipt(*taken)) == "receipt_range"


def test_a_receipt_is_for_now_and_for_somebody_else() -> None:
    here = int(NOW_S) // BUCKET_S
    for bucket in (here - 1, here + 1):
        receipt(Taken(0, 0, 1, 8), bucket=bucket).check(RENDITIONS, NOW_S)
    for bucket in (here - 2, here + 2):
        assert refusal(receipt(Taken(0, 0, 1, 8), bucket=bucket)) == "receipt_time"
    assert refusal(replace(receipt(Taken(0, 0, 1, 8)), giver=LISTENER)) == "receipt_own"


def test_what_is_no_receipt_is_refused_by_name() -> None:
    good = receipt(Taken(0, 0, 1, 8)).encode()
    assert refusal(good[:-1]) == "receipt_malformed"
    assert refusal(good + b"\0") == "receipt_malformed"
    assert refusal(b"") == "receipt_malformed"
    assert refusal(good + bytes(MAX_RECEIPT_BYTES)) == "receipt_malformed"
    assert refusal(b"\x02" + good[1:]) == "receipt_version"
    assert refusal(receipt(Taken(0, 0, 2, 1)).encode()) == "receipt_malformed"
    assert refusal(receipt(Taken(0, 0, 1, 17)).encode()) == "receipt_malformed"
    with pytest.raises(CallerFault):
        receipt().encode()


@given(some.binary(max_size=400))
def test_no_bytes_make_reading_fail_without_a_name(data: bytes) -> None:
    try:
        assert decode_receipt(data).encode() == data
    except PeerFault as refused:
        assert refused.code.startswith("receipt_")


def test_frames_become_few_ranges() -> None:
    came = {(0, 0): 8, (0, 1): 3, (0, 2): 8, (0, 7): 1, (1, 3): 8}
    assert taken_of(came) == (Taken(0, 0, 3, 19), Taken(0, 7, 1, 1), Taken(1, 3, 1, 8))
    apart = {(0, 2 * chunk): 1 for chunk in range(3 * MAX_RANGES)}
    assert len(taken_of(apart)) == MAX_RANGES
