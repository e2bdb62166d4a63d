"""What nodes say on the streams of the backbone: frames, requests and answers, sans-IO (docs/backbone.md).

Every message on a stream is one frame: an unsigned varint (multiformats) with the length, then that many bytes.
`/digm/manifest`, `/digm/cover`, `/digm/announcement`, `/digm/pin`, `/digm/audit`, `/digm/presence`,
`/digm/deployment` and `/digm/grant` are one frame each way; the answer's first byte is its status.
`/digm/peer` opens with a frame of 32 bytes, the track root, and a status; then both sides speak the session of
digm.peer_session, one message a frame.
"""

import re
from dataclasses import dataclass
from enum import IntEnum

from digm.carried_grants import MAX_CARRIED_BYTES, MAX_REQUEST_BYTES
from digm.errors import CallerFault, PeerFault, Unavailable
from digm.ids import ID_BYTES
from digm.manifest import MAX_COVER_BYTES, MAX_MANIFEST_BYTES
from digm.peer_messages import MAX_MESSAGE_BYTES

TOPIC = "digm.audio.v1"
MAX_GOSSIP_BYTES = 8_192  # an announcement; protocol.md
MAX_PREFIX_BYTES = 4
_MAX_FRAME_BYTES = (1 << 7 * MAX_PREFIX_BYTES) - 1
_CODE = re.compile(r"[a-z0-9_]{1,64}")
# How a provider record is keyed: the multihash of the SHA-256 that a track root or chunk hash is.
_SHA2_256 = b"\x12\x20"


@dataclass(frozen=True)
class StreamProtocol:
    """One stream protocol and what either side may ask of the other.

    Attributes:
        most_request_bytes, most_answer_bytes: of one frame; the answer's with its status.
        timeout_s: from the open stream to the last byte of the answer.
    """

    name: str
    most_request_bytes: int
    most_answer_bytes: int
    timeout_s: float


MANIFEST = StreamProtocol("/digm/manifest/1.0.0", ID_BYTES, MAX_MANIFEST_BYTES + 1, 20.0)
COVER = StreamProtocol("/digm/cover/1.0.0", ID_BYTES, MAX_COVER_BYTES + 1, 20.0)
PEER = StreamProtocol("/digm/peer/1.0.0", MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES, 30.0)
PIN = StreamProtocol("/digm/pin/1.0.0", 16_384, 16_384, 10.0)
AUDIT = StreamProtocol("/digm/audit/1.0.0", 1_024, 1_024, 20.0)
PRESENCE = StreamProtocol("/digm/presence/1.0.0", 2_048, 2_049, 10.0)
ANNOUNCEMENT = StreamProtocol("/digm/announcement/1.0.0", ID_BYTES, MAX_GOSSIP_BYTES + 1, 5.0)
DEPLOYMENT = StreamProtocol("/digm/deployment/1.0.0", ID_BYTES, 65_537, 10.0)
GRANT = StreamProtocol("/digm/grant/1.0.0", MAX_REQUEST_BYTES, MAX_CARRIED_BYTES + 1, 8.0)
PROTOCOLS = {
    protocol.name: protocol
    for protocol in (MANIFEST, COVER, PEER, PIN, AUDIT, PRESENCE, ANNOUNCEMENT, DEPLOYMENT, GRANT)
}


class Status(IntEnum):
    """The first byte of an answer. After OK comes the body; after the others a code such as `not_held`."""

    OK = 0
    NOT_HERE = 1  # ask another node
    REFUSED = 2  # the request breaks a rule; asking again will not help
    BUSY = 3  # ask again later
    FAILED = 4  # the node's own trouble


def encode_frame(payload: bytes) -> bytes:
    """Put the length in front. Raises like `frame_prefix`."""
    return frame_prefix(len(payload)) + payload


