"""What peers say to each other in a session `digm.peer.1`, as values; digm.wire has them as bytes."""

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Any

from digm.bitfield import Bitfield
from digm.chunks import FRAMES_PER_CHUNK

VERSION = 1
LABEL = "digm.peer.1"  # label and subprotocol of the data channel

MAX_MESSAGE_BYTES = 65_536  # what every WebRTC stack accepts (RFC 8831 §6.6)
DATA_HEADER_BYTES = 9
MAX_PAYLOAD_BYTES = MAX_MESSAGE_BYTES - DATA_HEADER_BYTES
MIN_PAYLOAD_BYTES = 4_096  # of every DATA message but the last of an answer
MAX_PEERS = 10
RELAY_CONTEXT = b"digm/1 relay"  # Ed25519 signs this, the track root and the message without its signature
MAX_FRAMES = max(FRAMES_PER_CHUNK)


class Type(IntEnum):
    """The first byte of a message."""

    HELLO = 1
    HAVE = 2
    REQUEST = 3
    DATA = 4
    REJECT = 5
    CANCEL = 6
    RATE = 7
    PEERS = 8
    RELAY = 9
    GONE = 10


class Flag(IntFlag):
    """HELLO flags; unknown bits are ignored, so that later versions may use them."""

    UPLOADS = 1  # answers requests; a listener who switched sharing off does not


class Reason(IntEnum):
    """Why a request is rejected or cancelled. An unknown number reads as UNSPECIFIED."""

    UNSPECIFIED = 0
    NO_SLOT = 1  # queue full: ask again later, or elsewhere
    NOT_HELD = 2  # the chunk is not (or no longer) here, or failed its own check
    NOT_SHARING = 3  # switched off, metered, low battery
    GOING_AWAY = 4
    NO_LONGER_WANTED = 5
    TOO_SLOW = 6


@dataclass(frozen=True, slots=True)
class Hello:
    """First message both ways; `availability` has every rendition of the manifest, by its id."""

    track_root: bytes
    availability: dict[int, Bitfield]
    flags: Flag = Flag.UPLOADS
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Have:
    """One more chunk that the sender verified and holds."""

    rendition: int
    chunk: int


@dataclass(frozen=True, slots=True)
class Request:
    """Asks for `frame_count` frames of a chunk, from `first_frame` on; the id is the asker's to choose."""

    request_id: int
    rendition: int
    chunk: int
    first_frame: int
    frame_count: int


@dataclass(frozen=True, slots=True)
class Data:
    """A piece of the answer; `offset` counts bytes from the start of the chunk; pieces come in order.

    `payload` is a slice of what was given to `decode`, in the type it came in.
    """

    request_id: int
    offset: int
    payload: Any


@dataclass(frozen=True, slots=True)
class Reject:
    """The uploader will not answer this request."""

    request_id: int
    reason: Reason


@dataclass(frozen=True, slots=True)
class Cancel:
    """The asker no longer wants this request answered."""

    request_id: int
    reason: Reason = Reason.NO_LONGER_WANTED


@dataclass(frozen=True, slots=True)
class Rate:
    """What the uploader offers; no slots (or no bytes) means: stop asking until the next RATE."""

    bytes_per_s: int
    slots: int


@dataclass(frozen=True, slots=True)
class Peers:
    """Peer ids (Ed25519 public keys, 32 bytes) that the sender knows in the same swarm."""

    peers: tuple[bytes, ...]


class RelayKind(IntEnum):
    """What a relayed description is."""

    OFFER = 1
    ANSWER = 2


@dataclass(frozen=True, slots=True)
class Relay:
    """A description for a member of the swarm whom the receiver of this message knows, or from one.

    Whoever gets it and is not `recipient` passes it on as it is, if it came from `sender` itself. The signature
    is by `sender`'s key over `relay_message`; only the recipient checks it.
    """

    sender: bytes
    recipient: bytes
    kind: RelayKind
    signature: bytes
    sdp: str


@dataclass(frozen=True, slots=True)
class Gone:
    """The sender no longer holds this chunk; the opposite of HAVE."""

    rendition: int
    chunk: int


Message = Hello | Have | Request | Data | Reject | Cancel | Rate | Peers | Relay | Gone
