import dataclasses

import pytest

from digm.carried_grants import (
    LONGEST_S,
    MAX_SEALED_BYTES,
    REQUEST_BYTES,
    CarriedGrant,
    CarriedRequest,
    bound_part,
    vault_record,
)
from digm.errors import CallerFault, PeerFault
from digm.grants import SealedGrant, signed_part
from tests.digm.signers import Signer, verify

ARTIST = Signer("artist")
REQUEST = CarriedRequest(ARTIST.public, bytes(range(32)), bytes(range(32, 64)))
NOW = 1_800_000_000


def made(signer=ARTIST, request=REQUEST, not_after=NOW + 60, sealed=b"sealed"):
    enc = bytes(range(64, 96))
    grant = SealedGrant(enc, sealed, signer.sign(signed_part(enc, sealed)))
    return CarriedGrant(grant, not_after, signer.sign(bound_part(request, grant, not_after)))


def test_what_is_written_is_what_is_read():
    assert CarriedRequest.decode(REQUEST.encode()) == REQUEST
    assert len(REQUEST.encode()) == REQUEST_BYTES
    assert CarriedGrant.decode(made().encode()) == made()
    made().check(REQUEST, NOW, verify)


def test_a_proof_of_an_account_travels_behind_the_request():
    shown = dataclasses.replace(REQUEST, proof=b"a message" + bytes(65))
    assert CarriedRequest.decode(shown.encode()) == shown


@pytest.mark.parametrize("field", ["track_root", "player_key", "artist_key"])
def test_a_grant_for_another_track_page_or_artist_is_refused(field):
    for_other = dataclasses.replace(REQUEST, **{field: Signer("another").public})
    with pytest.raises(PeerFault) as fault:
        made().check(for_other, NOW, verify)
    assert fault.value.code == "carried_grant_forged"


def test_every_changed_byte_and_another_time_is_noticed():
    body = made().encode()
    for at in range(len(body)):
        changed = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        with pytest.raises(PeerFault) as fault:
            CarriedGrant.decode(changed).check(REQUEST, NOW, verify)
        assert fault.value.code in ("carried_grant_forged", "bad_carried_grant")


@pytest.mark.parametrize("not_after", [NOW, NOW - 60, NOW + LONGEST_S + 1])
def test_a_grant_that_is_over_or_would_live_for_years_is_refused_though_the_artist_made_it(not_after):
    with pytest.raises(PeerFault) as fault:
        made(not_after=not_after).check(REQUEST, NOW, verify)
    assert fault.value.code == "carried_grant_over"


@pytest.mark.parametrize("size", [0, 1, REQUEST_BYTES - 1, REQUEST_BYTES + 1, REQUEST_BYTES + 65, 4096])
def test_a_request_of_another_size_is_refused(size):
    with pytest.raises(PeerFault, match="96 bytes"):
        CarriedRequest.decode(bytes(size))


def test_an_answer_that_cannot_be_one_is_refused():
    body = made().encode()
    endless = body[:160] + b"\xff" * 8 + body[168:]
    for wrong in (b"", body[:168], bytes(168 + MAX_SEALED_BYTES + 1), endless):
        with pytest.raises(PeerFault) as fault:
            CarriedGrant.decode(wrong)
        assert fault.value.code == "bad_carried_grant"
    with pytest.raises(CallerFault):
        made(sealed=bytes(MAX_SEALED_BYTES + 1)).encode()


def test_neither_signature_can_be_taken_for_the_other():
    grant = made().grant
    bound = bound_part(REQUEST, grant, NOW)
    assert not bound.startswith(signed_part(b"", b""))
    assert not grant.signed_part.startswith(bound[:20])


def test_the_record_of_a_vault_is_not_the_artists_key_nor_a_track():
    assert len(vault_record(ARTIST.public)) == 32
    assert vault_record(ARTIST.public) != ARTIST.public
    assert vault_record(ARTIST.public) != vault_record(bytes(32))
