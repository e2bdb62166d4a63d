"""Where a release is made before anybody can see it: `staging/<id>/`, and how it is undone.

A folder belongs to a live process as long as that holds a flock on it; the kernel lets go of it with the
process, however that ends. Before files are moved from here into the chunk store, their hashes are written to a
journal in the folder. So whoever finds the folder of a dead process knows what to take back: everything in the
journal that no catalogued track is made of. Plaintext lies in these folders only, and they have mode 700.
"""

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from digm.errors import Unavailable
from hub.storage.catalogue import Catalogue, ReleaseEntry, TrackEntry
from hub.storage.chunk_store import ChunkStore
from hub.storage.durable import disk_faults_named, folder_locked, make_folder, sync_folder, write_new

_JOURNAL = "journal"


class JournalEntry(msgspec.Struct, frozen=True):
    """What one track may have put into the store. All are 64 hex digits."""

    track_root: str
    chunks: tuple[str, ...]
    cover: str | None


class Staging:
    """The folder of one attempt to publish; a context manager that leaves nothing of it behind.

    Unless `acknowledge` returned, what was moved into the store is taken back as well, except for tracks that
    are in the catalogue nevertheless: an interrupt may come between the commit and its return.
    """

    def __init__(self, data: Path, store: ChunkStore, catalogue: Catalogue) -> None:
        self._root = data / "staging"
        self._store = store
        self._catalogue = catalogue
        self._descriptor = -1
        self._is_done = False
        self._may_be_listed = False
        self.folder = self._root / secrets.token_hex(16)

    def __enter__(self) -> Self:
        with disk_faults_named(self._root):
            make_folder(self._root.parent)
            self._root.mkdir(mode=0o700, exist_ok=True)
            # A sweep must not see the folder before it is locked.
            with folder_locked(self._root):
                self.folder.mkdir(mode=0o700)
                self._descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with disk_faults_named(self._root), folder_locked(self._root):
                if not self._is_done:
                    _take_back(self.folder, self._store, self._catalogue, self._may_be_listed)
                _remove(self.folder)
        finally:
            os.close(self._descriptor)

    @contextmanager
    def committing(self) -> Iterator[None]:
        """Be the only process that moves files into the store, or takes them back, until the block ends.

        Chunks are nobody else's, but a cover may be: without this, one process could take back the picture
        that another has just found in place.
        """
        with disk_faults_named(self._root), folder_locked(self._root):
            yield

    def write_journal(self, entries: Sequence[JournalEntry]) -> None:
        """Note durably what will be moved into the store. Call it before the first move.

        Raises:
            Unavailable: `disk_full`, `disk_failed`.
        """
        with disk_faults_named(self._root):
            write_new(self.folder / _JOURNAL, msgspec.json.encode(entries), 0o600)
            sync_folder(self.folder)
            sync_folder(self._root)

    def acknowledge(self, release: ReleaseEntry, tracks: Sequence[TrackEntry]) -> None:
        """List the tracks in the catalogue. From then on they are published and nothing is taken back.

        Raises:
            Unavailable: `catalogue_busy`, `disk_full`, ...
        """
        self._may_be_listed = True
        try:
            self._catalogue.publish(release, tracks)
        except Unavailable as fault:
            # Busy: it never began. Full: what says that it is complete is written last, and did not fit.
            self._may_be_listed = fault.code not in ("catalogue_busy", "disk_full")
            raise
        self._is_done = True


def sweep_staging(data: Path) -> int:
    """Undo what killed processes left half done. Safe at any time, beside publishers at work.

    Returns:
        how many attempts were undone.
    Raises:
        Unavailable, CallerFault: the disk or the catalogue does not let us.
    """
    root, store = data / "staging", ChunkStore(data)
    store.sweep_incoming()
    if not root.is_dir():
        return 0
    with disk_faults_named(root), folder_locked(root):
        dead = [folder for folder in root.iterdir() if folder.is_dir() and _is_abandoned(folder)]
        if not dead:
            return 0
        catalogue = Catalogue.open(data)
        try:
            for folder in dead:
                _take_back(folder, store, catalogue)
                _remove(folder)
        finally:
            catalogue.close()
    return len(dead)


def _is_abandoned(folder: Path) -> bool:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _take_back(folder: Path, store: ChunkStore, catalogue: Catalogue, may_be_listed: bool = True) -> None:
    try:
        written = (folder / _JOURNAL).read_bytes()
        entries = msgspec.json.decode(written, type=list[JournalEntry])
    except (FileNotFoundError, msgspec.DecodeError):
        # Not there or torn: it is durable before the first move, so nothing was moved.
        return
    listed: set[str] = set()
    if may_be_listed:
        listed = catalogue.rule_out(folder.name, [entry.track_root for entry in entries])
    for entry in entries:
        if entry.track_root in listed:
            continue
        store.delete_manifest(entry.track_root)
        for hash_hex in entry.chunks:
            store.delete(hash_hex)
        if entry.cover and not catalogue.uses_cover(entry.cover):
            store.delete(entry.cover)


def _remove(folder: Path) -> None:
    # The journal goes last: as long as it is there, a sweep that is interrupted can be done again.
    with suppress(FileNotFoundError):
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != _JOURNAL:
                path.unlink(missing_ok=True)
        (folder / _JOURNAL).unlink(missing_ok=True)
    with suppress(OSError):  # a worker that outlives its parent may still write; the next sweep finds it
        folder.rmdir()
