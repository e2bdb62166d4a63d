import hashlib
import os
import threading
import time
from pathlib import Path

import pytest

from digm.errors import CallerFault, Unavailable
from hub.storage.chunk_store import ChunkStore

SOUND = b"a chunk of sound" * 4096
NAME = hashlib.sha256(SOUND).hexdigest()
OTHER = "ab" * 32


@pytest.fixture
def store(tmp_path):
    return ChunkStore(tmp_path / "data")


def flip_a_byte(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_what_was_put_is_read_back_by_its_hash(store):
    assert store.put(SOUND) == NAME
    assert store.read(NAME) == SOUND
    assert NAME in store
    assert store.size(NAME) == len(SOUND)
    assert list(store.hashes()) == [NAME]
    assert (store.data / "chunks" / NAME[:2] / NAME).read_bytes() == SOUND


def test_nothing_temporary_stays_behind_a_put(store):
    store.put(SOUND)
    assert list(store.incoming.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [
        "",
        "..",
        "../../etc/passwd",
        NAME.upper(),
        NAME[:-1],
        NAME + "0",
        NAME + "\n",
        "/" + NAME[1:],
        ".." + NAME[2:],
        "\0" * 64,
        "０" * 64,
    ],
)
def test_a_name_that_is_not_64_hex_digits_never_reaches_the_disk(store, name, monkeypatch):
    monkeypatch.setattr(os, "open", lambda *_args, **_kwargs: pytest.fail("the disk was asked"))
    for ask in (store.read, store.size, store.delete, store.manifest, store.path):
        with pytest.raises(CallerFault) as caught:
            ask(name)
        assert caught.value.code == "bad_id"
    with pytest.raises(CallerFault):
        store.read_range(name, 0, 1)
    assert name not in store


def test_a_name_that_is_no_text_is_not_held(store):
    assert 7 not in store
    assert None not in store


def test_a_chunk_that_is_not_there_is_said_to_be_not_held(store):
    for ask in (store.read, store.size, lambda name: store.read_range(name, 0, 10)):
        with pytest.raises(Unavailable) as caught:
            ask(OTHER)
        assert caught.value.code == "chunk_not_held"
    assert OTHER not in store
    assert store.delete(OTHER) is False


def test_links_folders_and_pipes_under_a_chunks_name_are_not_held(store, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("keys")
    kinds = (lambda path: path.symlink_to(secret), lambda path: path.mkdir(), os.mkfifo)
    for digit, make in enumerate(kinds):
        name = f"{digit}" * 64
        store.path(name).parent.mkdir(parents=True, exist_ok=True)
        make(store.path(name))
        assert name not in store
        with pytest.raises(Unavailable) as caught:
            store.read(name)
        assert caught.value.code == "chunk_not_held"


def test_ranges_are_cut_at_the_end_of_the_chunk(store):
    store.put(SOUND)
    assert store.read_range(NAME, 5, 7) == SOUND[5:12]
    assert store.read_range(NAME, len(SOUND) - 3, 100) == SOUND[-3:]
    assert store.read_range(NAME, len(SOUND) + 1, 10) == b""
    assert store.read_range(NAME, 0, 1 << 60) == SOUND
    with pytest.raises(CallerFault, match="byte 0 or later"):
        store.read_range(NAME, -1, 10)


def test_a_flipped_byte_is_damage_when_reads_are_verified(tmp_path):
    store = ChunkStore(tmp_path, verify_reads=True)
    store.put(SOUND)
    assert store.read(NAME) == SOUND
    assert store.read_range(NAME, 1, 2) == SOUND[1:3]
    flip_a_byte(store.path(NAME))
    for ask in (store.read, lambda name: store.read_range(name, 0, 4)):
        with pytest.raises(Unavailable) as caught:
            ask(NAME)
        assert caught.value.code == "chunk_damaged"
        assert caught.value.data["hash"] == NAME


def test_a_chunk_that_is_replaced_by_a_good_copy_while_it_is_read_is_read_again(tmp_path, monkeypatch):
    store = ChunkStore(tmp_path, verify_reads=True)
    store.put(SOUND)
    answers = iter([b"half written", SOUND])
    monkeypatch.setattr(store, "_read", lambda _name: next(answers))
    assert store.read(NAME) == SOUND


def test_a_file_larger_than_any_chunk_is_damage_and_not_read_whole(store):
    path = store.path(OTHER)
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(Unavailable) as caught:
        store.read(OTHER)
    assert caught.value.code == "chunk_damaged"


def test_nothing_larger_than_a_chunk_is_stored(store):
    with pytest.raises(CallerFault) as caught:
        store.put(bytes(16 * 65_536 + 1))
    assert caught.value.code == "chunk_too_large"


def test_putting_a_chunk_again_heals_a_damaged_one(store):
    store.put(SOUND)
    flip_a_byte(store.path(NAME))
    store.put(SOUND)
    assert store.read_verified(NAME) == SOUND


def test_adopted_files_leave_their_old_place(store, tmp_path):
    staged = {}
    for number in range(40):
        data = SOUND + bytes([number])
        name = hashlib.sha256(data).hexdigest()
        staged[name] = tmp_path / name
        staged[name].write_bytes(data)
    manifest = tmp_path / "manifest"
    manifest.write_bytes(b"{}")
    store.adopt_all(staged, {OTHER: manifest})
    assert set(store.hashes()) == set(staged)
    assert all(store.read_verified(name) for name in staged)
    assert store.manifest(OTHER) == b"{}"
    assert not any(path.exists() for path in [*staged.values(), manifest])


def test_one_file_can_be_adopted(store, tmp_path):
    (tmp_path / "staged").write_bytes(SOUND)
    store.adopt(tmp_path / "staged", NAME)
    assert store.read_verified(NAME) == SOUND


def test_every_file_and_folder_is_synced_before_adoption_returns(store, tmp_path, monkeypatch):
    staged = {name: tmp_path / name for name in (OTHER, NAME)}
    for path in staged.values():
        path.write_bytes(b"x")
    synced = set()
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: synced.add(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
    )
    store.adopt_all(staged)
    folders = {str(store.path(name).parent) for name in staged}
    assert folders | {str(store.chunks)} <= synced


def test_deleting_leaves_no_empty_folder(store):
    store.put(SOUND)
    assert store.delete(NAME) is True
    assert NAME not in store
    assert not store.path(NAME).parent.exists()


def test_puts_and_deletes_of_neighbours_do_not_disturb_each_other(store):
    """A folder may vanish between its making and the rename into it: the rename makes it again."""
    neighbours = [OTHER[:2] + f"{number:062x}" for number in range(4)]
    stop = time.monotonic() + 1.0
    faults = []

    def churn(name):
        while time.monotonic() < stop:
            try:
                store.put_file(name)
                store.delete(name)
            except Exception as error:
                faults.append(error)
                return

    def put_file(name):
        staged = store.data / name
        staged.parent.mkdir(exist_ok=True)
        staged.write_bytes(b"x")
        store.adopt_all({name: staged})

    store.put_file = put_file
    threads = [threading.Thread(target=churn, args=(name,)) for name in neighbours]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_manifests_are_kept_by_track_root(store):
    store.put_manifest(OTHER, b'{"digm":1}')
    assert store.manifest(OTHER) == b'{"digm":1}'
    assert store.delete_manifest(OTHER) is True
    assert store.delete_manifest(OTHER) is False
    with pytest.raises(Unavailable) as caught:
        store.manifest(OTHER)
    assert caught.value.code == "track_not_held"


def test_a_manifest_of_more_than_4_mib_is_not_read(store):
    store.put_manifest(OTHER, bytes(4 * 1024 * 1024 + 1))
    with pytest.raises(Unavailable) as caught:
        store.manifest(OTHER)
    assert caught.value.code == "manifest_damaged"


def test_what_a_killed_process_was_writing_is_swept_once_it_is_old(store):
    store.put(SOUND)
    old, young = store.incoming / "old", store.incoming / "young"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    store.sweep_incoming()
    assert not old.exists()
    assert young.exists()
    assert NAME in store


def test_a_store_that_does_not_exist_yet_is_empty(tmp_path):
    store = ChunkStore(tmp_path / "none")
    assert list(store.hashes()) == []
    store.sweep_incoming()
    assert not (tmp_path / "none").exists()


def test_a_file_or_a_folder_in_the_wrong_place_is_named(tmp_path):
    store = ChunkStore(tmp_path)
    name = hashlib.sha256(b"chunk").hexdigest()
    store.path(name).parent.parent.mkdir()
    store.path(name).parent.write_text("a file")
    with pytest.raises(CallerFault, match=f"{store.path(name).parent} is a file, where a folder belongs"):
        store.put(b"chunk")
    store.path(name).parent.unlink()
    store.path(name).mkdir(parents=True)
    with pytest.raises(CallerFault, match=f"{store.path(name)} is a folder, where a file belongs"):
        store.put(b"chunk")
    assert list(store.incoming.iterdir()) == []


def test_a_link_that_leads_nowhere_is_no_folder(tmp_path):
    (tmp_path / "data").symlink_to(tmp_path / "nowhere")
    with pytest.raises(CallerFault, match="data is a file, where a folder belongs"):
        ChunkStore(tmp_path / "data").put(b"chunk")
