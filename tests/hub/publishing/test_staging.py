import os
import subprocess
import sys

import msgspec
import pytest

from hub.publishing.publish import publish
from hub.publishing.staging import JournalEntry, Staging, sweep_staging
from hub.storage.catalogue import Catalogue

PICTURE = b"\xff\xd8\xff a picture"


@pytest.fixture
def catalogue(data):
    catalogue = Catalogue.open(data.path)
    yield catalogue
    catalogue.close()


def leave_behind(data, entries, journal=None):
    """The staging folder of a process that is gone."""
    folder = data.path / "staging" / ("0" * 32)
    (folder / "media" / "ingest-x").mkdir(parents=True)
    (folder / "media" / "ingest-x" / "flac.packets").write_bytes(b"plaintext")
    (folder / "journal").write_bytes(journal if journal is not None else msgspec.json.encode(entries))
    return folder


def test_a_sweep_takes_back_what_a_dead_process_had_moved(data, catalogue):
    chunk, cover = data.store.put(b"chunk"), data.store.put(PICTURE)
    data.store.put_manifest("a" * 64, b"{}")
    leave_behind(data, [JournalEntry("a" * 64, (chunk, "b" * 64), cover)])
    assert sweep_staging(data.path) == 1
    data.assert_empty()
    assert sweep_staging(data.path) == 0


def test_a_sweep_keeps_what_the_catalogue_lists(data, stand_in, record):
    stand_in.covers["one.flac"] = PICTURE
    [track] = publish([record("one.flac")], data.settings)
    [entry] = data.tracks()
    hashes = tuple(set(data.store.hashes()) - {entry.cover_hash})
    leave_behind(data, [JournalEntry(track.track_root, hashes, entry.cover_hash)])
    assert sweep_staging(data.path) == 1
    assert len(data.tracks()) == 1
    data.assert_consistent()


def test_a_cover_that_a_listed_track_shows_outlives_the_attempt_that_shared_it(data, stand_in, record):
    stand_in.covers["one.flac"] = PICTURE
    publish([record("one.flac")], data.settings)
    [entry] = data.tracks()
    chunk = data.store.put(b"of the dead")
    leave_behind(data, [JournalEntry("a" * 64, (chunk,), entry.cover_hash)])
    sweep_staging(data.path)
    data.assert_consistent()


@pytest.mark.parametrize("journal", [b"", b"[", b'[["a', b"\0\0\0"])
def test_a_torn_journal_means_that_nothing_was_moved(data, catalogue, journal):
    leave_behind(data, [], journal)
    assert sweep_staging(data.path) == 1
    data.assert_empty()


def test_a_sweep_leaves_the_living_alone(data, catalogue):
    with Staging(data.path, data.store, catalogue) as staging:
        (staging.folder / "media").mkdir()
        code = (
            "import sys; from pathlib import Path; from hub.publishing.staging import sweep_staging;"
            "print(sweep_staging(Path(sys.argv[1])))"
        )
        said = subprocess.run(
            [sys.executable, "-c", code, data.path], capture_output=True, text=True, check=True
        )
        assert said.stdout.strip() == "0"
        assert sweep_staging(data.path) == 0
        assert (staging.folder / "media").is_dir()
    data.assert_empty()


def test_a_sweep_of_nothing_makes_nothing(tmp_path):
    assert sweep_staging(tmp_path / "none") == 0
    assert not (tmp_path / "none").exists()


def test_the_next_publish_sweeps(data, stand_in, record, catalogue):
    chunk = data.store.put(b"of the dead")
    leave_behind(data, [JournalEntry("a" * 64, (chunk,), None)])
    publish([record("one.flac")], data.settings)
    assert chunk not in data.store
    data.assert_consistent()


def test_a_sweep_that_is_interrupted_can_be_done_again(data, catalogue, monkeypatch):
    chunks = tuple(data.store.put(bytes([number])) for number in range(5))
    leave_behind(data, [JournalEntry("a" * 64, chunks, None)])
    real_unlink, calls = os.unlink, []

    def unlink_twice(path, **more):
        calls.append(path)
        if len(calls) == 3:
            raise KeyboardInterrupt
        real_unlink(path, **more)

    monkeypatch.setattr("pathlib.os.unlink", unlink_twice)
    with pytest.raises(KeyboardInterrupt):
        sweep_staging(data.path)
    monkeypatch.undo()
    sweep_staging(data.path)
    data.assert_empty()
