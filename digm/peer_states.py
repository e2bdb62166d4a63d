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
