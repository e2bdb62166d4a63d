import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digm.errors import CallerFault, DigmError, PeerFault
from digm.manifest import manifest_hash, parse_manifest
from digm.pinning import (
    MAX_DURATION_S,
    MAX_ORDER_BYTES,
    MONTH_S,
    AnswerState,
    Decline,
    OrderBook,
    PinAnswer,
    PinOrder,
    encode_pin_answer,
    format_duration,
    parse_duration,
    parse_pin_answer,
    parse_pin_order,
    sign_pin_order,
)
from digm.signed_document import signed_message
from tests.digm.signers import Signer, verify
from tests.vectors import generate

ARTIST, NODE = Signer("artist"), Signer("node")
NOW = 1_800_000_000
HOUR = 3600


def ordered(signer: Signer = ARTIST, **changes) -> PinOrder:
    fields = {
        "track_root": bytes(range(32)),
        "desired_replicas": 7,
        "duration_s": 18 * MONTH_S,
        "manifest_hash": bytes(32),
        "artist": ARTIST.public,
        "sequence": 1,
        "issued_at": NOW,
    }
    return sign_pin_order(PinOrder(**{**fields, **changes}), signer.sign)


def answered(**changes) -> PinAnswer:
    fields = {
        "node": NODE.public,
        "order_id": ordered().order_id,
        "state": AnswerState.ACCEPTED,
        "reason": None,
        "issued_at": NOW,
        "valid_until": NOW + HOUR,
    }
    return PinAnswer(**{**fields, **changes})


def tampered(document: bytes, signer: Signer, kind: str, /, **members) -> bytes:
    content = json.loads(document)
    del content["signature"]
    unsigned = json.dumps({**content, **members}).encode()
    return unsigned[:-1] + f',"signature":"{signer.sign(signed_message(kind, unsigned)).hex()}"}}'.encode()


def refusal(action) -> str:
    with pytest.raises(DigmError) as fault:
        action()
    return fault.value.code


@given(
    replicas=st.integers(0, 100),
    duration=st.integers(1, MAX_DURATION_S),
    sequence=st.integers(0, 1 << 50),
    issued=st.integers(NOW, NOW + HOUR),
)
def test_what_an_artist_orders_is_what_nodes_read(replicas, duration, sequence, issued):
    order = ordered(desired_replicas=replicas, duration_s=duration, sequence=sequence, issued_at=issued)
    read = parse_pin_order(order.document, NOW, verify)
    assert read == order
    assert read.order_id == order.order_id


def test_the_order_reads_as_the_blueprint_has_it():
    content = json.loads(ordered().document)
    assert content["trackRoot"] == bytes(range(32)).hex()
    assert content["desiredReplicas"] == 7
    assert content["duration"] == "18 months"


@given(st.integers(1, MAX_DURATION_S))
def test_a_duration_survives_being_written(seconds):
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    "text", ["", "18", "months", "0 days", "-1 days", "1.5 months", "18 months ", "121 months"]
)
def test_a_duration_that_is_none_says_how_to_write_one(text):
    with pytest.raises(CallerFault) as fault:
        parse_duration(text)
    assert fault.value.code == "bad_duration"
    assert "18 months" in fault.value.message


@pytest.mark.parametrize(
    ("issued_at", "code"),
    [
        (NOW + HOUR, None),
        (NOW + HOUR + 1, "pin_order_from_the_future"),
        (NOW - 18 * MONTH_S + 1, None),
        (NOW - 18 * MONTH_S, "pin_order_expired"),
    ],
)
def test_an_order_has_its_time(issued_at, code):
    document = ordered(issued_at=issued_at).document
    if code is None:
        assert parse_pin_order(document, NOW, verify).issued_at == issued_at
    else:
        assert refusal(lambda: parse_pin_order(document, NOW, verify)) == code


def test_nobody_orders_in_the_name_of_an_artist():
    forged = ordered(signer=Signer("mallory"))
    assert refusal(lambda: parse_pin_order(forged.document, NOW, verify)) == "pin_order_forged"


