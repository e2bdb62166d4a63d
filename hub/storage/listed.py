"""Tracks that the chain lists and others hold: what the page shows of them, out of their signed manifests.

Who checked them is `hub.bridge.chain_catalogue`. What is published in this data folder is in `catalogue`, and
goes before: a track of one's own needs no chain. Everything here can be thrown away: it is found again.
"""

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from operator import itemgetter
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog

from digm.errors import DigmError, Unavailable
from hub.storage.catalogue import ReleaseEntry, TrackEntry
from hub.storage.durable import disk_faults_named, make_folder
from hub.storage.sqlite_file import SqliteFile

log = structlog.get_logger()
T = TypeVar("T")
FOLDER, FILE_NAME = "chain", "listed.sqlite"
VERSION = 1
_SCHEMA = """
CREATE TABLE tracks (name TEXT PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE withdrawn (
    root TEXT NOT NULL, artist_key TEXT NOT NULL, PRIMARY KEY (root, artist_key)
) WITHOUT ROWID
"""
_DOMAIN = b"digm/1 release on the chain\n"


_Placed = tuple[tuple[float, str, int, str], TrackEntry]


class ListedTrack(msgspec.Struct, frozen=True, kw_only=True):
    """One track.

    Attributes:
        name: its id on the chain, 64 hex digits.
        year: of its release.
        entry: as pages show it.
    """

    name: str
    year: int | None = None
    entry: TrackEntry


def release_of(artist_key: bytes, album: str | None, track_root: bytes) -> str:
    """The id of the release that a track belongs to: an artist's tracks with one album's name are together."""
    if not album:
        return track_root.hex()
    return hashlib.sha256(_DOMAIN + artist_key + album.encode()).hexdigest()


class Listed:
    """What is listed now, in memory; used on one loop.

    Attributes:
        expected: roots that the chain names and whose manifests nobody gave yet.
        look_for: asks for one of them now, and waits a while.
    """

    def __init__(self) -> None:
        self._by_root: dict[str, ListedTrack] = {}
        self._releases: dict[str, dict[str, ListedTrack]] = {}
        self._covers: dict[str, dict[str, None]] = {}
        self._in_order: list[_Placed] | None = None
        self._withdrawn: frozenset[tuple[str, str]] = frozenset()
        self._withdrawn_roots: frozenset[str] = frozenset()
        self.expected: frozenset[str] = frozenset()
        self.look_for: Callable[[str], Awaitable[None]] = _nowhere

    # -- what changes

    def put(self, track: ListedTrack) -> None:
        """List it, in place of whatever had its root."""
        self.remove(track.entry.track_root)
        self._in_order = None
        root, entry = track.entry.track_root, track.entry
        self._by_root[root] = track
        self._releases.setdefault(entry.release_id, {})[root] = track
        if entry.cover_hash:
            self._covers.setdefault(entry.cover_hash, {})[root] = None

    def remove(self, root: str) -> None:
        """It is listed no more."""
        if (gone := self._by_root.pop(root, None)) is None:
            return
        self._in_order = None
        _take_out(self._releases, gone.entry.release_id, root)
        if gone.entry.cover_hash:
            _take_out(self._covers, gone.entry.cover_hash, root)

    def set_withdrawn(self, pairs: frozenset[tuple[str, str]]) -> None:
        """Roots with the keys of the artists who withdrew them."""
        self._withdrawn, self._withdrawn_roots = pairs, frozenset(root for root, _ in pairs)

    # -- what is shown

    def get(self, root: str) -> ListedTrack | None:
        """By its root."""
        return self._by_root.get(root)

    def all(self) -> list[ListedTrack]:
        """In no order."""
        return list(self._by_root.values())

    @property
    def withdrawn(self) -> frozenset[tuple[str, str]]:
        """As `set_withdrawn` was told."""
        return self._withdrawn

    def shown(self, root: str, own: TrackEntry | None) -> TrackEntry | None:
        """A track as it is shown.

        Args:
            own: what is published here under this root.
        Raises:
            Unavailable: `track_withdrawn`.
        """
        listed = self._by_root.get(root)
        if own is None:
            # A claim that stands may be the artist's, whoever took back another on the same root.
            if listed is None and root in self._withdrawn_roots and root not in self.expected:
                raise _gone(root)
            return listed.entry if listed is not None else None
        if (root, own.artist_key) in self._withdrawn:
            raise _gone(root)
        return self._newest(own)

    def merged(self, own: Sequence[TrackEntry]) -> list[TrackEntry]:
        """What is published here and what is listed, the newest first; a release keeps its order."""
        if not self._by_root and not self._withdrawn:
            return list(own)
        if self._in_order is None:
            self._in_order = _in_order(track.entry for track in self._by_root.values())
        ours = {entry.track_root for entry in own}
        others: list[_Placed] = self._in_order
        if not ours.isdisjoint(self._by_root):
            others = [placed for placed in others if placed[1].track_root not in ours]
        # Two lists in order: sorting them is merging them.
        both = sorted(_in_order(self.merged_release(own)) + others, key=itemgetter(0))
        return [entry for _, entry in both]

    def merged_release(self, own: Sequence[TrackEntry]) -> list[TrackEntry]:
        """The tracks of a release that was published here, in their order, without what was withdrawn."""
        return [self._newest(one) for one in own if (one.track_root, one.artist_key) not in self._withdrawn]

    def _newest(self, own: TrackEntry) -> TrackEntry:
        """What is published here, with what its artist signed since."""
        listed = self._by_root.get(own.track_root)
        if listed is None or listed.entry.artist_key != own.artist_key:
            return own
        return msgspec.structs.replace(
            listed.entry, release_id=own.release_id, position=own.position, published_at=own.published_at
        )

    def release(self, release_id: str) -> ReleaseEntry | None:
        """A release of what is listed."""
        held = self._releases.get(release_id)
        return self._release(release_id, held.values()) if held else None

    def tracks_of(self, release_id: str) -> list[TrackEntry]:
        """The tracks of a release, in its order."""
        held = (track.entry for track in self._releases.get(release_id, {}).values())
        return sorted(held, key=lambda entry: (entry.position, entry.published_at, entry.track_root))

    def _release(self, name: str, held: Iterable[ListedTrack]) -> ReleaseEntry:
        tracks = sorted(held, key=lambda track: (track.entry.position, track.entry.track_root))
        first = tracks[0].entry
        artists = {track.entry.artist for track in tracks}
        return ReleaseEntry(
            release_id=name,
            title=first.album or first.title,
            artist=first.artist if len(artists) == 1 else None,
            year=next((track.year for track in tracks if track.year), None),
            cover_hash=next((track.entry.cover_hash for track in tracks if track.entry.cover_hash), None),
            artist_key=first.artist_key,
            published_at=max(track.entry.published_at for track in tracks),
        )

    def tracks_with_cover(self, hash_hex: str, most: int) -> list[str]:
        """The roots of tracks that show this picture."""
        return list(self._covers.get(hash_hex, {}))[:most]


