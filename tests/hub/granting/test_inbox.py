"""The inbox: which entries were left alone long enough."""

import os
from pathlib import Path

from hub.granting.inbox import STABLE_FOR_S, StableEntries


def test_a_file_is_taken_once_it_was_left_alone_for_two_seconds(tmp_path: Path) -> None:
    song = tmp_path / "song.flac"
    song.write_bytes(b"1")
    entries = StableEntries(tmp_path)
    assert entries.look(now=0) == []
    assert entries.look(now=STABLE_FOR_S - 0.1) == []
    song.write_bytes(b"12")
    assert entries.look(now=STABLE_FOR_S) == []
    assert entries.look(now=2 * STABLE_FOR_S) == [song]


def test_a_file_that_is_written_with_the_same_size_is_not_taken_yet(tmp_path: Path) -> None:
    song = tmp_path / "song.flac"
    song.write_bytes(b"1")
    entries = StableEntries(tmp_path)
    entries.look(now=0)
    os.utime(song, ns=(1, 1))
    assert entries.look(now=10) == []
    assert entries.look(now=12) == [song]


def test_a_folder_is_one_entry_and_waits_for_all_of_its_files(tmp_path: Path) -> None:
    album = tmp_path / "album"
    (album / "disc 1").mkdir(parents=True)
    (album / "disc 1" / "a.flac").write_bytes(b"1")
    entries = StableEntries(tmp_path)
    entries.look(now=0)
    (album / "b.flac").write_bytes(b"1")
    assert entries.look(now=3) == []
    assert entries.look(now=5) == [album]


def test_unfinished_hidden_and_finished_entries_are_left_alone(tmp_path: Path) -> None:
    for name in ("song.flac.part", "song.crdownload", ".DS_Store"):
        (tmp_path / name).write_bytes(b"1")
    for name in ("published", "refused", "empty"):
        (tmp_path / name).mkdir()
    entries = StableEntries(tmp_path)
    entries.look(now=0)
    assert entries.look(now=10) == []
