"""Encrypted chunks, covers and manifests in local files, named by what they are.

`chunks/ab/<64 hex>` holds chunks and covers under their SHA-256, `manifests/<track root>.json` the manifests.
What a track is made of and whether anybody may hear it is not known here.
"""

import hashlib
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from digm.chunks import MAX_CHUNK_BYTES
from digm.errors import CallerFault, Unavailable
from digm.ids import is_hex_id, short
from hub.storage.durable import (
    disk_fault,
    disk_faults_named,
    open_regular,
    rename_into,
    sync_folder,
    write_durably,
)

MAX_MANIFEST_BYTES = 4 * 1024 * 1024
# A write takes milliseconds; what lies in `incoming` for an hour belongs to a process that is gone.
INCOMING_LIFETIME_S = 3600
_SYNC_THREADS = 8


class ChunkStore:
    """The chunks of one data folder. Safe in threads and between processes.

    Args:
        data: the data folder; it need not exist before something is put into it.
        verify_reads: hash every chunk when it is read; a wrong one is `chunk_damaged`.
    """

    def __init__(self, data: Path, verify_reads: bool = False) -> None:
        self.data = data
        self.verify_reads = verify_reads
        self.chunks = data / "chunks"
        self.manifests = data / "manifests"
        self.incoming = self.chunks / "incoming"

    def path(self, hash_hex: str) -> Path:
        """Where a chunk lies or would lie.

        Raises:
            CallerFault: `bad_id`; no other name ever reaches the file system.
        """
        return self.chunks / _checked(hash_hex)[:2] / hash_hex

    def __contains__(self, hash_hex: object) -> bool:
        if not isinstance(hash_hex, str) or not is_hex_id(hash_hex):
            return False
        try:
            os.close(open_regular(self.path(hash_hex)))
        except OSError:
            return False
        return True

    def size(self, hash_hex: str) -> int:
        """Bytes of a chunk.

        Raises:
            CallerFault: `bad_id`. Unavailable: `chunk_not_held`.
        """
        descriptor = self._open_chunk(hash_hex)
        try:
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)

    def read(self, hash_hex: str) -> bytes:
        """A whole chunk or cover.

        Raises:
            CallerFault: `bad_id`. Unavailable: `chunk_not_held`; `chunk_damaged`, with `verify_reads` only.
        """
        return self.read_verified(hash_hex) if self.verify_reads else self._read(hash_hex)

    def read_verified(self, hash_hex: str) -> bytes:
        """A whole chunk whose SHA-256 was checked, whatever `verify_reads` says.

        Raises:
            CallerFault: `bad_id`. Unavailable: `chunk_not_held`, `chunk_damaged`.
        """
        # Twice, because the chunk may be replaced by a good copy just now.
        for _ in range(2):
            data = self._read(hash_hex)
            if hashlib.sha256(data).hexdigest() == hash_hex:
                return data
        raise _damaged(hash_hex)

    def note_use(self, hash_hex: str) -> None:
        """A chunk was given away, perhaps out of somebody's memory. Here nobody wants to know."""

    def read_range(self, hash_hex: str, start: int, length: int) -> bytes:
        """Bytes `start` up to `start + length`, fewer at the end of the chunk.

        With `verify_reads` the whole chunk is read and hashed first.

        Raises:
            CallerFault: `bad_id`, `bad_range`. Unavailable: `chunk_not_held`, `chunk_damaged`.
        """
        if start < 0 or length < 0:
            raise CallerFault("bad_range", "A range starts at byte 0 or later and is not of negative length.")
        if self.verify_reads:
            return self.read_verified(hash_hex)[start : start + length]
        descriptor = self._open_chunk(hash_hex)
        try:
            return os.pread(descriptor, min(length, MAX_CHUNK_BYTES), start)
        except OSError as error:
            raise _damaged(hash_hex) from error
        finally:
            os.close(descriptor)

    def put(self, data: bytes) -> str:
        """Store a chunk durably.

        Returns:
            its SHA-256 in hex.
        Raises:
            CallerFault: `chunk_too_large`. Unavailable: `disk_full`, `disk_failed`.
        """
        if len(data) > MAX_CHUNK_BYTES:
            raise CallerFault("chunk_too_large", f"A chunk is at most {MAX_CHUNK_BYTES} bytes.")
        hash_hex = hashlib.sha256(data).hexdigest()
        with disk_faults_named(self.data):
            write_durably(self.path(hash_hex), data, self.incoming)
        return hash_hex

    def adopt(self, staged: Path, hash_hex: str) -> None:
        """Move one file of the same file system into the store, durably; the caller vouches for its hash.

        Raises:
            CallerFault: `bad_id`. Unavailable: `disk_full`, `disk_failed`.
        """
        with disk_faults_named(self.data):
            descriptor = open_regular(staged)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        self.adopt_all({hash_hex: staged})

    def adopt_all(self, staged: Mapping[str, Path], manifests: Mapping[str, Path] | None = None) -> None:
        """Move files that are already fsynced into the store; returns when all their names are durable.

        Args:
            staged: hash in hex -> chunk or cover in the same file system.
            manifests: track root in hex -> manifest, likewise.
        Raises:
            CallerFault: `bad_id`. Unavailable: `disk_full`, `disk_failed`; some may have been moved by then.
        """
        targets = {self.path(hash_hex): source for hash_hex, source in staged.items()}
        targets |= {self.manifest_path(root): source for root, source in (manifests or {}).items()}
        with disk_faults_named(self.data):
            for target, source in targets.items():
                rename_into(source, target)
            # All names first, then all folders at once: the first fsync commits most of the file system's
            # journal for the others.
            folders = {target.parent for target in targets}
            with ThreadPoolExecutor(_SYNC_THREADS, thread_name_prefix="sync") as pool:
                list(pool.map(sync_folder, folders))

    def delete(self, hash_hex: str) -> bool:
        """Remove a chunk, and its folder if that is empty then.

        Returns:
            whether it was there.
        Raises:
            CallerFault: `bad_id`. Unavailable: `disk_failed`.
        """
        path, was_there = self.path(hash_hex), True
        with disk_faults_named(self.data):
            try:
                path.unlink()
            except FileNotFoundError:
                was_there = False
            with suppress(OSError):
                path.parent.rmdir()
        return was_there

    def hashes(self) -> Iterator[str]:
        """Every chunk and cover that lies in the store, in no order."""
        for folder in self.chunks.glob("[0-9a-f][0-9a-f]"):
            for path in folder.iterdir():
                if is_hex_id(path.name) and path.name.startswith(folder.name):
                    yield path.name

    def manifest_path(self, root_hex: str) -> Path:
        """Where a manifest lies or would lie.

        Raises:
            CallerFault: `bad_id`.
        """
        return self.manifests / f"{_checked(root_hex)}.json"

    def manifest(self, root_hex: str) -> bytes:
        """The exact bytes of a track's manifest, unchecked.

        Raises:
            CallerFault: `bad_id`. Unavailable: `track_not_held`, `manifest_damaged`.
        """
        try:
            descriptor = open_regular(self.manifest_path(root_hex))
        except FileNotFoundError as error:
            raise Unavailable(
                "track_not_held", f"The track {short(root_hex)} is not here.", track_root=root_hex
            ) from error
        except OSError as error:
            raise disk_fault(error, self.data) from error
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
        if len(data) > MAX_MANIFEST_BYTES:
            raise Unavailable(
                "manifest_damaged", f"The manifest of {short(root_hex)} is too large.", track_root=root_hex
            )
        return data

    def put_manifest(self, root_hex: str, data: bytes) -> None:
        """Store a manifest durably.

        Raises:
            CallerFault: `bad_id`. Unavailable: `disk_full`, `disk_failed`.
        """
        path = self.manifest_path(root_hex)
        with disk_faults_named(self.data):
            write_durably(path, data, self.incoming)

    def delete_manifest(self, root_hex: str) -> bool:
        """Remove a manifest; says whether it was there.

        Raises:
            CallerFault: `bad_id`. Unavailable: `disk_failed`.
        """
        with disk_faults_named(self.data):
            try:
                self.manifest_path(root_hex).unlink()
            except FileNotFoundError:
                return False
        return True

    def sweep_incoming(self) -> None:
        """Remove what killed processes were writing."""
        with disk_faults_named(self.data), suppress(FileNotFoundError):
            for path in self.incoming.iterdir():
                with suppress(FileNotFoundError):
                    if path.lstat().st_mtime < time.time() - INCOMING_LIFETIME_S:
                        path.unlink()

    def _open_chunk(self, hash_hex: str) -> int:
        try:
            return open_regular(self.path(hash_hex))
        except FileNotFoundError as error:
            raise Unavailable(
                "chunk_not_held", f"The chunk {short(hash_hex)} is not here.", hash=hash_hex
            ) from error
        except OSError as error:
            raise disk_fault(error, self.data) from error

    def _read(self, hash_hex: str) -> bytes:
        # One byte more than allowed, so that a file that grew is seen as damaged and never fills the memory.
        with os.fdopen(self._open_chunk(hash_hex), "rb", buffering=0) as file:
            try:
                data = file.read(MAX_CHUNK_BYTES + 1)
            except OSError as error:
                raise _damaged(hash_hex) from error
        if data is None or len(data) > MAX_CHUNK_BYTES:
            raise _damaged(hash_hex)
        return data


def _checked(name: str) -> str:
    if not is_hex_id(name):
        raise CallerFault("bad_id", "An id is 64 lower-case hex digits.")
    return name


def _damaged(hash_hex: str) -> Unavailable:
    return Unavailable("chunk_damaged", f"The chunk {short(hash_hex)} is damaged on this disk.", hash=hash_hex)