async def _nowhere(_root: str) -> None:
    return None


def _in_order(entries: Iterable[TrackEntry]) -> list[_Placed]:
    """The newest release first, each in its own order."""
    entries, newest = list(entries), dict[str, float]()
    for entry in entries:
        newest[entry.release_id] = max(newest.get(entry.release_id, 0.0), entry.published_at)
    placed = [((-newest[one.release_id], one.release_id, one.position, one.track_root), one) for one in entries]
    return sorted(placed, key=itemgetter(0))


def _take_out(groups: dict[str, dict[str, T]], name: str, root: str) -> None:
    groups[name].pop(root, None)
    if not groups[name]:
        del groups[name]


def _gone(root: str) -> Unavailable:
    return Unavailable("track_withdrawn", "This track was withdrawn.", track_root=root)


class ListedFile:
    """Keeps what is listed over a restart; a damaged file is begun anew. Calls block; one thread at a time.

    Raises (all methods):
        Unavailable, CallerFault: as SqliteFile, with `listed`.
    """

    def __init__(self, data: Path) -> None:
        folder = data / FOLDER
        with disk_faults_named(folder):
            make_folder(folder)
        path = folder / FILE_NAME
        try:
            self._file = SqliteFile(path, _SCHEMA, VERSION, "listed")
        except DigmError as fault:
            if fault.code not in ("listed_damaged", "listed_newer"):
                raise
            log.warning("listed_begun_anew", code=fault.code)
            with disk_faults_named(folder):
                for name in (FILE_NAME, f"{FILE_NAME}-wal", f"{FILE_NAME}-shm"):
                    (folder / name).unlink(missing_ok=True)
            self._file = SqliteFile(path, _SCHEMA, VERSION, "listed")

    def close(self) -> None:
        self._file.close()

    def load(self, listed: Listed) -> None:
        """Show what was shown; what an older version wrote in another shape is left out."""
        with self._file.faults_named():
            rows = self._file.db.execute("SELECT content FROM tracks").fetchall()
            withdrawn = self._file.db.execute("SELECT root, artist_key FROM withdrawn").fetchall()
        for (content,) in rows:
            try:
                listed.put(msgspec.msgpack.decode(content, type=ListedTrack))
            except msgspec.MsgspecError:
                continue
        listed.set_withdrawn(frozenset((root, key) for root, key in withdrawn))

    def put(self, track: ListedTrack) -> None:
        """Keep one."""
        with self._file.writing():
            self._file.db.execute(
                "INSERT OR REPLACE INTO tracks VALUES (?, ?)", (track.name, msgspec.msgpack.encode(track))
            )

    def remove(self, names: Iterable[str]) -> None:
        """Keep them no longer."""
        with self._file.writing():
            self._file.db.executemany("DELETE FROM tracks WHERE name = ?", [(name,) for name in names])

    def set_withdrawn(self, pairs: Iterable[tuple[str, str]]) -> None:
        """These, and no others."""
        with self._file.writing():
            self._file.db.execute("DELETE FROM withdrawn")
            self._file.db.executemany("INSERT OR IGNORE INTO withdrawn VALUES (?, ?)", list(pairs))


def load_listed(data: Path) -> Listed:
    """What was listed in a data folder when it was last used; nothing where it never was. Blocks."""
    listed = Listed()
    if (data / FOLDER / FILE_NAME).exists():
        try:
            file = ListedFile(data)
            try:
                file.load(listed)
            finally:
                file.close()
        except DigmError as fault:  # it is found again
            log.warning("listed_not_read", code=fault.code, reason=fault.message)
    return listed
