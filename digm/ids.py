"""Names of things: every id is a 32-byte SHA-256 or Ed25519 key, written as 64 lower-case hex digits."""

import re

from digm.errors import CallerFault

ID_BYTES = 32
_HEX_ID = re.compile(r"[0-9a-f]{64}")


def is_hex_id(text: object) -> bool:
    """True for exactly 64 lower-case hex digits; the only names that may ever reach a file system."""
    return isinstance(text, str) and _HEX_ID.fullmatch(text) is not None


def to_hex(data: bytes) -> str:
    """Write a 32-byte id as 64 hex digits.

    Raises:
        CallerFault: `bad_id`, not 32 bytes.
    """
    if len(data) != ID_BYTES:
        raise CallerFault("bad_id", f"An id is {ID_BYTES} bytes, not {len(data)}.")
    return bytes(data).hex()


def from_hex(text: str) -> bytes:
    """Read a 32-byte id from 64 lower-case hex digits.

    Raises:
        CallerFault: `bad_id`, anything else.
    """
    if not is_hex_id(text):
        raise CallerFault("bad_id", "An id is 64 lower-case hex digits.")
    return bytes.fromhex(text)


def short(value: bytes | str) -> str:
    """The first 8 hex digits: enough for a log line, not enough to find a swarm."""
    return (value if isinstance(value, str) else value.hex())[:8]
