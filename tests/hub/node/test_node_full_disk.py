"""A disk that fills up while a track is replicated onto it: a file system of a few hundred KiB."""

import os
import shutil
import subprocess
from contextlib import suppress

import pytest

from digm.errors import Unavailable
from hub.node.storage import NodeStore
from tests.hub.node.music import CHUNK, Elsewhere

pytestmark = pytest.mark.skipif(not shutil.which("mount"), reason="there is no mount here")


@pytest.fixture(params=[300, 420, 600, 700])
def small_disk(request, tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    options = f"size={request.param}k"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    (folder / "filler").touch()  # while there is room for a name
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(folder):
    descriptor = os.open(folder / "filler", os.O_WRONLY | os.O_CREAT)
    with suppress(OSError):
        while True:
            os.write(descriptor, bytes(4096))
    os.close(descriptor)


def test_a_full_disk_is_said_and_nothing_that_came_is_lost(small_disk, tmp_path):
    track = Elsewhere(tmp_path / "artist", chunk_count=8)
    node, came = NodeStore(small_disk / "node", 1 << 30), []
    try:
        node.add_track(track.document)
        node.pin(track.root, "order 1")
        with pytest.raises(Unavailable, match="is full: free some space") as full:
            for name in track.hashes:
                node.put(name, track.store.read(name))
                came.append(name)
        assert full.value.code == "disk_full"
        fill(small_disk)
        with pytest.raises(Unavailable) as still:
            node.put(track.hashes[len(came)], track.store.read(track.hashes[len(came)]))
        assert still.value.code == "disk_full"
        for name in came:
            assert node.read(name) == track.store.read(name)
        assert node.held_bytes == len(came) * CHUNK + len(track.document)
        assert node.free_bytes() == 0
    finally:
        node.close()
    (small_disk / "filler").unlink()
    node = NodeStore(small_disk / "node", 1 << 30)
    try:
        assert {name for name in track.hashes if name in node.chunks} == set(came)
        assert node.tracks()[0].held_chunks == len(came)
        assert list(node.chunks.incoming.iterdir()) == []
    finally:
        node.close()


def test_on_a_full_disk_a_rotten_chunk_is_still_taken_out(small_disk, tmp_path):
    track = Elsewhere(tmp_path / "artist", chunk_count=1)
    node = NodeStore(small_disk / "node", 1 << 30)
    try:
        track.give(node)
        node.chunks.path(track.hashes[0]).write_bytes(b"\0" * CHUNK)
        fill(small_disk)
        with pytest.raises(Unavailable) as bad:
            node.read(track.hashes[0])
        assert bad.value.code == "chunk_damaged"
        assert track.hashes[0] not in node.chunks
    finally:
        node.close()
