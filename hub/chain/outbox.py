"""Transactions before they are sent, in SQLite: what was begun is gone on with after kill -9, never done twice.

Each has a purpose, such as `publish ROOT`: the name under which its sender finds it again. A signed transaction
is durable here before anybody else sees it; sent once more it is the same transaction, with the same nonce.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from digm.errors import CallerFault
from hub.storage.durable import disk_fault
from hub.storage.sqlite_file import SqliteFile

FILE_NAME = "outbox.sqlite"
VERSION = 1
MAX_PURPOSE = 500
# Beside the schema, whose version is older than it: files of both kinds are read by both.
_DEADLINES = """
CREATE TABLE IF NOT EXISTS deadlines (
    chain TEXT NOT NULL, sender TEXT NOT NULL, purpose TEXT NOT NULL, before_s INTEGER NOT NULL,
    PRIMARY KEY (chain, sender, purpose)
) WITHOUT ROWID
"""
_SCHEMA = """
CREATE TABLE attempts (
    hash TEXT PRIMARY KEY, chain TEXT NOT NULL, sender TEXT NOT NULL, purpose TEXT NOT NULL,
    nonce INTEGER NOT NULL, raw BLOB NOT NULL, fee_wei INTEGER NOT NULL, is_void INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX attempts_by_purpose ON attempts (chain, sender, purpose);
CREATE TABLE done (
    chain TEXT NOT NULL, sender TEXT NOT NULL, purpose TEXT NOT NULL, hash TEXT NOT NULL,
    PRIMARY KEY (chain, sender, purpose)
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Attempt:
    """A signed transaction. `fee_wei`: the most it pays for a unit of gas."""

    hash: str
    purpose: str
    nonce: int
    raw: bytes
    fee_wei: int


class Outbox:
    """What one account sends on one chain. Processes may share the file.

    Args:
        folder: where the file lies; made if it is missing.
        chain: which chain (`ChainClient.identity`); one that was begun anew is another.
    Raises (all methods):
        Unavailable, CallerFault: as SqliteFile, with `outbox`.
    """

    def __init__(self, folder: Path, chain: str, sender: str) -> None:
        self._who = (chain, sender)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise disk_fault(error, folder) from error
        self._file = SqliteFile(folder / FILE_NAME, _SCHEMA, VERSION, "outbox")
        self._db, self._faults_named = self._file.db, self._file.faults_named
        with self.writing():
            self._db.execute(_DEADLINES)

    def close(self) -> None:
        self._db.close()

    def writing(self) -> AbstractContextManager[None]:
        """Alone with the file: what is read and written in the block belongs together."""
        return self._file.writing()

    def attempts(self, purpose: str) -> list[Attempt]:
        """What was signed for a purpose and may still count, oldest nonce first, the dearest last."""
        query = (
            "SELECT hash, purpose, nonce, raw, fee_wei FROM attempts WHERE chain = ? AND sender = ? "
            "AND purpose = ? AND is_void = 0 ORDER BY nonce, fee_wei"
        )
        return self._attempts(query, *self._who, purpose)

    def open_purposes(self) -> list[str]:
        """What was begun and is not known to be done, in the order of nonces."""
        query = (
            "SELECT purpose FROM attempts WHERE chain = ?1 AND sender = ?2 AND is_void = 0 AND purpose NOT IN "
            "(SELECT purpose FROM done WHERE chain = ?1 AND sender = ?2) GROUP BY purpose ORDER BY MIN(nonce)"
        )
        with self._faults_named():
            return [str(row[0]) for row in self._db.execute(query, self._who)]

    def attempts_from(self, nonce: int) -> list[Attempt]:
        """All that may still count from a nonce on, in order; what was done, too: a chain may take it back."""
        query = (
            "SELECT hash, purpose, nonce, raw, fee_wei FROM attempts WHERE chain = ? AND sender = ? "
            "AND nonce >= ? AND is_void = 0 ORDER BY nonce, fee_wei"
        )
        return self._attempts(query, *self._who, nonce)

    def highest_nonce(self) -> int:
        """Of what may still count; -1 where there is nothing."""
        query = "SELECT MAX(nonce) FROM attempts WHERE chain = ? AND sender = ? AND is_void = 0"
        with self._faults_named():
            found = self._db.execute(query, self._who).fetchone()[0]
        return -1 if found is None else int(found)

    def add(self, attempt: Attempt) -> None:
        """Within `writing`."""
        if len(attempt.purpose) > MAX_PURPOSE:
            raise CallerFault("bad_argument", "The purpose of a transaction is too long.")
        row = (attempt.hash, *self._who, attempt.purpose, attempt.nonce, attempt.raw, attempt.fee_wei)
        self._db.execute("INSERT OR IGNORE INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, 0)", row)

    def set_deadline(self, purpose: str, before_s: int) -> None:
        """It is not sent to anybody from a time of the chain on. Within `writing`."""
        self._db.execute(
            "INSERT OR REPLACE INTO deadlines VALUES (?, ?, ?, ?)", (*self._who, purpose, before_s)
        )

    def deadlines(self) -> dict[str, int]:
        """By purpose, of what is not known to be done: until when it may be sent, seconds since 1970."""
        query = (
            "SELECT purpose, before_s FROM deadlines WHERE chain = ?1 AND sender = ?2 AND purpose NOT IN "
            "(SELECT purpose FROM done WHERE chain = ?1 AND sender = ?2)"
        )
        with self._faults_named():
            return {str(purpose): int(before_s) for purpose, before_s in self._db.execute(query, self._who)}

    def instead(self, late: list[Attempt], nothing: Attempt) -> None:
        """In the place of what is too late, one that does nothing: it is never waited for."""
        with self.writing():
            hashes = [(one.hash,) for one in late]
            self._db.executemany("UPDATE attempts SET is_void = 1 WHERE hash = ?", hashes)
            self.add(nothing)
            row = (*self._who, nothing.purpose, nothing.hash)
            self._db.execute("INSERT OR REPLACE INTO done VALUES (?, ?, ?, ?)", row)

    def void(self, attempts: list[Attempt]) -> None:
        """These can never be in a block: their nonce is another transaction's."""
        with self.writing():
            hashes = [(one.hash,) for one in attempts]
            self._db.executemany("UPDATE attempts SET is_void = 1 WHERE hash = ?", hashes)

    def done(self, purpose: str) -> str | None:
        """The transaction that did it, as far as was known when it was written down."""
        query = "SELECT hash FROM done WHERE chain = ? AND sender = ? AND purpose = ?"
        with self._faults_named():
            row = self._db.execute(query, (*self._who, purpose)).fetchone()
        return None if row is None else str(row[0])

    def set_done(self, purpose: str, transaction_hash: str) -> None:
        with self.writing():
            self._db.execute(
                "INSERT OR REPLACE INTO done VALUES (?, ?, ?, ?)", (*self._who, purpose, transaction_hash)
            )

    def forget(self, purpose: str) -> None:
        """So that it can be begun anew: it was done, and failed."""
        with self.writing():
            for table in ("attempts", "done", "deadlines"):
                query = f"DELETE FROM {table} WHERE chain = ? AND sender = ? AND purpose = ?"
                self._db.execute(query, (*self._who, purpose))

    def _attempts(self, query: str, *values: object) -> list[Attempt]:
        with self._faults_named():
            rows = self._db.execute(query, values).fetchall()
        return [Attempt(name, purpose, nonce, bytes(raw), fee) for name, purpose, nonce, raw, fee in rows]
