import contextlib
import shutil
import sqlite3
import subprocess
import sys
import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from digm.errors import CallerFault, Unavailable
from hub.storage import schema
from hub.storage.catalogue import Catalogue, ReleaseEntry, TrackEntry

ARTIST = "a" * 64


def a_release(digit="1", published_at=1000.0, **more):
    return ReleaseEntry(
        release_id=digit * 64, title="Kunst der Fuge", artist_key=ARTIST, published_at=published_at, **more
    )


def a_track(digit, release, **more):
    return TrackEntry(
        **{
            "track_root": digit * 64,
            "manifest_hash": "f" * 64,
            "release_id": release.release_id,
            "title": f"Contrapunctus {digit}",
            "duration_s": 180.5,
            "artist_key": ARTIST,
            "published_at": release.published_at,
        }
        | more
    )


@pytest.fixture
def catalogue(tmp_path):
    with contextlib.closing(Catalogue.open(tmp_path)) as catalogue:
        yield catalogue


def test_published_tracks_are_listed_newest_release_first_each_in_its_own_order(catalogue):
    old, new = a_release("1", 1000.0), a_release("2", 2000.0)
    catalogue.publish(old, [a_track("a", old), a_track("b", old)])
    catalogue.publish(new, [a_track("d", new), a_track("c", new)])
    assert [track.track_root[0] for track in catalogue.tracks()] == ["d", "c", "a", "b"]
    assert [release.release_id[0] for release in catalogue.releases()] == ["2", "1"]
    assert catalogue.track_count() == 4


def test_a_track_comes_back_as_it_was_published(catalogue):
    release = a_release(artist="J. S. Bach", year=1751, cover_hash="c" * 64)
    track = a_track(
        "a", release, artist="J. S. Bach", album="BWV 1080", track_number=1, cover_hash="d" * 64, preview_s=30
    )
    catalogue.publish(release, [track])
    assert catalogue.track("a" * 64) == track
    assert catalogue.release(release.release_id) == release
    assert catalogue.track("b" * 64) is None
    assert catalogue.release("b" * 64) is None


def test_a_release_is_listed_with_all_of_its_tracks_or_not_at_all(catalogue):
    first, second = a_release("1"), a_release("2")
    catalogue.publish(first, [a_track("a", first)])
    with pytest.raises(CallerFault) as caught:
        catalogue.publish(second, [a_track("b", second), a_track("a", second)])
    assert caught.value.code == "already_published"
    assert [track.track_root[0] for track in catalogue.tracks()] == ["a"]
    assert len(catalogue.releases()) == 1


def test_tracks_that_join_a_release_come_behind_those_it_has(catalogue):
    release = a_release()
    catalogue.publish(release, [a_track("b", release)])
    catalogue.publish(release, [a_track("a", release)])
    assert [(track.track_root[0], track.position) for track in catalogue.tracks()] == [("b", 0), ("a", 1)]
    assert len(catalogue.releases()) == 1


def test_a_cover_is_in_use_while_a_track_or_a_release_shows_it(catalogue):
    release = a_release(cover_hash="c" * 64)
    catalogue.publish(release, [a_track("a", release, cover_hash="d" * 64)])
    assert catalogue.uses_cover("c" * 64)
    assert catalogue.uses_cover("d" * 64)
    assert not catalogue.uses_cover("e" * 64)


def test_what_is_published_is_there_for_another_process(catalogue, tmp_path):
    release = a_release()
    catalogue.publish(release, [a_track("a", release)])
    code = (
        "import sys; from pathlib import Path; from hub.storage.catalogue import Catalogue;"
        "print([t.title for t in Catalogue.open(Path(sys.argv[1])).tracks()])"
    )
    said = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "['Contrapunctus a']"


def test_the_database_is_durable_and_keeps_its_references(catalogue, tmp_path):
    with catalogue._reading() as connection:
        ask = lambda pragma: connection.exec_driver_sql(f"PRAGMA {pragma}").scalar()  # noqa: E731
        assert ask("journal_mode") == "wal"
        assert ask("synchronous") == 2
        assert ask("foreign_keys") == 1
    orphan = a_track("a", a_release("9"))
    with pytest.raises(Unavailable, match="FOREIGN KEY"), catalogue._writing() as connection:
        connection.execute(
            schema.tracks.insert().values(**{f: getattr(orphan, f) for f in orphan.__struct_fields__})
        )


def test_many_processes_may_open_a_new_folder_at_once(tmp_path):
    code = (
        "import sys; from pathlib import Path; from hub.storage.catalogue import Catalogue;"
        "Catalogue.open(Path(sys.argv[1])).tracks()"
    )
    started = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", code, tmp_path / "new"], stderr=subprocess.PIPE)
        for _ in range(6)
    ]
    for process in started:
        _, said = process.communicate(timeout=60)
        assert (process.returncode, said) == (0, b"")


