import os
import stat
import threading

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from digm.chunks import FRAME_BYTES, frame_additional_data, frame_nonce
from digm.errors import CallerFault
from digm.keys import chunk_key, key_commitment
from digm.manifest import parse_manifest
from digm.packing import pack
from hub.media import Tags
from hub.publishing.model import Note, PublishOptions
from hub.publishing.publish import Publisher, publish
from hub.publishing.sources import find_release
from hub.publishing.vault import Vault
from hub.storage.catalogue import Catalogue
from hub.storage.verification import signature_holds, verify_track

PICTURE = b"\xff\xd8\xff a picture"


def decrypt(data, manifest, rendition, track_key):
    """The plaintext of a rendition's chunks, each frame at its place."""
    plain = []
    for chunk, chunk_hash in enumerate(rendition.chunk_hashes):
        sealed = data.store.read(chunk_hash.hex())
        cipher = AESGCM(chunk_key(track_key, rendition.id, chunk))
        frames = [
            cipher.decrypt(
                frame_nonce(frame),
                sealed[frame * FRAME_BYTES : (frame + 1) * FRAME_BYTES],
                frame_additional_data(rendition.id, chunk, frame, rendition.is_last_frame(chunk, frame)),
            )
            for frame in range(rendition.chunk_frames(chunk))
        ]
        plain.append(b"".join(frames))
    return plain


def test_a_real_recording_is_published_whole(data, wav):
    [track] = publish([wav(seconds=7.5)], data.settings)
    assert track.status == "published"
    assert track.duration_s == pytest.approx(7.5)
    data.assert_consistent()
    [entry] = data.tracks()
    assert (entry.track_root, entry.title) == (track.track_root, "tone")
    manifest = parse_manifest(data.store.manifest(track.track_root))
    assert [rendition.config.codec for rendition in manifest.renditions] == ["flac", "opus"]
    assert signature_holds(manifest)


def test_the_vaults_key_opens_every_frame_to_what_was_packed(data, stand_in, record):
    kept = {}
    real_rendition = stand_in._rendition

    def keeping(*args):
        rendition = real_rendition(*args)
        kept[rendition.config.codec] = (rendition, list(rendition.samples()))
        return rendition

    stand_in._rendition = keeping
    [track] = publish([record("one.flac")], data.settings)
    manifest = parse_manifest(data.store.manifest(track.track_root))
    with Vault.open(data.path / "vault.digm") as vault:
        track_key = vault.secret(track.track_root).track_key
        assert manifest.artist_key == vault.artist_key
    assert key_commitment(track_key) == manifest.key_commitment
    for rendition in manifest.renditions:
        source, samples = kept[rendition.config.codec]
        packed = list(pack(source.config, samples, rendition.frames_per_chunk))
        assert decrypt(data, manifest, rendition, track_key) == [chunk.plaintext for chunk in packed]
        assert rendition.fragments == tuple(chunk.fragments for chunk in packed)
        assert rendition.chunk_count > 2


def test_every_publish_has_a_key_of_its_own(data, tmp_path, stand_in, record):
    path = record("one.flac")
    [here] = publish([path], data.settings)
    [there] = publish([path], type(data)(tmp_path / "other").settings)
    assert here.track_root != there.track_root


def test_the_same_bytes_are_published_once_whatever_the_name(data, stand_in, record):
    [first] = publish([record("one.flac", b"sound")], data.settings)
    again = publish([record("one.flac", b"sound"), record("two.flac", b"sound")], data.settings)
    assert {track.status for track in again} == {"already_published"}
    assert {track.track_root for track in again} == {first.track_root}
    assert [track.file.rpartition("/")[2] for track in again] == ["one.flac", "two.flac"]
    assert len(stand_in.seen) == 1
    data.assert_consistent()