@given(st.data())
def test_no_byte_of_an_order_can_be_changed(data):
    document = bytearray(ordered().document)
    place = data.draw(st.integers(0, len(document) - 1))
    document[place] ^= data.draw(st.integers(1, 255))
    assert refusal(lambda: parse_pin_order(bytes(document), NOW, verify)).startswith("pin_order_")


@given(st.binary(max_size=300))
def test_garbage_is_refused_by_name(garbage):
    document = ordered().document
    for wrong in (garbage, document[: len(garbage)], garbage + document[-144:]):
        assert refusal(lambda wrong=wrong: parse_pin_order(wrong, NOW, verify)).startswith("pin_order_")
        assert refusal(lambda wrong=wrong: parse_pin_answer(wrong, NOW, verify)).startswith("pin_answer_")


def test_an_order_that_is_too_large_is_refused_unread():
    document = ordered().document[:-144] + b" " * MAX_ORDER_BYTES + ordered().document[-144:]
    assert refusal(lambda: parse_pin_order(document, NOW, verify)) == "pin_order_too_large"


@pytest.mark.parametrize(
    "members",
    [
        {"kind": "pin_answer"},
        {"trackRoot": "00"},
        {"desiredReplicas": 101},
        {"desiredReplicas": True},
        {"desiredReplicas": -1},
        {"duration": 47335428},
        {"duration": "forever"},
        {"manifestHash": None},
        {"artist": "A" * 64},
        {"sequence": "1"},
        {"issuedAt": -1},
        {"issuedAt": 1e9},
    ],
)
def test_a_signed_order_that_is_not_right_is_refused(members):
    wrong = tampered(ordered().document, ARTIST, "pin_order", **members)
    assert refusal(lambda: parse_pin_order(wrong, NOW, verify)) == "pin_order_field"


def test_only_the_artist_of_the_manifest_can_order_its_track():
    document = json.loads(generate.FORMAT_VECTORS.read_text(encoding="utf-8"))["tracks"][0]["manifest"].encode()
    manifest = parse_manifest(document)
    right = ordered(
        track_root=manifest.track_root, manifest_hash=manifest_hash(document), artist=manifest.artist_key
    )
    right.check_manifest(document, manifest)
    for change in ({"artist": NODE.public}, {"manifest_hash": bytes(32)}, {"track_root": bytes(32)}):
        with pytest.raises(PeerFault) as fault:
            dataclasses.replace(right, **change).check_manifest(document, manifest)
        assert fault.value.code == "pin_order_mismatch"


@pytest.mark.parametrize(
    ("state", "reason"),
    [(AnswerState.ACCEPTED, None), (AnswerState.HELD, None), *((AnswerState.DECLINED, why) for why in Decline)],
)
def test_what_a_node_answers_is_what_others_read(state, reason):
    answer = answered(state=state, reason=reason)
    assert parse_pin_answer(encode_pin_answer(answer, NODE.sign), NOW, verify) == answer


@pytest.mark.parametrize(
    "members",
    [
        {"state": "perhaps"},
        {"reason": "policy"},
        {"state": "declined", "reason": None},
        {"validUntil": NOW + 86_401},
        {"validUntil": NOW},
        {"orderId": ""},
    ],
)
def test_a_signed_answer_that_is_not_right_is_refused(members):
    wrong = tampered(encode_pin_answer(answered(), NODE.sign), NODE, "pin_answer", **members)
    assert refusal(lambda: parse_pin_answer(wrong, NOW, verify)) == "pin_answer_field"


def test_a_no_for_a_reason_that_is_not_known_yet_is_still_a_no():
    declined = encode_pin_answer(answered(state=AnswerState.DECLINED, reason=Decline.NO_SPACE), NODE.sign)
    newer = tampered(declined, NODE, "pin_answer", reason="holiday")
    assert parse_pin_answer(newer, NOW, verify).state is AnswerState.DECLINED


