"""What the devnet remembers, in one SQLite file: a block and all that it changed is there whole, or not at all.

Two kinds of things: the EVM's own key-value pairs (trie nodes, headers), and blocks, transactions, receipts and
logs as the JSON that is answered. Reading those needs no EVM.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from hub.storage.sqlite_file import SqliteFile

FILE_NAME = "devnet.sqlite"
VERSION = 1
_SCHEMA = """
CREATE TABLE pairs (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE blocks (number INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, json BLOB NOT NULL);
CREATE TABLE transactions (
    hash TEXT PRIMARY KEY, block INTEGER NOT NULL, position INTEGER NOT NULL,
    json BLOB NOT NULL, receipt BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX transactions_by_block ON transactions (block, position);
CREATE TABLE logs (
    block INTEGER NOT NULL, position INTEGER NOT NULL, address TEXT NOT NULL,
    topic0 TEXT, topic1 TEXT, topic2 TEXT, topic3 TEXT, json BLOB NOT NULL,
    PRIMARY KEY (block, position)
) WITHOUT ROWID;
"""

Json = dict[str, Any]


@dataclass(frozen=True)
class MinedTransaction:
    """A transaction as it is answered, with its receipt (which holds its logs)."""

    transaction: Json
    receipt: Json


class DevnetStore:
    """One file, one process, one thread at a time.

    Raises (all methods):
        Unavailable, CallerFault: as SqliteFile, with `devnet`.
    """

    def __init__(self, folder: Path) -> None:
        # Exclusive: two devnets on one file would each mine a chain of their own into it.
        self._file = SqliteFile(folder / FILE_NAME, _SCHEMA, VERSION, "devnet", is_exclusive=True)
        self._db, self._faults_named = self._file.db, self._file.faults_named

    def close(self) -> None:
        self._db.close()

    def writing(self) -> AbstractContextManager[None]:
        """All writes of the block together, durable when it ends; none of them if it raises."""
        return self._file.writing()

    # -- the EVM's pairs

    def pair(self, key: bytes) -> bytes | None:
        with self._faults_named():
            row = self._db.execute("SELECT value FROM pairs WHERE key = ?", (key,)).fetchone()
        return None if row is None else bytes(row[0])

    def set_pair(self, key: bytes, value: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO pairs VALUES (?, ?)", (key, value))

    def remove_pair(self, key: bytes) -> bool:
        return self._db.execute("DELETE FROM pairs WHERE key = ?", (key,)).rowcount > 0

    # -- single facts

    def fact(self, name: str) -> str | None:
        with self._faults_named():
            row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_fact(self, name: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    # -- blocks

    def add_block(self, number: int, block: Json, mined: Sequence[MinedTransaction]) -> None:
        """Within `writing`."""
        self._db.execute("INSERT INTO blocks VALUES (?, ?, ?)", (number, block["hash"], _encoded(block)))
        for position, one in enumerate(mined):
            row = (one.transaction["hash"], number, position, _encoded(one.transaction), _encoded(one.receipt))
            self._db.execute("INSERT INTO transactions VALUES (?, ?, ?, ?, ?)", row)
            for log in one.receipt["logs"]:
                topics = (*log["topics"], None, None, None, None)[:4]
                values = (number, int(log["logIndex"], 16), log["address"], *topics, _encoded(log))
                self._db.execute("INSERT INTO logs VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)

    def drop_above(self, number: int) -> list[str]:
        """Forget every block above one; within `writing`.

        Returns:
            the hashes of the transactions that were in them.
        """
        rows = self._db.execute("SELECT hash FROM transactions WHERE block > ?", (number,)).fetchall()
        self._db.execute("DELETE FROM blocks WHERE number > ?", (number,))
        for table in ("transactions", "logs"):
            self._db.execute(f"DELETE FROM {table} WHERE block > ?", (number,))
        return [str(row[0]) for row in rows]

    def block(self, number: int) -> Json | None:
        return self._one("SELECT json FROM blocks WHERE number = ?", number)

    def block_by_hash(self, block_hash: str) -> Json | None:
        return self._one("SELECT json FROM blocks WHERE hash = ?", block_hash)

    def transaction(self, transaction_hash: str) -> Json | None:
        return self._one("SELECT json FROM transactions WHERE hash = ?", transaction_hash)

    def receipt(self, transaction_hash: str) -> Json | None:
        return self._one("SELECT receipt FROM transactions WHERE hash = ?", transaction_hash)

    def transactions_in(self, number: int) -> list[Json]:
        return self._many("SELECT json FROM transactions WHERE block = ? ORDER BY position", number)

    def receipts_in(self, number: int) -> list[Json]:
        return self._many("SELECT receipt FROM transactions WHERE block = ? ORDER BY position", number)

    def logs(
        self,
        first: int,
        last: int,
        addresses: Sequence[str],
        topics: Sequence[Sequence[str]],
        most: int,
    ) -> list[Json]:
        """Logs of a range of blocks, in the chain's order.

        Args:
            addresses: any of these, in lower case; empty: whoever wrote them.
            topics: what may stand at each place; an empty sequence: anything.
            most: at most so many and one.
        """
        where, values = ["block BETWEEN ? AND ?"], [first, last]
        columns = ("address", "topic0", "topic1", "topic2", "topic3")
        for column, wanted in zip(columns, (addresses, *topics), strict=False):
            if wanted:
                where.append(f"{column} IN ({', '.join('?' * len(wanted))})")
                values += wanted  # type: ignore[arg-type]
        where += [f"topic{n} IS NOT NULL" for n, wanted in enumerate(topics) if not wanted and n < 4]
        # Every part of it is written here; what was asked for is in the values.
        query = f"SELECT json FROM logs WHERE {' AND '.join(where)} ORDER BY block, position LIMIT {most + 1}"
        return self._many(query, *values)

    def _one(self, query: str, *values: object) -> Json | None:
        found = self._many(query, *values)
        return found[0] if found else None

    def _many(self, query: str, *values: object) -> list[Json]:
        with self._faults_named():
            return [msgspec.json.decode(row[0]) for row in self._db.execute(query, values)]


def _encoded(value: Json) -> bytes:
    return msgspec.json.encode(value)
