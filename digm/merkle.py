"""Merkle trees as in RFC 6962 §2.1: the track root over chunk hashes, the audit root over 256-byte ranges."""

import hashlib
from collections.abc import Sequence

from digm.errors import CallerFault
from digm.ids import ID_BYTES

AUDIT_LEAF_BYTES = 256
_LEAF, _NODE = b"\x00", b"\x01"


def leaf_hash(data: bytes) -> bytes:
    """SHA-256(0x00 || data): a leaf can never be read as a node."""
    return hashlib.sha256(_LEAF + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return hashlib.sha256(_NODE + left + right).digest()


def _fold(level: list[bytes]) -> list[bytes]:
    # An odd last node moves up as it is. Doubling it would let two different lists share one root
    # (CVE-2012-2459). Level by level this is the same tree as RFC 6962's split at the largest power of two.
    folded = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
    if len(level) % 2:
        folded.append(level[-1])
    return folded


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """The Merkle tree hash of a list.

    Args:
        leaves: n >= 1 byte strings of any length, in order.
    Raises:
        CallerFault: `empty_tree`.
    """
    if not leaves:
        raise CallerFault("empty_tree", "A Merkle tree needs at least one leaf.")
    level = [leaf_hash(leaf) for leaf in leaves]
    while len(level) > 1:
        level = _fold(level)
    return level[0]


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The audit path of one leaf, nearest sibling first (RFC 6962 §2.1.1); empty for a tree of one.

    Raises:
        CallerFault: `bad_index`.
    """
    if not 0 <= index < len(leaves):
        raise CallerFault("bad_index", f"There is no leaf {index} in a tree of {len(leaves)}.")
    proof: list[bytes] = []
    level = [leaf_hash(leaf) for leaf in leaves]
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            proof.append(level[sibling])
        level, index = _fold(level), index // 2
    return proof


def root_from_proof(leaf: bytes, index: int, count: int, proof: Sequence[bytes]) -> bytes:
    """The root that a leaf and its audit path lead to; the caller compares it with the root it trusts.

    Args:
        leaf: the leaf's data (not its hash).
        count: how many leaves the tree has.
    Raises:
        CallerFault: `bad_index`; `bad_proof`, a path of the wrong length for this place.
    """
    if not 0 <= index < count:
        raise CallerFault("bad_index", f"There is no leaf {index} in a tree of {count}.")
    node, width, siblings = leaf_hash(leaf), count, iter(proof)
    try:
        while width > 1:
            if index % 2:
                node = node_hash(next(siblings), node)
            elif index + 1 < width:
                node = node_hash(node, next(siblings))
            index, width = index // 2, -(-width // 2)
    except StopIteration:
        raise CallerFault("bad_proof", "The audit path is too short for its place in the tree.") from None
    if next(siblings, None) is not None:
        raise CallerFault("bad_proof", "The audit path is too long for its place in the tree.")
    return node


def track_root(chunk_hashes: Sequence[bytes]) -> bytes:
    """Fold chunk hashes into the id of the track (blueprint §2.1).

    Args:
        chunk_hashes: SHA-256 of each encrypted chunk, rendition by rendition, chunk by chunk; n x 32 bytes.
    Raises:
        CallerFault: `empty_tree`; `bad_id`, an item is not 32 bytes.
    """
    if any(len(item) != ID_BYTES for item in chunk_hashes):
        raise CallerFault("bad_id", "Every chunk hash is 32 bytes.")
    return tree_root(chunk_hashes)


def audit_leaves(chunk: bytes) -> list[bytes]:
    """A chunk's consecutive 256-byte ranges: what a contract can check without the chunk."""
    return [chunk[i : i + AUDIT_LEAF_BYTES] for i in range(0, len(chunk), AUDIT_LEAF_BYTES)]


def chunk_audit_root(chunk: bytes) -> bytes:
    """The tree over a chunk's 256-byte ranges (2,048 leaves for 512 KiB).

    Raises:
        CallerFault: `empty_tree`.
    """
    return tree_root(audit_leaves(chunk))


def audit_root(chunk_audit_roots: Sequence[bytes]) -> bytes:
    """The tree over the chunks' audit roots, in the order of `track_root`.

    Raises:
        CallerFault: `empty_tree`, `bad_id`.
    """
    return track_root(chunk_audit_roots)
