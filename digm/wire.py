"""Binary messages of the peer session `digm.peer.1` (docs/protocol.md): bytes in, values out, and back.

One message per data-channel message; on a byte stream whoever owns the stream prefixes each with its length.
All integers are big-endian and unsigned.

| type | fields |
| --- | --- |
| 1 HELLO | u16 version, 32 bytes track root, u8 flags, u8 renditions, each: u16 id, u32 chunks, bitfield |
| 2 HAVE | u16 rendition, u32 chunk |
| 3 REQUEST | u32 request id, u16 rendition, u32 chunk, u8 first frame, u8 frame count |
| 4 DATA | u32 request id, u32 offset from the start of the chunk, payload |
| 5 REJECT | u32 request id, u8 reason |
| 6 CANCEL | u32 request id, u8 reason |
| 7 RATE | u32 bytes per second, u8 slots |
| 8 PEERS | u8 count, 32 bytes each |
| 9 RELAY | 32 bytes from, 32 bytes to, u8 kind, 64 bytes signature, SDP of 1 to 16,384 bytes |
| 10 GONE | u16 rendition, u32 chunk |

`decode` works on anything that has `len()`, slices and `bytes(slice)`, and only ever converts the header of a
DATA message: in the page the payload stays in the JavaScript buffer that it came in. Whether a message makes
sense *now* is for digm.peer_session.
"""

import struct
from collections.abc import Callable
from typing import Any, Protocol

from digm.bitfield import Bitfield, bitfield_bytes
from digm.chunks import MAX_RENDITIONS
from digm.errors import CallerFault, PeerFault
from digm.peer_messages import (
    DATA_HEADER_BYTES,
    LABEL,
    MAX_FRAMES,
    MAX_MESSAGE_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_PEERS,
    MIN_PAYLOAD_BYTES,
    RELAY_CONTEXT,
    VERSION,
    Cancel,
    Data,
    Flag,
    Gone,
    Have,
    Hello,
    Message,
    Peers,
    Rate,
    Reason,
    Reject,
    Relay,
    RelayKind,
    Request,
    Type,
)
from digm.sdp import MAX_SDP_BYTES

__all__ = [
    "DATA_HEADER_BYTES",
    "LABEL",
    "MAX_FRAMES",
    "MAX_MESSAGE_BYTES",
    "MAX_PAYLOAD_BYTES",
    "MAX_PEERS",
    "MIN_PAYLOAD_BYTES",
    "RELAY_CONTEXT",
    "VERSION",
    "Cancel",
    "Data",
    "Flag",
    "Gone",
    "Have",
    "Hello",
    "Message",
    "Peers",
    "Rate",
    "Reason",
    "Reject",
    "Relay",
    "RelayKind",
    "Request",
    "Type",
    "data_header",
    "decode",
    "encode",
    "relay_message",
]


