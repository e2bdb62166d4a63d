"""Publishing onto a disk that is really full: a file system of a few megabytes, wherever it runs out."""

import contextlib
import shutil
import subprocess
import sys

import pytest

from hub.publishing.staging import sweep_staging
from hub.storage.catalogue import Catalogue

DIGM = [sys.executable, "-c", "from hub.cli import main; main()"]


@pytest.fixture
def small_disk(tmp_path):
    """Mounts an empty file system of so many KiB."""
    mounted = []

    def mount(kib):
        folder = tmp_path / f"disk-{kib}"
        folder.mkdir()
        options = f"size={kib}k"
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True)
        if done.returncode:
            pytest.skip("mounting a small file system needs root")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.skipif(not shutil.which("mount"), reason="there is no mount here")
@pytest.mark.parametrize("kib", [24, 200, 800, 1200, 1500, 2200])
def test_on_a_full_disk_nothing_of_the_track_is_left_behind(data, wav, small_disk, monkeypatch, kib):
    here = type(data)(small_disk(kib) / "data")
    monkeypatch.setenv("DIGM_DATA", str(here.path))
    done = subprocess.run([*DIGM, "publish", wav(seconds=6)], capture_output=True, text=True, timeout=120)
    if done.returncode == 0:
        here.assert_consistent()
        return
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "free some space" in done.stderr
    assert not any(here.path.glob("staging/*"))
    assert list(here.store.hashes()) == []
    assert not any(here.path.glob("manifests/*"))
    if kib > 300:
        with contextlib.closing(Catalogue.open(here.path)) as catalogue:
            assert catalogue.tracks() == []
        sweep_staging(here.path)
