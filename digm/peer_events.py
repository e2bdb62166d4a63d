"""What a peer session tells its shell (digm.peer_session)."""

from dataclasses import dataclass
from typing import Any

from digm.bitfield import Bitfield
from digm.errors import PeerFault
from digm.wire import Reason, Relay


@dataclass(frozen=True, slots=True)
class PeerReady:
    """HELLO came and fits the track.

    Attributes:
        availability: the session's own, by rendition id; it grows with every HAVE. Not to be changed.
        uploads: False when the peer said that it answers no requests.
    """

    availability: dict[int, Bitfield]
    uploads: bool


@dataclass(frozen=True, slots=True)
class ChunkAvailable:
    """The peer has one more chunk."""

    rendition: int
    chunk: int


@dataclass(frozen=True, slots=True)
class ChunkGone:
    """The peer has one chunk less."""

    rendition: int
    chunk: int


@dataclass(frozen=True, slots=True)
class RateOffered:
    """What the peer is willing to give; `slots` = 0: ask nothing until the next one."""

    bytes_per_s: int
    slots: int


@dataclass(frozen=True, slots=True)
class DataReceived:
    """A piece of the answer; `offset` counts from the start of the chunk and leaves no gap.

    `payload` is a slice of the message in the type it came in; nothing in it is verified.
    """

    request_id: int
    rendition: int
    chunk: int
    offset: int
    payload: Any


@dataclass(frozen=True, slots=True)
class RequestDone:
    """Every byte that was asked for has come."""

    request_id: int
    rendition: int
    chunk: int


@dataclass(frozen=True, slots=True)
class RequestRejected:
    """The peer will not answer; ask elsewhere."""

    request_id: int
    rendition: int
    chunk: int
    reason: Reason


@dataclass(frozen=True, slots=True)
class RequestTimedOut:
    """Nothing came for too long; the request is cancelled already. Ask elsewhere."""

    request_id: int
    rendition: int
    chunk: int


@dataclass(frozen=True, slots=True)
class UploadWanted:
    """A request got a slot: load the chunk, then call `upload_ready`, or `refuse` it."""

    request_id: int
    rendition: int
    chunk: int
    first_frame: int
    frame_count: int


@dataclass(frozen=True, slots=True)
class UploadDropped:
    """A request that had a slot is no longer wanted: the shell lets its bytes go."""

    request_id: int


@dataclass(frozen=True, slots=True)
class PeersOffered:
    """Peer exchange: ids that the peer claims are in the swarm."""

    peers: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Relayed:
    """A description on its way through us, or to us: of one data channel, its signature unchecked."""

    message: Relay


@dataclass(frozen=True, slots=True)
class Closed:
    """The session is over: close the channel. Open requests are lost; uploads are to be let go.

    Attributes:
        code: `closed` (we did), `channel_closed`, `hello_timeout`, or the code of the fault.
        fault: what the peer did wrong, when it did.
    """

    code: str
    fault: PeerFault | None = None


Event = (
    PeerReady
    | ChunkAvailable
    | ChunkGone
    | RateOffered
    | DataReceived
    | RequestDone
    | RequestRejected
    | RequestTimedOut
    | UploadWanted
    | UploadDropped
    | PeersOffered
    | Relayed
    | Closed
)
