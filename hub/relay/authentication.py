"""Long-term credentials with REST user names and stateless nonces (RFC 8489 §9.2): who may use the relay."""

import hashlib
import hmac
from dataclasses import dataclass

from digm.errors import PeerFault
from hub.relay.credentials import credentials_expiry, turn_password
from hub.relay.stun_messages import Request

_STAMP_CHARS = 10
_MAC_CHARS = 32


@dataclass(frozen=True)
class Credential:
    """Who sent a request: proven, and not expired.

    Args:
        expiry: unix seconds.
        key: for the integrity of the answer.
    """

    username: str
    session: str
    expiry: int
    key: bytes


class StunFault(PeerFault):
    """A request that is answered with a STUN error.

    Args:
        status: the number of ERROR-CODE.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code, message)
        self.status = status


class Authentication:
    """Checks requests against one secret.

    Args:
        secret: shared with the hub (hub.relay.credentials).
        nonce_key: random bytes of this process.
        nonce_s: how long a nonce is good.
    """

    def __init__(self, secret: bytes, realm: str, nonce_key: bytes, nonce_s: int) -> None:
        self._secret = secret
        self._nonce_key = nonce_key
        self._nonce_s = nonce_s
        self.realm = realm

    def nonce(self, address: str, unix_now: float) -> bytes:
        """A nonce for one client address; it carries its own expiry, so nothing is kept for strangers."""
        return self._nonce(address, int(unix_now) + self._nonce_s)

    def _nonce(self, address: str, expiry: int) -> bytes:
        stamp = f"{expiry:0{_STAMP_CHARS}x}"
        mac = hmac.digest(self._nonce_key, f"{stamp} {address}".encode(), "sha256").hex()
        return (stamp + mac[:_MAC_CHARS]).encode()

    def check(self, request: Request, address: str, unix_now: float) -> Credential:
        """Find out who sent a request.

        Args:
            address: the client's, with its port.
        Raises:
            StunFault: 400, 401 or 438.
        """
        message = request.message
        if "MESSAGE-INTEGRITY" not in message.attributes:
            raise StunFault(401, "unauthorized", "Unauthorized")
        username, realm, nonce = request.get("USERNAME"), request.get("REALM"), request.get("NONCE")
        if username is None or realm is None or nonce is None:
            raise StunFault(400, "bad_request", "Bad Request")
        if not self._is_ours(nonce, address, unix_now):
            raise StunFault(438, "stale_nonce", "Stale Nonce")
        try:
            expiry = credentials_expiry(username)
        except PeerFault as fault:
            raise StunFault(401, fault.code, "Unauthorized") from fault
        key = long_term_key(username, self.realm, turn_password(self._secret, username))
        if realm != self.realm or not message.check_message_integrity(key):
            raise StunFault(401, "integrity_bad", "Unauthorized")
        if unix_now >= expiry:
            raise StunFault(401, "credentials_expired", "Unauthorized")
        return Credential(username, username.partition(":")[2], expiry, key)

    def _is_ours(self, nonce: bytes, address: str, unix_now: float) -> bool:
        try:
            expiry = int(nonce[:_STAMP_CHARS], 16)
        except ValueError:
            return False
        return hmac.compare_digest(nonce, self._nonce(address, expiry)) and unix_now < expiry


def long_term_key(username: str, realm: str, password: str) -> bytes:
    """The key of MESSAGE-INTEGRITY (RFC 8489 §9.2.2)."""
    text = f"{username}:{realm}:{password}".encode()
    return hashlib.md5(text, usedforsecurity=False).digest()
