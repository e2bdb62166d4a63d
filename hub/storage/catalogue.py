"""What is published here: releases and their tracks, in SQLite beside the chunks.

A track is published when, and only when, its row is committed here (`synchronous=FULL`): chunks, manifest and
vault record are durable before that. Keys are the vault's business, bytes the chunk store's.
"""

import shutil
import sqlite3
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Row,
    create_engine,
    delete,
    event,
    func,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from digm.errors import CallerFault, DigmError, Unavailable
from hub.storage.durable import disk_faults_named, folder_locked, is_nearly_full, make_folder
from hub.storage.schema import REVISION, releases, tracks, undone_attempts

BUSY_TIMEOUT_S = 30
_FILE_NAME = "catalogue.sqlite"


class TrackEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A track in the catalogue. Ids are 64 hex digits, times are seconds since 1970.

    Attributes:
        position: place in its release, from 0.
        track_number: what the tags say.
        preview_s: free seconds; None: all of it.
    """

    track_root: str
    manifest_hash: str
    release_id: str
    position: int = 0
    title: str
    artist: str | None = None
    album: str | None = None
    track_number: int | None = None
    duration_s: float
    cover_hash: str | None = None
    artist_key: str
    preview_s: int | None = None
    published_at: float


class ReleaseEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What was published together: an album, or one track alone."""

    release_id: str
    title: str
    artist: str | None = None
    year: int | None = None
    cover_hash: str | None = None
    artist_key: str
    published_at: float


class Catalogue:
    """The catalogue of one data folder. Safe in threads and between processes; made by `open`."""

    def __init__(self, engine: Engine, data: Path) -> None:
        self._engine = engine
        self._data = data

    @classmethod
    def open(cls, data: Path, create: bool = True) -> "Catalogue":
        """Open the catalogue and bring its schema up to date.

        Args:
            data: the data folder.
            create: make folder and database if they are missing.
        Raises:
            CallerFault: `catalogue_missing` (without `create`), `catalogue_newer`, `data_not_writable`.
            Unavailable: `catalogue_busy`, `catalogue_damaged`, `disk_full`, `disk_failed`.
        """
        path = data / _FILE_NAME
        if not create and not path.exists():
            raise CallerFault("catalogue_missing", f"There is no catalogue in {data}: publish a track first.")
        with disk_faults_named(data):
            make_folder(data)
        catalogue = cls(_sqlite_engine(path), data)
        try:
            catalogue._bring_up_to_date()
        except BaseException:
            catalogue.close()
            raise
        return catalogue

    @classmethod
    @contextmanager
    def open_for_reading(cls, data: Path) -> "Iterator[Catalogue]":
        """Open the catalogue of a data folder that may be one that cannot be written, such as a backup.

        SQLite writes even to read: an index of its log. Where it cannot, a copy is read instead.

        Raises:
            CallerFault, Unavailable: as `open` without `create`.
        """
        with ExitStack() as stack:
            try:
                catalogue = cls.open(data, create=False)
            except CallerFault as fault:
                if fault.code != "data_not_writable":
                    raise
                copy = Path(stack.enter_context(TemporaryDirectory(prefix="digm-catalogue-")))
                with disk_faults_named(data):
                    for name in (_FILE_NAME, f"{_FILE_NAME}-wal"):
                        with suppress(FileNotFoundError):
                            shutil.copyfile(data / name, copy / name)
                catalogue = cls.open(copy, create=False)
            stack.callback(catalogue.close)
            yield catalogue

    def close(self) -> None:
        """Give the database back; the object is of no use after that."""
        self._engine.dispose()

    def tracks(self) -> list[TrackEntry]:
        """All tracks, the newest release first, each release in its own order."""
        order = (tracks.c.published_at.desc(), tracks.c.release_id, tracks.c.position)
        with self._reading() as connection:
            return [_track(row) for row in connection.execute(select(tracks).order_by(*order))]

    def track(self, root_hex: str) -> TrackEntry | None:
        """One track, if it is published here."""
        with self._reading() as connection:
            row = connection.execute(select(tracks).where(tracks.c.track_root == root_hex)).first()
        return None if row is None else _track(row)

    def releases(self) -> list[ReleaseEntry]:
        """All releases, the newest first."""
        order = (releases.c.published_at.desc(), releases.c.release_id)
        with self._reading() as connection:
            rows = connection.execute(select(releases).order_by(*order)).all()
        return [ReleaseEntry(**row._mapping) for row in rows]

    def release(self, release_id: str) -> ReleaseEntry | None:
        """One release, if it is here."""
        with self._reading() as connection:
            row = connection.execute(select(releases).where(releases.c.release_id == release_id)).first()
        return None if row is None else ReleaseEntry(**row._mapping)

    def tracks_of(self, release_id: str) -> list[TrackEntry]:
        """The tracks of a release, in its order."""
        order = (tracks.c.position, tracks.c.track_root)
        chosen = select(tracks).where(tracks.c.release_id == release_id).order_by(*order)
        with self._reading() as connection:
            return [_track(row) for row in connection.execute(chosen)]

    def track_count(self) -> int:
        """How many tracks are published here."""
        with self._reading() as connection:
            return connection.execute(select(func.count()).select_from(tracks)).scalar_one()

    def uses_cover(self, hash_hex: str) -> bool:
        """Whether a track or a release shows this picture."""
        used = select(tracks.c.track_root).where(tracks.c.cover_hash == hash_hex)
        shown = select(releases.c.release_id).where(releases.c.cover_hash == hash_hex)
        with self._reading() as connection:
            return connection.execute(used.union_all(shown)).first() is not None

    def tracks_with_cover(self, hash_hex: str, most: int) -> list[str]:
        """The roots of tracks that show this picture."""
        used = select(tracks.c.track_root).where(tracks.c.cover_hash == hash_hex).limit(most)
        with self._reading() as connection:
            return list(connection.execute(used).scalars())

    def publish(self, release: ReleaseEntry, new_tracks: Sequence[TrackEntry]) -> None:
        """Acknowledge tracks: all of them are listed when this returns, durably, or none.

        A release that is already here keeps what it says and gets the tracks behind its own.

        Raises:
            CallerFault: `already_published`. Unavailable: `catalogue_busy`, `disk_full`, ...
        """
        with self._writing() as connection:
            known = connection.execute(
                select(func.max(tracks.c.position)).where(tracks.c.release_id == release.release_id)
            ).scalar_one()
            if known is None:
                connection.execute(insert(releases).values(msgspec.to_builtins(release)))
            first = 0 if known is None else known + 1
            rows = [msgspec.to_builtins(entry) for entry in new_tracks]
            for position, row in enumerate(rows, start=first):
                row["position"] = position
            connection.execute(insert(tracks), rows)

    def rule_out(self, attempt_id: str, track_roots: Collection[str]) -> set[str]:
        """Settle what became of an attempt to publish whose end nobody saw.

        A process that is killed inside of its commit may leave a transaction in SQLite's write-ahead log that
        is whole but not in the log's index: nobody sees it, until the log is recovered and it appears. So
        looking is not enough. Writing is: the next commit takes the place of that transaction in the log.

        Returns:
            the tracks among these that are listed; the others never will be.
        Raises:
            Unavailable: `catalogue_busy`, `disk_full`, ...
        """
        with self._writing() as connection:
            connection.execute(delete(undone_attempts).where(undone_attempts.c.attempt_id == attempt_id))
            row = {"attempt_id": attempt_id, "undone_at": time.time()}
            connection.execute(insert(undone_attempts).values(row))
            asked = [
                connection.execute(select(tracks.c.track_root).where(tracks.c.track_root == root)).scalar()
                for root in track_roots
            ]
        return {root for root in asked if root is not None}

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with _database_faults_named(self._data), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with (
            _database_faults_named(self._data),
            self._engine.connect().execution_options(writes=True) as connection,
            connection.begin(),
        ):
            yield connection

    def _revision(self) -> str | None:
        with self._reading() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()

    def _bring_up_to_date(self) -> None:
        if self._revision() == REVISION:
            return
        # Two processes that open a new folder at once: the second waits and finds nothing left to do.
        with disk_faults_named(self._data), folder_locked(self._data):
            if self._revision() == REVISION:
                return
            with _database_faults_named(self._data), self._engine.connect() as connection:
                _enter_wal_mode(connection)
            with self._writing() as connection:
                _migrate(connection, self._data)