def test_a_forged_or_old_answer_is_refused():
    document = encode_pin_answer(answered(), Signer("mallory").sign)
    assert refusal(lambda: parse_pin_answer(document, NOW, verify)) == "pin_answer_forged"
    document = encode_pin_answer(answered(), NODE.sign)
    assert refusal(lambda: parse_pin_answer(document, NOW + 2 * HOUR, verify)) == "pin_answer_expired"


@given(st.permutations(range(1, 6)))
def test_the_latest_order_counts_in_whatever_order_they_come(sequences):
    book, latest = OrderBook(), 0
    for sequence in sequences:
        order = ordered(sequence=sequence, desired_replicas=sequence)
        if sequence > latest:
            replaced = book.add(order, NOW)
            assert (replaced.sequence if replaced else 0) == latest
            latest = sequence
        else:
            assert refusal(lambda order=order: book.add(order, NOW)) == "pin_order_replayed"
    assert [order.desired_replicas for order in book.active(NOW)] == [5]


def test_a_cancelled_order_stays_cancelled():
    book, first = OrderBook(), ordered()
    book.add(first, NOW)
    book.add(ordered(desired_replicas=0, sequence=2, duration_s=60), NOW)
    assert not list(book.active(NOW))
    book.sweep(NOW + 17 * MONTH_S)
    assert refusal(lambda: book.add(first, NOW + 17 * MONTH_S)) == "pin_order_replayed"


def test_an_order_ends_and_is_forgotten_when_it_cannot_come_again():
    book, order = OrderBook(), ordered(duration_s=60)
    book.add(order, NOW)
    assert list(book.active(NOW + 59)) == [order]
    assert not list(book.active(NOW + 60))
    book.sweep(NOW + 60)
    assert len(book) == 0
    assert refusal(lambda: parse_pin_order(order.document, NOW + 60, verify)) == "pin_order_expired"


def test_two_orders_with_one_number_are_a_conflict():
    book = OrderBook()
    book.add(ordered(), NOW)
    other = ordered(desired_replicas=3)
    assert refusal(lambda: book.add(other, NOW)) == "pin_order_conflict"
    assert refusal(lambda: book.add(ordered(), NOW)) == "pin_order_replayed"


def test_a_full_book_refuses_and_keeps_what_it_has():
    book = OrderBook(most_orders=4, most_per_artist=3)
    for number in range(3):
        book.add(ordered(track_root=bytes([number] * 32)), NOW)
    assert refusal(lambda: book.add(ordered(track_root=b"x" * 32), NOW)) == "order_book_full"
    book.add(ordered(Signer("b"), artist=Signer("b").public), NOW)
    more = ordered(Signer("c"), artist=Signer("c").public)
    assert refusal(lambda: book.add(more, NOW)) == "order_book_full"
    book.add(ordered(track_root=bytes(32), sequence=2), NOW)
    assert len(book) == 4


def test_in_a_full_book_orders_for_tracks_that_nobody_has_make_room():
    """Anybody can sign as many as a book takes, for ten years, and go away."""
    book, known, claimed = OrderBook(most_orders=4), ordered(track_root=b"k" * 32), [None]
    book.claimed = lambda: claimed[0]
    book.add(known, NOW)
    junk = [ordered(Signer(f"{n}"), artist=Signer(f"{n}").public) for n in range(3)]
    for order in junk:
        book.add(order, NOW)
    new = ordered(track_root=b"n" * 32)
    assert refusal(lambda: book.add(new, NOW)) == "order_book_full", "it is not known yet who has what"
    claimed[0] = {known.track_root, new.track_root}
    assert refusal(lambda: book.add(new, NOW + 1)) == "order_book_full", "looked at not for every message"
    book.add(new, NOW + 20)
    assert [book.latest(order.artist, order.track_root) for order in (known, new)] == [known, new]
    assert len(book) == 2
    assert book.sweep(NOW + 20) == junk, "on the disk, too"
    assert book.sweep(NOW + 20) == []


def test_an_order_for_anothers_track_makes_room_again():
    book, order = OrderBook(most_orders=1), ordered()
    book.add(order, NOW)
    book.drop(order)
    assert len(book) == 0
    book.add(ordered(track_root=bytes(32)), NOW)
