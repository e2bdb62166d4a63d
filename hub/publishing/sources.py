"""What the artist gave: files and folders, turned into releases; and the identity of each file's bytes."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from digm.errors import CallerFault
from hub.media.faults import caller_fault
from hub.storage.durable import open_regular

_CONTAINERS = ("flac", "wav", "wave", "bwf", "rf64", "aif", "aiff", "aifc", "m4a", "m4b", "mp4", "mp3", "aac")
AUDIO_SUFFIXES = frozenset(f".{name}" for name in (*_CONTAINERS, "alac", "opus", "ogg", "oga"))
COVER_NAMES = ("cover", "folder", "front")
COVER_SUFFIXES = (".jpg", ".jpeg", ".png")
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class ReleaseSource:
    """Files that are published together, or not at all.

    Attributes:
        folder: None for a file that was given alone: its release is that one track.
        files: audio files by name.
        cover: a picture for tracks that have none.
        ignored: what else lies in the folder.
    """

    folder: Path | None
    files: tuple[Path, ...]
    cover: Path | None = None
    ignored: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Fingerprint:
    """The bytes of a source file: what they are, and what the file looked like when they were read."""

    sha256: str
    size: int
    modified_ns: int


def find_release(path: Path) -> ReleaseSource:
    """Take a path from the command line as a release.

    A folder's own audio files are one release; what lies in its subfolders is not looked at.

    Raises:
        CallerFault: `no_such_file`, `unreadable_file`, `not_a_file`, `empty_folder`; the sentence names it.
    """
    if path.is_dir():
        return _release_of_folder(path)
    if not path.exists():
        raise caller_fault("no_such_file", path)
    return ReleaseSource(folder=None, files=(path,))


def fingerprint(path: Path) -> Fingerprint:
    """Read a file once, from its beginning to its end.

    Raises:
        CallerFault: `no_such_file`, `unreadable_file`, `not_a_file`, `empty_file`; the sentence names the file.
    """
    try:
        descriptor = open_regular(path.resolve(strict=True))
    except FileNotFoundError as error:
        raise caller_fault("not_a_file" if path.exists() else "no_such_file", path) from error
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise caller_fault("unreadable_file", path) from error
    digest = hashlib.sha256()
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        facts = os.fstat(file.fileno())
        try:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
        except OSError as error:
            raise caller_fault("unreadable_file", path) from error
    if facts.st_size == 0:
        raise caller_fault("empty_file", path)
    return Fingerprint(digest.hexdigest(), facts.st_size, facts.st_mtime_ns)


def check_unchanged(path: Path, before: Fingerprint) -> None:
    """Refuse a file that was written to while it was read: what was encoded is not what was fingerprinted.

    Raises:
        CallerFault: `file_changed`.
    """
    try:
        facts = path.stat()
    except OSError as error:
        raise caller_fault("no_such_file", path) from error
    if (facts.st_size, facts.st_mtime_ns) != (before.size, before.modified_ns):
        raise CallerFault(
            "file_changed",
            f"{printable(path)} changed while it was read: wait until it is complete and publish it again.",
            file=printable(path),
        )


def printable(path: Path) -> str:
    """A path as text that can always be printed: bytes that are not UTF-8 become escapes."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def _release_of_folder(folder: Path) -> ReleaseSource:
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise caller_fault("unreadable_file", folder) from error
    files = [entry for entry in entries if entry.suffix.lower() in AUDIO_SUFFIXES and not entry.is_dir()]
    if not files:
        raise CallerFault(
            "empty_folder",
            f"{printable(folder)} holds no audio file: give the folder that the music itself is in.",
            file=printable(folder),
        )
    cover = _find_cover(entries)
    ignored = [entry for entry in entries if entry not in files and entry != cover]
    return ReleaseSource(folder, tuple(files), cover, tuple(ignored))


def _find_cover(entries: list[Path]) -> Path | None:
    for name in COVER_NAMES:
        for entry in entries:
            if entry.stem.lower() == name and entry.suffix.lower() in COVER_SUFFIXES and entry.is_file():
                return entry
    return None