def _track(row: Row[Any]) -> TrackEntry:
    return TrackEntry(**row._mapping)


def _migrate(connection: Connection, data: Path) -> None:
    # Imported here: alembic is slow to import and hardly ever needed.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", "hub.storage:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise CallerFault(
            "catalogue_newer",
            f"The catalogue in {data} was written by a newer version of DIGM: update DIGM to open it.",
        ) from error


# From here on: what is SQLite's own. Another database brings its own engine and its own names for faults.


def _sqlite_engine(path: Path) -> Engine:
    engine = create_engine(URL.create("sqlite", database=str(path)), connect_args={"timeout": BUSY_TIMEOUT_S})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        # The driver's own idea of transactions leaves DDL outside of them; BEGIN is sent below instead.
        connection.isolation_level = None
        for pragma in ("foreign_keys=ON", "synchronous=FULL", "trusted_schema=OFF"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        # A transaction that reads first and writes later could find that it cannot write any more.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _enter_wal_mode(connection: Connection) -> None:
    # The file remembers it. It cannot be changed inside a transaction, so the driver is asked directly.
    connection.connection.cursor().execute("PRAGMA journal_mode=WAL")


@contextmanager
def _database_faults_named(data: Path) -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise _database_fault(error, data) from error


def _database_fault(error: SQLAlchemyError | sqlite3.Error, data: Path) -> DigmError:
    reason = error.orig if isinstance(error, DBAPIError) else error
    name = str(getattr(reason, "sqlite_errorname", ""))
    if isinstance(error, IntegrityError) and name.endswith(("PRIMARYKEY", "UNIQUE")):
        return CallerFault("already_published", "This track or release is in the catalogue already.")
    if name.startswith("SQLITE_FULL"):
        return Unavailable("disk_full", f"The disk that holds {data} is full: free some space and try again.")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return Unavailable(
            "catalogue_busy", f"The catalogue in {data} is in use by another program: try again."
        )
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return Unavailable(
            "catalogue_damaged",
            f"The catalogue {data / _FILE_NAME} is damaged: restore it from a backup.",
        )
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH")):
        return CallerFault(
            "data_not_writable",
            f"The catalogue {data / _FILE_NAME} cannot be opened or written: check who owns it and its mode.",
        )
    # On a disk that is nearly full SQLite speaks of I/O errors: it cannot even make its index of the log.
    advice = "; the disk is nearly full, free some space and try again" if is_nearly_full(data) else ""
    return Unavailable("catalogue_failed", f"The catalogue in {data} failed: {reason}{advice}.")
