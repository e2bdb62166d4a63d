"""Proofs for the contract out of a node's own store.

A proof is 256 bytes of a chunk, their path to the chunk's audit root, and from there to the track's. The first
two need the chunk alone; for the third the audit roots of all chunks are kept in a file, once they were
computed from the bytes. Everything blocks: call it in threads.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from digm.errors import Unavailable
from digm.ids import ID_BYTES, short, to_hex
from digm.manifest import Manifest, parse_manifest
from digm.merkle import audit_leaves, audit_root, chunk_audit_root, inclusion_proof, root_from_proof
from hub.storage.durable import disk_faults_named, write_durably

FOLDER = "audit-roots"


class Manifests(Protocol):
    def manifest(self, root_hex: str) -> bytes: ...


class Store(Protocol):
    """Where the bytes lie; reads are verified."""

    @property
    def chunks(self) -> Manifests: ...
    def read(self, hash_hex: str) -> bytes: ...


@dataclass(frozen=True)
class Proof:
    """What `Pinning.prove` wants: 256 bytes and two paths, nearest sibling first."""

    leaf: bytes
    chunk_path: tuple[bytes, ...]
    track_path: tuple[bytes, ...]


def renditions_of(manifest: Manifest) -> list[dict[str, int]]:
    """As the registry wants to know them, in the manifest's order."""
    return [
        {
            "chunks": one.chunk_count,
            "frames_per_chunk": one.frames_per_chunk,
            "last_chunk_frames": one.last_chunk_frames,
        }
        for one in manifest.renditions
    ]


class AuditTrees:
    """The audit roots of held tracks.

    Args:
        folder: where they are kept, such as DATA/chain.
    """

    def __init__(self, folder: Path, store: Store) -> None:
        self._folder, self._store = folder / FOLDER, store

    def known(self, track_root: str) -> bytes | None:
        """The audit root that was computed from a track's bytes; None where that was not done yet."""
        roots = self._read(track_root)
        return audit_root(roots) if roots else None

    def compute(self, track_root: str) -> bytes:
        """Read every chunk, and keep its audit root.

        Returns:
            the track's audit root.
        Raises:
            Unavailable: `track_not_held`, `chunk_not_held`, `chunk_damaged`, `disk_full`, ...
        """
        manifest = parse_manifest(self._store.chunks.manifest(track_root))
        roots = [chunk_audit_root(self._store.read(to_hex(name))) for name in _chunks_of(manifest)]
        with disk_faults_named(self._folder.parent):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_durably(self._folder / track_root, b"".join(roots), self._folder.parent / "incoming")
        return audit_root(roots)

    def forget(self, track_root: str) -> None:
        (self._folder / track_root).unlink(missing_ok=True)

    def proof(self, track_root: str, asked: dict[str, Any]) -> Proof:
        """What answers a challenge (`Pinning.challenge`).

        Raises:
            Unavailable: `track_not_held`, `chunk_not_held`, `chunk_damaged`: it cannot be proven;
                `audit_root_wrong`: the bytes here are not those that the chain asks for.
        """
        chunks = _chunks_of(parse_manifest(self._store.chunks.manifest(track_root)))
        roots = self._read(track_root)
        if len(roots) != len(chunks):
            self.compute(track_root)
            roots = self._read(track_root)
        if asked["chunks"] != len(chunks):
            raise _wrong(track_root)
        leaves = audit_leaves(self._store.read(to_hex(chunks[asked["chunk"]])))
        if asked["leaves"] != len(leaves):
            raise _wrong(track_root)
        chunk_path = inclusion_proof(leaves, asked["leaf"])
        track_path = inclusion_proof(roots, asked["chunk"])
        found = root_from_proof(leaves[asked["leaf"]], asked["leaf"], len(leaves), chunk_path)
        if root_from_proof(found, asked["chunk"], len(roots), track_path) != asked["audit_root"]:
            raise _wrong(track_root)  # it would only cost gas
        return Proof(leaves[asked["leaf"]], tuple(chunk_path), tuple(track_path))

    def _read(self, track_root: str) -> list[bytes]:
        try:
            content = (self._folder / track_root).read_bytes()
        except OSError:  # it is computed again
            return []
        if not content or len(content) % ID_BYTES:
            return []
        return [content[at : at + ID_BYTES] for at in range(0, len(content), ID_BYTES)]


def _chunks_of(manifest: Manifest) -> list[bytes]:
    return [name for one in manifest.renditions for name in one.chunk_hashes]


def _wrong(track_root: str) -> Unavailable:
    return Unavailable(
        "audit_root_wrong", f"What the chain says of the bytes of {short(track_root)} is not what is here."
    )