def test_the_artists_words_go_before_the_tags(data, stand_in, record):
    stand_in.tags["one.flac"] = Tags(title="Air", artist="Somebody", album="Suite", track_number=2, year=1731)
    options = PublishOptions(title="Aria", artist="J. S. Bach", album="Suite Nr. 3", preview_seconds=12)
    [track] = publish([record("one.flac")], data.settings, options)
    assert (track.title, track.artist, track.album) == ("Aria", "J. S. Bach", "Suite Nr. 3")
    manifest = parse_manifest(data.store.manifest(track.track_root))
    assert (manifest.title, manifest.preview_s, manifest.track_number) == ("Aria", 12, 2)
    [entry] = data.tracks()
    assert (entry.title, entry.preview_s, entry.album) == ("Aria", 12, "Suite Nr. 3")


def test_without_tags_a_track_is_called_as_its_file(data, stand_in, record):
    [track] = publish([record("Gymnopédie No. 1.flac")], data.settings)
    assert track.title == "Gymnopédie No. 1"


def test_a_name_that_is_not_utf_8_is_taken(data, stand_in, music):
    path = music / os.fsdecode(b"na\xefve.flac")
    path.write_bytes(b"sound")
    [track] = publish([path], data.settings)
    assert track.file.encode()
    assert track.title.startswith("na")


def test_a_folder_is_one_release_by_track_number_then_name(data, stand_in, record, music):
    names = ["b.flac", "a.flac", "z.flac", "y.flac"]
    paths = [record(f"Suite/{name}") for name in names]
    for name, number in (("z.flac", 1), ("y.flac", 2)):
        stand_in.tags[name] = Tags(title=name[0], album="Cello Suite", track_number=number, artist="Bach")
    stand_in.tags["b.flac"] = Tags(artist="Bach", year=1720)
    stand_in.tags["a.flac"] = Tags(artist="Bach", album="Other")
    published = publish([music / "Suite"], data.settings)
    assert {track.file for track in published} == {str(path) for path in paths}
    entries = data.tracks()
    assert [entry.title for entry in entries] == ["z", "y", "a", "b"]
    catalogue = Catalogue.open(data.path)
    [release] = catalogue.releases()
    catalogue.close()
    assert (release.title, release.artist, release.year) == ("Cello Suite", "Bach", None)
    assert {entry.release_id for entry in entries} == {release.release_id}
    assert entries[3].album == "Cello Suite"
    data.assert_consistent()


def test_a_folder_without_album_tags_gives_its_name(data, stand_in, record, music):
    record("Das Wohltemperierte Klavier/1.flac")
    [track] = publish([music / "Das Wohltemperierte Klavier"], data.settings)
    assert track.album == "Das Wohltemperierte Klavier"


def test_what_is_no_audio_in_a_folder_is_left_alone_but_known(record, music):
    for name in ("1.flac", "2.WAV", "Cover.JPG", "notes.txt", ".hidden.flac", "scans/front.jpg"):
        record(f"album/{name}")
    release = find_release(music / "album")
    assert [path.name for path in release.files] == ["1.flac", "2.WAV"]
    assert release.cover.name == "Cover.JPG"
    assert [path.name for path in release.ignored] == ["notes.txt", "scans"]


def test_what_is_left_out_of_a_folder_is_said(data, stand_in, record, music):
    for name in ("1.flac", "cover.jpg", "notes.txt", "booklet.pdf", "CD 2/1.flac"):
        record(f"album/{name}")
    events = []
    publish([music / "album"], data.settings, report=events.append)
    notes = [event for event in events if isinstance(event, Note)]
    assert [note.sentence for note in notes] == [
        "left out, because it is no audio: booklet.pdf, notes.txt.",
        "left out, because a subfolder is a release of its own that is published by its own name: CD 2.",
    ]


def test_a_folders_picture_is_for_tracks_that_have_none(data, stand_in, record, music):
    record("album/cover.jpg", PICTURE)
    for name in ("1.flac", "2.flac", "3.flac"):
        record(f"album/{name}")
    stand_in.covers["3.flac"] = PICTURE + b" of its own"
    publish([music / "album"], data.settings)
    covers = [entry.cover_hash for entry in data.tracks()]
    assert covers[0] == covers[1] != covers[2]
    assert data.store.read_verified(covers[0]) == PICTURE
    data.assert_consistent()


