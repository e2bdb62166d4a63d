"""How a message reaches a peer's session, wherever it is.

`Bus` is what a session asks of it. `LocalBus` knows the sessions of this process, and that is enough: a swarm
lives on one hub. Moving relayed messages through a broker between hubs made them slower than one hub is
(docs/decisions/0009), so another Bus would be for presence across hubs, not for speed.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

Deliver = Callable[[bytes], None]  # puts one message on a session's socket, without waiting


class Bus(Protocol):
    """From one session to another."""

    def attach(self, peer: str, deliver: Deliver) -> None:
        """Messages for this peer go here from now on: its newest session."""

    def detach(self, peer: str, deliver: Deliver) -> bool:
        """The session is gone. False when a newer one has taken its place already."""

    def send(self, peer: str, message: bytes) -> None:
        """Put a message on a peer's socket; who is not there does not get it."""

    def send_all(self, peers: Iterable[str], message: bytes) -> None:
        """The same for several."""


class LocalBus:
    """The sessions of this process."""

    def __init__(self) -> None:
        self._sessions: dict[str, Deliver] = {}

    def attach(self, peer: str, deliver: Deliver) -> None:
        self._sessions[peer] = deliver

    def detach(self, peer: str, deliver: Deliver) -> bool:
        if self._sessions.get(peer) != deliver:
            return False
        del self._sessions[peer]
        return True

    def send(self, peer: str, message: bytes) -> None:
        if deliver := self._sessions.get(peer):
            deliver(message)

    def send_all(self, peers: Iterable[str], message: bytes) -> None:
        for peer in peers:
            self.send(peer, message)
