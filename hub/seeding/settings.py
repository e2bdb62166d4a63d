"""The limits of the seeding peer that operators do not set."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SeedLimits:
    """Each number with where it comes from."""

    max_connections: int = 256  # about 1 MB each; findings: ten busy peers already fill a core
    max_connections_per_peer: int = 8  # one per track that a page plays or prefetches
    connect_timeout_s: float = 30.0  # ICE gives up by then on every path that would be worth having
    answer_timeout_s: float = 10.0  # a phone on a bad link answers within it; who does not want us never does
    offers_per_s: float = 20.0  # each costs 10 ms of CPU and a few sockets
    offer_burst: float = 40.0  # a page that opens a release; the rest of a crowd comes a second later
    max_waiting: int = (
        512  # peers that wait for our offer; who is not among them has the gateway and the others
    )
    poll_s: float = 1.0  # a track is in its swarm a second after it was published
    token_s: int = 3600  # only looked at when joining; made afresh for every connection to the hub
    slot_patience_s: float = 1.0  # below the two seconds after which the asker goes elsewhere
    stall_s: float = 15.0  # a peer that takes nothing gives its slot back
    cache_bytes: int = 64 * 1024 * 1024  # chunks in memory: one start of a track for a crowd that comes at once
    drain_s: float = 5.0  # a chunk at 100 kB/s
    buffered_low_bytes: int = 131_072  # half of the session's high-water mark
