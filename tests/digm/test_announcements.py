import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digm.announcements import (
    MAX_ANNOUNCEMENT_BYTES,
    MAX_LIFETIME_S,
    PRESENCE,
    Announcement,
    AnnouncementLedger,
    encode_announcement,
    parse_announcement,
)
from digm.bitfield import Bitfield
from digm.errors import CallerFault, DigmError, PeerFault
from digm.node_ids import node_of, peer_id
from digm.signed_document import kind_of, signed_message
from tests.digm.signers import Signer, verify

NODE = Signer("node")
NOW = 1_800_000_000
HOUR = 3600


def announced(**changes) -> Announcement:
    fields = {
        "node": NODE.public,
        "instance": bytes(16),
        "track_root": bytes(range(32)),
        "manifest_hash": bytes(range(1, 33)),
        "held": {0: Bitfield.full(120), 1: Bitfield(40, [3, 39])},
        "operator": "Elder & Søn",
        "network": "AS64496",
        "sequence": 7,
        "issued_at": NOW,
        "valid_until": NOW + HOUR,
        "gateway_url": "https://node.example",
        "multiaddrs": ("/ip4/192.0.2.1/tcp/4001",),
        "pinned_for": (b"p" * 32,),
    }
    return Announcement(**{**fields, **changes})


def raw(signer: Signer = NODE, **changes) -> bytes:
    return encode_announcement(announced(**changes), signer.sign)


def tampered(**members) -> bytes:
    """Rightly signed, with members that no honest node writes."""
    document = json.loads(raw())
    del document["signature"]
    unsigned = json.dumps({**document, **members}).encode()
    signature = NODE.sign(signed_message("announcement", unsigned)).hex()
    return unsigned[:-1] + f',"signature":"{signature}"}}'.encode()


def refusal(action) -> str:
    with pytest.raises(DigmError) as fault:
        action()
    return fault.value.code


def bitfields(most: int = 300) -> st.SearchStrategy[Bitfield]:
    counts = st.integers(1, most)
    return counts.flatmap(lambda n: st.sets(st.integers(0, n - 1)).map(lambda held: Bitfield(n, held)))


@given(
    held=st.dictionaries(st.integers(0, 15), bitfields(), max_size=5),
    operator=st.text(st.characters(codec="utf-8"), min_size=1, max_size=64),
    sequence=st.integers(0, 1 << 50),
    lifetime=st.integers(1, MAX_LIFETIME_S),
)
def test_what_a_node_announces_is_what_others_read(held, operator, sequence, lifetime):
    said = announced(held=held, operator=operator, sequence=sequence, valid_until=NOW + lifetime)
    assert parse_announcement(encode_announcement(said, NODE.sign), NOW, verify) == said


def test_a_node_may_name_its_account_on_the_chain_and_only_an_account():
    account = "0x" + "Ab" * 20
    assert parse_announcement(raw(account=account), NOW, verify).account == account
    assert b"account" not in raw()
    for wrong in ("", "0x12", account + "0", account[2:] + "ab", 7, [], account.replace("A", "g")):
        document = tampered(account=wrong)
        assert refusal(lambda document=document: parse_announcement(document, NOW, verify)) == (
            "announcement_field"
        )


def test_a_track_of_an_hour_in_all_its_renditions_fits_into_8_kib():
    held = {number: Bitfield(900, range(0, 900, 2)) for number in range(4)}
    assert len(raw(held=held, multiaddrs=("/ip4/192.0.2.1/tcp/4001" * 4,) * 8)) <= MAX_ANNOUNCEMENT_BYTES


def test_what_does_not_fit_into_8_kib_is_refused_on_both_sides():
    held = {0: Bitfield(65_536, [1])}
    assert refusal(lambda: raw(held=held)) == "announcement_too_large"
    padded = raw()[:-1] + b" " * MAX_ANNOUNCEMENT_BYTES + b"}"
    assert refusal(lambda: parse_announcement(padded, NOW, verify)) == "announcement_too_large"


@pytest.mark.parametrize(
    ("issued_at", "code"),
    [
        (NOW + HOUR, None),
        (NOW + HOUR + 1, "announcement_from_the_future"),
        (NOW - 2 * HOUR + 1, None),
        (NOW - 2 * HOUR, "announcement_expired"),
    ],
)
def test_a_clock_may_be_an_hour_wrong_and_no_more(issued_at, code):
    document = raw(issued_at=issued_at, valid_until=issued_at + HOUR)
    if code is None:
        assert parse_announcement(document, NOW, verify).issued_at == issued_at
    else:
        assert refusal(lambda: parse_announcement(document, NOW, verify)) == code


def test_a_forged_announcement_is_refused():
    assert refusal(lambda: parse_announcement(raw(Signer("mallory")), NOW, verify)) == "announcement_forged"


