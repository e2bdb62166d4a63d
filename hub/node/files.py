"""The files of a node: a chunk store that tells what is read of it, and the lock on the folder."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from digm.errors import CallerFault, Unavailable
from hub.node.index import FILE_NAME, NodeIndex
from hub.storage.chunk_store import ChunkStore
from hub.storage.durable import disk_faults_named, make_folder

# What makes a folder somebody else's, until a node has made it its own.
_OF_OTHERS = ("chunks", "manifests", "catalogue.sqlite", "vault.digm")
# Other failures, such as too many open files, say nothing about the chunk.
_IS_BAD = ("chunk_damaged", "chunk_not_held")


class WatchedChunks(ChunkStore):
    """Verifies every read, and tells of it.

    Args:
        on_used: told the hash of each chunk that is read.
        on_bad: told of each one that is missing or damaged, before the reader is.
    """

    def __init__(self, data: Path, on_used: Callable[[str], None], on_bad: Callable[[str], None]) -> None:
        super().__init__(data, verify_reads=True)
        self._on_used, self._on_bad = on_used, on_bad

    def read_verified(self, hash_hex: str) -> bytes:
        """A whole chunk whose SHA-256 was checked.

        Raises:
            CallerFault: `bad_id`. Unavailable: `chunk_not_held`, `chunk_damaged`.
        """
        data = self.inspect(hash_hex)
        self._on_used(hash_hex)
        return data

    def note_use(self, hash_hex: str) -> None:
        """What was given away without being read counts as use, too."""
        self._on_used(hash_hex)

    def inspect(self, hash_hex: str) -> bytes:
        """The same, but nobody uses the chunk."""
        try:
            return super().read_verified(hash_hex)
        except Unavailable as error:
            if error.code in _IS_BAD:
                self._on_bad(hash_hex)
            raise


def lock_folder(data: Path) -> int:
    """Be the only node on this folder, as long as the descriptor is open.

    Raises:
        CallerFault: `not_a_node_folder`, `already_running`, `data_not_writable`. Unavailable: `disk_full`, ...
    """
    with disk_faults_named(data):
        make_folder(data)
        is_known = (data / FILE_NAME).exists()
        if not is_known and any((data / name).exists() for name in _OF_OTHERS):
            raise CallerFault(
                "not_a_node_folder",
                f"{data} belongs to a hub or an artist, and a node would remove their chunks: choose another "
                "folder for it (DIGM_DATA).",
            )
        descriptor = os.open(data / "node.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise CallerFault("already_running", f"A node is already running on the folder {data}.") from error
    return descriptor


def make_agree(chunks: ChunkStore, index: NodeIndex, now: float) -> None:
    """After a crash files and index differ by what was on its way: take it in, or note that it is lost."""
    chunks.sweep_incoming()
    on_disk, held, roots = set(chunks.hashes()), index.held_hashes(), index.tracks()
    for name in on_disk - held:
        if index.place_of(name) is None:
            chunks.delete(name)
        else:  # it came whole, for it has its name
            index.add_chunk(name, chunks.size(name), now)
    for name in held - on_disk:
        index.lose_chunk(name, now)
    for path in chunks.manifests.glob("*.json"):
        if path.stem not in roots:
            path.unlink(missing_ok=True)
