"""A data folder with a signed track in it, a player that looks built, and a hub that serves both: for tests."""

import hashlib
import random
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
from aiohttp.test_utils import TestServer

from digm.chunks import FRAME_BYTES
from digm.keys import key_commitment
from digm.manifest import Cover, Manifest, Rendition, encode_manifest, manifest_hash, parse_manifest
from digm.media import AudioConfig
from digm.merkle import audit_root, chunk_audit_root, track_root
from hub.app import create_app
from hub.config import Settings
from hub.pages.static import StaticFiles
from hub.publishing.vault import FILE_NAME, TrackSecret, Vault
from hub.storage.catalogue import Catalogue, ReleaseEntry, TrackEntry
from hub.storage.chunk_store import ChunkStore

CHUNK_SECONDS = 4
FLAC_PRIVATE = bytes.fromhex("10001000000000000000 0ac442f0 00000000" + "00" * 16)
CONFIGS = (
    AudioConfig("flac", 44_100, 2, 16, 44_100, FLAC_PRIVATE, 0, 0),
    AudioConfig("opus", 48_000, 2, 0, 48_000, b"OpusHead" + bytes(11), 312, 0),
)


@dataclass(frozen=True)
class Published:
    """A track and what only its artist knows."""

    manifest: Manifest
    track_key: bytes

    @property
    def root(self) -> str:
        return self.manifest.track_root.hex()

    def chunk(self, rendition: int, number: int) -> str:
        return self.manifest.renditions[rendition].chunk_hashes[number].hex()


def publish_track(
    data: Path,
    title: str = "Noise",
    artist: str | None = "Nobody",
    chunk_count: int = 4,
    preview_s: int | None = None,
    cover: bytes | None = None,
    seed: int = 1,
    release: str | None = None,
    album: str | None = None,
    track_number: int | None = None,
) -> Published:
    """Put a track of random chunks in two renditions into a data folder, signed by the folder's own vault.

    Args:
        release: 64 hex digits; the track goes behind those that the release has. None: a release of its own.
    """
    store, track_key = ChunkStore(data), secrets.token_bytes(32)
    data.mkdir(parents=True, exist_ok=True)
    byte_source = random.Random(seed)
    chunks = [[byte_source.randbytes(FRAME_BYTES) for _ in range(chunk_count)] for _ in CONFIGS]
    for chunk in (*chunks[0], *chunks[1], *([cover] if cover else [])):
        store.put(chunk)
    with Vault.open(data / FILE_NAME) as vault:
        manifest = _manifest(chunks, track_key, vault.artist_key, title, artist, preview_s, cover)
        manifest = replace(manifest, album=album, track_number=track_number)
        document = encode_manifest(manifest, vault.sign)
        manifest = parse_manifest(document)
        root = manifest.track_root.hex()
        vault.add(
            TrackSecret(
                track_root=root, track_key=track_key, source_sha256=secrets.token_hex(32), published_at=1.0
            )
        )
    store.put_manifest(root, document)
    _list(data, manifest, document, cover, release)
    return Published(manifest, track_key)


def _manifest(
    chunks: list[list[bytes]],
    track_key: bytes,
    artist_key: bytes,
    title: str,
    artist: str | None,
    preview_s: int | None,
    cover: bytes | None,
) -> Manifest:
    renditions = tuple(
        Rendition(
            id=number, config=config, bit_rate=128_000, frames_per_chunk=1, last_chunk_frames=1,
            duration=CHUNK_SECONDS * config.timescale * len(chunks[number]), init=b"init",
            chunk_hashes=tuple(hashlib.sha256(chunk).digest() for chunk in chunks[number]),
            fragments=tuple(((0, CHUNK_SECONDS * config.timescale * i),) for i in range(len(chunks[number]))),
        )
        for number, config in enumerate(CONFIGS)
    )  # fmt: skip
    every_chunk = [chunk for one_rendition in chunks for chunk in one_rendition]
    every_hash = [name for rendition in renditions for name in rendition.chunk_hashes]
    return Manifest(
        title=title, artist=artist, album=None, track_number=None, year=None, genre=None, isrc=None,
        licence=None, cover=Cover(hashlib.sha256(cover).digest(), "image/jpeg", len(cover)) if cover else None,
        duration_s=float(CHUNK_SECONDS * len(chunks[0])), loudness_lufs=None, true_peak_db=None, peaks=b"",
        preview_s=preview_s, key_commitment=key_commitment(track_key), track_root=track_root(every_hash),
        audit_root=audit_root([chunk_audit_root(chunk) for chunk in every_chunk]), artist_key=artist_key,
        renditions=renditions,
    )  # fmt: skip


def _list(data: Path, manifest: Manifest, document: bytes, cover: bytes | None, release_id: str | None) -> None:
    root, artist_key, now = manifest.track_root.hex(), manifest.artist_key.hex(), time.time()
    cover_hash = hashlib.sha256(cover).hexdigest() if cover else None
    release_id = release_id or root
    release = ReleaseEntry(release_id=release_id, title=manifest.title, artist_key=artist_key, published_at=now)
    entry = TrackEntry(
        track_root=root, manifest_hash=manifest_hash(document).hex(), release_id=release_id,
        title=manifest.title, artist=manifest.artist, duration_s=manifest.duration_s,
        cover_hash=cover_hash, artist_key=artist_key, preview_s=manifest.preview_s, published_at=now,
    )  # fmt: skip
    catalogue = Catalogue.open(data)
    try:
        catalogue.publish(release, [entry])
    finally:
        catalogue.close()


def static_folder(folder: Path) -> Path:
    """A static folder that looks like the real one after a build."""
    built = folder / "dist" / "pyodide-0123456789abcdef"
    built.mkdir(parents=True)
    (folder / "digm-player.js").write_text("export const player = 1;\n" * 100)
    (folder / "digm.css").write_text("body { margin: 0 }\n")
    for name in ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm"):
        (built / name).write_bytes(b"plain " + name.encode())
        (built / (name + ".br")).write_bytes(b"brotli " + name.encode())
        (built / (name + ".gz")).write_bytes(b"gzip " + name.encode())
    (folder / "dist" / "assets.js").write_text("export default {};\n")
    assets = {
        "pyodide": built.name + "/",
        "bundle": "digm-0123456789abcdef.zip",
        "snapshot": None,
        "files": [f"{built.name}/pyodide.mjs"],
    }
    (folder / "dist" / "assets.json").write_bytes(msgspec.json.encode(assets))
    return folder


@asynccontextmanager
async def hub_over(data: Path, static: Path | None = None, **settings: Any) -> AsyncIterator[TestServer]:
    """A hub on a free port."""
    app = create_app(Settings(data=data, port=0, **settings), StaticFiles(static) if static else None)
    async with TestServer(app) as server:
        yield server
