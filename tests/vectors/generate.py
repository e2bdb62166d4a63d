"""Writes `format.json`. Run it only when the format itself changes, and say why in docs/decisions/.

python -m tests.vectors.generate
"""

import base64
import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from digm import chunks, grants, keys, manifest, merkle, mp4, packing
from digm.media import AudioConfig, Sample

FORMAT_VECTORS = Path(__file__).parent / "format.json"
ARTIST_SEED = bytes(range(32))

# What an audit draws: the first leaf, both sides of a frame's edge, one in the middle, and the largest number.
DRAWS = (0, 255, 256, 777, 2**127 + 12_345, 2**128 - 1)

STREAMINFO = bytes.fromhex("10001000000000000000 0ac442f0 00000000" + "00" * 16)
OPUS_HEAD = b"OpusHead" + bytes.fromhex("01 02 3801 80bb0000 0000 00")


def _descriptions(count: int, size: int, step: int, duration: int) -> list[list[int]]:
    """Access units as [fill byte, size, duration]: any implementation can make them, and they compress well."""
    return [[i % 251, size + step * (i % 7), duration] for i in range(count)]


TRACKS: list[dict[str, Any]] = [
    {
        "name": "three chunks of FLAC and a preview",
        "track_key": hashlib.sha256(b"vector 1").hexdigest(),
        "preview_s": 4,
        "renditions": [
            {
                "config": ["flac", 44_100, 2, 16, 44_100, STREAMINFO.hex(), 0, 0],
                "frames": 1,
                "samples": _descriptions(100, 1_500, 11, 4_096),
            },
            {
                "config": ["opus", 48_000, 2, 0, 48_000, OPUS_HEAD.hex(), 312, 400],
                "frames": 1,
                "samples": _descriptions(465, 200, 3, 960),
            },
        ],
    },
    {
        "name": "MP3, one short chunk of two frames",
        "track_key": hashlib.sha256(b"vector 2").hexdigest(),
        "preview_s": None,
        "renditions": [
            {
                "config": ["mp3", 44_100, 2, 0, 44_100, "", 1_105, 900],
                "frames": 2,
                "samples": _descriptions(200, 417, 1, 1_152),
            },
        ],
    },
]


def _seal_chunk(track_key: bytes, rendition: int, chunk: int, plaintext: bytes, is_last_chunk: bool) -> bytes:
    cipher = AESGCM(keys.chunk_key(track_key, rendition, chunk))
    frames = [
        plaintext[i : i + chunks.FRAME_PLAINTEXT_BYTES]
        for i in range(0, len(plaintext), chunks.FRAME_PLAINTEXT_BYTES)
    ]
    return b"".join(
        cipher.encrypt(
            chunks.frame_nonce(number),
            frame,
            chunks.frame_additional_data(rendition, chunk, number, is_last_chunk and number == len(frames) - 1),
        )
        for number, frame in enumerate(frames)
    )


def _rendition(
    number: int, track_key: bytes, described: dict[str, Any]
) -> tuple[manifest.Rendition, list[Any], list[bytes]]:
    codec, rate, channels, bits, timescale, private, delay, padding = described["config"]
    config = AudioConfig(codec, rate, channels, bits, timescale, bytes.fromhex(private), delay, padding)
    samples = [Sample(bytes([fill]) * size, duration) for fill, size, duration in described["samples"]]
    packed = list(packing.pack(config, samples, described["frames"]))
    sealed = [
        _seal_chunk(track_key, number, i, chunk.plaintext, i == len(packed) - 1)
        for i, chunk in enumerate(packed)
    ]
    rows = [
        {
            "plaintext_zlib": base64.b64encode(zlib.compress(chunk.plaintext, 9)).decode(),
            "chunk_key": keys.chunk_key(track_key, number, i).hex(),
            "chunk_hash": hashlib.sha256(data).hexdigest(),
            "audit_root": merkle.chunk_audit_root(data).hex(),
            "first_tag": data[chunks.FRAME_PLAINTEXT_BYTES : chunks.FRAME_BYTES].hex(),
        }
        for i, (chunk, data) in enumerate(zip(packed, sealed, strict=True))
    ]
    rendition = manifest.Rendition(
        id=number,
        config=config,
        bit_rate=128_000,
        frames_per_chunk=described["frames"],
        last_chunk_frames=len(packed[-1].plaintext) // chunks.FRAME_PLAINTEXT_BYTES,
        duration=sum(sample.duration for sample in samples),
        init=mp4.init_segment(config),
        chunk_hashes=tuple(hashlib.sha256(data).digest() for data in sealed),
        fragments=tuple(chunk.fragments for chunk in packed),
    )
    return rendition, rows, sealed


