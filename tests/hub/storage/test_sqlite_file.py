"""The SQLite files of node and chain: whole or unchanged, and a fault says what it is."""

from pathlib import Path

import pytest

from digm.errors import CallerFault, Unavailable
from hub.storage.sqlite_file import SqliteFile

SCHEMA = "CREATE TABLE things (name TEXT PRIMARY KEY, value BLOB); CREATE INDEX by_value ON things (value)"


def opened(path: Path, version: int = 1, is_exclusive: bool = False) -> SqliteFile:
    return SqliteFile(path, SCHEMA, version, "box", is_exclusive=is_exclusive)


def test_what_a_block_wrote_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    file = opened(tmp_path / "box.sqlite")
    with file.writing():
        file.db.execute("INSERT INTO things VALUES ('kept', '')")
    with pytest.raises(KeyError), file.writing():
        file.db.execute("INSERT INTO things VALUES ('lost', '')")
        raise KeyError
    file.close()
    again = opened(tmp_path / "box.sqlite")
    assert again.db.execute("SELECT name FROM things").fetchall() == [("kept",)]
    again.close()


def test_a_full_disk_is_called_that_although_sqlite_has_ended_the_transaction_itself(tmp_path: Path) -> None:
    file = opened(tmp_path / "box.sqlite")
    pages = file.db.execute("PRAGMA page_count").fetchone()[0]
    file.db.execute(f"PRAGMA max_page_count = {pages + 2}")  # what a full disk is to SQLite: SQLITE_FULL
    with pytest.raises(Unavailable) as failed, file.writing():
        file.db.execute("INSERT INTO things VALUES ('large', ?)", (bytes(1 << 20),))
    assert failed.value.code == "disk_full"
    with file.writing():
        file.db.execute("INSERT INTO things VALUES ('small', '')")
    file.close()


def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    opened(tmp_path / "box.sqlite", version=2).close()
    with pytest.raises(CallerFault) as failed:
        opened(tmp_path / "box.sqlite", version=1)
    assert failed.value.code == "box_newer"


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "box.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(Unavailable) as failed:
        opened(tmp_path / "box.sqlite")
    assert failed.value.code == "box_damaged"


def test_an_exclusive_file_is_not_shared(tmp_path: Path) -> None:
    first = opened(tmp_path / "box.sqlite", is_exclusive=True)
    with pytest.raises(CallerFault) as failed:
        opened(tmp_path / "box.sqlite", is_exclusive=True)
    assert failed.value.code == "box_in_use"
    first.close()
    opened(tmp_path / "box.sqlite", is_exclusive=True).close()
