"""What a peer session may be in, the ways between, and the numbers it goes by."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

UNLIMITED_BYTES_PER_S = 0xFFFF_FFFF


@dataclass(frozen=True)
class SessionSettings:
    """The numbers of a session; each with where it comes from."""

    hello_timeout_s: float = 10.0  # a channel that is open has a round trip below 1 s; ICE is done by then
    request_silence_s: float = 2.0  # protocol.md: two seconds of silence move a request elsewhere
    max_outstanding: int = 16  # requests that we keep at one peer; the scheduler stays far below
    upload_slots: int = 2  # one chunk goes out while the next is read
    upload_queue: int = 14  # with the slots, an honest peer's max_outstanding fits
    buffered_high_bytes: int = 262_144  # four messages: a CANCEL takes effect within them
    messages_per_s: float = 200.0  # HAVE, REQUEST, CANCEL ... of a peer that fetches at 100 MB/s
    message_burst: float = 1_000.0  # a seek in a long track cancels and asks anew; HAVE of a whole album side
    exchanges_per_s: float = 0.2  # PEERS goes out every 30 s, and 3 s after a change
    exchange_burst: float = 8.0  # a page that meets ten peers one by one
    relays_per_s: float = 0.5  # introductions matter while the hub is away, and then once for each pair
    relay_burst: float = 20.0  # ten offers and ten answers
    late_data_s: float = 30.0  # the buffered 256 KiB leave a 10 kB/s uplink in 26 s
    false_claims_allowed: int = 8  # who evicts says GONE, so that only requests under way meet a refusal
    silences_allowed: int = 8  # 16 s and not one byte, for two requests at a time; loss of 20 % has gaps of 4 s


DEFAULT_SETTINGS = SessionSettings()


class State(Enum):
    """What a session may be in; TRANSITIONS has the ways between."""

    EXPECTING_HELLO = "expecting_hello"
    OPEN = "open"
    CLOSED = "closed"


TRANSITIONS: Mapping[State, Mapping[str, State]] = {
    State.EXPECTING_HELLO: {
        "hello": State.OPEN,
        "fault": State.CLOSED,
        "timeout": State.CLOSED,
        "close": State.CLOSED,
    },
    State.OPEN: {"fault": State.CLOSED, "close": State.CLOSED},
    State.CLOSED: {},
}
