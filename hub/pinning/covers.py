"""Covers over libp2p: who holds a track gives its picture to who lacks it (docs/backbone.md)."""

import asyncio
import hashlib
from typing import Protocol

from digm.backbone_messages import COVER, track_root_of
from digm.errors import PeerFault, Unavailable
from digm.ids import to_hex
from digm.manifest import MAX_COVER_BYTES, parse_manifest
from hub.pinning.network import Handler

PARALLEL = 8


class Chunks(Protocol):
    """Where manifests and pictures lie. Calls block."""

    def manifest(self, root_hex: str) -> bytes: ...
    def read_verified(self, hash_hex: str) -> bytes: ...


class Serving(Protocol):
    """What is needed of the backbone to give."""

    def serve(
        self, protocol: str, handler: Handler, *, most_bytes: int, timeout_s: float, parallel: int
    ) -> None: ...


class Asking(Protocol):
    """What is needed of the backbone to take."""

    async def request(
        self, peer: str, protocol: str, payload: bytes, *, timeout_s: float, most_bytes: int
    ) -> bytes: ...


def serve_covers(network: Serving, chunks: Chunks) -> None:
    """Answer on `/digm/cover/1.0.0`."""

    async def give(_peer: str, request: bytes) -> bytes:
        return await asyncio.to_thread(_cover_of, chunks, track_root_of(request))

    network.serve(
        COVER.name, give, most_bytes=COVER.most_request_bytes, timeout_s=COVER.timeout_s, parallel=PARALLEL
    )


def _cover_of(chunks: Chunks, track_root: bytes) -> bytes:
    """Raises Unavailable: `track_not_held`, `no_cover`, `chunk_not_held`, ..."""
    manifest = parse_manifest(chunks.manifest(to_hex(track_root)))
    if manifest.cover is None:
        raise Unavailable("no_cover", "The track has no cover.")
    return chunks.read_verified(to_hex(manifest.cover.hash))


async def fetch_cover(network: Asking, peer: str, track_root: bytes, cover_hash: bytes) -> bytes:
    """A track's picture from a node, verified.

    Args:
        cover_hash: SHA-256 of the picture, as the manifest names it.
    Raises:
        Unavailable: as `Backbone.request`; the node may not have it. PeerFault: `cover_wrong`, ...
    """
    picture = await network.request(
        peer, COVER.name, track_root, timeout_s=COVER.timeout_s, most_bytes=MAX_COVER_BYTES
    )
    if hashlib.sha256(picture).digest() != cover_hash:
        raise PeerFault("cover_wrong", "The node gave another picture than the manifest names.")
    return picture
