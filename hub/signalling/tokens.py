"""Swarm tokens: what lets a peer into the swarm of a track, and nobody who only knows the track root.

`base64url(u64 expiry || HMAC-SHA256(secret, "digm/1 swarm" || track root || u64 expiry))` without padding.
Issued with a listening grant, checked by whoever runs `/signal`; both read one secret from the data folder.
"""

import base64
import binascii
import hmac
import struct
from pathlib import Path

from digm.errors import PeerFault
from hub.storage.secret_files import load_secret

_CONTEXT = b"digm/1 swarm"
_EXPIRY = struct.Struct(">Q")
_MAC_BYTES = 32
_TOKEN_CHARS = 54  # base64 of 40 bytes, without padding


def swarm_token(secret: bytes, track_root: bytes, expiry: int) -> str:
    """Make a token.

    Args:
        track_root: 32 bytes.
        expiry: unix seconds after which the token opens nothing.
    """
    stamp = _EXPIRY.pack(expiry)
    return base64.urlsafe_b64encode(stamp + _mac(secret, track_root, stamp)).rstrip(b"=").decode()


def check_swarm_token(secret: bytes, track_root: bytes, token: str, now: float) -> int:
    """Check a token that a peer brought.

    Args:
        now: unix seconds.
    Returns:
        its expiry, unix seconds.
    Raises:
        PeerFault: `token_bad`, not issued here for this track; `token_expired`.
    """
    try:
        raw = base64.b64decode(token + "==", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(token) != _TOKEN_CHARS or len(raw) != _EXPIRY.size + _MAC_BYTES:
        raise PeerFault("token_bad", "This is not a swarm token.")
    stamp, mac = raw[: _EXPIRY.size], raw[_EXPIRY.size :]
    if not hmac.compare_digest(mac, _mac(secret, track_root, stamp)):
        raise PeerFault("token_bad", "The swarm token is not one of ours for this track.")
    expiry: int = _EXPIRY.unpack(stamp)[0]
    if now >= expiry:
        raise PeerFault("token_expired", "The swarm token has expired: ask for a new grant.")
    return expiry


def load_swarm_secret(data: Path) -> bytes:
    """The 32-byte secret in DATA/secrets/swarm; made (mode 600) by whichever process needs it first.

    Raises:
        CallerFault: `bad_secret`, the file is not 32 bytes; `data_not_writable`.
    """
    return load_secret(data, "swarm")


def _mac(secret: bytes, track_root: bytes, stamp: bytes) -> bytes:
    return hmac.digest(secret, _CONTEXT + track_root + stamp, "sha256")
