"""The inbox: a file or folder that is dropped into DATA/inbox and left alone for two seconds is published.

Publishing runs as a child process, `digm publish`, one at a time: the artist process keeps answering, its
memory stays small, and a killed child leaves nothing behind. What was published moves to `published`, what
was not to `refused` with a text file beside it that says why.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import structlog

from hub.config import Settings
from hub.lifecycle import tie_to_parent
from hub.metrics import INBOX_FILES

log = structlog.get_logger()
LOOK_EVERY_S = 0.5
STABLE_FOR_S = 2.0
STOP_WITHIN_S = 3.0
MAX_FILES = 10_000
PUBLISHED, REFUSED = "published", "refused"
UNFINISHED = (".part", ".crdownload", ".tmp", ".partial", ".download")

Fingerprint = tuple[tuple[str, int, int], ...]


def fingerprint(entry: Path) -> Fingerprint | None:
    """Names, sizes and times of everything in it; None while it is empty, unfinished or vanishing."""
    files: list[tuple[str, int, int]] = []
    try:
        for path in _files(entry):
            if path.name.endswith(UNFINISHED):
                return None
            facts = path.lstat()
            files.append((str(path), facts.st_size, facts.st_mtime_ns))
            if len(files) > MAX_FILES:
                break
    except OSError:
        return None
    return tuple(sorted(files)) or None


def _files(entry: Path) -> Iterator[Path]:
    if entry.is_dir() and not entry.is_symlink():
        for folder, _folders, names in os.walk(entry):
            yield from (Path(folder) / name for name in names)
    else:
        yield entry


class StableEntries:
    """Says which entries of a folder were left alone long enough. Sans-IO but for reading the folder."""

    def __init__(self, inbox: Path) -> None:
        self._inbox = inbox
        self._seen: dict[Path, tuple[Fingerprint, float]] = {}

    def look(self, now: float) -> list[Path]:
        """The entries that have not changed for `STABLE_FOR_S`, oldest name first."""
        entries = [
            entry
            for entry in sorted(self._inbox.iterdir())
            if entry.name not in (PUBLISHED, REFUSED) and not entry.name.startswith(".")
        ]
        seen: dict[Path, tuple[Fingerprint, float]] = {}
        for entry in entries:
            current = fingerprint(entry)
            if current is not None:
                before = self._seen.get(entry)
                seen[entry] = before if before and before[0] == current else (current, now)
        self._seen = seen
        return [entry for entry, (_, since) in seen.items() if now - since >= STABLE_FOR_S]


class Inbox:
    """Watches and publishes. Owns the child that it starts."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = settings.data / "inbox"
        self._tie = tie_to_parent()

    async def run(self, clock: Callable[[], float]) -> None:
        """Watch until cancelled."""
        for folder in (self._folder, self._folder / PUBLISHED, self._folder / REFUSED):
            folder.mkdir(parents=True, exist_ok=True)
        stable = StableEntries(self._folder)
        while True:
            try:
                for entry in await asyncio.to_thread(stable.look, clock()):
                    await self._take(entry)
            except OSError as error:
                log.warning("inbox_unreadable", reason=str(error))
            await asyncio.sleep(LOOK_EVERY_S)

    async def _take(self, entry: Path) -> None:
        log.info("inbox_publishing", name=entry.name)
        failures = await self._publish(entry)
        target = _free_name(self._folder / (REFUSED if failures else PUBLISHED) / entry.name)
        entry.rename(target)
        if failures:
            target.with_name(target.name + ".txt").write_text("\n".join(failures) + "\n", "utf-8")
            log.warning("inbox_refused", name=entry.name, reason=failures[0])
        else:
            log.info("inbox_published", name=entry.name)
        INBOX_FILES.labels("refused" if failures else "published").inc()

    async def _publish(self, entry: Path) -> list[str]:
        """Run `digm publish`; returns the sentences of what failed."""
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hub.cli", "publish", "--json", "--", str(entry)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "DIGM_DATA": str(self._settings.data)},
            preexec_fn=self._tie,
            start_new_session=True,
        )
        try:
            out, err = await child.communicate()
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                child.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_WITHIN_S):
                    await child.wait()
            raise
        failures = list(_failures(out))
        if child.returncode and not failures:
            failures = [
                err.decode(errors="replace").strip()[-1000:] or f"Publishing ended with {child.returncode}."
            ]
        return failures


def _failures(lines: bytes) -> Iterator[str]:
    for line in lines.splitlines():
        with contextlib.suppress(msgspec.DecodeError, KeyError, TypeError):
            result = msgspec.json.decode(line)
            if result["status"] == "failed":
                yield f"{result['file']}: {result['error']['message']}"


def _free_name(path: Path) -> Path:
    candidate, number = path, 1
    while candidate.exists() or candidate.is_symlink():
        number += 1
        candidate = path.with_name(f"{path.stem} ({number}){path.suffix}")
    return candidate
