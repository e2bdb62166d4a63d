"""What pins and audits must not forget when the node restarts: orders, scores, results. SQLite, durable."""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from digm.audits import AuditScore
from digm.errors import Unavailable

FILE_NAME = "pinning.sqlite"
KEPT_RESULTS = 10_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    artist BLOB NOT NULL, track_root BLOB NOT NULL, document BLOB NOT NULL, PRIMARY KEY (artist, track_root)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS scores (node BLOB PRIMARY KEY, score TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS results (
    id INTEGER PRIMARY KEY, node BLOB NOT NULL, chunk_hash BLOB NOT NULL,
    outcome TEXT NOT NULL, at REAL NOT NULL
);
"""


class Records:
    """The tables of one node. Calls block; threads may share it.

    Raises (all methods):
        Unavailable: `records_failed`, the disk said no.
    """

    def __init__(self, data: Path) -> None:
        self._turn = threading.Lock()
        self.path = data / FILE_NAME
        with self._failures_named():
            self._tables = sqlite3.connect(self.path, check_same_thread=False)
            self._tables.execute("PRAGMA journal_mode=WAL")
            self._tables.execute("PRAGMA synchronous=FULL")
            self._tables.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        with self._turn:
            self._tables.close()

    def orders(self) -> list[bytes]:
        """The signed documents of the latest orders."""
        with self._failures_named():
            return [row[0] for row in self._tables.execute("SELECT document FROM orders")]

    def keep_order(self, artist: bytes, track_root: bytes, document: bytes) -> None:
        """Keep an order in the place of the artist's earlier one for this track."""
        with self._failures_named(), self._tables:
            self._tables.execute("REPLACE INTO orders VALUES (?, ?, ?)", (artist, track_root, document))

    def drop_order(self, artist: bytes, track_root: bytes) -> None:
        """Forget an order."""
        with self._failures_named(), self._tables:
            self._tables.execute("DELETE FROM orders WHERE artist = ? AND track_root = ?", (artist, track_root))

    def scores(self) -> dict[bytes, AuditScore]:
        """How each node stands."""
        with self._failures_named():
            rows = self._tables.execute("SELECT node, score FROM scores").fetchall()
        return {node: AuditScore(**json.loads(score)) for node, score in rows}

    def keep_result(
        self, node: bytes, score: AuditScore, chunk_hash: bytes, outcome: str, now_s: float
    ) -> None:
        """Keep what came of an audit, and how the node stands after it, both or neither."""
        with self._failures_named(), self._tables:
            self._tables.execute("REPLACE INTO scores VALUES (?, ?)", (node, json.dumps(asdict(score))))
            added = self._tables.execute(
                "INSERT INTO results (node, chunk_hash, outcome, at) VALUES (?, ?, ?, ?)",
                (node, chunk_hash, outcome, now_s),
            )
            oldest = (added.lastrowid or 0) - KEPT_RESULTS
            self._tables.execute("DELETE FROM results WHERE id <= ?", (oldest,))

    def results(self, most: int = 100) -> list[tuple[bytes, bytes, str, float]]:
        """(Node, chunk hash, outcome, at) of the latest audits, newest first."""
        with self._failures_named():
            rows = self._tables.execute(
                "SELECT node, chunk_hash, outcome, at FROM results ORDER BY id DESC LIMIT ?", (most,)
            )
            return rows.fetchall()

    @contextmanager
    def _failures_named(self) -> Iterator[None]:
        with self._turn:
            try:
                yield
            except sqlite3.Error as error:
                raise Unavailable("records_failed", f"{self.path} cannot be used: {error}.") from error
