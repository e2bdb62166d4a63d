"""The limits of signalling. Operators set those that name a setting; tests may set them all."""

from dataclasses import dataclass

from digm.sdp import MAX_CANDIDATES
from digm.signalling import MAX_MESSAGE_BYTES, MAX_PEERS


@dataclass(frozen=True)
class SignallingSettings:
    """Every number that the hub's half of signalling goes by."""

    heartbeat_s: float = 45.0  # protocol.md: announce every 30-60 s; clients jitter it down by up to 30 %
    presence_s: float = 100.0  # two announcements may get lost
    hello_timeout_s: float = 10.0  # a phone on a bad link signs and answers within it
    ping_s: float = 25.0  # below the 30-60 s after which NATs and proxies drop idle TCP
    messages_per_s: float = 100.0  # a seeding peer that answers 20 newcomers a second
    message_burst: float = 400.0  # one page that meets ten peers sends about 150 candidates
    address_messages_per_s: float = 1_000.0  # a school behind one address, ten sessions at their full rate
    address_message_burst: float = 8_000.0  # fifty pages behind one address that begin at once
    address_opens_per_minute: int = 600  # a crowd behind one address comes back after a hub's restart
    sessions_per_address: int = 250  # DIGM_SESSIONS_PER_ADDRESS
    swarm_messages_per_s: float = 10_000.0  # a third of what one hub relays: the other swarms go on
    swarm_message_burst: float = 50_000.0  # a release that a thousand listeners open in the same second
    outgoing_bytes: int = 1_048_576  # waiting for a socket that does not read; then it is closed
    send_timeout_s: float = 10.0  # a socket takes nothing while its buffers are full; then it is cut
    close_timeout_s: float = 2.0  # a drain waits so long for a peer's side of the closing handshake
    faults_allowed: int = 16  # malformed or refused messages until the session is closed
    max_sessions: int = 15_000  # the machine's open files (20,000) leave room for the rest
    max_swarms_per_session: int = 10_000  # each needs a token that was issued here; a seeding peer has many
    max_peers: int = MAX_PEERS  # protocol.md: at most 10 in one answer
    max_candidates: int = MAX_CANDIDATES  # trickled to one peer since the last offer or answer to it
    drain_spread_s: float = 5.0  # a drained hub's listeners come back over this long
    move_spread_s: float = 10.0  # a swarm whose home is back moves there over this long
    probe_s: float = 2.0  # how often the other hubs are asked whether they live; two misses: they do not
    min_listeners: int = 0  # DIGM_MIN_LISTENERS: below it listeners do not connect with each other

    def limits(self) -> dict[str, int]:
        """What `welcome` tells the peer."""
        return {
            "message_bytes": MAX_MESSAGE_BYTES,
            "messages_per_s": int(self.messages_per_s),
            "peers": self.max_peers,
            "swarms": self.max_swarms_per_session,
            "candidates": self.max_candidates,
            "min_listeners": self.min_listeners,
        }
