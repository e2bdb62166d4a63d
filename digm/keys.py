"""Keys of a track: one for the whole, one derived from it per chunk, and a commitment to the whole."""

import hashlib
import hmac

from digm.chunks import chunk_place
from digm.errors import CallerFault

KEY_BYTES = 32
_HASH_BYTES = 32


def hkdf_sha256(key_material: bytes, info: bytes, length: int = KEY_BYTES, salt: bytes = b"") -> bytes:
    """Extract and expand (RFC 5869) with SHA-256.

    Args:
        length: bytes wanted, at most 8,160.
    Raises:
        CallerFault: `bad_key_length`.
    """
    if not 0 < length <= 255 * _HASH_BYTES:
        raise CallerFault("bad_key_length", f"HKDF-SHA256 gives 1 to 8160 bytes, not {length}.")
    pseudorandom_key = hmac.digest(salt or bytes(_HASH_BYTES), key_material, "sha256")
    block, output = b"", b""
    for counter in range(1, -(-length // _HASH_BYTES) + 1):
        block = hmac.digest(pseudorandom_key, block + info + bytes([counter]), "sha256")
        output += block
    return output[:length]


def chunk_key_info(rendition: int, chunk: int) -> bytes:
    """The HKDF `info` of a chunk key, for rooms that derive it with a cipher library of their own."""
    return b"digm/1 chunk" + chunk_place(rendition, chunk)


def chunk_key(track_key: bytes, rendition: int, chunk: int) -> bytes:
    """The AES-256 key of one chunk. Whoever has it can derive neither the track key nor another chunk's key.

    Raises:
        CallerFault: `bad_key`, `bad_place`.
    """
    if len(track_key) != KEY_BYTES:
        raise CallerFault("bad_key", f"A track key is {KEY_BYTES} bytes, not {len(track_key)}.")
    return hkdf_sha256(track_key, chunk_key_info(rendition, chunk))


def key_commitment(track_key: bytes) -> bytes:
    """What the manifest says of the track key, so that a wrong one is known before a frame is opened.

    AES-GCM does not commit to its key: without this, one ciphertext could open to two recordings.
    """
    return hashlib.sha256(b"digm/1 key" + track_key).digest()
