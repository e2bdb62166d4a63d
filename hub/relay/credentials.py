"""TURN credentials that the relay can check without asking anybody (draft-uberti-behave-turn-rest).

The user name is `EXPIRY:SESSION` in unix seconds and the hub's session id, the password is
base64(HMAC-SHA1(secret, user name)). coturn knows the same scheme as `use-auth-secret`.
"""

import base64
import hmac
from pathlib import Path

from digm.errors import CallerFault, PeerFault
from hub.storage.secret_files import load_secret

TTL_S = 600  # long enough for ICE and its restarts, too short to be worth passing on
MAX_USERNAME_CHARS = 128
_LATEST_EXPIRY = 2**53


def turn_credentials(secret: bytes, session: str, unix_now: float, ttl_s: int = TTL_S) -> tuple[str, str]:
    """Make the credentials of one session.

    Args:
        secret: what `load_relay_secret` returned; hub and relay have the same one.
        session: the hub's session id: printable, without a colon.
        unix_now: unix seconds.
        ttl_s: how long the credentials open allocations and keep them alive.
    Returns:
        user name and password.
    Raises:
        CallerFault: `bad_session`.
    """
    if not session.isascii() or not session.isprintable() or ":" in session or not 0 < len(session) <= 100:
        raise CallerFault("bad_session", "A session id is 1 to 100 printable characters without a colon.")
    username = f"{int(unix_now) + ttl_s}:{session}"
    return username, turn_password(secret, username)


def turn_password(secret: bytes, username: str) -> str:
    """The password that belongs to a user name, whatever that says."""
    # The key is the secret's hex digits: coturn reads its secret from a line of text.
    mac = hmac.digest(secret_text(secret).encode(), username.encode(), "sha1")
    return base64.b64encode(mac).decode()


def secret_text(secret: bytes) -> str:
    """The secret as coturn's `static-auth-secret` has it."""
    return secret.hex()


def credentials_expiry(username: str) -> int:
    """Until when a user name is good.

    Returns:
        unix seconds.
    Raises:
        PeerFault: `username_bad`, not of the form that is handed out here.
    """
    expiry, colon, session = username.partition(":")
    is_number = expiry.isascii() and expiry.isdecimal() and len(expiry) <= 16
    if len(username) > MAX_USERNAME_CHARS or not colon or not session or not is_number:
        raise PeerFault("username_bad", "This is not a user name that a hub hands out.")
    if int(expiry) > _LATEST_EXPIRY:
        raise PeerFault("username_bad", "This user name's expiry is not a time.")
    return int(expiry)


def load_relay_secret(data: Path) -> bytes:
    """The 32-byte secret in DATA/secrets/relay; made (mode 600) by whichever process needs it first.

    Raises:
        CallerFault: `bad_secret`, `data_not_writable`.
    """
    return load_secret(data, "relay")
