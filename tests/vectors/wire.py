"""`wire.json`: one vector for each message of the peer session, good and bad, and what must come of it.

python -m tests.vectors.wire      writes the file; only when the protocol itself changes

`check` needs nothing but `digm`, so that the same file is checked by CPython and in the page.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from digm import wire
from digm.bitfield import Bitfield
from digm.errors import PeerFault

WIRE_VECTORS = Path(__file__).parent / "wire.json"
ROOT = bytes(range(32))

HELLO = "010001" + ROOT.hex()

GOOD: dict[str, wire.Message] = {
    "hello, two renditions, nothing of the second": wire.Hello(
        ROOT, {0: Bitfield(13, [0, 7, 8, 12]), 1: Bitfield(1)}, wire.Flag.UPLOADS
    ),
    "hello of somebody who gives nothing": wire.Hello(ROOT, {0: Bitfield.full(8)}, wire.Flag(0)),
    "have": wire.Have(1, 70_000),
    "request for a whole chunk": wire.Request(1, 0, 12, 0, 8),
    "request for the last frame of the largest chunk": wire.Request(0xFFFF_FFFF, 0xFFFF, 0xFFFF_FFFF, 15, 1),
    "data": wire.Data(1, 65_527, b"encrypted"),
    "reject, not held": wire.Reject(2, wire.Reason.NOT_HELD),
    "cancel, no longer wanted": wire.Cancel(3, wire.Reason.NO_LONGER_WANTED),
    "rate": wire.Rate(1_000_000, 16),
    "rate, stop asking": wire.Rate(0, 0),
    "peers": wire.Peers((bytes(32), bytes([255] * 32))),
    "no peers": wire.Peers(()),
    "relay, an offer": wire.Relay(
        bytes(32), bytes([255] * 32), wire.RelayKind.OFFER, bytes([7] * 64), "v=0\r\n"
    ),
    "relay, an answer": wire.Relay(
        bytes([1] * 32), bytes([2] * 32), wire.RelayKind.ANSWER, bytes([9] * 64), "v=0\r\ns=\u266b\r\n"
    ),
    "gone": wire.Gone(1, 70_000),
}
BAD: dict[str, tuple[str, str]] = {
    "nothing": ("", "message_length"),
    "a type that does not exist": ("0b", "message_type"),
    "type zero": ("00", "message_type"),
    "hello of version 2": (HELLO.replace("010001", "010002") + "0101" + "00000000000180", "version_unknown"),
    "hello without renditions": (HELLO + "0100", "message_field"),
    "hello that names a rendition twice": (
        HELLO + "0102" + "00000000000180" + "00000000000180",
        "message_field",
    ),
    "hello with a bit after the last chunk": (HELLO + "0101" + "000000000001c0", "bitfield_padding"),
    "hello with a short bitfield": (HELLO + "0101" + "000000000009ff", "bitfield_length"),
    "hello with bytes left over": (HELLO + "0101" + "0000000000018000", "message_length"),
    "hello with more chunks than any track has": (HELLO + "0101" + "0000ffffffff80", "bitfield_length"),
    "have, a byte short": ("020001000111", "message_length"),
    "request for no frames": ("0300000001000000000000" + "0000", "message_field"),
    "request past the largest chunk": ("0300000001000000000000" + "0f02", "message_field"),
    "data without payload": ("040000000100000000", "message_length"),
    "reject, a byte too many": ("05000000010100", "message_length"),
    "peers, eleven of them": ("080b" + "00" * 32 * 11, "message_length"),
    "relay without a description": ("09" + "00" * 32 + "ff" * 32 + "01" + "07" * 64, "message_length"),
    "relay of a third kind": ("09" + "00" * 32 + "ff" * 32 + "03" + "07" * 64 + "76", "message_field"),
    "relay of bytes that are no text": (
        "09" + "00" * 64 + "01" + "07" * 64 + "ff",
        "message_field",
    ),
    "gone, a byte short": ("0a0001000111", "message_length"),
    "peers, fewer than it says": ("0802" + "00" * 32, "message_length"),
}


def check(vectors: dict[str, Any], as_message: Callable[[bytes], wire.Readable] = bytes) -> int:
    """Decode and encode every vector.

    Args:
        as_message: how the platform hands a message to `decode`; the page gives a view of a JavaScript buffer.
    Returns:
        how many vectors were checked.
    """
    for vector in vectors["good"]:
        raw = bytes.fromhex(vector["bytes"])
        message = wire.decode(as_message(raw))
        if isinstance(message, wire.Data):
            message = wire.Data(message.request_id, message.offset, bytes(message.payload))
        assert wire.encode(message) == raw, vector["name"]
        assert describe(message) == vector["message"], vector["name"]
    for vector in vectors["bad"]:
        try:
            wire.decode(as_message(bytes.fromhex(vector["bytes"])))
        except PeerFault as fault:
            assert fault.code == vector["code"], (vector["name"], fault.code)
        else:
            raise AssertionError(f"{vector['name']} was taken for a message")
    return len(vectors["good"]) + len(vectors["bad"])


def describe(message: wire.Message) -> dict[str, Any]:
    """A message as JSON."""

    def plain(value: Any) -> Any:
        match value:
            case bytes():
                return value.hex()
            case str():
                return value
            case tuple():
                return [plain(item) for item in value]
            case dict():
                return {
                    str(rendition): {"chunks": field.count, "held": list(field)}
                    for rendition, field in value.items()
                }
            case _:
                return int(value)

    fields = {name: plain(getattr(message, name)) for name in type(message).__dataclass_fields__}
    return {"type": type(message).__name__.upper(), **fields}


def make() -> dict[str, Any]:
    """The document."""
    return {
        "about": "digm.peer.1, version 1: messages of the peer session, and messages that must be refused.",
        "good": [
            {"name": name, "bytes": wire.encode(message).hex(), "message": describe(message)}
            for name, message in GOOD.items()
        ],
        "bad": [{"name": name, "bytes": raw, "code": code} for name, (raw, code) in BAD.items()],
    }


if __name__ == "__main__":
    WIRE_VECTORS.write_text(json.dumps(make(), indent=1) + "\n", encoding="utf-8")
