"""What was read of a chain's events, in SQLite: steps, each an event that counts now or does so no longer.

An event counts when it is deep enough. If the chain takes it back after that, another step says so. Who acts
on events goes through the steps and keeps the number of the last one; nothing is told twice, and nothing lost
by kill -9. Which blocks are read, and from whom, is `events`' business.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from digm.chain_scan import Anchor
from hub.chain.model import Log
from hub.storage.durable import disk_fault
from hub.storage.sqlite_file import SqliteFile

FILE_NAME = "events.sqlite"
VERSION = 1
KEPT_ANCHORS = 1_000
_SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE anchors (number INTEGER PRIMARY KEY, hash TEXT NOT NULL);
CREATE TABLE logs (
    block INTEGER NOT NULL, position INTEGER NOT NULL, block_hash TEXT NOT NULL, content BLOB NOT NULL,
    is_told INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (block, position, block_hash)
) WITHOUT ROWID;
CREATE TABLE steps (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, is_undone INTEGER NOT NULL, content BLOB NOT NULL
);
CREATE TABLE readers (name TEXT PRIMARY KEY, sequence INTEGER NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Step:
    """A log that counts from now on, or, `is_undone`, one that did and does not any more."""

    sequence: int
    is_undone: bool
    log: Log


class Journal:
    """One file for one set of contracts on one chain.

    Args:
        subject: what is read, such as the chain and the contracts' addresses; with another one, the file is
            begun anew.
    Raises (all methods):
        Unavailable, CallerFault: as SqliteFile, with `journal`.
    """

    def __init__(self, path: Path, subject: str) -> None:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise disk_fault(error, path.parent) from error
        file = SqliteFile(path, _SCHEMA, VERSION, "journal")
        self._db, self._writing, self._faults_named = file.db, file.writing, file.faults_named
        try:
            self._begin(subject)
        except BaseException:
            self._db.close()
            raise

    def _begin(self, subject: str) -> None:
        with self._writing():
            known = self._db.execute("SELECT value FROM facts WHERE name = 'subject'").fetchone()
            if known is not None and known[0] != subject:
                for table in ("anchors", "logs", "steps", "readers"):
                    self._db.execute(f"DELETE FROM {table}")
            self._db.execute("INSERT OR REPLACE INTO facts VALUES ('subject', ?)", (subject,))

    def close(self) -> None:
        self._db.close()

    # -- reading the chain

    def anchors(self) -> list[Anchor]:
        """Up to where it was read, oldest first."""
        with self._faults_named():
            return [
                Anchor(*row) for row in self._db.execute("SELECT number, hash FROM anchors ORDER BY number")
            ]

    def newest_anchor(self) -> Anchor | None:
        query = "SELECT number, hash FROM anchors ORDER BY number DESC LIMIT 1"
        with self._faults_named():
            row = self._db.execute(query).fetchone()
        return None if row is None else Anchor(*row)

    def rewind(self, anchor: Anchor | None) -> None:
        """Read again from behind an anchor; None: from the beginning.

        What was told stays until its blocks are read again: it may be in them, as it was.
        """
        number = -1 if anchor is None else anchor.number
        with self._writing():
            self._db.execute("DELETE FROM anchors WHERE number > ?", (number,))
            self._db.execute("DELETE FROM logs WHERE block > ? AND is_told = 0", (number,))

    def extend(self, behind: Anchor | None, first: int, last: Anchor, found: Sequence[Log]) -> bool:
        """A stretch was read.

        Args:
            behind: the newest anchor, as it was when it was begun to be read.
            first, last: its blocks, both included.
            found: all its logs, in order.
        Returns:
            False: another process has read on, or found a fork, meanwhile; the stretch was not taken.
        """
        keys = {(log.block, log.index, log.block_hash) for log in found}
        query = (
            "SELECT block, position, block_hash, content FROM logs WHERE block BETWEEN ? AND ? AND is_told = 1 "
            "ORDER BY block DESC, position DESC"
        )
        with self._writing():
            if self.newest_anchor() != behind:
                return False
            for *key, content in self._db.execute(query, (first, last.number)).fetchall():
                if tuple(key) not in keys:
                    self._db.execute("INSERT INTO steps (is_undone, content) VALUES (1, ?)", (content,))
                    self._db.execute(
                        "DELETE FROM logs WHERE block = ? AND position = ? AND block_hash = ?", key
                    )
            rows = [(log.block, log.index, log.block_hash, msgspec.msgpack.encode(log)) for log in found]
            self._db.executemany("INSERT OR IGNORE INTO logs VALUES (?, ?, ?, ?, 0)", rows)
            self._db.execute("INSERT OR REPLACE INTO anchors VALUES (?, ?)", (last.number, last.hash))
            kept = "SELECT number FROM anchors ORDER BY number DESC LIMIT ?"
            self._db.execute(f"DELETE FROM anchors WHERE number NOT IN ({kept})", (KEPT_ANCHORS,))
        return True

    def tell(self, deepest: int) -> int:
        """Logs of blocks up to this one count from now on.

        Returns:
            how many were told.
        """
        query = (
            "SELECT block, position, block_hash, content FROM logs WHERE is_told = 0 AND block <= ? "
            "ORDER BY block, position"
        )
        with self._faults_named():
            if self._db.execute(f"{query} LIMIT 1", (deepest,)).fetchone() is None:
                return 0
        with self._writing():
            rows = self._db.execute(query, (deepest,)).fetchall()
            for *key, content in rows:
                self._db.execute("INSERT INTO steps (is_undone, content) VALUES (0, ?)", (content,))
                self._db.execute(
                    "UPDATE logs SET is_told = 1 WHERE block = ? AND position = ? AND block_hash = ?", key
                )
        return len(rows)

    # -- acting on it

    def steps(self, after: int = 0, most: int = 1_000) -> list[Step]:
        """What happened after a step, in order."""
        query = "SELECT sequence, is_undone, content FROM steps WHERE sequence > ? ORDER BY sequence LIMIT ?"
        with self._faults_named():
            rows = self._db.execute(query, (after, most)).fetchall()
        return [Step(row[0], bool(row[1]), msgspec.msgpack.decode(row[2], type=Log)) for row in rows]

    def position(self, reader: str) -> int:
        """The last step that a reader has acted on; 0: none yet."""
        with self._faults_named():
            row = self._db.execute("SELECT sequence FROM readers WHERE name = ?", (reader,)).fetchone()
        return 0 if row is None else int(row[0])

    def set_position(self, reader: str, sequence: int) -> None:
        with self._writing():
            self._db.execute("INSERT OR REPLACE INTO readers VALUES (?, ?)", (reader, sequence))
