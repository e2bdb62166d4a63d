"""Multiaddrs of QUIC: `/ip4/192.0.2.1/udp/4001/quic-v1`."""

import socket
from typing import Any

from multiaddr import Multiaddr  # type: ignore[import-untyped]


def is_quic(address: str | Multiaddr) -> bool:
    """Whether this transport calls it and listens on it; draft versions, WebTransport and names are not."""
    parts = str(address).split("/")
    return (
        parts[1:2] in (["ip4"], ["ip6"])
        and parts[3:4] == ["udp"]
        and parts[5:6] == ["quic-v1"]
        and (len(parts) == 6 or (len(parts) == 8 and parts[6] == "p2p"))
    )


def endpoint_of(address: Multiaddr) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """The socket's family and its address. Raises ValueError: not of QUIC."""
    if not is_quic(address):
        raise ValueError(f"{address} is no address of QUIC")
    parts = str(address).split("/")
    return socket.AF_INET6 if parts[1] == "ip6" else socket.AF_INET, (parts[2], int(parts[4]))


def multiaddr_of(address: Any) -> Multiaddr:
    """The other way round: of what a socket says of itself, or of a peer."""
    host = str(address[0]).partition("%")[0]
    return Multiaddr(f"/ip{'6' if ':' in host else '4'}/{host}/udp/{address[1]}/quic-v1")
