"""The sign-in message: one form, read strictly, good for one page, one chain and one day."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from digm.errors import CallerFault, PeerFault
from digm.sign_in import CLOCK_OFF_S, LONGEST_S, SignIn

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "vectors" / "sign_in.json").read_text())
TEXT = VECTORS[0]["message"]
SIGN_IN = SignIn.decode(TEXT)


@pytest.mark.parametrize("vector", VECTORS, ids=["a name", "an address and a port"])
def test_a_message_is_the_same_bytes_wherever_it_is_made(vector: dict[str, Any]) -> None:
    fields = {**vector["fields"], "player_key": bytes.fromhex(vector["fields"]["player_key"])}
    assert SignIn(**fields).encode() == vector["message"]
    assert SignIn.decode(vector["message"]) == SignIn(**fields)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("hub.example wants", "evil.example wants"),
        ("hub.example wants", "Hub.example wants"),
        ("https://hub.example/", "https://hub.example@evil.example/"),
        ("https://hub.example/", "https://hub.example.evil.example/"),
        ("https://", "javascript://"),
        ("Version: 1", "Version: 2"),
        ("Chain ID: 1", "Chain ID: 01"),
        ("Nonce: Ab3dEf9h", "Nonce: short"),
        ("Issued At: 2025-11-23T14", "Issued At: 2025-02-30T14"),
        ("Issued At: 2025-11-23T14:00:00Z", "Issued At: 2025-11-23T14:00:00.000Z"),
        ("Issued At: 2025-11-23T14:00:00Z", "Issued At: 2025-11-23T14:00:00+02:00"),
        ("\nResources:", "\nNot Before: 2020-01-01T00:00:00Z\nResources:"),
        ("- digm:player:00", "- digm:player:0"),
        ("Hear what", "Give me all your money. Hear what"),
        ("\n", "\r\n"),
    ],
)
def test_what_is_written_otherwise_is_refused(old: str, new: str) -> None:
    assert old in TEXT
    with pytest.raises(PeerFault) as refused:
        SignIn.decode(TEXT.replace(old, new))
    assert refused.value.code == "bad_sign_in"


@pytest.mark.parametrize(
    "text", ["", TEXT + "\n", TEXT + "\n- https://evil.example", " " + TEXT, "x" * 5_000_000]
)
def test_nothing_stands_before_or_behind_it(text: str) -> None:
    with pytest.raises(PeerFault):
        SignIn.decode(text)


def test_it_is_good_for_one_page_one_chain_and_its_time() -> None:
    now = SIGN_IN.issued_at + 10
    SIGN_IN.check(SIGN_IN.player_key, 1, now)
    SIGN_IN.check(SIGN_IN.player_key, 1, SIGN_IN.issued_at - CLOCK_OFF_S)
    for changed, player_key, chain_id, at, code in [
        (SIGN_IN, bytes(32), 1, now, "sign_in_other_page"),
        (SIGN_IN, SIGN_IN.player_key, 5, now, "sign_in_other_chain"),
        (SIGN_IN, SIGN_IN.player_key, 1, SIGN_IN.expires_at, "sign_in_expired"),
        (SIGN_IN, SIGN_IN.player_key, 1, SIGN_IN.issued_at - CLOCK_OFF_S - 1, "sign_in_early"),
        (
            replace(SIGN_IN, expires_at=SIGN_IN.issued_at + LONGEST_S + 1),
            SIGN_IN.player_key, 1, now, "sign_in_too_long",
        ),
    ]:  # fmt: skip
        with pytest.raises(PeerFault) as refused:
            changed.check(player_key, chain_id, at)
        assert refused.value.code == code


@pytest.mark.parametrize(
    "changed",
    [{"domain": "a b"}, {"domain": "x\nURI: "}, {"address": "0x12"}, {"nonce": "a\nb" * 4}, {"chain_id": 0},
     {"issued_at": -(10**15)}, {"player_key": b"x"}, {"uri": "https://other.example/"}],
)  # fmt: skip
def test_what_would_read_otherwise_is_not_written(changed: dict[str, Any]) -> None:
    with pytest.raises(CallerFault) as refused:
        replace(SIGN_IN, **changed).encode()
    assert refused.value.code == "bad_sign_in"