@given(st.data())
def test_no_byte_of_an_announcement_can_be_changed(data):
    document = bytearray(raw())
    place = data.draw(st.integers(0, len(document) - 1))
    document[place] ^= data.draw(st.integers(1, 255))
    assert refusal(lambda: parse_announcement(bytes(document), NOW, verify)).startswith("announcement_")


@given(st.binary(max_size=400))
@settings(max_examples=200)
def test_garbage_is_refused_by_name(garbage):
    document = raw()
    for wrong in (garbage, document[: len(garbage)], garbage + document[-144:], document[:9] + garbage):
        assert refusal(lambda wrong=wrong: parse_announcement(wrong, NOW, verify)).startswith("announcement_")


@pytest.mark.parametrize(
    "members",
    [
        {"digm": "1"},
        {"kind": "pin_order"},
        {"node": "00"},
        {"instance": "AA" * 16},
        {"held": [{"rendition": 0, "chunks": 9, "bitfield": "AA=="}]},
        {"held": [{"rendition": 0, "chunks": 9, "bitfield": "AAE="}]},
        {"held": [{"rendition": 0, "chunks": 9, "bitfield": "all"}] * 2},
        {"held": [{"rendition": i, "chunks": 65_536, "bitfield": "all"} for i in range(2)]},
        {"held": [{"rendition": 16, "chunks": 9, "bitfield": "all"}]},
        {"gateway_url": "javascript:alert(1)"},
        {"gateway_url": "https://a b"},
        {"signal_url": "https://node.example"},
        {"multiaddrs": ["ip4"]},
        {"pinned_for": ["00" * 32] * 9},
        {"pinned_for": ["AA" * 32]},
        {"multiaddrs": ["/ip4/\n"]},
        {"multiaddrs": ["/a"] * 9},
        {"operator": ""},
        {"network": "x" * 65},
        {"sequence": -1},
        {"sequence": 1.0},
        {"valid_until": NOW + MAX_LIFETIME_S + 1},
        {"valid_until": NOW},
    ],
)
def test_a_signed_announcement_that_is_not_right_is_refused(members):
    assert refusal(lambda: parse_announcement(tampered(**members), NOW, verify)) == "announcement_field"


def test_an_announcement_of_a_newer_version_is_refused_by_name():
    assert refusal(lambda: parse_announcement(tampered(digm=2), NOW, verify)) == "announcement_version"


def test_a_signature_of_another_kind_of_document_is_none_of_this_one():
    unsigned = json.dumps({"digm": 1, "kind": "announcement", "node": NODE.public.hex()}).encode()
    signature = NODE.sign(signed_message("pin_order", unsigned)).hex()
    document = unsigned[:-1] + f',"signature":"{signature}"}}'.encode()
    assert refusal(lambda: parse_announcement(document, NOW, verify)) == "announcement_forged"


@given(st.permutations(range(1, 7)))
def test_the_ledger_keeps_the_latest_in_whatever_order_they_come(sequences):
    ledger, latest = AnnouncementLedger(), 0
    for sequence in sequences:
        said = announced(sequence=sequence, issued_at=NOW + sequence)
        if sequence > latest:
            ledger.add(said, NOW)
            latest = sequence
        else:
            assert refusal(lambda said=said: ledger.add(said, NOW)) == "announcement_replayed"
    assert [said.sequence for said in ledger.of_track(bytes(range(32)), NOW)] == [6]


def test_an_announcement_is_believed_for_its_lifetime_on_our_own_clock():
    ledger = AnnouncementLedger()
    ledger.add(announced(issued_at=NOW - HOUR, valid_until=NOW + 60), NOW)
    assert ledger.of_track(bytes(range(32)), NOW + HOUR + 59)
    assert not ledger.of_track(bytes(range(32)), NOW + HOUR + 60)
    assert not ledger.present(NOW + HOUR + 60)


def test_what_is_over_cannot_be_replayed_before_its_dates_make_that_impossible():
    ledger = AnnouncementLedger()
    said = announced()
    ledger.add(said, NOW)
    ledger.sweep(NOW + 2 * HOUR - 1)
    assert refusal(lambda: ledger.add(said, NOW + 2 * HOUR - 1)) == "announcement_replayed"
    ledger.sweep(NOW + 2 * HOUR)
    assert len(ledger) == 0
    document = encode_announcement(said, NODE.sign)
    assert refusal(lambda: parse_announcement(document, NOW + 2 * HOUR, verify)) == "announcement_expired"


def test_an_announcement_without_chunks_takes_the_earlier_one_back():
    ledger = AnnouncementLedger()
    ledger.add(announced(), NOW)
    ledger.add(announced(sequence=8, held={}), NOW)
    assert not ledger.of_track(bytes(range(32)), NOW)
    assert ledger.claim(NODE.public, bytes(range(32)), NOW) is None
    assert ledger.knows(announced(sequence=8, held={}))
    assert not ledger.knows(announced())


