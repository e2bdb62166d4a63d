"""Content identifiers of IPFS, as far as a chunk has one: CIDv1, codec raw, SHA-256 (multiformats.io).

A chunk hash is the digest of the encrypted bytes, and so the chunk is an IPFS block as it is. Other codecs,
other hashes and CIDv0 name things that are not chunks.
"""

import base64
import binascii

from digm.errors import CallerFault
from digm.ids import ID_BYTES

_RAW_SHA2_256 = bytes([0x01, 0x55, 0x12, ID_BYTES])
_RAW_IDENTITY_EMPTY = bytes([0x01, 0x55, 0x00, 0x00])
_MOST_CHARACTERS = 128


def cid_of(chunk_hash: bytes) -> str:
    """The CID of a chunk in base32, `bafkrei...` (59 characters).

    Args:
        chunk_hash: 32 bytes.
    """
    return "b" + base64.b32encode(_RAW_SHA2_256 + chunk_hash).decode().rstrip("=").lower()


def chunk_hash_of(cid: str) -> bytes:
    """The chunk hash that a CID names, in base32 or base16 of either case.

    Returns:
        32 bytes; none at all for the CID of no bytes, by which clients try whether a gateway answers.
    Raises:
        CallerFault: `bad_cid`.
    """
    if cid.startswith(("b", "B", "f", "F")) and cid.isalnum() and len(cid) <= _MOST_CHARACTERS:
        data = _decoded(cid[0].lower(), cid[1:].upper())
        if data[:4] == _RAW_SHA2_256 and len(data) == 4 + ID_BYTES:
            return data[4:]
        if data == _RAW_IDENTITY_EMPTY:
            return b""
    raise CallerFault("bad_cid", "A chunk's CID is version 1, codec raw, SHA-256, in base32 or base16.")


def _decoded(base: str, text: str) -> bytes:
    try:
        if base == "f":
            return binascii.unhexlify(text)
        return base64.b32decode(text + "=" * (-len(text) % 8))
    except ValueError:  # binascii.Error is one
        return b""
