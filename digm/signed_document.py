"""Small signed JSON documents that travel between strangers: announcements, pin orders, answers, fresh indexes.

As with the manifest (decision 2), the signature is the last member and is made over the exact bytes without it:
nothing is written again in a canonical form to be checked. What is signed begins with the kind of the document,
so that a signature of one kind is never one of another. Ed25519 itself belongs to the rooms around this one:
signing and checking are arguments.
"""

import binascii
import json
from collections.abc import Callable, Mapping
from typing import Any

from digm.errors import CallerFault, PeerFault
from digm.json_reader import JsonReader

Sign = Callable[[bytes], bytes]
"""Gives the 64-byte Ed25519 signature of a message."""
Verify = Callable[[bytes, bytes, bytes], bool]
"""Whether a public key (32 bytes) made a signature (64 bytes) of a message. Never raises for bad input."""

VERSION = 1
CLOCK_SKEW_S = 3600
"""How wrong an honest node's clock may be. What is dated further ahead is refused."""
MAX_TIME_S = 1 << 40
MAX_SEQUENCE = (1 << 53) - 1
_OPENS, _CLOSES, _HEX = b',"signature":"', b'"}', 128


def encode_signed(kind: str, members: Mapping[str, Any], sign: Sign, most_bytes: int) -> bytes:
    """Write and sign a document.

    Args:
        kind: what it is called in errors, such as `pin_order`.
        members: what it says, `digm`, `kind` and `signature` apart.
    Raises:
        CallerFault: `<kind>_too_large`.
    """
    unsigned = json.dumps(
        {"digm": VERSION, "kind": kind, **members}, ensure_ascii=False, separators=(",", ":")
    ).encode()
    document = unsigned[:-1] + _OPENS + sign(signed_message(kind, unsigned)).hex().encode() + _CLOSES
    if len(document) > most_bytes:
        raise CallerFault(f"{kind}_too_large", f"{_called(kind)} of {len(document)} bytes is too large.")
    return document


def open_signed(
    kind: str, document: bytes, verify: Verify, signer: str, most_bytes: int
) -> tuple[JsonReader, bytes]:
    """Read a document and check its signature, before anything else in it is believed.

    Args:
        signer: the member that holds the Ed25519 key of whoever signed.
    Returns:
        its members, and the signer's key (32 bytes).
    Raises:
        PeerFault: `<kind>_too_large`, `_unsigned`, `_not_json`, `_version`, `_field`, `_forged`.
    """
    if len(document) > most_bytes:
        raise PeerFault(f"{kind}_too_large", f"{_called(kind)} is at most {most_bytes} bytes.")
    signature, unsigned = _cut(kind, document)
    reader = JsonReader.parse(document, kind)
    if reader.integer("digm", 0, 1 << 31) != VERSION:
        raise PeerFault(f"{kind}_version", f"{_called(kind)} has a newer format than this program reads.")
    if reader.value("kind") != kind:
        reader.refuse("kind", f"{kind!r}")
    key = reader.hash(signer)
    if not verify(key, signature, signed_message(kind, unsigned)):
        raise PeerFault(f"{kind}_forged", f"{_called(kind)} is not signed by the key that it names.")
    return reader, key


def kind_of(document: bytes, most_bytes: int) -> str:
    """What a message on the topic says that it is; nothing else of it is looked at.

    Raises:
        PeerFault: `message_too_large`, `message_not_json`, `message_field`.
    """
    if len(document) > most_bytes:
        raise PeerFault("message_too_large", f"A message on the topic is at most {most_bytes} bytes.")
    return JsonReader.parse(document, "message").text("kind", 32)


def check_times(kind: str, issued_at: int, valid_until: int, now_s: float) -> None:
    """Refuse what is dated in the future, ended before it began or is over; clocks may be an hour apart.

    Raises:
        PeerFault: `<kind>_from_the_future`, `<kind>_field`, `<kind>_expired`.
    """
    if issued_at > now_s + CLOCK_SKEW_S:
        raise PeerFault(
            f"{kind}_from_the_future", f"{_called(kind)} is dated more than an hour ahead: check both clocks."
        )
    if valid_until <= issued_at:
        raise PeerFault(f"{kind}_field", f"{_called(kind)} ends before it begins.", field="valid_until")
    if valid_until + CLOCK_SKEW_S <= now_s:
        raise PeerFault(f"{kind}_expired", f"{_called(kind)} has expired.")


def signed_message(kind: str, unsigned: bytes) -> bytes:
    """What the key signs: `digm/1 <kind>`, a line feed, and the document without its signature."""
    return f"digm/{VERSION} {kind}\n".encode() + unsigned


def _cut(kind: str, document: bytes) -> tuple[bytes, bytes]:
    tail = len(_OPENS) + _HEX + len(_CLOSES)
    opens, hexadecimal = document[-tail : -tail + len(_OPENS)], document[-tail:-2][-_HEX:]
    if opens == _OPENS and document.endswith(_CLOSES):
        try:
            return binascii.unhexlify(hexadecimal), document[:-tail] + b"}"
        except ValueError:
            pass
    raise PeerFault(f"{kind}_unsigned", f"{_called(kind)} does not end with a signature of 128 hex digits.")


def _called(kind: str) -> str:
    words = kind.replace("_", " ")
    return f"{'An' if words[0] in 'aeiou' else 'A'} {words}"
