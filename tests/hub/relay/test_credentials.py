"""TURN credentials: what the hub hands out, and what can be read from them."""

import base64
import hashlib
import hmac
from pathlib import Path

import pytest

from digm.errors import CallerFault, PeerFault
from hub.config import load_settings
from hub.relay.credentials import credentials_expiry, load_relay_secret, turn_credentials
from hub.relay.ice_servers import ice_servers

SECRET = bytes(range(32))
TURN = "turn:{host}:3478,turn:{host}:3478?transport=tcp,turns:relay.example:5349?transport=tcp"


def test_the_password_is_what_coturn_computes_from_the_user_name() -> None:
    username, password = turn_credentials(SECRET, "5e551011", 1_800_000_000.9)
    assert username == "1800000600:5e551011"
    mac = hmac.new(SECRET.hex().encode(), username.encode(), hashlib.sha1).digest()
    assert base64.b64decode(password) == mac
    assert credentials_expiry(username) == 1_800_000_600


@pytest.mark.parametrize("session", ["", "a:b", "line\n", "ü", "x" * 101])
def test_a_session_id_that_would_change_the_user_names_meaning_is_refused(session: str) -> None:
    with pytest.raises(CallerFault):
        turn_credentials(SECRET, session, 0)


@pytest.mark.parametrize(
    "username",
    [
        "",
        "alice",
        "12",
        "12:",
        ":s",
        "-5:s",
        "1e9:s",
        "٣:s",
        "9" * 40 + ":s",
        "9" * 16 + ":s",
        "1:" + "s" * 200,
    ],
)
def test_a_user_name_of_another_form_has_no_expiry(username: str) -> None:
    with pytest.raises(PeerFault):
        credentials_expiry(username)


def test_the_secret_is_made_once_and_is_the_owners_alone(tmp_path: Path) -> None:
    secret = load_relay_secret(tmp_path)
    assert len(secret) == 32
    assert load_relay_secret(tmp_path) == secret
    assert (tmp_path / "secrets" / "relay").stat().st_mode & 0o777 == 0o600


def test_a_hub_without_servers_hands_out_none_that_expire() -> None:
    assert ice_servers(load_settings({}), SECRET, "s", 0) == ((), 0)
    servers, ttl_s = ice_servers(load_settings({"DIGM_STUN_URLS": "stun:a.example"}), SECRET, "s", 0)
    assert [server.urls for server in servers] == [("stun:a.example",)]
    assert ttl_s == 0


@pytest.mark.parametrize(
    "asked, public, host",
    [
        ("hub.example:8080", "", "hub.example"),
        ("203.0.113.10", "", "203.0.113.10"),
        ("[2001:db8::1]:8080", "", "[2001:db8::1]"),
        ("whatever", "https://music.example/", "music.example"),
    ],
)
def test_the_relay_is_where_the_listener_found_the_hub(asked: str, public: str, host: str) -> None:
    settings = load_settings({"DIGM_TURN_URLS": TURN, "DIGM_PUBLIC_URL": public})
    (stun, turn), ttl_s = ice_servers(settings, SECRET, "s", 1000, asked_host=asked)
    assert stun.urls == (f"stun:{host}:3478",)
    assert turn.urls[:2] == (f"turn:{host}:3478", f"turn:{host}:3478?transport=tcp")
    assert (turn.username, turn.credential) == turn_credentials(SECRET, "s", 1000)
    assert ttl_s == 600


@pytest.mark.parametrize("asked", ["", "evil.example/path", "a b", "x?transport=tcp", "[::1", "a@b@"])
def test_a_host_that_is_none_gets_only_the_servers_that_are_named(asked: str) -> None:
    servers, _ = ice_servers(load_settings({"DIGM_TURN_URLS": TURN}), SECRET, "s", 1000, asked_host=asked)
    named = [url for server in servers for url in server.urls]
    assert "turns:relay.example:5349?transport=tcp" in named
    assert len(named) == 1
