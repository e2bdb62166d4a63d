"""What a node says of itself (`GET /api/node`), as far as the operator's page shows it."""

import math
from collections import deque
from dataclasses import dataclass, field

import msgspec

from digm.errors import PeerFault

MAX_STATUS_BYTES = 1 << 20
KEPT_RATES = 60


class Neighbour(msgspec.Struct, frozen=True):
    """A node that it knows."""

    peer_id: str
    is_connected: bool = False


class Quota(msgspec.Struct, frozen=True):
    """Its disk; `bytes` is the most that it stores."""

    held_bytes: int = 0
    bytes: int | None = None


class Moved(msgspec.Struct, frozen=True):
    """Bytes since it started: given by way (`libp2p`, `http`, `webrtc`), and taken from other nodes."""

    given_bytes: dict[str, int] = {}
    taken_bytes: int = 0

    @property
    def sent_bytes(self) -> int:
        return sum(self.given_bytes.values())


class NodeStatus(msgspec.Struct, frozen=True):
    """A node's own word; members that are not here are none of the page's business."""

    peer_id: str
    peers: tuple[Neighbour, ...] = ()
    quota: Quota = Quota()
    traffic: Moved = Moved()

    @property
    def neighbours(self) -> tuple[str, ...]:
        return tuple(peer.peer_id for peer in self.peers if peer.is_connected)


def parse_status(document: bytes) -> NodeStatus:
    """Read one.

    Raises:
        PeerFault: `node_status_field`.
    """
    try:
        return msgspec.json.decode(document, type=NodeStatus)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise PeerFault("node_status_field", f"This is not what a node says of itself: {error}.") from error


@dataclass
class Meter:
    """Turns a node's growing sums into bytes a second.

    Attributes:
        rates: bytes a second, both ways together, the newest last.
    """

    sent_per_s: float = 0.0
    received_per_s: float = 0.0
    rates: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT_RATES))
    _last: tuple[float, Moved] | None = None

    def read(self, moved: Moved, now_s: float) -> None:
        """Take in what the node says now. A sum that shrank is that of a node that started again."""
        if self._last is not None:
            then, before = self._last
            elapsed_s = now_s - then
            if elapsed_s <= 0:
                return
            self.sent_per_s = _rate(before.sent_bytes, moved.sent_bytes, elapsed_s)
            self.received_per_s = _rate(before.taken_bytes, moved.taken_bytes, elapsed_s)
            self.rates.append(self.sent_per_s + self.received_per_s)
        self._last = (now_s, moved)


def _rate(before: int, now: int, elapsed_s: float) -> float:
    rate = (now - before if now >= before else now) / elapsed_s
    return round(rate, 1) if math.isfinite(rate) else 0.0
