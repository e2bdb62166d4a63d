"""One SQLite file: made or opened, what is written in it durable, its errors named."""

import contextlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from digm.errors import CallerFault, DigmError, Unavailable
from hub.storage.durable import disk_fault, is_nearly_full


class SqliteFile:
    """A connection that its owner's threads use in turns.

    Attributes:
        db: the connection, in autocommit.

    Args:
        schema: statements that make version `version`; none of them has a semicolon inside.
        name: of what it is, in codes: `outbox` gives `outbox_newer`.
        is_exclusive: no other process may have it open.
        pragmas: further ones.
    Raises (all methods):
        Unavailable: `disk_full`, `disk_failed`, `NAME_damaged`.
        CallerFault: `data_not_writable`, `NAME_newer`, `NAME_in_use` where it is exclusive.
    """

    def __init__(
        self,
        path: Path,
        schema: str,
        version: int,
        name: str,
        is_exclusive: bool = False,
        pragmas: tuple[str, ...] = (),
    ) -> None:
        self.path, self._name, self._is_exclusive = path, name, is_exclusive
        locking = ("locking_mode=EXCLUSIVE",) if is_exclusive else ()
        with self.faults_named():
            timeout_s = 1 if is_exclusive else 30
            self.db = sqlite3.connect(path, timeout=timeout_s, isolation_level=None, check_same_thread=False)
            try:
                for pragma in (
                    *locking,
                    "journal_mode=WAL",
                    "synchronous=FULL",
                    "trusted_schema=OFF",
                    *pragmas,
                ):
                    self.db.execute(f"PRAGMA {pragma}")
                self._set_up(schema, version)
            except BaseException:
                self.db.close()
                raise

    def _set_up(self, schema: str, version: int) -> None:
        with self.writing():  # two processes may find it missing at once
            found = self.db.execute("PRAGMA user_version").fetchone()[0]
            if found > version:
                raise CallerFault(
                    f"{self._name}_newer", f"{self.path} was written by a newer version: update DIGM."
                )
            if found == 0:
                for statement in schema.split(";"):
                    self.db.execute(statement)
                self.db.execute(f"PRAGMA user_version = {version}")

    def close(self) -> None:
        self.db.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Alone with the file. All writes of the block are durable when it ends; none if it raises."""
        with self.faults_named():
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # a full disk has ended the transaction already
                    self.db.execute("ROLLBACK")
                raise

    @contextmanager
    def faults_named(self) -> Iterator[None]:
        """Around reading: errors of SQLite and of the disk become ours."""
        try:
            yield
        except sqlite3.Error as error:
            raise self._fault(error) from error
        except OSError as error:
            raise disk_fault(error, self.path.parent) from error

    def _fault(self, error: sqlite3.Error) -> DigmError:
        name = str(getattr(error, "sqlite_errorname", ""))
        if self._is_exclusive and name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return CallerFault(f"{self._name}_in_use", f"Another {self._name} runs on {self.path}.")
        # On a disk that is nearly full SQLite speaks of I/O errors: it cannot even make its index of the log.
        if name.startswith("SQLITE_FULL") or is_nearly_full(self.path.parent):
            return Unavailable(
                "disk_full", f"The disk that holds {self.path.parent} is full: free some space and try again."
            )
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            return Unavailable(
                f"{self._name}_damaged", f"{self.path} is damaged: restore it from a backup, or move it away."
            )
        if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH")):
            return CallerFault(
                "data_not_writable",
                f"{self.path} cannot be opened or written: check who owns it and its mode.",
            )
        return Unavailable("disk_failed", f"{self.path} failed: {error}.")
