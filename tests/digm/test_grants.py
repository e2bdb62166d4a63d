import dataclasses
import json

import pytest

from digm.errors import PeerFault
from digm.grants import SealedGrant, decode_grant, encode_grant, make_grant, preview_chunks
from digm.json_reader import JsonReader
from digm.keys import chunk_key
from digm.manifest import parse_manifest
from tests.vectors import generate

TRACK = json.loads(generate.FORMAT_VECTORS.read_text(encoding="utf-8"))["tracks"][0]
TRACK_KEY = bytes.fromhex(TRACK["track_key"])
PREVIEW = parse_manifest(TRACK["manifest"].encode())
FREE = dataclasses.replace(PREVIEW, preview_s=None)
PLAYER = bytes(range(32))
NOW = 1_800_000_000


def test_a_free_track_is_granted_whole():
    grant = make_grant(FREE, TRACK_KEY, PLAYER, NOW)
    for rendition in FREE.renditions:
        for chunk in range(rendition.chunk_count):
            assert grant.key_for(rendition.id, chunk) == chunk_key(TRACK_KEY, rendition.id, chunk)


def test_a_preview_grant_holds_the_keys_of_the_preview_and_no_other_secret():
    grant = make_grant(PREVIEW, TRACK_KEY, PLAYER, NOW)
    plaintext = encode_grant(grant)
    assert TRACK_KEY.hex().encode() not in plaintext
    for rendition in PREVIEW.renditions:
        beyond = [i for i in range(rendition.chunk_count) if rendition.chunk_start_s(i) >= PREVIEW.preview_s]
        assert beyond
        for chunk in range(rendition.chunk_count):
            key = chunk_key(TRACK_KEY, rendition.id, chunk)
            if chunk in beyond:
                assert grant.key_for(rendition.id, chunk) is None
                assert key.hex().encode() not in plaintext
            else:
                assert grant.key_for(rendition.id, chunk) == key


def test_a_preview_never_reaches_more_than_8_seconds_beyond_its_end():
    for rendition in PREVIEW.renditions:
        chunks = preview_chunks(rendition, PREVIEW.preview_s)
        assert rendition.chunk_end_s(chunks[-1]) <= PREVIEW.preview_s + 8


@pytest.mark.parametrize("manifest", [FREE, PREVIEW])
def test_what_is_sealed_is_what_is_read(manifest):
    grant = make_grant(manifest, TRACK_KEY, PLAYER, NOW)
    assert decode_grant(encode_grant(grant)) == grant


def test_a_grant_is_only_for_its_track_its_page_its_time_and_its_key():
    grant = make_grant(FREE, TRACK_KEY, PLAYER, NOW)
    grant.check(FREE, PLAYER, NOW - 1)
    for manifest, player, moment, code in (
        (FREE, bytes(32), NOW - 1, "grant_mismatch"),
        (dataclasses.replace(FREE, track_root=bytes(32)), PLAYER, NOW - 1, "grant_mismatch"),
        (FREE, PLAYER, NOW, "grant_expired"),
        (dataclasses.replace(FREE, key_commitment=bytes(32)), PLAYER, NOW - 1, "grant_wrong_key"),
    ):
        with pytest.raises(PeerFault) as fault:
            grant.check(manifest, player, moment)
        assert fault.value.code == code


@pytest.mark.parametrize(
    "change",
    [
        {"track_root": "x"},
        {"not_after": "soon"},
        {"not_after": -1},
        {"track_key": "00"},
        {"chunk_keys": [{"rendition": 0, "first_chunk": 0, "keys": "00"}]},
        {"chunk_keys": [{"rendition": 0, "first_chunk": 0, "keys": "zz" * 32}]},
        {"chunk_keys": ["x"]},
        {"digm": 2},
    ],
)
def test_a_grant_that_is_not_right_is_refused(change):
    members = json.loads(encode_grant(make_grant(PREVIEW, TRACK_KEY, PLAYER, NOW))) | change
    with pytest.raises(PeerFault) as fault:
        decode_grant(json.dumps(members).encode())
    assert fault.value.code == "grant_field"


def test_a_sealed_grant_survives_its_way_as_json():
    sealed = SealedGrant(bytes(32), b"ciphertext", bytes(64))
    assert SealedGrant.from_reader(JsonReader(sealed.to_json(), "answer")) == sealed
    with pytest.raises(PeerFault) as fault:
        SealedGrant.from_reader(JsonReader({**sealed.to_json(), "enc": "00"}, "answer"))
    assert fault.value.code == "answer_field"
