"""What a node knows about its chunks, in SQLite beside them: places in tracks, pins, last use, what was lost.

Every change is durable when it returns (`synchronous=FULL`). Files and policy are the store's business.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from digm.ids import to_hex
from digm.manifest import Manifest
from hub.storage.sqlite_file import SqliteFile

FILE_NAME = "node.sqlite"
VERSION = 1
COVER = -1  # in the column `rendition`: the cover picture belongs to none

_SCHEMA = """
CREATE TABLE tracks (
    track_root TEXT PRIMARY KEY, manifest_hash TEXT NOT NULL, manifest_bytes INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE places (
    track_root TEXT NOT NULL REFERENCES tracks ON DELETE CASCADE,
    rendition INTEGER NOT NULL, chunk INTEGER NOT NULL, hash TEXT NOT NULL, size INTEGER NOT NULL,
    PRIMARY KEY (track_root, rendition, chunk)
) WITHOUT ROWID;
CREATE INDEX places_by_hash ON places (hash);
CREATE TABLE pins (
    track_root TEXT NOT NULL REFERENCES tracks, pinned_by TEXT NOT NULL, until REAL NOT NULL,
    PRIMARY KEY (track_root, pinned_by)
) WITHOUT ROWID;
CREATE TABLE chunks (
    hash TEXT PRIMARY KEY, size INTEGER NOT NULL, is_pinned INTEGER NOT NULL,
    used_at REAL NOT NULL, checked_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX chunks_to_evict ON chunks (used_at) WHERE is_pinned = 0;
CREATE INDEX chunks_to_check ON chunks (checked_at);
CREATE TABLE lost (hash TEXT PRIMARY KEY, since REAL NOT NULL) WITHOUT ROWID;
"""
_IS_PINNED = "EXISTS (SELECT 1 FROM places JOIN pins USING (track_root) WHERE places.hash = ?1)"


@dataclass(frozen=True)
class Place:
    """Where a chunk belongs. `rendition` is None for the cover picture; ids are 64 hex digits."""

    hash: str
    size: int
    track_root: str
    rendition: int | None
    chunk: int


@dataclass(frozen=True)
class Pin:
    """A promise to keep a track until a time (seconds since 1970), made to somebody."""

    track_root: str
    pinned_by: str
    until: float


@dataclass(frozen=True)
class HeldTrack:
    """A track of which the manifest is held; `held_bytes` of `bytes` are here. The cover counts as a chunk."""

    track_root: str
    manifest_hash: str
    chunks: int
    held_chunks: int
    bytes: int
    held_bytes: int
    pinned_by: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        return self.held_chunks == self.chunks


class NodeIndex:
    """The tables of one node. One process opens them; its threads take turns (the store's lock).

    Raises (all methods):
        Unavailable, CallerFault: as SqliteFile, with `node_index`.
    """

    def __init__(self, data: Path) -> None:
        pragmas = ("foreign_keys=ON",)
        file = SqliteFile(data / FILE_NAME, _SCHEMA, VERSION, "node_index", pragmas=pragmas)
        self._db, self._writing, self._faults_named = file.db, file.writing, file.faults_named

    def close(self) -> None:
        self._db.close()

    # -- tracks and their places

    def add_track(self, root: str, manifest_hash: str, manifest_bytes: int, places: Iterable[Place]) -> None:
        rows = [(p.track_root, _number(p.rendition), p.chunk, p.hash, p.size) for p in places]
        with self._writing():
            self._db.execute("INSERT INTO tracks VALUES (?, ?, ?)", (root, manifest_hash, manifest_bytes))
            self._db.executemany("INSERT INTO places VALUES (?, ?, ?, ?, ?)", rows)

    def remove_track(self, root: str) -> list[tuple[str, int]]:
        """Forget a track and its pins.

        Returns:
            (hash, size) of the chunks that no other track names, forgotten as well.
        """
        with self._writing():
            named = [
                row[0] for row in self._db.execute("SELECT hash FROM places WHERE track_root = ?", (root,))
            ]
            self._db.execute("DELETE FROM pins WHERE track_root = ?", (root,))
            self._db.execute("DELETE FROM tracks WHERE track_root = ?", (root,))
            self._db.execute("DELETE FROM lost WHERE hash NOT IN (SELECT hash FROM places)")
            gone = [hash_hex for hash_hex in named if not self._is_placed(hash_hex)]
            sizes = [(name, size) for name in gone if (size := self.size_held(name)) is not None]
            self._db.executemany("DELETE FROM chunks WHERE hash = ?", [(name,) for name in gone])
            self._mark_pinned(set(named) - set(gone))
        return sizes

    def tracks(self) -> dict[str, tuple[str, int]]:
        """Track root -> (hash, bytes) of its manifest."""
        with self._faults_named():
            return {root: (name, size) for root, name, size in self._db.execute("SELECT * FROM tracks")}

    def manifest_of(self, root: str) -> tuple[str, int] | None:
        """(Hash, bytes) of a held track's manifest."""
        with self._faults_named():
            return self._one("SELECT manifest_hash, manifest_bytes FROM tracks WHERE track_root = ?", root)

    def places(self, root: str) -> list[tuple[Place, bool]]:
        """The places of a track, and whether each one's chunk is held; the cover first."""
        query = """SELECT places.hash, places.size, track_root, rendition, chunk, chunks.hash IS NOT NULL
            FROM places LEFT JOIN chunks USING (hash) WHERE track_root = ? ORDER BY rendition, chunk"""
        with self._faults_named():
            return [(_place(row), bool(row[5])) for row in self._db.execute(query, (root,))]

    def held_track(self, root: str, manifest_hash: str, pins: Iterable[Pin]) -> HeldTrack:
        places = self.places(root)
        here = [place.size for place, is_held in places if is_held]
        owners = tuple(pin.pinned_by for pin in pins if pin.track_root == root)
        size = sum(place.size for place, _ in places)
        return HeldTrack(root, manifest_hash, len(places), len(here), size, sum(here), owners)

    def place_of(self, hash_hex: str) -> Place | None:
        """One place that names this chunk."""
        with self._faults_named():
            row = self._one(
                "SELECT hash, size, track_root, rendition, chunk FROM places WHERE hash = ? LIMIT 1", hash_hex
            )
        return None if row is None else _place(row)

    def unpinned_manifests(self) -> dict[str, int]:
        """Track root -> bytes of the manifest, of the tracks that nobody pins."""
        query = """SELECT track_root, manifest_bytes FROM tracks
            WHERE track_root NOT IN (SELECT track_root FROM pins)"""
        with self._faults_named():
            return dict(self._db.execute(query))

    def idle_tracks(self) -> list[str]:
        """Those that nobody pins, and of which no chunk is held."""
        query = "SELECT 1 FROM places JOIN chunks USING (hash) WHERE track_root = ? LIMIT 1"
        roots = self.unpinned_manifests()
        with self._faults_named():
            return [root for root in roots if self._one(query, root) is None]

    def _is_placed(self, hash_hex: str) -> bool:
        return self._one("SELECT 1 FROM places WHERE hash = ? LIMIT 1", hash_hex) is not None

    # -- pins

    def pin(self, pin: Pin) -> None:
        """Add a pin, or change when it ends."""
        with self._writing():
            self._db.execute(
                "INSERT OR REPLACE INTO pins VALUES (?, ?, ?)", (pin.track_root, pin.pinned_by, pin.until)
            )
            self._mark_pinned(self._hashes_of(pin.track_root))

    def unpin(self, pins: Sequence[Pin]) -> None:
        with self._writing():
            for pin in pins:
                self._db.execute(
                    "DELETE FROM pins WHERE track_root = ? AND pinned_by = ?", (pin.track_root, pin.pinned_by)
                )
                self._mark_pinned(self._hashes_of(pin.track_root))

    def pins(self) -> list[Pin]:
        with self._faults_named():
            rows = self._db.execute("SELECT track_root, pinned_by, until FROM pins ORDER BY 1, 2")
            return [Pin(*row) for row in rows]

    def promised_bytes(self) -> int:
        """What all pinned tracks take when they are whole, manifests too; shared chunks count once."""
        with self._faults_named():
            chunks = self._db.execute(
                """SELECT coalesce(sum(size), 0) FROM (SELECT hash, max(size) AS size FROM places
                WHERE track_root IN (SELECT track_root FROM pins) GROUP BY hash)"""
            ).fetchone()[0]
            manifests = self._db.execute(
                """SELECT coalesce(sum(manifest_bytes), 0) FROM tracks
                WHERE track_root IN (SELECT track_root FROM pins)"""
            ).fetchone()[0]
        return int(chunks + manifests)

    def _hashes_of(self, root: str) -> set[str]:
        return {row[0] for row in self._db.execute("SELECT hash FROM places WHERE track_root = ?", (root,))}

    def _mark_pinned(self, hashes: Iterable[str]) -> None:
        self._db.executemany(
            f"UPDATE chunks SET is_pinned = {_IS_PINNED} WHERE hash = ?1", [(name,) for name in hashes]
        )

    # -- chunks

    def add_chunk(self, hash_hex: str, size: int, now: float) -> None:
        with self._writing():
            self._db.execute(
                f"INSERT OR REPLACE INTO chunks VALUES (?1, ?2, {_IS_PINNED}, ?3, ?3)", (hash_hex, size, now)
            )
            self._db.execute("DELETE FROM lost WHERE hash = ?", (hash_hex,))

    def size_held(self, hash_hex: str) -> int | None:
        """Bytes of a held chunk; None: it is not held."""
        with self._faults_named():
            row = self._one("SELECT size FROM chunks WHERE hash = ?", hash_hex)
        return None if row is None else int(row[0])

    def held_bytes(self) -> int:
        """Of all chunks and manifests."""
        with self._faults_named():
            return int(
                self._db.execute(
                    """SELECT (SELECT coalesce(sum(size), 0) FROM chunks)
                    + (SELECT coalesce(sum(manifest_bytes), 0) FROM tracks)"""
                ).fetchone()[0]
            )

    def held_hashes(self) -> set[str]:
        with self._faults_named():
            return {row[0] for row in self._db.execute("SELECT hash FROM chunks")}

    def oldest_unpinned(self, wanted_bytes: int) -> list[tuple[str, int]]:
        """(Hash, size) of unpinned chunks, least recently used first, until they make up so many bytes."""
        chosen: list[tuple[str, int]] = []
        with self._faults_named():
            for row in self._db.execute("SELECT hash, size FROM chunks WHERE is_pinned = 0 ORDER BY used_at"):
                if wanted_bytes <= 0:
                    break
                chosen.append(row)
                wanted_bytes -= row[1]
        return chosen

    def unpinned_bytes(self) -> int:
        with self._faults_named():
            row = self._one("SELECT coalesce(sum(size), 0) FROM chunks WHERE is_pinned = ?", 0)
        return int(row[0]) if row else 0

    def remove_chunks(self, hashes: Iterable[str]) -> None:
        with self._writing():
            self._db.executemany("DELETE FROM chunks WHERE hash = ?", [(name,) for name in hashes])

    def lose_chunk(self, hash_hex: str, now: float) -> None:
        """A chunk is not held any more, and should be."""
        with self._writing():
            self._db.execute("DELETE FROM chunks WHERE hash = ?", (hash_hex,))
            if self._is_placed(hash_hex):
                self._db.execute("INSERT OR IGNORE INTO lost VALUES (?, ?)", (hash_hex, now))

    def lost(self) -> list[Place]:
        """One place of each lost chunk, the longest lost first."""
        query = """SELECT hash, size, track_root, rendition, chunk FROM lost JOIN places USING (hash)
            GROUP BY hash ORDER BY since, hash"""
        with self._faults_named():
            return [_place(row) for row in self._db.execute(query)]

    def mark_used(self, used: dict[str, float]) -> None:
        with self._writing():
            rows = [(at, name) for name, at in used.items()]
            self._db.executemany("UPDATE chunks SET used_at = max(used_at, ?) WHERE hash = ?", rows)

    def longest_unchecked(self, count: int) -> list[tuple[str, int]]:
        """(Hash, size) of the chunks whose bytes were not looked at for longest."""
        with self._faults_named():
            query = "SELECT hash, size FROM chunks ORDER BY checked_at, hash LIMIT ?"
            return list(self._db.execute(query, (count,)))

    def mark_checked(self, hashes: Iterable[str], now: float) -> None:
        with self._writing():
            self._db.executemany(
                "UPDATE chunks SET checked_at = ? WHERE hash = ?", [(now, name) for name in hashes]
            )

    # -- SQLite

    def _one(self, query: str, value: object) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self._db.execute(query, (value,)).fetchone()
        return row


def places_of(manifest: Manifest) -> list[Place]:
    """Every place of a track, the cover's too."""
    root = to_hex(manifest.track_root)
    places = [
        Place(to_hex(name), rendition.chunk_bytes(chunk), root, rendition.id, chunk)
        for rendition in manifest.renditions
        for chunk, name in enumerate(rendition.chunk_hashes)
    ]
    if manifest.cover is not None:
        places.append(Place(to_hex(manifest.cover.hash), manifest.cover.size, root, None, 0))
    return places


def _number(rendition: int | None) -> int:
    return COVER if rendition is None else rendition


def _place(row: tuple[Any, ...]) -> Place:
    hash_hex, size, root, rendition, chunk = row[:5]
    return Place(hash_hex, size, root, None if rendition == COVER else rendition, chunk)