def test_a_restarted_node_is_believed_and_what_its_former_process_said_is_old():
    ledger = AnnouncementLedger()
    ledger.add(announced(), NOW)
    ledger.add(announced(instance=b"b" * 16, sequence=8, issued_at=NOW + 5), NOW + 5)
    late = announced(sequence=6, track_root=bytes(32), issued_at=NOW - 1)
    assert refusal(lambda: ledger.add(late, NOW + 6)) == "announcement_replayed"


@pytest.mark.parametrize(
    "second",
    [
        {"sequence": 9, "issued_at": NOW + 9},
        {"sequence": 9, "issued_at": NOW + 9, "track_root": bytes(32)},
        {"sequence": 2, "issued_at": NOW + 9},
        {"sequence": 8, "issued_at": NOW + 5, "instance": b"b" * 16, "operator": "another"},
    ],
    ids=["same-track", "another-track", "counts-for-itself", "same-number"],
)
def test_two_nodes_with_one_identity_are_noticed(second):
    ledger = AnnouncementLedger()
    ledger.add(announced(), NOW)
    ledger.add(announced(instance=b"b" * 16, sequence=8, issued_at=NOW + 5), NOW + 5)
    assert refusal(lambda: ledger.add(announced(**second), NOW + 9)) == "announcement_two_nodes"


def test_a_node_that_stops_saying_that_it_is_there_is_believed_nothing_more():
    ledger, track_root = AnnouncementLedger(), bytes(range(32))
    ledger.add(announced(), NOW)
    there = {"track_root": PRESENCE, "held": {}}
    ledger.add(announced(**there, sequence=8, valid_until=NOW + 180), NOW)
    assert ledger.of_track(track_root, NOW + 179)
    assert not ledger.of_track(track_root, NOW + 180)
    assert not ledger.present(NOW + 180)
    ledger.add(announced(**there, sequence=9, issued_at=NOW + 200, valid_until=NOW + 380), NOW + 200)
    assert [said.sequence for said in ledger.present(NOW + 200)] == [9]
    assert [said.track_root for said in ledger.of_node(NODE.public, NOW + 200)] == [track_root]


def test_what_a_message_is_can_be_told_before_it_is_believed():
    assert kind_of(raw(), MAX_ANNOUNCEMENT_BYTES) == "announcement"
    for wrong, code in ((b"[", "not_json"), (b"{}", "field"), (b" " * 9000, "too_large")):
        assert refusal(lambda wrong=wrong: kind_of(wrong, MAX_ANNOUNCEMENT_BYTES)) == f"message_{code}"


def test_a_flood_of_names_fills_the_ledger_and_pushes_nobody_out():
    ledger = AnnouncementLedger(most_bytes=100 * 1100)
    ledger.add(announced(), NOW)
    for number in range(200):
        said = announced(node=number.to_bytes(32, "big"), held={0: Bitfield.full(300)})
        try:
            ledger.add(said, NOW)
        except CallerFault as fault:
            assert fault.code == "announcement_ledger_full"
    assert len(ledger) <= 110
    assert ledger.claim(NODE.public, bytes(range(32)), NOW) is not None
    ledger.add(announced(sequence=8), NOW)


def test_one_node_cannot_announce_tracks_without_end():
    ledger = AnnouncementLedger(most_tracks_per_node=3)
    for number in range(3):
        ledger.add(announced(track_root=bytes([number] * 32), sequence=number), NOW)
    more = announced(track_root=bytes([9] * 32), sequence=9)
    assert refusal(lambda: ledger.add(more, NOW)) == "announcement_ledger_full"


@given(st.binary(min_size=32, max_size=32))
def test_a_peer_id_and_a_node_key_are_two_spellings_of_one_name(key):
    name = peer_id(key)
    assert name.startswith("12D3KooW") and len(name) == 52
    assert node_of(name) == key


def test_a_peer_id_is_the_one_that_libp2p_makes():
    from libp2p.crypto.ed25519 import Ed25519PublicKey
    from libp2p.peer.id import ID

    assert peer_id(NODE.public) == ID.from_pubkey(Ed25519PublicKey.from_bytes(NODE.public)).to_base58()


@pytest.mark.parametrize("text", ["", "Qm" * 26, "12D3KooW", "0" * 52, "z" * 52, "12D3KooW" + "l" * 44])
def test_a_text_that_is_no_peer_id_of_an_ed25519_key_is_refused(text):
    assert refusal(lambda: node_of(text)) == "bad_peer_id"


def test_faults_of_a_sender_are_peer_faults():
    with pytest.raises(PeerFault):
        parse_announcement(b"", NOW, verify)