class Readable(Protocol):
    """What `decode` needs: bytes, memoryview, or a thin wrapper around a Uint8Array."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: slice, /) -> Any: ...


_HELLO = struct.Struct(">BH32sBB")
_HELLO_RENDITION = struct.Struct(">HI")
_HAVE = struct.Struct(">BHI")
_REQUEST = struct.Struct(">BIHIBB")
_DATA = struct.Struct(">BII")
_VERDICT = struct.Struct(">BIB")
_RATE = struct.Struct(">BIB")
_PEERS = struct.Struct(">BB")
_RELAY = struct.Struct(">B32s32sB64s")


def data_header(request_id: int, offset: int, payload_bytes: int) -> bytes:
    """The 9 bytes that go in front of a payload, so that a shell may keep the payload in a buffer of its own.

    Raises:
        CallerFault: `bad_message`, the payload is empty or over MAX_PAYLOAD_BYTES, or a number is out of range.
    """
    if not 1 <= payload_bytes <= MAX_PAYLOAD_BYTES:
        raise CallerFault("bad_message", f"A DATA payload has 1 to {MAX_PAYLOAD_BYTES} bytes.")
    return _pack(_DATA, Type.DATA, request_id, offset)


def relay_message(track_root: bytes, sender: bytes, recipient: bytes, kind: RelayKind, sdp: str) -> bytes:
    """What the sender of a RELAY signs."""
    return RELAY_CONTEXT + track_root + sender + recipient + bytes([kind]) + sdp.encode()


def encode(message: Message) -> bytes:
    """Write one message; at most MAX_MESSAGE_BYTES.

    Raises:
        CallerFault: `bad_message`, a field is out of range.
    """
    match message:
        case Data():
            header = data_header(message.request_id, message.offset, len(message.payload))
            encoded = header + bytes(message.payload)
        case Request():
            _check_frames(message.first_frame, message.frame_count, CallerFault)
            encoded = _pack(_REQUEST, Type.REQUEST, message.request_id, message.rendition, message.chunk,
                            message.first_frame, message.frame_count)  # fmt: skip
        case Have() | Gone():
            kind = Type.HAVE if isinstance(message, Have) else Type.GONE
            encoded = _pack(_HAVE, kind, message.rendition, message.chunk)
        case Reject():
            encoded = _pack(_VERDICT, Type.REJECT, message.request_id, message.reason)
        case Cancel():
            encoded = _pack(_VERDICT, Type.CANCEL, message.request_id, message.reason)
        case Rate():
            encoded = _pack(_RATE, Type.RATE, message.bytes_per_s, message.slots)
        case Peers():
            encoded = _encode_peers(message)
        case Relay():
            encoded = _encode_relay(message)
        case Hello():
            encoded = _encode_hello(message)
    if len(encoded) > MAX_MESSAGE_BYTES:
        raise CallerFault("bad_message", f"A message of {len(encoded)} bytes is over {MAX_MESSAGE_BYTES}.")
    return encoded


def decode(message: Readable) -> Message:
    """Read one message; every length, count and bound is checked.

    Args:
        message: one whole data-channel message; only its header is converted when it is DATA.
    Raises:
        PeerFault: `message_length`, `message_type`, `message_field`, `bitfield_length`, `bitfield_padding`,
            `version_unknown`.
    """
    size = len(message)
    if not 1 <= size <= MAX_MESSAGE_BYTES:
        raise PeerFault("message_length", f"A message has 1 to {MAX_MESSAGE_BYTES} bytes, not {size}.")
    first = bytes(message[0:1])[0]
    if first == Type.DATA:
        return _decode_data(message, size)
    reader = _READERS.get(first)
    if reader is None:
        raise PeerFault("message_type", f"There is no message type {first}.", type=first)
    return reader(bytes(message[0:size]))


def _pack(layout: struct.Struct, *fields: int) -> bytes:
    try:
        return layout.pack(*fields)
    except struct.error as error:
        raise CallerFault("bad_message", f"A field is out of range: {error}.") from error


def _unpack(layout: struct.Struct, raw: bytes) -> tuple[Any, ...]:
    if len(raw) != layout.size:
        raise PeerFault("message_length", f"A message of {len(raw)} bytes should have {layout.size}.")
    return layout.unpack(raw)[1:]


def _check_frames(first_frame: int, frame_count: int, fault: type[CallerFault] | type[PeerFault]) -> None:
    if frame_count < 1 or first_frame + frame_count > MAX_FRAMES:
        code = "message_field" if fault is PeerFault else "bad_message"
        raise fault(code, f"Frames {first_frame}+{frame_count} are not in a chunk of {MAX_FRAMES} frames.")


def _reason(number: int) -> Reason:
    try:
        return Reason(number)
    except ValueError:
        return Reason.UNSPECIFIED


def _decode_data(message: Readable, size: int) -> Data:
    if size <= DATA_HEADER_BYTES:
        raise PeerFault("message_length", "A DATA message has no payload.")
    request_id, offset = _unpack(_DATA, bytes(message[0:DATA_HEADER_BYTES]))
    return Data(request_id, offset, message[DATA_HEADER_BYTES:size])


def _decode_request(raw: bytes) -> Request:
    request = Request(*_unpack(_REQUEST, raw))
    _check_frames(request.first_frame, request.frame_count, PeerFault)
    return request


def _decode_reject(raw: bytes) -> Reject:
    request_id, reason = _unpack(_VERDICT, raw)
    return Reject(request_id, _reason(reason))


def _decode_cancel(raw: bytes) -> Cancel:
    request_id, reason = _unpack(_VERDICT, raw)
    return Cancel(request_id, _reason(reason))


def _encode_peers(message: Peers) -> bytes:
    if len(message.peers) > MAX_PEERS or any(len(peer) != 32 for peer in message.peers):
        raise CallerFault("bad_message", f"PEERS carries at most {MAX_PEERS} ids of 32 bytes.")
    return _pack(_PEERS, Type.PEERS, len(message.peers)) + b"".join(message.peers)


def _decode_peers(raw: bytes) -> Peers:
    count = raw[1] if len(raw) > 1 else -1
    if not 0 <= count <= MAX_PEERS or len(raw) != _PEERS.size + 32 * count:
        raise PeerFault("message_length", f"PEERS says {count} ids in {len(raw)} bytes.")
    return Peers(tuple(raw[at : at + 32] for at in range(_PEERS.size, len(raw), 32)))


def _encode_relay(message: Relay) -> bytes:
    sdp = message.sdp.encode("utf-8", "surrogatepass")
    ids = (message.sender, message.recipient)
    if not 1 <= len(sdp) <= MAX_SDP_BYTES or [len(i) for i in (*ids, message.signature)] != [32, 32, 64]:
        raise CallerFault(
            "bad_message", f"RELAY has two ids, a signature and 1 to {MAX_SDP_BYTES} bytes of SDP."
        )
    return _RELAY.pack(Type.RELAY, *ids, message.kind, message.signature) + sdp


def _decode_relay(raw: bytes) -> Relay:
    if not _RELAY.size < len(raw) <= _RELAY.size + MAX_SDP_BYTES:
        raise PeerFault("message_length", f"RELAY has {len(raw)} bytes.")
    _, sender, recipient, kind, signature = _RELAY.unpack_from(raw)
    try:
        return Relay(sender, recipient, RelayKind(kind), signature, raw[_RELAY.size :].decode())
    except ValueError as error:  # also what bytes that are not UTF-8 raise
        raise PeerFault("message_field", "RELAY carries an unknown kind, or no text.") from error


def _encode_hello(message: Hello) -> bytes:
    if len(message.track_root) != 32 or not 1 <= len(message.availability) <= MAX_RENDITIONS:
        raise CallerFault("bad_message", f"HELLO has a 32-byte root and 1 to {MAX_RENDITIONS} renditions.")
    try:
        parts = [
            _HELLO.pack(
                Type.HELLO, message.version, message.track_root, message.flags, len(message.availability)
            )
        ]
        for rendition, held in sorted(message.availability.items()):
            parts += [_HELLO_RENDITION.pack(rendition, held.count), held.encode()]
    except struct.error as error:
        raise CallerFault("bad_message", f"A field is out of range: {error}.") from error
    return b"".join(parts)


def _decode_hello(raw: bytes) -> Hello:
    if len(raw) < _HELLO.size:
        raise PeerFault("message_length", f"HELLO has {len(raw)} bytes.")
    _, version, track_root, flags, renditions = _HELLO.unpack_from(raw)
    if version != VERSION:
        raise PeerFault(
            "version_unknown", f"The peer speaks version {version}, not {VERSION}.", version=version
        )
    if not 1 <= renditions <= MAX_RENDITIONS:
        raise PeerFault("message_field", f"HELLO names {renditions} renditions.")
    availability: dict[int, Bitfield] = {}
    at = _HELLO.size
    for _ in range(renditions):
        if len(raw) < at + _HELLO_RENDITION.size:
            raise PeerFault("message_length", "HELLO ends inside a rendition.")
        rendition, count = _HELLO_RENDITION.unpack_from(raw, at)
        at += _HELLO_RENDITION.size
        if rendition in availability:
            raise PeerFault("message_field", f"HELLO names rendition {rendition} twice.")
        end = at + bitfield_bytes(count)
        availability[rendition] = Bitfield.decode(raw[at:end], count)
        at = end
    if at != len(raw):
        raise PeerFault("message_length", f"HELLO has {len(raw) - at} bytes too many.")
    return Hello(track_root, availability, Flag(flags & int(Flag.UPLOADS)), version)


_READERS: dict[int, Callable[[bytes], Message]] = {
    Type.HELLO: _decode_hello,
    Type.HAVE: lambda raw: Have(*_unpack(_HAVE, raw)),
    Type.REQUEST: _decode_request,
    Type.REJECT: _decode_reject,
    Type.CANCEL: _decode_cancel,
    Type.RATE: lambda raw: Rate(*_unpack(_RATE, raw)),
    Type.PEERS: _decode_peers,
    Type.RELAY: _decode_relay,
    Type.GONE: lambda raw: Gone(*_unpack(_HAVE, raw)),
}