def test_one_bad_file_keeps_its_whole_folder_back_and_is_named(data, stand_in, record, music):
    for name in ("1.flac", "2.flac", "3.flac"):
        record(f"album/{name}")
    stand_in.bad.add("2.flac")
    with pytest.raises(CallerFault, match=r"2\.flac is damaged.*nothing of the folder .*/album was published"):
        publish([music / "album"], data.settings)
    data.assert_empty()


def test_files_that_are_new_in_a_folder_join_its_release(data, stand_in, record, music):
    record("album/1.flac")
    publish([music / "album"], data.settings)
    record("album/2.flac")
    statuses = [track.status for track in publish([music / "album"], data.settings)]
    assert statuses == ["already_published", "published"]
    entries = data.tracks()
    assert len({entry.release_id for entry in entries}) == 1
    assert sorted(entry.position for entry in entries) == [0, 1]


def test_twins_in_a_folder_are_published_once(data, stand_in, record, music):
    record("album/1.flac", b"same")
    record("album/2.flac", b"same")
    tracks = publish([music / "album"], data.settings)
    assert [track.status for track in tracks] == ["published", "already_published"]
    assert len(data.tracks()) == 1


def test_several_files_are_several_releases(data, stand_in, record):
    publish([record("1.flac"), record("2.flac")], data.settings)
    assert len({entry.release_id for entry in data.tracks()}) == 2


def test_one_title_is_not_given_to_several_tracks(data, stand_in, record, music):
    record("album/1.flac")
    record("album/2.flac")
    with pytest.raises(CallerFault, match="one track"):
        publish([music / "album"], data.settings, PublishOptions(title="Air"))
    data.assert_empty()


@pytest.mark.parametrize("seconds", [0, -5])
def test_a_preview_of_nothing_is_refused(seconds):
    with pytest.raises(CallerFault, match="--preview-seconds takes 1 or more"):
        PublishOptions(preview_seconds=seconds)


@pytest.mark.parametrize("text", ["", "   ", "x" * 501, "two\nlines", "\x1b[31mred"])
def test_a_title_that_cannot_be_shown_is_refused(text):
    with pytest.raises(CallerFault, match="--title takes"):
        PublishOptions(title=text)


def test_a_preview_longer_than_the_track_is_refused(data, stand_in, record):
    with pytest.raises(CallerFault, match=r"one\.flac lasts 20\.0 seconds") as caught:
        publish([record("one.flac")], data.settings, PublishOptions(preview_seconds=21))
    assert caught.value.code == "preview_too_long"
    data.assert_empty()


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda path: None, "no_such_file"),
        (lambda path: path.write_bytes(b""), "empty_file"),
        (lambda path: os.mkfifo(path), "not_a_file"),
        (lambda path: path.symlink_to(path), "no_such_file"),
        (lambda path: path.mkdir(), "empty_folder"),
    ],
)
def test_what_is_no_recording_is_refused_before_anything_is_staged(data, stand_in, music, make, code):
    make(music / "one.flac")
    with pytest.raises(CallerFault, match=r"one\.flac") as caught:
        publish([music / "one.flac"], data.settings)
    assert caught.value.code == code
    assert stand_in.seen == []


def test_a_file_that_is_still_being_written_is_refused(data, stand_in, record):
    path = record("one.flac")
    stand_in.during = lambda source, _folder: source.write_bytes(b"more and more")
    with pytest.raises(CallerFault, match="changed while it was read") as caught:
        publish([path], data.settings)
    assert caught.value.code == "file_changed"
    data.assert_empty()


def test_plaintext_lies_only_where_nobody_else_may_look_and_is_gone_afterwards(data, stand_in, record):
    modes = []

    def look(_source, folder):
        staging = data.path / "staging"
        places = [staging, *(path for path in staging.rglob("*") if path.is_dir() and path != folder)]
        modes.extend(stat.S_IMODE(path.stat().st_mode) for path in places)

    stand_in.during = look
    publish([record("one.flac")], data.settings)
    assert len(modes) >= 3
    assert set(modes) == {0o700}
    data.assert_consistent()


