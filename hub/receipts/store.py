"""Where receipts lie: one file, the latest of each listener, giver, track and bucket; batched when it is over.

A batch is everything of one bucket, in the order of its bytes; its id is the root of the Merkle tree over it
(RFC 6962, digm.merkle). Whoever has the root can be shown that a receipt was in it, and that it had so many.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from digm.errors import Unavailable
from digm.merkle import inclusion_proof, root_from_proof, tree_root
from digm.receipts import BUCKET_S, Receipt, decode_receipt
from hub.storage.sqlite_file import SqliteFile

FILE_NAME = "receipts.sqlite"
MOST_WAITING = 50_000  # keys cost nothing: who makes up sessions fills this, and no disk
KEPT_S = 30 * 86_400
_VERSION = 1
_SCHEMA = """
CREATE TABLE receipts (
    bucket INTEGER NOT NULL, track_root BLOB NOT NULL, giver BLOB NOT NULL, listener BLOB NOT NULL,
    frames INTEGER NOT NULL, document BLOB NOT NULL, batch BLOB,
    PRIMARY KEY (bucket, track_root, giver, listener)
) WITHOUT ROWID;
CREATE INDEX receipts_by_batch ON receipts (batch, document);
CREATE TABLE batches (
    root BLOB PRIMARY KEY, bucket INTEGER NOT NULL, count INTEGER NOT NULL, bytes INTEGER NOT NULL,
    made_at REAL NOT NULL
) WITHOUT ROWID
"""


@dataclass(frozen=True)
class Batch:
    """All receipts of one bucket.

    Attributes:
        root: of their Merkle tree, 32 bytes.
        bytes_taken: of ciphertext, in all of them.
        made_at: seconds since 1970.
    """

    root: bytes
    bucket: int
    count: int
    bytes_taken: int
    made_at: float


@dataclass(frozen=True)
class Proven:
    """A receipt, and what shows that it is in a batch (digm.merkle.root_from_proof)."""

    receipt: Receipt
    batch: Batch
    index: int
    proof: tuple[bytes, ...]

    def holds(self) -> bool:
        """Whether the proof leads to the batch's root; the signature is another question."""
        leaf = self.receipt.encode()
        return root_from_proof(leaf, self.index, self.batch.count, self.proof) == self.batch.root


class ReceiptStore:
    """The file of one hub. Calls block; threads may share it.

    Raises (all methods):
        Unavailable: `disk_full`, `disk_failed`, `receipts_damaged`. CallerFault: `data_not_writable`.
    """

    def __init__(self, data: Path) -> None:
        self._turn = threading.Lock()
        self._file = SqliteFile(data / FILE_NAME, _SCHEMA, _VERSION, "receipts")

    def close(self) -> None:
        with self._turn:
            self._file.close()

    def keep(self, receipt: Receipt) -> bool:
        """Keep a checked receipt, unless what is here says as much.

        Returns:
            whether it was news.
        Raises:
            Unavailable: `receipts_full`, so many wait for their batch.
        """
        key = (receipt.bucket, receipt.track_root, receipt.giver, receipt.listener)
        with self._writing():
            db = self._file.db
            row = db.execute(
                "SELECT frames, batch FROM receipts WHERE (bucket, track_root, giver, listener) = (?, ?, ?, ?)",
                key,
            ).fetchone()
            if row is not None and (row[0] >= receipt.frames or row[1] is not None):
                return False
            (waiting,) = db.execute("SELECT count(*) FROM receipts WHERE batch IS NULL").fetchone()
            if row is None and waiting >= MOST_WAITING:
                raise Unavailable("receipts_full", "No more receipts are taken until the next batch.")
            db.execute(
                "REPLACE INTO receipts VALUES (?, ?, ?, ?, ?, ?, NULL)",
                (*key, receipt.frames, receipt.encode()),
            )
        return True

    def batch(self, now_s: float) -> list[Batch]:
        """Batch every bucket for which no receipt is taken any more; forget what is older than a month.

        Returns:
            the new ones.
        """
        over, old = int(now_s) // BUCKET_S - 1, int(now_s - KEPT_S) // BUCKET_S
        with self._writing():
            db = self._file.db
            db.execute("DELETE FROM receipts WHERE bucket < ?", (old,))
            db.execute("DELETE FROM batches WHERE bucket < ?", (old,))
            buckets = db.execute(
                "SELECT DISTINCT bucket FROM receipts WHERE batch IS NULL AND bucket < ? ORDER BY bucket",
                (over,),
            ).fetchall()
            return [self._batch(bucket, now_s) for (bucket,) in buckets]

    def _batch(self, bucket: int, now_s: float) -> Batch:
        db = self._file.db
        documents = [
            document
            for (document,) in db.execute(
                "SELECT document FROM receipts WHERE batch IS NULL AND bucket = ? ORDER BY document", (bucket,)
            )
        ]
        taken = sum(decode_receipt(document).bytes_taken for document in documents)
        made = Batch(tree_root(documents), bucket, len(documents), taken, now_s)
        db.execute("UPDATE receipts SET batch = ? WHERE batch IS NULL AND bucket = ?", (made.root, bucket))
        db.execute(
            "REPLACE INTO batches VALUES (?, ?, ?, ?, ?)",
            (made.root, made.bucket, made.count, made.bytes_taken, made.made_at),
        )
        return made

    def batches(self) -> list[Batch]:
        """The newest first."""
        with self._reading():
            rows = self._file.db.execute("SELECT * FROM batches ORDER BY bucket DESC, made_at DESC").fetchall()
        return [Batch(*row) for row in rows]

    @property
    def waiting(self) -> int:
        """Receipts that are in no batch yet."""
        with self._reading():
            return int(self._file.db.execute("SELECT count(*) FROM receipts WHERE batch IS NULL").fetchone()[0])

    def proven(self, batch: Batch, giver: bytes | None = None) -> list[Proven]:
        """The receipts of a batch, those for one giver or all, each with its proof."""
        with self._reading():
            rows = self._file.db.execute(
                "SELECT document, giver FROM receipts WHERE batch = ? ORDER BY document", (batch.root,)
            ).fetchall()
        documents = [document for document, _ in rows]
        return [
            Proven(decode_receipt(document), batch, index, tuple(inclusion_proof(documents, index)))
            for index, (document, whose) in enumerate(rows)
            if giver in (None, whose)
        ]

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._turn, self._file.writing():
            yield

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._turn, self._file.faults_named():
            yield


def bucket_time(bucket: int) -> str:
    """When a bucket began, UTC."""
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(bucket * BUCKET_S))
