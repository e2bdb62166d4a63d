"""A published track whose chunks are random bytes: the seeding peer never decrypts, so it cannot tell."""

import hashlib
import random
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from digm.chunks import FRAME_BYTES
from digm.manifest import Manifest, Rendition, encode_manifest, manifest_hash, parse_manifest
from digm.media import AudioConfig
from digm.merkle import audit_root, chunk_audit_root, track_root
from hub.storage.catalogue import Catalogue, ReleaseEntry, TrackEntry
from hub.storage.chunk_store import ChunkStore

CHUNK_UNITS = 4 * 44_100
CONFIG = AudioConfig(
    "flac", 44_100, 2, 16, 44_100, bytes.fromhex("10001000000000000000 0ac442f0 00000000" + "00" * 16), 0, 0
)


def noise_manifest(chunks: list[bytes], frames: int, key: Ed25519PrivateKey) -> bytes:
    """A signed manifest of one rendition with these chunks, four seconds each."""
    hashes = tuple(hashlib.sha256(chunk).digest() for chunk in chunks)
    rendition = Rendition(
        id=0,
        config=CONFIG,
        bit_rate=1_000_000,
        frames_per_chunk=frames,
        last_chunk_frames=len(chunks[-1]) // FRAME_BYTES,
        duration=CHUNK_UNITS * len(chunks),
        init=b"init",
        chunk_hashes=hashes,
        fragments=tuple(((0, CHUNK_UNITS * i),) for i in range(len(chunks))),
    )
    manifest = Manifest(
        title="Noise", artist=None, album=None, track_number=None, year=None, genre=None, isrc=None,
        licence=None, cover=None, duration_s=4.0 * len(chunks), loudness_lufs=None, true_peak_db=None,
        peaks=b"", preview_s=None, key_commitment=bytes(32), track_root=track_root(hashes),
        audit_root=audit_root([chunk_audit_root(chunk) for chunk in chunks]),
        artist_key=key.public_key().public_bytes_raw(), renditions=(rendition,),
    )  # fmt: skip
    return encode_manifest(manifest, key.sign)


def publish_noise(
    data: Path, chunk_count: int = 3, frames: int = 8, last_frames: int = 2, seed: int = 1
) -> Manifest:
    """Put a track of random chunks into a data folder, as publishing would."""
    random_bytes = random.Random(seed).randbytes
    sizes = [frames] * (chunk_count - 1) + [last_frames]
    chunks = [random_bytes(size * FRAME_BYTES) for size in sizes]
    document = noise_manifest(chunks, frames, Ed25519PrivateKey.generate())
    manifest = parse_manifest(document)
    store, root = ChunkStore(data), manifest.track_root.hex()
    for chunk in chunks:
        store.put(chunk)
    store.put_manifest(root, document)
    artist = manifest.artist_key.hex()
    release = ReleaseEntry(release_id=root, title="Noise", artist_key=artist, published_at=time.time())
    entry = TrackEntry(
        track_root=root, manifest_hash=manifest_hash(document).hex(), release_id=root, title="Noise",
        duration_s=manifest.duration_s, artist_key=artist, published_at=time.time(),
    )  # fmt: skip
    catalogue = Catalogue.open(data)
    try:
        catalogue.publish(release, [entry])
    finally:
        catalogue.close()
    return manifest
