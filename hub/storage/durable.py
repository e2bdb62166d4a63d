"""Files that are there whole after a crash, or not at all; and what goes wrong with disks, as sentences.

The rule everywhere: write under a name that nobody reads, fsync the file, rename, fsync the folder. Only then
may anybody be told that it is stored.
"""

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from digm.errors import CallerFault, DigmError, Unavailable

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_FOLDER = {errno.EEXIST, errno.ENOTDIR}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}


def disk_fault(error: OSError, folder: Path) -> DigmError:
    """Say what the disk said.

    Returns:
        Unavailable `disk_full`; CallerFault `data_not_writable`, `data_not_a_folder`; otherwise Unavailable
        `disk_failed`.
    """
    if error.errno in _FULL:
        return Unavailable("disk_full", f"The disk that holds {folder} is full: free some space and try again.")
    if error.errno in _REFUSED:
        return CallerFault(
            "data_not_writable",
            f"{error.filename or folder} cannot be opened or written: check who owns it and its mode.",
        )
    # Of a rename, the second name is where it was to go.
    named = Path(error.filename2 or error.filename or folder)
    if error.errno in _NO_FOLDER:
        return CallerFault(
            "data_not_a_folder",
            f"{_in_the_way(named)} is a file, where a folder belongs: choose another data folder (DIGM_DATA), "
            "or move the file away.",
        )
    if error.errno == errno.EISDIR:
        return CallerFault("data_not_a_file", f"{named} is a folder, where a file belongs: move it away.")
    reason = os.strerror(error.errno) if error.errno else str(error)
    return Unavailable("disk_failed", f"The disk that holds {folder} failed: {reason}.")


def _in_the_way(path: Path) -> Path:
    """What of a path is no folder, from its beginning."""
    for place in (*reversed(path.parents), path):
        if os.path.lexists(place) and not os.path.isdir(place):  # noqa: PTH112 - Path.is_dir may raise
            return place
    return path


@contextmanager
def disk_faults_named(folder: Path) -> Iterator[None]:
    """Turn an OSError of the block into `disk_fault`."""
    try:
        yield
    except OSError as error:
        raise disk_fault(error, folder) from error


def is_nearly_full(folder: Path) -> bool:
    """Whether less than 1 MiB is left on the disk of a folder."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < 1 << 20


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_new(path: Path, data: bytes | bytearray | memoryview, mode: int = 0o644) -> None:
    """Create a file with these bytes and fsync it; its name is not durable before its folder is synced too.

    Raises:
        FileExistsError; OSError: nothing is left behind.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        write_all(descriptor, data)
        os.fsync(descriptor)
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes | bytearray | memoryview) -> None:
    """`os.write` until all is written: near a full disk it may take only a part."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def write_durably(path: Path, data: bytes | bytearray | memoryview, incoming: Path) -> None:
    """Put a whole file in place, over an older one if there is one.

    Args:
        incoming: folder in the same file system for the bytes until they are whole; made if it is missing.
    """
    make_folder(incoming)
    temporary = incoming / secrets.token_hex(16)
    write_new(temporary, data)
    try:
        rename_into(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def rename_into(source: Path, target: Path) -> None:
    """Rename, and make the folder of the target if it is missing, also when somebody removes it meanwhile."""
    while True:
        try:
            source.rename(target)
        except FileNotFoundError:
            if not source.exists():
                raise
            make_folder(target.parent)
        else:
            return


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, each name durable."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    try:
        folder.mkdir()
    except FileExistsError:
        # Path.mkdir(exist_ok=True) looks again and fails where somebody removed the folder in between. Look
        # once: between two looks it may go as well.
        with suppress(FileNotFoundError):
            if not stat.S_ISDIR(folder.lstat().st_mode):
                raise
    sync_folder(folder.parent)


def open_regular(path: Path) -> int:
    """Open a file for reading; a link, a folder, a pipe or a device is as good as missing.

    Returns:
        a descriptor that the caller closes.
    Raises:
        FileNotFoundError; OSError.
    """
    try:
        # O_NONBLOCK: opening a pipe that nobody writes to must not hang.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            raise FileNotFoundError(errno.ENOENT, "not a regular file", str(path)) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, "not a regular file", str(path))
    return descriptor


@contextmanager
def folder_locked(folder: Path) -> Iterator[None]:
    """Be the only process in this block for a folder (flock; released by the kernel if we are killed)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
