"""The shelf: chunks as files in memory, bounded; and what is left of a killed gateway."""

import os
import random
from pathlib import Path

import pytest

from hub.gateway import shelf as shelf_module
from hub.gateway.shelf import Shelf, work_folder

NAMES = [f"{number:064x}" for number in range(6)]


def read_since(folder: Path, name: str) -> None:
    """As a file system does that notes when a file was read, whatever this one notes."""
    written = (folder / name).stat().st_mtime_ns
    os.utime(folder / name, ns=(written + 1, written))


def lying(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_was_not_asked_for_makes_room_first(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, 3_000)
    for name in NAMES[:3]:
        assert shelf.put(name, bytes(1_000))
        os.utime(tmp_path / name, ns=(1, 1))
    read_since(tmp_path, NAMES[0])
    assert shelf.put(NAMES[3], bytes(1_000))
    assert lying(tmp_path) == {NAMES[0], NAMES[2], NAMES[3]}
    assert shelf.held_bytes == 3_000


def test_it_is_never_larger_than_it_may_be(tmp_path: Path) -> None:
    shelf, noise = Shelf(tmp_path, 3_000), random.Random(1)
    for _ in range(300):
        name = noise.choice(NAMES)
        shelf.put(name, bytes(int(name, 16) * 300 + 1))
        if noise.random() < 0.5 and (tmp_path / name).exists():
            read_since(tmp_path, name)
        assert shelf.held_bytes == sum(path.stat().st_size for path in tmp_path.iterdir()) <= 3_000


def test_what_does_not_fit_is_not_laid_there(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, 1_000)
    assert not shelf.put(NAMES[0], bytes(1_001))
    assert lying(tmp_path) == set()
    assert not Shelf(tmp_path, 0).put(NAMES[0], b"1")


def test_a_full_memory_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    shelf = Shelf(tmp_path, 1_000)
    monkeypatch.setattr(shelf, "_write", full)
    assert not shelf.put(NAMES[0], bytes(10))
    assert shelf.held_bytes == 0


def test_a_worker_that_is_started_again_takes_over_what_lies_there(tmp_path: Path) -> None:
    Shelf(tmp_path, 2_000).put(NAMES[0], bytes(900))
    (tmp_path / ".half").write_bytes(bytes(900))
    after = Shelf(tmp_path, 1_000)
    assert lying(tmp_path) == {NAMES[0]}
    assert after.put(NAMES[1], bytes(900))
    assert lying(tmp_path) == {NAMES[1]}


def test_another_process_may_have_made_room_already(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, 1_000)
    shelf.put(NAMES[0], bytes(900))
    (tmp_path / NAMES[0]).unlink()
    assert shelf.put(NAMES[1], bytes(900))
    assert shelf.held_bytes == 900


def test_the_folder_of_a_killed_gateway_is_swept_and_that_of_a_running_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf_module, "MEMORY", tmp_path)
    dead = tmp_path / "digm-gateway-dead"
    dead.mkdir()
    (dead / "lock").touch()
    (tmp_path / "somebody-else").mkdir()
    with work_folder() as (first, is_memory):
        assert is_memory
        assert not dead.exists()
        with work_folder() as (second, _):
            assert first.exists()
            assert first != second
    assert lying(tmp_path) == {"somebody-else"}
