"""What a backbone listens on and how much it takes from strangers; each number with where it comes from."""

import re
import socket
from dataclasses import dataclass

from digm.errors import CallerFault

SPOKEN = re.compile(r"(/[a-z0-9]+/[^/]+)+/(tcp/[0-9]+(/ws)?|udp/[0-9]+/quic-v1)(/p2p/[^/]+)?")


@dataclass(frozen=True)
class BackboneSettings:
    """Where a node stands and what it bears.

    Attributes:
        listen: multiaddrs such as `/ip4/0.0.0.0/tcp/4001` and `/ip4/0.0.0.0/tcp/4002/ws`. Port 0: a free one,
            which stays the same when the libp2p side is restarted. With `/ip4/0.0.0.0/udp/4001/quic-v1` among
            them the node also speaks QUIC, both ways.
        bootstrap: multiaddrs with `/p2p/` of nodes to start from; called again and again while they are away.
        announce: multiaddrs told to others in place of what is listened on (behind a NAT or a proxy).
    """

    listen: tuple[str, ...] = ("/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/tcp/0/ws")
    bootstrap: tuple[str, ...] = ()
    announce: tuple[str, ...] = ()

    most_connections: int = 256  # 100 kB each with their streams; GossipSub wants 12 neighbours
    most_inbound: int = 192  # the rest stays free for those that we call ourselves
    most_handshaking: int = 48  # inbound, not yet authenticated; one more puts out the oldest
    most_connections_per_peer: int = 2  # both sides called at once
    handshake_timeout_s: float = 8.0  # six round trips at 1 s
    most_streams_per_connection: int = 64  # inbound; a fetching node has 8 open
    most_buffered_bytes: int = 8 * 1024 * 1024  # unread of one connection; four full yamux windows of 2 MiB
    quic_handshaking_before_retry: int = 16  # more, and a caller first shows that its address is its own
    quic_handshakes_per_s: int = 50  # 5 ms each: a quarter of a core
    quic_retries_per_s: int = 500  # 0.1 ms each
    negotiate_timeout_s: float = 8.0
    most_gossip_in_flight: int = 256  # messages between arrival and verdict
    verdict_timeout_s: float = 3.0  # a signature check takes 0.1 ms; the loop may be busy
    kad_stream_timeout_s: float = 20.0  # findings: idle streams otherwise hold the DHT for a minute
    most_kad_streams: int = 256
    most_kad_streams_per_peer: int = 16
    provides_per_10_s: int = 200  # of one peer: a node with a thousand tracks says so in a minute
    most_provided_keys: int = 200_000  # provider records of others that we keep
    provider_check_timeout_s: float = 4.0
    call_timeout_s: float = 30.0
    connect_timeout_s: float = 10.0
    call_again_first_s: float = 0.5  # after a call in vain; each further one doubles it
    call_again_most_s: float = 30.0
    start_timeout_s: float = 20.0
    restart_first_s: float = 0.2
    restart_most_s: float = 20.0
    bootstrap_every_s: float = 5.0
    bootstrap_again_s: float = 15.0  # while others are there

    def __post_init__(self) -> None:
        for address in (*self.listen, *self.bootstrap, *self.announce):
            if not address.startswith("/"):
                raise CallerFault(
                    "bad_multiaddr", f"{address!r} is no multiaddr; one looks like /ip4/127.0.0.1/tcp/4001."
                )
        for address in self.listen:
            if not SPOKEN.fullmatch(address):
                raise CallerFault(
                    "bad_multiaddr",
                    f"A node cannot listen on {address}: it speaks /tcp/N, /tcp/N/ws and /udp/N/quic-v1.",
                )
        for address in self.bootstrap:
            if "/p2p/" not in address:
                raise CallerFault("bad_multiaddr", f"{address} does not name its node: it ends in /p2p/ID.")


def with_port(multiaddr: str) -> str:
    """Put a free port where it says 0."""
    parts = multiaddr.split("/")
    carrier = "udp" if "udp" in parts else "tcp"
    if carrier not in parts or parts[parts.index(carrier) + 1] != "0":
        return multiaddr
    family = socket.AF_INET6 if "ip6" in parts else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM if carrier == "udp" else socket.SOCK_STREAM) as probe:
        probe.bind((parts[2], 0))
        parts[parts.index(carrier) + 1] = str(probe.getsockname()[1])
    return "/".join(parts)