def _audit(draw: int, sealed: list[bytes]) -> dict[str, Any]:
    """What a contract that drew this number asks for, and the answer (docs/contracts.md)."""
    trees = [merkle.audit_leaves(data) for data in sealed]
    places = [(chunk, leaf) for chunk, leaves in enumerate(trees) for leaf in range(len(leaves))]
    chunk, leaf = places[draw % len(places)]
    roots = [merkle.chunk_audit_root(data) for data in sealed]
    return {
        "draw": str(draw),
        "chunk": chunk,
        "chunks": len(sealed),
        "leaf": leaf,
        "leaves": len(trees[chunk]),
        "bytes": trees[chunk][leaf].hex(),
        "chunk_path": [node.hex() for node in merkle.inclusion_proof(trees[chunk], leaf)],
        "track_path": [node.hex() for node in merkle.inclusion_proof(roots, chunk)],
    }


def _track(described: dict[str, Any]) -> dict[str, Any]:
    track_key = bytes.fromhex(described["track_key"])
    artist = Ed25519PrivateKey.from_private_bytes(ARTIST_SEED)
    made = [_rendition(i, track_key, item) for i, item in enumerate(described["renditions"])]
    rows = [row for _, rendition_rows, _ in made for row in rendition_rows]
    sealed = [data for _, _, chunks_of_it in made for data in chunks_of_it]
    unsigned = manifest.Manifest(
        title=f"Vector: {described['name']} – «ÄÖ» 音",
        artist="DIGM",
        album=None,
        track_number=1,
        year=2026,
        genre=None,
        isrc=None,
        licence="CC0-1.0",
        cover=None,
        duration_s=round(made[0][0].presented_duration_s, 6),
        loudness_lufs=-14.5,
        true_peak_db=-1.0,
        peaks=bytes(range(0, 200, 10)),
        preview_s=described["preview_s"],
        key_commitment=keys.key_commitment(track_key),
        track_root=merkle.track_root([bytes.fromhex(row["chunk_hash"]) for row in rows]),
        audit_root=merkle.audit_root([bytes.fromhex(row["audit_root"]) for row in rows]),
        artist_key=artist.public_key().public_bytes_raw(),
        renditions=tuple(rendition for rendition, _, _ in made),
    )
    document = manifest.encode_manifest(unsigned, artist.sign)
    grant = grants.make_grant(manifest.parse_manifest(document), track_key, bytes(range(32, 64)), 2_000_000_000)
    return {
        **described,
        "chunks": [rendition_rows for _, rendition_rows, _ in made],
        "manifest": document.decode(),
        "manifest_hash": manifest.manifest_hash(document).hex(),
        "track_root": unsigned.track_root.hex(),
        "audit_root": unsigned.audit_root.hex(),
        "grant": grants.encode_grant(grant).decode(),
        "audits": [_audit(draw, sealed) for draw in DRAWS],
    }


def _tree(count: int) -> dict[str, Any]:
    leaves = [hashlib.sha256(bytes([i])).digest() for i in range(count)]
    return {
        "leaves": [leaf.hex() for leaf in leaves],
        "root": merkle.tree_root(leaves).hex(),
        "proofs": [[node.hex() for node in merkle.inclusion_proof(leaves, i)] for i in range(count)],
    }


def vectors() -> dict[str, Any]:
    """Everything that `format.json` holds."""
    return {
        "about": "DIGM format v1. Access units are [fill byte, size, duration in the timescale].",
        "artist_seed": ARTIST_SEED.hex(),
        "trees": [_tree(count) for count in (1, 2, 3, 4, 5, 6, 7, 8, 11)],
        "tracks": [_track(described) for described in TRACKS],
    }


def written(content: dict[str, Any]) -> str:
    """The exact text of `format.json`."""
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FORMAT_VECTORS.write_text(written(vectors()), encoding="utf-8")