def frame_prefix(size: int) -> bytes:
    """What goes in front of a payload of so many bytes.

    Raises:
        CallerFault: `frame_too_large`.
    """
    if size > _MAX_FRAME_BYTES:
        raise CallerFault("frame_too_large", f"A frame has at most {_MAX_FRAME_BYTES} bytes, not {size}.")
    prefix = bytearray()
    while size > 0x7F:
        prefix.append(size & 0x7F | 0x80)
        size >>= 7
    prefix.append(size)
    return bytes(prefix)


class FrameReader:
    """Cuts a byte stream into frames.

    Args:
        most_bytes: of one frame. A longer one is refused by its prefix, before its bytes are kept.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Take bytes as they come."""
        self._buffer += data

    def next(self) -> bytes | None:
        """The next frame, if it is complete: one at a time, as thousands of small ones weigh much more cut.

        Raises:
            PeerFault: `frame_prefix`, longer than four bytes or not the shortest; `frame_too_large`.
        """
        head = self._head()
        if head is None:
            return None
        start, size = head
        if len(self._buffer) < start + size:
            return None
        with memoryview(self._buffer) as buffer, buffer[start : start + size] as payload:
            frame = bytes(payload)
        del self._buffer[: start + size]
        return frame

    @property
    def is_inside_frame(self) -> bool:
        """True when the stream must not end here."""
        return bool(self._buffer)

    def _head(self) -> tuple[int, int] | None:
        size = 0
        for at, byte in enumerate(self._buffer[:MAX_PREFIX_BYTES]):
            size |= (byte & 0x7F) << 7 * at
            if byte < 0x80:
                if at and not byte:
                    raise PeerFault("frame_prefix", "A frame's length is not written in the shortest way.")
                if size > self._most_bytes:
                    raise PeerFault(
                        "frame_too_large", f"A frame of {size} bytes is over {self._most_bytes}.", bytes=size
                    )
                return at + 1, size
        if len(self._buffer) >= MAX_PREFIX_BYTES:
            raise PeerFault("frame_prefix", "A frame's length has more than four bytes.")
        return None


def encode_answer(body: bytes) -> bytes:
    """An answer that says yes."""
    return bytes([Status.OK]) + body


def encode_refusal(status: Status, code: str) -> bytes:
    """An answer that says no, and why.

    Raises:
        CallerFault: `bad_code`, not 1 to 64 of a-z, 0-9 and _.
    """
    if status is Status.OK or not _CODE.fullmatch(code):
        raise CallerFault("bad_code", f"{code!r:.80} is no code of a refusal.")
    return bytes([status]) + code.encode()


def decode_answer(answer: bytes) -> bytes:
    """The body of an answer.

    Raises:
        Unavailable: `peer_refused`; its data has `status` (lower case) and the node's own `reason`.
        PeerFault: `answer_malformed`.
    """
    if not answer:
        raise PeerFault("answer_malformed", "An answer has at least its status.")
    if answer[0] == Status.OK:
        return answer[1:]
    try:
        status, reason = Status(answer[0]), answer[1:].decode("ascii")
    except ValueError as error:  # an unknown status, or a reason that is no text
        raise PeerFault("answer_malformed", "The answer's status or reason makes no sense.") from error
    if not _CODE.fullmatch(reason):
        raise PeerFault("answer_malformed", "The answer's reason is no code.")
    raise Unavailable("peer_refused", f"The node says no: {reason}.", status=status.name.lower(), reason=reason)


def track_root_of(frame: bytes) -> bytes:
    """The request of `/digm/manifest` and `/digm/cover`, and what opens a stream of `/digm/peer`: 32 bytes.

    Raises:
        PeerFault: `bad_track_root`.
    """
    if len(frame) != ID_BYTES:
        raise PeerFault("bad_track_root", f"A track root has {ID_BYTES} bytes, not {len(frame)}.")
    return frame


def provider_key(digest: bytes) -> bytes:
    """The Kademlia key under which providers of a track root, manifest hash or chunk hash are found.

    Raises:
        CallerFault: `bad_id`.
    """
    if len(digest) != ID_BYTES:
        raise CallerFault("bad_id", f"An id is {ID_BYTES} bytes, not {len(digest)}.")
    return _SHA2_256 + digest
