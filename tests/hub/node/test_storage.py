import hashlib
import os
import random
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from digm.errors import CallerFault, PeerFault, Unavailable
from hub.node.index import FILE_NAME
from hub.node.storage import NodeStore
from tests.hub.node.music import CHUNK, Elsewhere, rot

PLENTY = 1 << 30


class Clock:
    """Goes on by a second each time somebody looks."""

    def __init__(self):
        self.now = 1_000.0

    def __call__(self):
        self.now += 1
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def open_node(tmp_path, clock):
    """Opens the node's folder, again and again."""
    opened = []

    def open_it(quota=PLENTY):
        while opened:
            opened.pop().close()
        opened.append(NodeStore(tmp_path / "node", quota, clock))
        return opened[0]

    yield open_it
    while opened:
        opened.pop().close()


@pytest.fixture
def tracks(tmp_path):
    """Three tracks of two renditions with two chunks each."""
    return [Elsewhere(tmp_path / "artist", seed=seed) for seed in (1, 2, 3)]


def held(node, track):
    return [name in node.chunks for name in track.hashes]


def test_a_track_is_held_when_its_chunks_came(open_node, tracks):
    node, track = open_node(), tracks[0]
    node.add_track(track.document)
    assert len(node.missing(track.root)) == 4
    track.give(node, 3)
    assert [(place.rendition, place.chunk) for place in node.missing(track.root)] == [(1, 1)]
    assert [list(field) for field in node.availability(track.root).values()] == [[0, 1], [0]]
    track.give(node)
    (only,) = node.tracks()
    assert only.is_whole
    assert (only.track_root, only.bytes, only.held_bytes) == (track.root, 4 * CHUNK, 4 * CHUNK)
    assert node.chunks.manifest(track.root) == track.document
    assert node.read(track.hashes[0]) == track.store.read(track.hashes[0])
    assert node.held_bytes == track.bytes


def test_a_cover_belongs_to_its_track(open_node, tmp_path):
    picture = b"\xff\xd8\xff a picture"
    track, node = Elsewhere(tmp_path / "artist", cover=picture), open_node()
    track.give(node)
    (place,) = node.missing(track.root)
    assert place.rendition is None
    node.put(place.hash, picture)
    assert node.tracks()[0].is_whole


def test_what_no_manifest_names_is_not_let_in(open_node):
    node, data = open_node(), b"anything"
    with pytest.raises(CallerFault, match="No manifest") as refused:
        node.put(hashlib.sha256(data).hexdigest(), data)
    assert refused.value.code == "chunk_unnamed"
    assert list(node.chunks.hashes()) == []


def test_other_bytes_than_were_asked_for_are_not_let_in(open_node, tracks):
    node = open_node()
    node.add_track(tracks[0].document)
    with pytest.raises(PeerFault) as refused:
        node.put(tracks[0].hashes[0], tracks[0].store.read(tracks[0].hashes[1]))
    assert refused.value.code == "chunk_wrong"
    assert held(node, tracks[0]) == [False] * 4


def test_a_manifest_that_its_artist_did_not_sign_is_not_held(open_node, tracks):
    node = open_node()
    forged = tracks[0].document.replace(b'"title":"Track 1"', b'"title":"Track 7"')
    assert forged != tracks[0].document
    with pytest.raises(PeerFault) as refused:
        node.add_track(forged)
    assert refused.value.code == "manifest_signature"
    assert node.tracks() == []


def test_the_least_recently_used_chunk_goes_first(open_node, tracks):
    old, new = tracks[0], tracks[1]
    node = open_node(old.bytes + len(new.document) + CHUNK)
    old.give(node)
    node.read(old.hashes[0])
    new.give(node, 2)
    assert held(node, old) == [True, False, True, True]
    node.read(old.hashes[2])
    new.give(node, 3)
    assert held(node, old) == [True, False, True, False]
    assert node.held_bytes <= node.quota_bytes


def test_a_pinned_chunk_never_goes(open_node, tracks):
    pinned, other, third = tracks
    node = open_node(pinned.bytes + other.bytes)
    pinned.give(node)
    node.pin(pinned.root, "order 1")
    other.give(node)
    for track in (third, other, third):
        track.give(node)
    assert all(held(node, pinned))
    assert all(held(open_node(pinned.bytes), pinned))


