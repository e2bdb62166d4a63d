"""Swarm tokens: what lets a peer into the swarm of a track, and nobody who only knows the track root.

`base64url(u64 expiry || HMAC-SHA256(secret, "digm/1 swarm" || track root || u64 expiry))` without padding.
Issued with a listening grant, checked by whoever runs `/signal`; both read one secret from the data folder.
"""

import base64
import binascii
import contextlib
import hmac
import os
import secrets
import struct
import tempfile
from pathlib import Path

from digm.errors import CallerFault, PeerFault

SECRET_BYTES = 32
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


def load_secret(data: Path, name: str) -> bytes:
    """32 random bytes in DATA/secrets/NAME that stay the same; made once, also if two processes race for it.

    Raises:
        CallerFault: `bad_secret`, `data_not_writable`.
    """
    path = data / "secrets" / name
    try:
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _create_once(path)
        secret = path.read_bytes()
    except OSError as error:
        raise CallerFault(
            "data_not_writable", f"{path} cannot be read or made: {error.strerror or error}."
        ) from error
    if len(secret) != SECRET_BYTES:
        raise CallerFault("bad_secret", f"{path} should hold {SECRET_BYTES} bytes; remove it to get a new one.")
    return secret


def _create_once(path: Path) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)  # mkstemp's mode is 600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        # link, not rename: it fails when another process was first, so both use the same secret.
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        os.unlink(temporary)  # noqa: PTH108 - the pair of os.link


def _mac(secret: bytes, track_root: bytes, stamp: bytes) -> bytes:
    return hmac.digest(secret, _CONTEXT + track_root + stamp, "sha256")
