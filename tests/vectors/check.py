"""Checks `format.json` with nothing but `digm` and a cipher: the same file runs in CPython and in the page.

Nothing here is read from the generator: what the vectors say is compared with what `digm` makes of them.
"""

import base64
import hashlib
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

from digm import chunks, grants, keys, manifest, merkle, mp4, packing
from digm.media import AudioConfig, Sample

Seal = Callable[[bytes, bytes, bytes, bytes], Awaitable[bytes]]
"""AES-256-GCM: (key, nonce, additional data, plaintext) -> ciphertext and tag."""


def check_trees(vectors: dict[str, Any]) -> int:
    """Roots and audit paths, both ways."""
    checks = 0
    for tree in vectors["trees"]:
        leaves = [bytes.fromhex(leaf) for leaf in tree["leaves"]]
        root = bytes.fromhex(tree["root"])
        assert merkle.track_root(leaves) == root
        for index, path in enumerate(tree["proofs"]):
            proof = [bytes.fromhex(node) for node in path]
            assert merkle.inclusion_proof(leaves, index) == proof
            assert merkle.root_from_proof(leaves[index], index, len(leaves), proof) == root
            checks += 1
    return checks


async def check_tracks(vectors: dict[str, Any], seal: Seal) -> int:
    """Packing, keys, frames, hashes, roots, manifest, grant and audits of each track.

    Returns:
        The number of chunks and of audits that were checked.
    """
    checks = 0
    for track in vectors["tracks"]:
        track_key = bytes.fromhex(track["track_key"])
        parsed = manifest.parse_manifest(track["manifest"].encode())
        granted = grants.decode_grant(track["grant"].encode())
        assert manifest.manifest_hash(track["manifest"].encode()).hex() == track["manifest_hash"]
        assert parsed.track_root.hex() == track["track_root"]
        assert parsed.key_commitment == keys.key_commitment(track_key)
        assert granted == grants.make_grant(parsed, track_key, granted.player_key, granted.not_after)
        chunks_of_track: list[bytes] = []
        audit_roots: list[bytes] = []
        for number, described in enumerate(track["renditions"]):
            codec, rate, channels, bits, timescale, private, delay, padding = described["config"]
            config = AudioConfig(codec, rate, channels, bits, timescale, bytes.fromhex(private), delay, padding)
            rendition = parsed.renditions[number]
            assert rendition.config == config
            assert rendition.init == mp4.init_segment(config)
            samples = [Sample(bytes([fill]) * size, duration) for fill, size, duration in described["samples"]]
            packed = list(packing.pack(config, samples, described["frames"]))
            assert tuple(chunk.fragments for chunk in packed) == rendition.fragments
            for index, (row, chunk) in enumerate(zip(track["chunks"][number], packed, strict=True)):
                assert chunk.plaintext == zlib.decompress(base64.b64decode(row["plaintext_zlib"]))
                key = bytes.fromhex(row["chunk_key"])
                assert keys.chunk_key(track_key, number, index) == key
                assert granted.key_for(number, index) in (key, None)
                sealed = b""
                for frame in range(rendition.chunk_frames(index)):
                    start = frame * chunks.FRAME_PLAINTEXT_BYTES
                    sealed += await seal(
                        key,
                        chunks.frame_nonce(frame),
                        chunks.frame_additional_data(
                            number, index, frame, rendition.is_last_frame(index, frame)
                        ),
                        chunk.plaintext[start : start + chunks.FRAME_PLAINTEXT_BYTES],
                    )
                assert len(sealed) == rendition.chunk_bytes(index)
                assert hashlib.sha256(sealed).digest() == rendition.chunk_hashes[index]
                assert hashlib.sha256(sealed).hexdigest() == row["chunk_hash"]
                assert sealed[chunks.FRAME_PLAINTEXT_BYTES : chunks.FRAME_BYTES].hex() == row["first_tag"]
                audit_roots.append(merkle.chunk_audit_root(sealed))
                assert audit_roots[-1].hex() == row["audit_root"]
                chunks_of_track.append(sealed)
                checks += 1
        assert merkle.audit_root(audit_roots) == parsed.audit_root
        checks += check_audits(track, chunks_of_track, parsed.audit_root)
    return checks


def check_audits(track: dict[str, Any], sealed: list[bytes], audit_root: bytes) -> int:
    """What a random number asks for, and the proof of it, from the chunks and from the vectors alone."""
    trees = [merkle.audit_leaves(chunk) for chunk in sealed]
    roots = [merkle.chunk_audit_root(chunk) for chunk in sealed]
    for audit in track["audits"]:
        at, chunk = int(audit["draw"]) % sum(map(len, trees)), 0
        while at >= len(trees[chunk]):
            at -= len(trees[chunk])
            chunk += 1
        assert (audit["chunk"], audit["leaf"]) == (chunk, at)
        assert (audit["chunks"], audit["leaves"]) == (len(trees), len(trees[chunk]))
        leaf = bytes.fromhex(audit["bytes"])
        chunk_path = [bytes.fromhex(node) for node in audit["chunk_path"]]
        track_path = [bytes.fromhex(node) for node in audit["track_path"]]
        assert leaf == trees[chunk][at]
        assert chunk_path == merkle.inclusion_proof(trees[chunk], at)
        assert track_path == merkle.inclusion_proof(roots, chunk)
        chunk_root = merkle.root_from_proof(leaf, at, audit["leaves"], chunk_path)
        assert merkle.root_from_proof(chunk_root, chunk, audit["chunks"], track_path) == audit_root
    return len(track["audits"])
