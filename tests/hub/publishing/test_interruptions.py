"""Whatever goes wrong at whatever step: the whole track, or nothing."""

import errno
import os
import sqlite3
import tempfile
from pathlib import Path

import pytest

from digm.errors import CallerFault, Unavailable
from hub.publishing.publish import publish
from hub.publishing.staging import sweep_staging
from hub.storage.catalogue import Catalogue

PICTURE = b"\xff\xd8\xff a picture"
STEPS = ("open", "write", "fsync", "mkdir", "rename", "unlink", "rmdir", "scandir", "ftruncate")


class Clumsy:
    """The system calls that publishing makes, of which the n-th fails."""

    def __init__(self, monkeypatch, make_fault):
        self.calls, self.fails_at, self.has_failed = 0, 0, False
        self.make_fault = make_fault
        for name in STEPS:
            monkeypatch.setattr(os, name, self._watched(getattr(os, name)))

    def _watched(self, real):
        def call(*args, **kwargs):
            self.calls += 1
            if self.calls == self.fails_at:
                self.has_failed = True
                raise self.make_fault()
            return real(*args, **kwargs)

        return call


@pytest.fixture
def data(data):
    """In memory, if there is such a place: hundreds of attempts wait for the disk otherwise."""
    memory = Path("/dev/shm")  # noqa: S108
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield type(data)(Path(folder))


@pytest.fixture
def album(stand_in, record, music):
    stand_in.seconds = 3
    for name in ("1.flac", "2.flac"):
        record(f"album/{name}")
    record("album/cover.jpg", PICTURE)
    return music / "album"


@pytest.mark.parametrize(
    "make_fault",
    [lambda: OSError(errno.ENOSPC, "full"), KeyboardInterrupt],
    ids=["full disk", "Ctrl-C"],
)
def test_a_fault_at_any_step_leaves_the_whole_release_or_nothing(data, album, monkeypatch, make_fault):
    published = faults = 0
    clumsy = Clumsy(monkeypatch, make_fault)
    for step in range(1, 2000):
        clumsy.calls, clumsy.fails_at, clumsy.has_failed = 0, step, False
        here = type(data)(data.path / str(step))
        try:
            tracks = publish([album], here.settings)
        except (CallerFault, Unavailable, KeyboardInterrupt):
            faults += 1
            tracks = []
        clumsy.fails_at = 0
        if not clumsy.has_failed:
            break
        sweep_staging(here.path)
        listed = here.tracks()
        assert len(listed) in (0, 2)
        assert len(tracks) <= len(listed)
        published += bool(listed)
        here.assert_consistent()
        if step % 20 == 0:
            assert len(publish([album], here.settings)) == 2
            here.assert_consistent()
    assert faults > 50
    assert published >= 1


@pytest.mark.parametrize("name", ["ingest", "write_manifest"])
def test_a_defect_of_ours_leaves_nothing_behind(data, album, monkeypatch, name):
    def defect(*_args, **_kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr(f"hub.publishing.publish.{name}", defect)
    with pytest.raises(ZeroDivisionError):
        publish([album], data.settings)
    data.assert_empty()


def test_an_interrupt_after_the_acknowledgement_keeps_the_release(data, album, monkeypatch):
    real_publish = Catalogue.publish

    def publish_and_be_interrupted(catalogue, release, tracks):
        real_publish(catalogue, release, tracks)
        raise KeyboardInterrupt

    monkeypatch.setattr(Catalogue, "publish", publish_and_be_interrupted)
    with pytest.raises(KeyboardInterrupt):
        publish([album], data.settings)
    assert len(data.tracks()) == 2
    data.assert_consistent()


def test_a_catalogue_that_another_program_keeps_locked_leaves_nothing_behind(
    data, album, stand_in, monkeypatch
):
    monkeypatch.setattr("hub.storage.catalogue.BUSY_TIMEOUT_S", 0.1)
    others = []

    def lock(_source, _folder):
        if not others:
            others.append(sqlite3.connect(data.path / "catalogue.sqlite", isolation_level=None))
            others[0].execute("BEGIN IMMEDIATE")

    stand_in.during = lock
    with pytest.raises(Unavailable) as caught:
        publish([album], data.settings)
    assert caught.value.code == "catalogue_busy"
    others[0].close()
    data.assert_empty()
