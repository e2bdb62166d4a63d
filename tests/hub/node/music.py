"""Tracks that somebody published elsewhere, for nodes to hold."""

import hashlib
from pathlib import Path

from hub.node.storage import NodeStore
from hub.storage.chunk_store import ChunkStore
from tests.hub.house import publish_track

CHUNK = 65_536


class Elsewhere:
    """A published track: its manifest's bytes, and its chunks by hash."""

    def __init__(self, data: Path, chunk_count: int = 2, seed: int = 1, cover: bytes | None = None) -> None:
        published = publish_track(data, f"Track {seed}", chunk_count=chunk_count, seed=seed, cover=cover)
        self.store, self.root = ChunkStore(data), published.root
        self.document = self.store.manifest(self.root)
        self.hashes = [name.hex() for part in published.manifest.renditions for name in part.chunk_hashes]
        self.cover = hashlib.sha256(cover).hexdigest() if cover else None
        self.bytes = len(self.hashes) * CHUNK + len(self.document) + len(cover or b"")

    def give(self, node: NodeStore, count: int | None = None) -> None:
        """Manifest and chunks, as replication would."""
        node.add_track(self.document)
        for name in self.hashes[:count]:
            node.put(name, self.store.read(name))

    def give_cover(self, node: NodeStore) -> None:
        """And the picture."""
        assert self.cover is not None
        node.put(self.cover, self.store.read(self.cover))


def rot(node: NodeStore, hash_hex: str) -> None:
    """Flip one bit of a chunk where it lies."""
    path = node.chunks.path(hash_hex)
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 4
    path.write_bytes(data)
