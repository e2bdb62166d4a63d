"""What the artist gave: files and folders, turned into releases; and the identity of each file's bytes."""

import errno
import hashlib
import os
import stat
import unicodedata
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
_SHOWN_OF_A_LONG_NAME = 60
# Controls, halves of characters, line ends; and what turns the direction of writing (CVE-2021-42574).
_UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")
_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


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


def find_release(given: str | Path) -> ReleaseSource:
    """Take a path from the command line, whatever it holds, as a release.

    A folder's own audio files are one release; what lies in its subfolders is not looked at.

    Raises:
        CallerFault: `empty_name`, `name_too_long`, `no_such_file`, `unreadable_file`, `empty_folder`; the
            sentence names it.
    """
    if not str(given):
        raise CallerFault("empty_name", "An empty name is no file: give a file, or . for the current folder.")
    path = Path(given)
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except (OSError, ValueError) as error:  # ValueError: a null character
        raise _not_found(path, error) from error
    return _release_of_folder(path) if is_folder else ReleaseSource(folder=None, files=(path,))


def fingerprint(path: Path) -> Fingerprint:
    """Read a file once, from its beginning to its end.

    Raises:
        CallerFault: `no_such_file`, `unreadable_file`, `not_a_file`, `empty_file`; the sentence names the file.
    """
    try:
        descriptor = open_regular(path.resolve(strict=True))
    except FileNotFoundError as error:
        # Not Path.exists, which may raise.
        raise caller_fault("not_a_file" if os.path.exists(path) else "no_such_file", path) from error  # noqa: PTH110
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


def printable(text: str | Path) -> str:
    """A path or a sentence as one line that can always be printed, and only be printed.

    Bytes that are not UTF-8 and characters that move a terminal's cursor or turn its text become escapes.
    """
    return "".join(
        ascii(char)[1:-1] if unicodedata.category(char) in _UNPRINTABLE or char in _DIRECTIONS else char
        for char in str(text)
    )


def _not_found(path: Path, error: OSError | ValueError) -> CallerFault:
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ENAMETOOLONG:
        start = printable(str(path)[:_SHOWN_OF_A_LONG_NAME])
        return CallerFault(
            "name_too_long", f"{start}... is longer than a name can be: check what was given.", file=start
        )
    missing = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, None)
    return caller_fault("no_such_file" if number in missing else "unreadable_file", path)


def _release_of_folder(folder: Path) -> ReleaseSource:
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise caller_fault("unreadable_file", folder) from error
    # Not Path.is_dir, which raises in a folder whose names may be read, but nothing more.
    files = [
        entry
        for entry in entries
        if entry.suffix.lower() in AUDIO_SUFFIXES and not os.path.isdir(entry)  # noqa: PTH112
    ]
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
            if entry.stem.lower() != name or entry.suffix.lower() not in COVER_SUFFIXES:
                continue
            if os.path.isfile(entry):  # noqa: PTH113 - as above
                return entry
    return None
