"""A TURN client for tests, over one UDP socket: it shows every answer, and can be told to misbehave."""

import contextlib
import socket
from typing import Any, Self

from aioice import stun

from hub.relay.authentication import long_term_key
from hub.relay.stun_messages import REQUESTED_ADDRESS_FAMILY

UDP = 17 << 24
ANSWERS_WITHIN_S = 2.0
ATTEMPTS = 5


_used_ports: set[int] = set()


def _fresh_socket(relay_host: str) -> socket.socket:
    """A socket on a port that no test has used: coturn remembers five-tuples for a while after their end."""
    family = socket.AF_INET6 if ":" in relay_host else socket.AF_INET
    while True:
        opened = socket.socket(family, socket.SOCK_DGRAM)
        opened.bind((relay_host, 0))
        port = opened.getsockname()[1]
        if port not in _used_ports:
            _used_ports.add(port)
            return opened
        opened.close()


class TurnClient:
    """One five-tuple at a relay.

    Args:
        relay: its address and port.
        credentials: user name and password.
        realm: None: the relay's own, as it tells.
    """

    def __init__(self, relay: tuple[str, int], credentials: tuple[str, str], realm: str | None = None) -> None:
        self._socket = _fresh_socket(relay[0])
        self._socket.settimeout(ANSWERS_WITHIN_S)
        self._socket.connect(relay)
        self.username, self.password = credentials
        self._realm_wanted = realm
        self.realm, self.nonce = "", b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._socket.close()

    @property
    def address(self) -> tuple[str, int]:
        return self._socket.getsockname()[:2]

    def exchange(self, message: stun.Message) -> stun.Message:
        """Send a request as it is and wait for its answer; again if it got lost (RFC 8489 §6.2.1)."""
        for _ in range(ATTEMPTS):
            self._socket.send(bytes(message))
            with contextlib.suppress(TimeoutError):
                while True:
                    answer = stun.parse_message(self._socket.recv(4096))
                    if answer.transaction_id == message.transaction_id:
                        return answer
        raise TimeoutError

    def request(self, method: stun.Method, attributes: dict[str, Any] | None = None) -> stun.Message:
        """Send a request with credentials; a stale nonce is renewed once."""
        for _ in range(3):
            message = stun.Message(method, stun.Class.REQUEST, attributes=dict(attributes or {}))
            if self.nonce:
                message.attributes |= {"USERNAME": self.username, "REALM": self.realm, "NONCE": self.nonce}
                message.add_message_integrity(long_term_key(self.username, self.realm, self.password))
            answer = self.exchange(message)
            is_first = not self.nonce
            if not (answer.error_code == 438 or (is_first and answer.error_code == 401)):
                return answer
            self.nonce = answer.attributes["NONCE"]
            self.realm = self._realm_wanted or answer.attributes.get("REALM") or self.realm
        return answer

    def allocate(self, *, ip_version: int | None = None, lifetime_s: int | None = None) -> stun.Message:
        attributes: dict[str, Any] = {"REQUESTED-TRANSPORT": UDP}
        if ip_version is not None:
            attributes[REQUESTED_ADDRESS_FAMILY] = bytes([1 if ip_version == 4 else 2, 0, 0, 0])
        if lifetime_s is not None:
            attributes["LIFETIME"] = lifetime_s
        return self.request(stun.Method.ALLOCATE, attributes)

    def permit(self, address: str, port: int = 4000) -> stun.Message:
        return self.request(stun.Method.CREATE_PERMISSION, {"XOR-PEER-ADDRESS": (address, port)})

    def bind(self, channel: int, address: str, port: int = 4000) -> stun.Message:
        peer = {"CHANNEL-NUMBER": channel, "XOR-PEER-ADDRESS": (address, port)}
        return self.request(stun.Method.CHANNEL_BIND, peer)

    def refresh(self, lifetime_s: int = 600) -> stun.Message:
        return self.request(stun.Method.REFRESH, {"LIFETIME": lifetime_s})

    def send(self, payload: bytes, address: str, port: int) -> None:
        """A Send indication."""
        message = stun.Message(stun.Method.SEND, stun.Class.INDICATION)
        message.attributes = {"XOR-PEER-ADDRESS": (address, port), "DATA": payload}
        self._socket.send(bytes(message))

    def send_raw(self, data: bytes) -> None:
        self._socket.send(data)

    def receive(self, timeout_s: float = ANSWERS_WITHIN_S) -> bytes:
        self._socket.settimeout(timeout_s)
        try:
            return self._socket.recv(4096)
        finally:
            self._socket.settimeout(ANSWERS_WITHIN_S)
