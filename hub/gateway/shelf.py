"""Verified chunks as files in memory, which nginx sends by itself.

A chunk is hashed on its way in. From a file in memory (tmpfs) it is then sent as often as it is asked for: what
rots on a disk does not reach it, and no hash is paid twice. Without such memory there is no shelf, and the
application sends each chunk itself.
"""

import fcntl
import os
import secrets
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog

from digm.ids import is_hex_id

log = structlog.get_logger()
SHELF_URI = "/shelf/"  # by which the server in front knows it
MEMORY = Path("/dev/shm")  # noqa: S108 - only folders that we make there, with names that nobody can guess
PREFIX, LOCK = "digm-gateway-", "lock"
# A shelf takes at most this part of the memory that the system gives to such files.
MOST_OF_MEMORY = 0.5


class Shelf:
    """A folder of chunks, bounded in size. Safe in threads; several processes may fill one folder.

    What was not asked for since it was last looked at makes room first: where the file system notes the time of
    the last read this is the clock algorithm, elsewhere first in, first out.

    Args:
        folder: exists; what lies in it already is counted.
        most_bytes: of what this object puts there.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.folder = folder
        self.most_bytes = most_bytes
        self.held_bytes = 0
        self._held: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()
        # Of a process that died: ours now, or nobody would ever take it away.
        for path in sorted(folder.iterdir()):
            if is_hex_id(path.name):
                with suppress(FileNotFoundError):
                    self._note(path.name, path.stat().st_size)
            else:
                path.unlink(missing_ok=True)

    def put(self, name: str, data: bytes) -> bool:
        """Lay a verified chunk there, unless it is there.

        Returns:
            whether it lies there now; not if it is larger than the shelf, or if the memory is full.
        """
        path = self.folder / name
        with self._lock:
            if path.exists():
                return True
            if len(data) > self.most_bytes:
                return False
            try:
                self._make_room(len(data))
                self._write(path, data)
            except OSError as error:
                log.warning("shelf_failed", reason=error.strerror)
                return False
            self._note(name, len(data))
        return True

    def _write(self, path: Path, data: bytes) -> None:
        staged = self.folder / f".{secrets.token_hex(8)}"
        try:
            with staged.open("xb", buffering=0) as file:
                os.fchmod(file.fileno(), 0o644)  # nginx may be another user, whatever our umask says
                file.write(data)
            staged.replace(path)
        finally:
            staged.unlink(missing_ok=True)

    def _note(self, name: str, size: int) -> None:
        self.held_bytes += size - self._held.pop(name, 0)
        self._held[name] = size

    def _make_room(self, size: int) -> None:
        chances = len(self._held)
        while self._held and self.held_bytes + size > self.most_bytes:
            name, held = next(iter(self._held.items()))
            path = self.folder / name
            try:
                status = path.stat()
                if chances and status.st_atime_ns > status.st_mtime_ns:
                    chances -= 1
                    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
                    self._held.move_to_end(name)
                    continue
                path.unlink()
            except FileNotFoundError:
                pass  # another process made room
            del self._held[name]
            self.held_bytes -= held


@contextmanager
def work_folder() -> Iterator[tuple[Path, bool]]:
    """A folder for what the processes of one gateway share, gone afterwards; in memory where there is such.

    Yields:
        the folder, and whether it is in memory.
    """
    is_memory = MEMORY.is_dir() and os.access(MEMORY, os.W_OK | os.X_OK)
    place = MEMORY if is_memory else Path(tempfile.gettempdir())
    _sweep(place)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
    try:
        with (folder / LOCK).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder, is_memory
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(place: Path) -> None:
    """Remove what killed gateways of this user left in memory: nobody holds the lock."""
    for folder in place.glob(PREFIX + "*"):
        with suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
                continue
            with (folder / LOCK).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)


def shelf_bytes(folder: Path, wanted: int) -> int:
    """How much of `wanted` the memory under `folder` has room for."""
    return min(wanted, int(shutil.disk_usage(folder).free * MOST_OF_MEMORY))
