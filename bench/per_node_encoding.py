"""What it costs to make each node's copy another one, so that one disk cannot pose as seven.

The cheapest encoding known that is slow to make and quick to undo: square roots modulo a prime, one after the
other (Sloth: Lenstra and Wesolowski 2015). It is here to be timed; DIGM does not use it (docs/economics.md).
"""

import hashlib
import time
from collections.abc import Iterator

# RFC 3526 §3, group 14: 2048 bits, and 3 modulo 4, as easy roots need it.
PRIME = int(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD"
    "EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED"
    "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F"
    "83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B"
    "E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510"
    "15728E5A8AACAA68FFFFFFFFFFFFFFFF",
    16,
)
BLOCK_BYTES = 255  # below the prime, whatever they are
CODED_BYTES = 256
CHUNK_BYTES = 512 * 1024


def encode(data: bytes, node: bytes) -> bytes:
    """A node's own copy. Each block depends on all before it, so that no part is made without the others.

    Args:
        data: whole blocks of 255 bytes.
        node: the node's key.
    """
    coded, before = [], _start(node)
    for block in _blocks(data, BLOCK_BYTES):
        before = _slow_root(block ^ (before >> 8))
        coded.append(before.to_bytes(CODED_BYTES, "big"))
    return b"".join(coded)


def decode(coded: bytes, node: bytes) -> bytes:
    """What `encode` was given."""
    data, before = [], _start(node)
    for block in _blocks(coded, CODED_BYTES):
        data.append((_quick_square(block) ^ (before >> 8)).to_bytes(BLOCK_BYTES, "big"))
        before = block
    return b"".join(data)


def seconds_a_chunk(blocks: int = 40) -> tuple[float, float]:
    """How long one core takes to encode, and to decode, 512 KiB; some blocks are timed."""
    data, node = bytes(range(255)) * blocks, bytes(32)
    began = time.process_time()
    coded = encode(data, node)
    encoded_at = time.process_time()
    assert decode(coded, node) == data
    whole = CHUNK_BYTES / len(data)
    return (encoded_at - began) * whole, (time.process_time() - encoded_at) * whole


def _start(node: bytes) -> int:
    return int.from_bytes(hashlib.sha512(b"digm/1 copy" + node).digest() * 4, "big")


def _blocks(data: bytes, size: int) -> Iterator[int]:
    return (int.from_bytes(data[at : at + size], "big") for at in range(0, len(data), size))


def _slow_root(number: int) -> int:
    """A permutation: the even root of a square, the odd root of what is none (its negative is one)."""
    root = pow(number, (PRIME + 1) // 4, PRIME)
    is_square = root * root % PRIME == number
    return root if (root % 2 == 0) == is_square else PRIME - root


def _quick_square(root: int) -> int:
    square = root * root % PRIME
    return square if root % 2 == 0 else (PRIME - square) % PRIME
