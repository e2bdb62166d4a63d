"""WebSocket frames, the server's half of RFC 6455, sans-IO: bytes in, messages out, no extensions.

aiohttp answers the upgrade; from there on a socket of signalling is this, because a task, a queue and a reader
object for every socket cost more than what they carry (docs/decisions/0009).
"""

import struct
from enum import IntEnum

MAX_CONTROL_BYTES = 125
MAX_FRAGMENTS = 256  # of one message: browsers send one to three
_FIN, _RESERVED, _MASKED = 0x80, 0x70, 0x80
_WHOLE_TEXT = 0x81  # the first byte of an unfragmented text frame
_SHORT, _LONG = struct.Struct(">H"), struct.Struct(">Q")
_NORMAL_CLOSURE = 1000


class Opcode(IntEnum):
    """RFC 6455 §5.2."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


_KNOWN = frozenset(Opcode)


class FrameFault(Exception):
    """The bytes are no frames of a client's; close with `close_code`."""

    def __init__(self, close_code: int, why: str) -> None:
        super().__init__(why)
        self.close_code = close_code


class FrameReader:
    """Messages out of what one client sends. Takes them one at a time, so that the reader sets the pace.

    Args:
        max_bytes: of a message over all its fragments.
    """

    __slots__ = ("_at", "_data", "_fragment_count", "_fragments", "_max_bytes", "_needed", "_opcode")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._data: bytes | bytearray = b""
        self._at = 0
        self._needed = 2
        self._opcode = 0
        self._fragments: bytearray | None = None
        self._fragment_count = 0

    @property
    def is_between(self) -> bool:
        """No message has begun: what arrives now begins with a frame."""
        return self._at == len(self._data) and self._fragments is None

    @staticmethod
    def whole(data: bytes, at: int) -> tuple[bytearray, int] | None:
        """The text frame that begins at `at`, if it is all there, as it nearly always is; else `feed` the rest.

        Returns:
            its payload and where it ends.
        """
        there = len(data)
        if there < at + 8 or data[at] != _WHOLE_TEXT or not data[at + 1] & _MASKED:
            return None
        length, start = data[at + 1] & 0x7F, at + 6
        if length == 126:
            length, start = data[at + 2] << 8 | data[at + 3], at + 8
        end = start + length
        if length == 127 or end > there:
            return None
        payload = bytearray(data[start:end])
        unmask(data[start - 4 : start], payload)
        return payload, end

    def feed(self, data: bytes) -> None:
        """Take what arrived."""
        if self._at == len(self._data):
            self._data, self._at = data, 0
            return
        if isinstance(self._data, bytes):
            self._data, self._at = bytearray(self._data[self._at :]), 0
        elif self._at:
            del self._data[: self._at]
            self._at = 0
        self._data += data

    def next(self) -> tuple[int, bytes | bytearray] | None:
        """The next message or control frame: (opcode, payload); None until more is fed.

        Raises:
            FrameFault: the connection cannot go on.
        """
        while (frame := self._frame()) is not None:
            first, payload = frame
            opcode = first & 0x0F
            if opcode >= Opcode.CLOSE or (first & _FIN and opcode and self._fragments is None):
                return opcode, payload
            if (message := self._joined(first, payload)) is not None:
                return message
        return None

    def _joined(self, first: int, payload: bytes | bytearray) -> tuple[int, bytes | bytearray] | None:
        """Put a fragment to the others; the message when it was the last."""
        opcode = first & 0x0F
        if (opcode == Opcode.CONTINUATION) == (self._fragments is None):
            raise FrameFault(1002, "a fragment out of order")
        if self._fragments is None:
            self._opcode, self._fragments, self._fragment_count = opcode, bytearray(), 0
        self._fragment_count += 1
        if self._fragment_count > MAX_FRAGMENTS:
            raise FrameFault(1008, "too many fragments")
        if len(self._fragments) + len(payload) > self._max_bytes:
            raise FrameFault(1009, "too long a message")
        self._fragments += payload
        if not first & _FIN:
            return None
        message, self._fragments = self._fragments, None
        return self._opcode, message

    def _frame(self) -> tuple[int, bytes | bytearray] | None:
        """The next frame: (its first byte, the payload unmasked)."""
        data, at = self._data, self._at
        there = len(data) - at
        if there < self._needed:
            return None
        first, length, mask_at = data[at], data[at + 1] & 0x7F, at + 2
        self._check_head(first, data[at + 1])
        if length >= 126:
            size = _SHORT if length == 126 else _LONG
            mask_at += size.size
            if there < mask_at - at:
                self._needed = mask_at - at
                return None
            length = size.unpack_from(data, at + 2)[0]
            if length > self._max_bytes:
                raise FrameFault(1009, "too long a message")
        end = mask_at + 4 + length
        if there < end - at:
            self._needed = end - at
            return None
        self._needed, self._at = 2, end
        payload = bytearray(data[mask_at + 4 : end])
        unmask(bytes(data[mask_at : mask_at + 4]), payload)
        return first, payload

    def _check_head(self, first: int, second: int) -> None:
        opcode = first & 0x0F
        if first & _RESERVED or not second & _MASKED or opcode not in _KNOWN:
            raise FrameFault(1002, "not a frame of a client's")
        if opcode >= Opcode.CLOSE and (not first & _FIN or second & 0x7F > MAX_CONTROL_BYTES):
            raise FrameFault(1002, "not a control frame")


def unmask_in_python(mask: bytes, data: bytearray) -> None:
    """XOR with the mask, in place (RFC 6455 §5.3)."""
    size = len(data)
    key = int.from_bytes((mask * ((size + 3) >> 2))[:size], "little")
    data[:] = (int.from_bytes(data, "little") ^ key).to_bytes(size, "little")


try:
    # Compiled, six times as fast. Not a public name of aiohttp's, so the other way stays and is tested.
    from aiohttp._websocket.helpers import websocket_mask as unmask
except ImportError:
    unmask = unmask_in_python


def frame(payload: bytes, opcode: int = Opcode.TEXT) -> bytes:
    """One unfragmented frame of a server's."""
    size = len(payload)
    if size < 126:
        return bytes((_FIN | opcode, size)) + payload
    if size < 65_536:
        return bytes((_FIN | opcode, 126)) + _SHORT.pack(size) + payload
    return bytes((_FIN | opcode, 127)) + _LONG.pack(size) + payload


def close_frame(code: int) -> bytes:
    """A close frame without a reason: the codes say it."""
    return frame(_SHORT.pack(code), Opcode.CLOSE)


def close_code_of(payload: bytes | bytearray) -> int:
    """The code in a client's close frame; 1000 where there is none that may be sent back (RFC 6455 §7.4)."""
    if len(payload) < 2:
        return _NORMAL_CLOSURE
    code = int(_SHORT.unpack_from(payload)[0])
    is_sendable = 1000 <= code <= 4999 and code not in (1004, 1005, 1006, 1015)
    return code if is_sendable else _NORMAL_CLOSURE
