"""Nodes as the rest of the hub sees them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PeerAddress:
    """A node and where it can be called.

    Attributes:
        multiaddrs: without `/p2p/`.
    """

    peer_id: str
    multiaddrs: tuple[str, ...]


@dataclass(frozen=True)
class PeerInfo:
    """A connected node.

    Attributes:
        address: host:port of the connection; for the operator, not for logs.
        latency_ms: round trip as yamux measures it; None before the first time.
    """

    peer_id: str
    address: str
    latency_ms: float | None