def test_where_everything_is_pinned_the_quota_is_said_to_be_full_and_nothing_goes(open_node, tracks):
    pinned, other = tracks[:2]
    node = open_node(pinned.bytes + len(other.document) + CHUNK // 2)
    pinned.give(node)
    node.pin(pinned.root, "order 1")
    node.add_track(other.document)
    with pytest.raises(Unavailable, match="quota") as full:
        node.put(other.hashes[0], other.store.read(other.hashes[0]))
    assert full.value.code == "quota_full"
    assert all(held(node, pinned))


def test_a_pin_sets_its_whole_size_aside(open_node, tracks):
    first, second = tracks[:2]
    node = open_node(first.bytes + second.bytes - 1)
    node.add_track(first.document)
    node.pin(first.root, "order 1")
    node.add_track(second.document)
    with pytest.raises(Unavailable) as refused:
        node.pin(second.root, "order 2")
    assert refused.value.code == "quota_full"
    second.give(node)
    first.give(node)  # what is not pinned makes room for what is
    assert all(held(node, first))
    assert not all(held(node, second))


def test_what_is_free_to_be_pinned_shrinks_by_what_is_promised(open_node, tracks):
    node = open_node(10 * tracks[0].bytes)
    node.add_track(tracks[0].document)
    assert node.free_bytes() == 10 * tracks[0].bytes
    node.pin(tracks[0].root, "order 1")
    assert node.free_bytes() == 9 * tracks[0].bytes


def test_a_pin_without_the_manifest_is_refused(open_node, tracks):
    with pytest.raises(Unavailable) as refused:
        open_node().pin(tracks[0].root, "order 1")
    assert refused.value.code == "track_not_held"


def test_a_track_is_pinned_until_its_last_pin_ends(open_node, tracks, clock):
    node, track = open_node(tracks[0].bytes + tracks[1].bytes), tracks[0]
    track.give(node)
    node.pin(track.root, "order 1", clock.now + 1_000)
    node.pin(track.root, "order 2", clock.now + 2_000)
    clock.now += 1_500
    assert [pin.pinned_by for pin in node.end_expired_pins()] == ["order 1"]
    with pytest.raises(CallerFault) as refused:
        node.forget(track.root)
    assert refused.value.code == "track_pinned"
    node.unpin(track.root, "order 2")
    tracks[1].give(node)
    tracks[2].give(node)
    assert not any(held(node, track))


def test_a_manifest_goes_with_the_last_chunk_of_its_track(open_node, tracks):
    node = open_node(tracks[0].bytes + len(tracks[1].document))
    tracks[0].give(node)
    tracks[1].give(node)
    assert [track.track_root for track in node.tracks()] == [tracks[1].root]
    assert not node.chunks.manifest_path(tracks[0].root).exists()
    assert node.held_bytes == tracks[1].bytes


def test_a_forgotten_track_leaves_nothing(open_node, tracks):
    node = open_node()
    tracks[0].give(node)
    node.forget(tracks[0].root)
    assert node.tracks() == []
    assert node.held_bytes == 0
    assert list(node.chunks.hashes()) == []
    assert list(node.chunks.manifests.iterdir()) == []


def test_everything_is_there_again_after_a_restart(open_node, tracks):
    node = open_node()
    tracks[0].give(node)
    tracks[1].give(node, 1)
    node.pin(tracks[0].root, "order 1", 5_000_000)
    before = (node.tracks(), node.pins(), node.held_bytes, node.promised_bytes)
    node = open_node()
    assert (node.tracks(), node.pins(), node.held_bytes, node.promised_bytes) == before


def test_the_order_of_use_outlives_a_restart(open_node, tracks):
    node = open_node(tracks[0].bytes)
    tracks[0].give(node)
    node.read(tracks[0].hashes[0])
    node = open_node(tracks[0].bytes - CHUNK)
    assert held(node, tracks[0]) == [True, False, True, True]


def test_a_smaller_quota_is_kept_from_the_start_on_but_for_pins(open_node, tracks):
    node = open_node()
    for track in tracks[:2]:
        track.give(node)
    node.pin(tracks[0].root, "order 1")
    node = open_node(tracks[0].bytes)
    assert all(held(node, tracks[0]))
    assert not any(held(node, tracks[1]))


@pytest.mark.parametrize("reader", ["store", "files", "range"])
def test_a_rotten_chunk_is_never_given_to_anybody_and_is_lost_at_once(open_node, tracks, reader):
    node, name = open_node(), tracks[0].hashes[2]
    tracks[0].give(node)
    rot(node, name)
    ask = {
        "store": lambda: node.read(name),
        "files": lambda: node.chunks.read(name),
        "range": lambda: node.chunks.read_range(name, 0, 16),
    }[reader]
    with pytest.raises(Unavailable) as bad:
        ask()
    assert bad.value.code == "chunk_damaged"
    assert name not in node.chunks
    assert list(node.availability(tracks[0].root)[1]) == [1]
    assert [place.hash for place in node.lost()] == [name]
    assert [place.hash for place in open_node().lost()] == [name]
    node = open_node()
    node.put(name, tracks[0].store.read(name))
    assert node.lost() == []
    assert node.tracks()[0].is_whole


def test_a_chunk_that_somebody_removed_by_hand_is_lost(open_node, tracks):
    node = open_node()
    tracks[0].give(node)
    node.chunks.path(tracks[0].hashes[0]).unlink()
    assert [place.hash for place in open_node().lost()] == [tracks[0].hashes[0]]
    node = open_node()
    node.chunks.path(tracks[0].hashes[1]).unlink()
    with pytest.raises(Unavailable):
        node.read(tracks[0].hashes[1])
    assert len(node.lost()) == 2


def test_too_many_open_files_do_not_cost_a_chunk(open_node, tracks, monkeypatch):
    node, name = open_node(), tracks[0].hashes[0]
    tracks[0].give(node)

    def refuse(_path):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched, pytest.raises(Unavailable) as failed:
        patched.setattr("hub.storage.chunk_store.open_regular", refuse)
        node.read(name)
    assert failed.value.code == "disk_failed"
    assert node.read(name)
    assert node.lost() == []


def test_the_folder_of_a_hub_is_not_taken(tmp_path, tracks):
    with pytest.raises(CallerFault) as refused:
        NodeStore(tmp_path / "artist", PLENTY)
    assert refused.value.code == "not_a_node_folder"
    assert tracks[0].store.read(tracks[0].hashes[0])


def test_two_nodes_do_not_share_a_folder(open_node, tmp_path):
    open_node()
    with pytest.raises(CallerFault) as refused:
        NodeStore(tmp_path / "node", PLENTY)
    assert refused.value.code == "already_running"


def test_an_index_from_the_future_is_not_touched(open_node, tmp_path):
    open_node().close()
    with closing(sqlite3.connect(tmp_path / "node" / FILE_NAME)) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(CallerFault) as refused:
        NodeStore(tmp_path / "node", PLENTY)
    assert refused.value.code == "node_index_newer"


def test_a_second_close_does_not_close_what_somebody_else_has_opened_since(open_node, tmp_path):
    node = open_node()
    node.close()
    others = [os.open(tmp_path, os.O_RDONLY) for _ in range(16)]
    try:
        node.close()
        for descriptor in others:
            os.fstat(descriptor)
    finally:
        for descriptor in others:
            os.close(descriptor)


def test_many_threads_that_put_read_and_evict_leave_an_exact_account(open_node, tracks):
    quota = tracks[0].bytes + 2 * CHUNK + sum(len(track.document) for track in tracks[1:])
    node = open_node(quota)
    node.add_track(tracks[0].document)
    node.pin(tracks[0].root, "order 1")
    dice = random.Random(5)
    jobs = [(track, name) for track in tracks for name in track.hashes] * 8
    dice.shuffle(jobs)

    def one(job):
        track, name = job
        try:
            node.add_track(track.document)
            node.put(name, track.store.read(name))
            node.read(name)
        except (Unavailable, CallerFault) as error:
            assert error.code in ("chunk_not_held", "quota_full", "chunk_unnamed")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, jobs))
    tracks[0].give(node)
    assert all(held(node, tracks[0]))
    on_disk = sum(node.chunks.size(name) for name in node.chunks.hashes())
    manifests = sum(path.stat().st_size for path in node.chunks.manifests.iterdir())
    assert node.held_bytes == on_disk + manifests <= quota
    assert open_node(quota).held_bytes == on_disk + manifests


def test_a_chunk_that_has_just_come_counts_once_so_a_quota_is_used_to_its_last_byte(open_node, tracks):
    track = tracks[0]
    node = open_node(track.bytes)
    node.add_track(track.document)
    node.pin(track.root, "order")
    between = []  # what happens the moment one put lets others have their turn

    class Turn(type(node._turn)):
        def __exit__(self, *failure):
            super().__exit__(*failure)
            if between and node._index.size_held(track.hashes[0]) is not None:
                between.pop()()

    node._turn = Turn()
    between.append(lambda: [node.put(name, track.store.read(name)) for name in track.hashes[1:]])
    node.put(track.hashes[0], track.store.read(track.hashes[0]))
    assert not between
    assert node.tracks()[0].is_whole
    assert node.held_bytes == node.quota_bytes
