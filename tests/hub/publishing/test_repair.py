"""Publishing a file again puts back what was lost of its track."""

import os

import pytest

from digm.errors import Unavailable
from digm.manifest import parse_manifest
from digm.packing import pack
from hub.media import Tags
from hub.publishing import encryption
from hub.publishing.model import PublishOptions
from hub.publishing.publish import publish

PICTURE = b"\xff\xd8\xff a picture"


def chunks_of(data, track):
    manifest = parse_manifest(data.store.manifest(track.track_root))
    return [
        data.store.path(chunk_hash.hex())
        for rendition in manifest.renditions
        for chunk_hash in rendition.chunk_hashes
    ]


def harm(path):
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)


def test_a_real_recording_is_made_whole_again_to_the_byte(data, wav):
    path = wav(seconds=20)
    [track] = publish([path], data.settings, PublishOptions(preview_seconds=10))
    manifest = data.store.manifest(track.track_root)
    first, *_, last = chunks_of(data, track)
    harm(first)
    last.unlink()
    data.store.delete_manifest(track.track_root)
    [again] = publish([path], data.settings)
    assert (again.status, again.track_root) == ("repaired", track.track_root)
    assert data.store.manifest(track.track_root) == manifest
    data.assert_consistent()
    [again] = publish([path], data.settings)
    assert again.status == "already_published"


@pytest.mark.parametrize(
    "lose",
    [
        lambda data, track: [path.unlink() for path in chunks_of(data, track)],
        lambda data, track: os.truncate(chunks_of(data, track)[0], 10),
        lambda data, track: data.store.delete(data.tracks()[0].cover_hash),
        lambda data, track: data.store.put_manifest(track.track_root, b"torn"),
    ],
    ids=["all chunks", "torn chunk", "cover", "manifest"],
)
def test_a_track_of_a_folder_is_repaired_beside_new_ones(data, stand_in, record, music, lose):
    stand_in.tags["1.flac"] = Tags(title="Air", artist="Bach", track_number=3, year=1731)
    record("album/cover.jpg", PICTURE)
    record("album/1.flac")
    [track] = publish([music / "album"], data.settings)
    lose(data, track)
    record("album/2.flac")
    tracks = publish([music / "album"], data.settings, PublishOptions(artist="Somebody", preview_seconds=9))
    assert [track.status for track in tracks] == ["repaired", "published"]
    assert tracks[0].artist == "Bach"
    data.assert_consistent()


def test_a_track_whose_chunks_did_not_end_with_its_preview_yet_is_made_whole_as_it_was(
    data, stand_in, record, monkeypatch
):
    path = record("one.flac")
    with monkeypatch.context() as earlier:
        earlier.setattr(encryption, "pack", lambda *args, preview_s: pack(*args))
        [track] = publish([path], data.settings, PublishOptions(preview_seconds=10))
    chunks_of(data, track)[-1].unlink()
    [again] = publish([path], data.settings)
    assert (again.status, again.track_root) == ("repaired", track.track_root)
    data.assert_consistent()


def test_what_does_not_come_out_the_same_is_not_put_in_its_place(data, stand_in, record):
    path = record("one.flac")
    [track] = publish([path], data.settings)
    [*others, lost] = chunks_of(data, track)
    lost.unlink()
    before = {other: other.read_bytes() for other in others}
    stand_in.seconds = 19
    with pytest.raises(
        Unavailable, match=r"one\.flac is published, but what is stored of it is damaged"
    ) as caught:
        publish([path], data.settings)
    assert caught.value.code == "track_damaged"
    assert {other: other.read_bytes() for other in others} == before
    assert len(list(data.store.hashes())) == len(others)
    assert list((data.path / "staging").iterdir()) == []
