"""STUN and TURN messages on the wire (RFC 8489, RFC 8656): aioice's codec behind checks of all that comes in.

aioice was written for a client: it keeps the last of several equal attributes, accepts ones that are cut off,
and does not know which unknown ones must be refused. What a server needs beyond it is here.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from aioice import stun

from digm.errors import PeerFault

CHANNEL_HEADER = struct.Struct("!HH")
CHANNELS = range(0x4000, 0x8000)  # RFC 8656 reserves those from 0x5000 on; clients of RFC 5766 use them
UDP_PROTOCOL = 17
REQUESTED_ADDRESS_FAMILY = "REQUESTED-ADDRESS-FAMILY"
EVEN_PORT = "EVEN-PORT"
UNKNOWN_ATTRIBUTES = "UNKNOWN-ATTRIBUTES"
_MUST_UNDERSTAND_BELOW = 0x8000
_PEER_ADDRESS = 0x0012
_XOR_TYPES = frozenset({0x0012, 0x0016, 0x0020})

# Attributes of RFC 8656 that aioice's client has no use for.
for _type, _name in ((0x0017, REQUESTED_ADDRESS_FAMILY), (0x0018, EVEN_PORT), (0x000A, UNKNOWN_ATTRIBUTES)):
    _entry = (_type, _name, stun.pack_bytes, stun.unpack_bytes)
    stun.ATTRIBUTES_BY_TYPE.setdefault(_type, _entry)
    stun.ATTRIBUTES_BY_NAME.setdefault(_name, _entry)


@dataclass(frozen=True)
class Request:
    """A message as it came.

    Args:
        peers: every XOR-PEER-ADDRESS in order; the others are in `message.attributes`.
        unknown: types of attributes that we do not know and that must be understood.
    """

    message: stun.Message
    peers: tuple[tuple[str, int], ...]
    unknown: tuple[int, ...]

    def get(self, name: str) -> Any:
        """An attribute's value, or None."""
        return self.message.attributes.get(name)


def decode(data: bytes, most_bytes: int) -> Request:
    """Read one STUN message.

    Raises:
        PeerFault: `stun_malformed`.
    """
    if not stun.HEADER_LENGTH <= len(data) <= most_bytes or data[0] & 0xC0 or data[4:8] != b"\x21\x12\xa4\x42":
        raise PeerFault("stun_malformed", "This is not a STUN message.")
    try:
        attributes = list(_attributes(data))
        types = [kind for kind, _ in attributes]
        if len(set(types) - {_PEER_ADDRESS}) != len([kind for kind in types if kind != _PEER_ADDRESS]):
            raise ValueError("an attribute comes twice")
        peers = tuple(
            stun.unpack_xor_address(value, data[8:20]) for kind, value in attributes if kind == _PEER_ADDRESS
        )
        message = stun.parse_message(data)
    except (ValueError, struct.error, IndexError) as error:
        raise PeerFault("stun_malformed", f"This STUN message makes no sense: {error!s:.100}.") from error
    unknown = {kind for kind in types if kind < _MUST_UNDERSTAND_BELOW and kind not in stun.ATTRIBUTES_BY_TYPE}
    return Request(message, peers, tuple(sorted(unknown)))


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = stun.HEADER_LENGTH
    while at < len(data):
        kind, length = struct.unpack_from("!HH", data, at)
        end = at + 4 + length
        if end > len(data):
            raise ValueError("an attribute is cut off")
        yield kind, data[at + 4 : end]
        at = end + stun.padding_length(length)
    if at != len(data):
        raise ValueError("the padding is missing")


def is_channel_data(data: bytes) -> bool:
    """Whether a datagram is ChannelData rather than STUN (RFC 8656 §12.4)."""
    return len(data) >= CHANNEL_HEADER.size and data[0] & 0xC0 == 0x40


def decode_channel_data(data: bytes) -> tuple[int, bytes]:
    """Channel number and payload.

    Raises:
        PeerFault: `channel_data_malformed`.
    """
    channel, length = CHANNEL_HEADER.unpack_from(data)
    if len(data) < CHANNEL_HEADER.size + length:
        raise PeerFault("channel_data_malformed", "The channel's data is cut off.")
    return channel, data[CHANNEL_HEADER.size : CHANNEL_HEADER.size + length]


def encode_channel_data(channel: int, payload: bytes) -> bytes:
    """Without padding: a stream adds that."""
    return CHANNEL_HEADER.pack(channel, len(payload)) + payload


class Framing:
    """Messages out of a TCP stream (RFC 8656 §12.5): bytes in, whole messages out, nothing unbounded kept.

    Args:
        most_bytes: of one message.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take bytes and give the messages that are complete now.

        Raises:
            PeerFault: `frame_bad`: the stream is neither STUN nor ChannelData, or a message is too long.
        """
        self._buffer += data
        while len(self._buffer) >= CHANNEL_HEADER.size:
            length = self._frame_bytes()
            if len(self._buffer) < length:
                return
            frame = bytes(self._buffer[:length])
            del self._buffer[:length]
            yield frame

    def _frame_bytes(self) -> int:
        first: int
        length: int
        first, length = CHANNEL_HEADER.unpack_from(self._buffer)
        match first >> 14:
            case 0 if length % 4 == 0:
                length += stun.HEADER_LENGTH
            case 1:
                length += CHANNEL_HEADER.size + stun.padding_length(length)
            case _:
                raise PeerFault("frame_bad", "The stream is neither STUN nor ChannelData.")
        if length > self._most_bytes:
            raise PeerFault("frame_bad", "The message is too long.")
        return length


def padded(data: bytes) -> bytes:
    """A message as it stands in a stream."""
    return data + bytes(stun.padding_length(len(data)))
