"""Peers introduce peers, sans-IO: who is told of whom, and descriptions passed on while the hub is away.

PEERS names the neighbours of a neighbour; RELAY carries an offer to one of them and the answer back. A common
neighbour passes on only what comes from its author, only to somebody it is connected with, and only so much.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from digm.token_bucket import TokenBucket
from digm.wire import MAX_PEERS, Relay


@dataclass(frozen=True)
class ExchangeSettings:
    """The numbers; each with where it comes from."""

    exchange_s: float = 30.0  # half of BEP 11's minute: a swarm of listeners changes faster
    after_change_s: float = 3.0  # several peers that come together are one message
    least_between_s: float = 10.0  # the other side ignores more (digm.peer_states)
    forwards_per_s: float = 0.5  # of one neighbour: an introduction for each of ten peers ...
    forward_burst: float = 20.0  # ... with its answer


@dataclass(frozen=True, slots=True)
class Forward:
    """Send this message to this neighbour."""

    peer: str
    message: Relay


@dataclass(frozen=True, slots=True)
class Arrived:
    """A description for us, by way of a neighbour; check its signature before it is believed."""

    via: str
    message: Relay


@dataclass(slots=True)
class _Neighbour:
    due: float
    told_at: float
    forwards: TokenBucket
    is_listener: bool


class PeerExchange:
    """The neighbours of one peer, as far as they introduce each other.

    Args:
        me: our id; ids are 64 hex digits here.
        random: gives 0.0 to 1.0.
    """

    def __init__(
        self, me: str, *, random: Callable[[], float], settings: ExchangeSettings = ExchangeSettings()
    ) -> None:
        self._me = me
        self._random = random
        self._settings = settings
        self._neighbours: dict[str, _Neighbour] = {}

    def joined(self, peer: str, now: float, *, is_listener: bool = True) -> None:
        """A connection is open: it is told of the others, and they of it."""
        bucket = TokenBucket(self._settings.forwards_per_s, self._settings.forward_burst, now)
        at = now + self._settings.after_change_s
        self._neighbours[peer] = _Neighbour(at, now - self._settings.least_between_s, bucket, is_listener)
        if is_listener:
            for other in self._neighbours.values():
                other.due = min(other.due, max(at, other.told_at + self._settings.least_between_s))

    def left(self, peer: str) -> None:
        self._neighbours.pop(peer, None)

    def due(self, now: float) -> list[tuple[str, tuple[bytes, ...]]]:
        """Who is to be told of whom now (PEERS)."""
        told = []
        for peer, neighbour in self._neighbours.items():
            if now < neighbour.due:
                continue
            neighbour.told_at = now
            neighbour.due = now + self._settings.exchange_s * (0.75 + 0.5 * self._random())
            if others := self._others(peer):
                told.append((peer, tuple(bytes.fromhex(other) for other in others[:MAX_PEERS])))
        return told

    def next_deadline(self) -> float | None:
        return min((neighbour.due for neighbour in self._neighbours.values()), default=None)

    def relayed(self, via: str, message: Relay, now: float) -> Forward | Arrived | None:
        """A RELAY came from a neighbour. None: it goes nowhere."""
        neighbour = self._neighbours.get(via)
        sender, recipient = message.sender.hex(), message.recipient.hex()
        if neighbour is None or sender == self._me:
            return None
        if recipient == self._me:
            return Arrived(via, message)
        if sender != via or recipient == via or recipient not in self._neighbours:
            return None
        return Forward(recipient, message) if neighbour.forwards.take(1, now) else None

    def route(self, recipient: str, via: Collection[str]) -> str | None:
        """A neighbour that can pass something on to `recipient`."""
        usable = [peer for peer in via if peer in self._neighbours and peer != recipient]
        return usable[int(self._random() * len(usable)) % len(usable)] if usable else None

    def _others(self, peer: str) -> list[str]:
        others = [other for other, n in self._neighbours.items() if other != peer and n.is_listener]
        return sorted(others, key=lambda _: self._random())
