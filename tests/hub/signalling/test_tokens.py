"""Swarm tokens and the secret behind them."""

import base64
import hmac
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digm.errors import CallerFault, PeerFault
from hub.signalling.tokens import check_swarm_token, load_swarm_secret, swarm_token
from hub.storage.secret_files import load_secret

SECRET, TRACK = bytes(range(32)), bytes([9] * 32)


def test_a_token_is_what_the_protocol_says_it_is():
    token = swarm_token(SECRET, TRACK, 1_800_000_000)
    raw = base64.urlsafe_b64decode(token + "==")
    assert int.from_bytes(raw[:8]) == 1_800_000_000
    assert len(raw) == 40
    assert raw[8:] == hmac.digest(SECRET, b"digm/1 swarm" + TRACK + raw[:8], "sha256")


def test_a_token_opens_its_track_until_it_expires():
    token = swarm_token(SECRET, TRACK, 1_000)
    assert check_swarm_token(SECRET, TRACK, token, 999.9) == 1_000
    with pytest.raises(PeerFault) as fault:
        check_swarm_token(SECRET, TRACK, token, 1_000)
    assert fault.value.code == "token_expired"


@given(st.integers(0, 39), st.integers(1, 255))
def test_one_changed_byte_makes_it_worthless(at, change):
    raw = bytearray(base64.urlsafe_b64decode(swarm_token(SECRET, TRACK, 1_000) + "=="))
    raw[at] ^= change
    forged = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    with pytest.raises(PeerFault) as fault:
        check_swarm_token(SECRET, TRACK, forged, 0)
    assert fault.value.code == "token_bad"


@given(st.text(max_size=100))
def test_any_text_is_refused_as_a_token(text):
    with pytest.raises(PeerFault) as fault:
        check_swarm_token(SECRET, TRACK, text, 0)
    assert fault.value.code == "token_bad"


def test_a_token_of_another_track_or_another_hub_is_refused():
    token = swarm_token(SECRET, TRACK, 1_000)
    for secret, track in ((SECRET, bytes(32)), (bytes(32), TRACK)):
        with pytest.raises(PeerFault):
            check_swarm_token(secret, track, token, 0)


def test_processes_that_race_for_the_secret_get_the_same_one(tmp_path):
    found = []
    threads = [threading.Thread(target=lambda: found.append(load_swarm_secret(tmp_path))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert [path.name for path in (tmp_path / "secrets").iterdir()] == ["swarm"]
    assert (tmp_path / "secrets" / "swarm").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700


def test_a_secret_of_the_wrong_size_is_named(tmp_path):
    load_secret(tmp_path, "seed")
    (tmp_path / "secrets" / "seed").write_bytes(b"short")
    with pytest.raises(CallerFault) as fault:
        load_secret(tmp_path, "seed")
    assert fault.value.code == "bad_secret"