def test_a_wrong_passphrase_is_said_before_anything_is_written(data, stand_in, record, tmp_path):
    Vault.open(data.path / "vault.digm").close()
    settings = type(data.settings)(data=data.path, vault_passphrase="guess")  # noqa: S106
    with pytest.raises(CallerFault) as caught:
        publish([record("one.flac")], settings)
    assert caught.value.code == "vault_not_sealed"
    assert [path.name for path in data.path.iterdir()] == ["vault.digm"]


def test_a_vault_that_knows_a_file_whose_track_is_not_listed_does_not_stop_it(data, stand_in, record):
    path = record("one.flac")
    [first] = publish([path], data.settings)
    for name in ("catalogue.sqlite", "catalogue.sqlite-wal", "catalogue.sqlite-shm"):
        (data.path / name).unlink(missing_ok=True)
    [second] = publish([path], data.settings)
    assert second.status == "published"
    assert second.track_root != first.track_root


def test_two_publishers_of_one_file_publish_it_once(data, stand_in, record):
    path, results = record("one.flac"), []
    both_are_busy = threading.Barrier(2, timeout=60)
    stand_in.during = lambda _source, _folder: both_are_busy.wait()
    threads = [
        threading.Thread(target=lambda: results.extend(publish([path], data.settings))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(track.status for track in results) == ["already_published", "published"]
    assert len({track.track_root for track in results}) == 1
    data.assert_consistent()


def test_two_publishers_of_different_files_share_a_cover(data, stand_in, record):
    results = []
    for name in ("1.flac", "2.flac"):
        stand_in.covers[name] = PICTURE
    paths = [record(name) for name in stand_in.covers]
    both_are_busy = threading.Barrier(2, timeout=60)
    stand_in.during = lambda _source, _folder: both_are_busy.wait()
    threads = [
        threading.Thread(target=lambda p=path: results.extend(publish([p], data.settings))) for path in paths
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [track.status for track in results] == ["published"] * 2
    data.assert_consistent()


def test_progress_is_told_in_order_and_ends_at_one(data, wav):
    events = []
    path = wav(seconds=2)
    publish([path], data.settings, report=events.append)
    stages = [event.stage for event in events]
    assert list(dict.fromkeys(stages)) == ["reading", "encoding", "encrypting", "storing"]
    for stage in set(stages):
        done = [event.done for event in events if event.stage == stage]
        assert done == sorted(done)
        assert 0 <= done[0] <= done[-1] <= 1
    assert all(event.file == path for event in events)


def test_a_publisher_goes_on_after_a_bad_release(data, stand_in, record):
    stand_in.bad.add("bad.flac")
    with Publisher(data.settings, PublishOptions()) as publisher:
        with pytest.raises(CallerFault):
            publisher.publish(find_release(record("bad.flac")))
        [track] = publisher.publish(find_release(record("good.flac")))
    assert [entry.track_root for entry in data.tracks()] == [track.track_root]
    data.assert_consistent()


def test_a_manifest_of_another_track_is_noticed(data, stand_in, record):
    one, two = publish([record("1.flac"), record("2.flac")], data.settings)
    data.store.put_manifest(one.track_root, data.store.manifest(two.track_root))
    reports = {entry.track_root: verify_track(data.store, entry) for entry in data.tracks()}
    assert reports[two.track_root].is_whole
    codes = {damage.code for damage in reports[one.track_root].damages}
    assert {"manifest_hash", "track_root"} <= codes


def test_options_for_what_is_published_already_are_said_not_to_be_applied(data, stand_in, record):
    path, events = record("one.flac"), []
    options = PublishOptions(title="Air", preview_seconds=5)
    publish([path], data.settings, options)
    publish([path], data.settings, options, events.append)
    assert [event for event in events if isinstance(event, Note)] == []
    other = PublishOptions(title="Aria", artist="Bach", preview_seconds=5)
    [track] = publish([path], data.settings, other, events.append)
    assert (track.status, track.title) == ("already_published", "Air")
    [note] = [event for event in events if isinstance(event, Note)]
    assert note.file == path
    assert "not applied: --title, --artist. " in note.sentence
