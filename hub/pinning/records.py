"""What pins and audits must not forget when the node restarts: orders, answers, scores, results.

SQLite, durable.
"""

import json
import sqlite3
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from digm.audits import AuditScore
from digm.errors import Unavailable
from digm.pinning import PinOrder

FILE_NAME = "pinning.sqlite"
KEPT_RESULTS = 10_000
MOST_ANSWERS = 20_000  # keys cost nothing: a flood of answers is not kept
_SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    artist BLOB NOT NULL, track_root BLOB NOT NULL, document BLOB NOT NULL, PRIMARY KEY (artist, track_root)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS placed (
    artist BLOB NOT NULL, track_root BLOB NOT NULL, document BLOB NOT NULL, PRIMARY KEY (artist, track_root)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS answers (
    order_id BLOB NOT NULL, node BLOB NOT NULL, document BLOB NOT NULL, heard_at REAL NOT NULL,
    PRIMARY KEY (order_id, node)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS scores (node BLOB PRIMARY KEY, score TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS results (
    id INTEGER PRIMARY KEY, node BLOB NOT NULL, chunk_hash BLOB NOT NULL,
    outcome TEXT NOT NULL, at REAL NOT NULL
);
"""


@dataclass(frozen=True)
class KeptAnswer:
    """A node's answer to an order: the signed document, and when it was heard (seconds since 1970)."""

    order_id: bytes
    node: bytes
    document: bytes
    heard_at: float


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

    def orders(self) -> list[tuple[bytes, bool]]:
        """The signed documents of the latest orders, and whether they were placed here."""
        with self._failures_named():
            return self._tables.execute(
                "SELECT document, EXISTS (SELECT 1 FROM placed WHERE placed.document = orders.document "
                "AND placed.artist = orders.artist AND placed.track_root = orders.track_root) FROM orders"
            ).fetchall()

    def keep_orders(self, orders: Sequence[PinOrder], placed_here: Collection[bytes]) -> None:
        """Keep orders in the place of the artists' earlier ones for these tracks: all of them, or none.

        Args:
            placed_here: ids of those that this process is to say again.
        """
        rows = [(order.artist, order.track_root, order.document, order.order_id) for order in orders]
        with self._failures_named(), self._tables:
            self._tables.executemany("REPLACE INTO orders VALUES (?, ?, ?)", [row[:3] for row in rows])
            self._tables.executemany(
                "REPLACE INTO placed VALUES (?, ?, ?)", [row[:3] for row in rows if row[3] in placed_here]
            )

    def drop_orders(self, documents: Sequence[bytes]) -> None:
        """Forget orders."""
        with self._failures_named(), self._tables:
            for table in ("orders", "placed"):
                self._tables.executemany(
                    f"DELETE FROM {table} WHERE document = ?", [(document,) for document in documents]
                )

    def answers(self) -> list[tuple[bytes, float]]:
        """The signed documents of the nodes' latest answers, and when each was heard."""
        with self._failures_named():
            return self._tables.execute("SELECT document, heard_at FROM answers").fetchall()

    def keep_answers(self, answers: Sequence[KeptAnswer]) -> None:
        """Keep answers in the place of the nodes' earlier ones; new ones as long as there is room."""
        with self._failures_named(), self._tables:
            (count,) = self._tables.execute("SELECT count(*) FROM answers").fetchone()
            for item in answers:
                place = (item.order_id, item.node)
                known = self._tables.execute(
                    "UPDATE answers SET document = ?, heard_at = ? WHERE order_id = ? AND node = ?",
                    (item.document, item.heard_at, *place),
                )
                if not known.rowcount and count < MOST_ANSWERS:
                    self._tables.execute(
                        "INSERT INTO answers VALUES (?, ?, ?, ?)", (*place, item.document, item.heard_at)
                    )
                    count += 1

    def drop_answers(self, order_ids: Collection[bytes]) -> None:
        """Forget the answers to orders."""
        with self._failures_named(), self._tables:
            self._tables.executemany(
                "DELETE FROM answers WHERE order_id = ?", [(order_id,) for order_id in order_ids]
            )

    def scores(self) -> dict[bytes, AuditScore]:
        """How each node stands."""
        with self._failures_named():
            rows = self._tables.execute("SELECT node, score FROM scores").fetchall()
        return {node: AuditScore(**json.loads(score)) for node, score in rows}

    def drop_scores(self, nodes: Sequence[bytes]) -> None:
        """Forget how nodes stand."""
        with self._failures_named(), self._tables:
            self._tables.executemany("DELETE FROM scores WHERE node = ?", [(node,) for node in nodes])

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