def test_threads_publish_side_by_side(catalogue):
    faults = []

    def publish(digit):
        try:
            release = a_release(digit)
            catalogue.publish(release, [a_track(digit, release)])
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=publish, args=(digit,)) for digit in "0123456789"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert catalogue.track_count() == 10


def test_the_migrations_lead_to_the_schema_in_the_code(catalogue, tmp_path):
    config = Config()
    config.set_main_option("script_location", "hub.storage:migrations")
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_current_head() == schema.REVISION
    engine = create_engine(f"sqlite:///{tmp_path / 'catalogue.sqlite'}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, schema.metadata) == []
    engine.dispose()


def test_a_catalogue_of_a_newer_version_is_refused_and_left_as_it_is(catalogue, tmp_path):
    catalogue.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "catalogue.sqlite")) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()
    with pytest.raises(CallerFault, match="newer version of DIGM") as caught:
        Catalogue.open(tmp_path)
    assert caught.value.code == "catalogue_newer"


def test_a_missing_catalogue_is_not_made_by_those_who_only_read(tmp_path):
    with pytest.raises(CallerFault) as caught:
        Catalogue.open(tmp_path / "none", create=False)
    assert caught.value.code == "catalogue_missing"
    assert not (tmp_path / "none").exists()


def test_a_damaged_catalogue_is_named_and_left_as_it_is(tmp_path):
    path = tmp_path / "catalogue.sqlite"
    path.write_bytes(b"this is not a database" * 1000)
    with pytest.raises(Unavailable) as caught:
        Catalogue.open(tmp_path)
    assert caught.value.code == "catalogue_damaged"
    assert path.read_bytes().startswith(b"this is not a database")


def test_a_full_disk_is_said_to_be_full(catalogue):
    release = a_release()
    with catalogue._reading() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    real_connect = catalogue._engine.pool._creator

    def connect_to_a_full_disk(*args, **kwargs):
        connection = real_connect(*args, **kwargs)
        connection.execute(f"PRAGMA max_page_count={pages}")
        return connection

    catalogue._engine.dispose()
    catalogue._engine.pool._creator = connect_to_a_full_disk
    with pytest.raises(Unavailable) as caught:
        catalogue.publish(release, [a_track("a", release, title="x" * 5_000_000)])
    assert caught.value.code == "disk_full"
    assert catalogue.tracks() == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    for folder in (tmp_path / "file", tmp_path / "file" / "data", tmp_path / "file" / "a" / "b"):
        with pytest.raises(CallerFault, match=f"{tmp_path}/file is a file, where a folder belongs") as caught:
            Catalogue.open(folder)
        assert caught.value.code == "data_not_a_folder"


def test_odd_names_of_data_folders_are_taken_as_they_are(tmp_path):
    folder = tmp_path / "100% #1? ;été"
    Catalogue.open(folder).close()
    assert (folder / "catalogue.sqlite").exists()


def commit_without_announcing_it(catalogue, folder, release, tracks):
    """What kill -9 between a commit's last write and the update of the log's index leaves behind."""
    index = folder / "catalogue.sqlite-shm"
    catalogue.tracks()
    before = index.read_bytes()
    catalogue.publish(release, tracks)
    with index.open("r+b") as file:
        file.write(before)


def tracks_after_recovery(folder, elsewhere):
    """What is listed once the log is read again from its beginning, without its index."""
    elsewhere.mkdir()
    for name in ("catalogue.sqlite", "catalogue.sqlite-wal"):
        shutil.copy(folder / name, elsewhere / name)
    with contextlib.closing(Catalogue.open(elsewhere)) as recovered:
        return {track.track_root[0] for track in recovered.tracks()}


def test_a_commit_that_nobody_saw_may_appear_later_unless_it_is_ruled_out(catalogue, tmp_path):
    first, second = a_release("1"), a_release("2")
    catalogue.publish(first, [a_track("a", first)])
    commit_without_announcing_it(catalogue, tmp_path, second, [a_track("b", second)])
    assert catalogue.track("b" * 64) is None
    assert tracks_after_recovery(tmp_path, tmp_path / "not ruled out") == {"a", "b"}

    assert catalogue.rule_out("attempt", ["a" * 64, "b" * 64]) == {"a" * 64}
    assert tracks_after_recovery(tmp_path, tmp_path / "ruled out") == {"a"}
    assert catalogue.rule_out("attempt", ["b" * 64]) == set()
