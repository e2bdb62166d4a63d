"""What the chain lists beside what is published here: order, editions, withdrawals, restarts."""

from pathlib import Path

import msgspec
import pytest

from digm.errors import Unavailable
from hub.storage.catalogue import TrackEntry
from hub.storage.listed import Listed, ListedFile, ListedTrack, load_listed, release_of

ARTIST = "a" * 64


def entry(number: int, at: float, album: str | None = None, key: str = ARTIST, edition: int = 1) -> TrackEntry:
    root = f"{number:064x}"
    return TrackEntry(
        track_root=root, manifest_hash=f"{edition:064x}", title=f"{number}", duration_s=1.0, artist_key=key,
        release_id=release_of(bytes.fromhex(key), album, bytes.fromhex(root)), album=album, position=number,
        cover_hash=f"{number % 3:064x}", published_at=at,
    )  # fmt: skip


def listed(*entries: TrackEntry) -> Listed:
    found = Listed()
    for one in entries:
        found.put(ListedTrack(name=one.track_root, year=1999, entry=one))
    return found


def shown(found: Listed, *own: TrackEntry) -> list[str]:
    return [one.title for one in found.merged(own)]


def test_own_and_listed_tracks_are_shown_together_the_newest_first_and_albums_in_their_order() -> None:
    found = listed(entry(1, 10.0, "Both"), entry(2, 20.0), entry(3, 30.0, "Both"))
    assert shown(found) == ["1", "3", "2"]
    assert shown(found, entry(4, 25.0), entry(5, 5.0)) == ["1", "3", "4", "2", "5"]
    album = found.release(entry(1, 0.0, "Both").release_id)
    assert album is not None and (album.title, album.year, album.published_at) == ("Both", 1999, 30.0)
    assert [one.title for one in found.tracks_of(album.release_id)] == ["1", "3"]
    found.remove(entry(1, 0.0).track_root)
    found.remove(entry(3, 0.0).track_root)
    assert shown(found) == ["2"] and found.release(album.release_id) is None
    assert found.tracks_with_cover(f"{0:064x}", 9) == [] and found.tracks_with_cover(f"{2:064x}", 9)


def test_what_is_published_here_goes_before_all_but_its_artists_newer_edition() -> None:
    own = entry(1, 10.0)
    newer = msgspec.structs.replace(entry(1, 99.0, edition=2), title="corrected")
    assert shown(listed(newer), own) == ["corrected"]
    (one,) = listed(newer).merged([own])
    assert (one.published_at, one.release_id) == (own.published_at, own.release_id)
    stolen = entry(1, 99.0, key="b" * 64, edition=2)
    assert listed(stolen).merged([own]) == [own] and listed(stolen).shown(own.track_root, own) == own


def test_a_withdrawn_track_is_gone_but_not_for_an_artist_who_did_not_withdraw_it() -> None:
    own, found = entry(1, 10.0), Listed()
    found.set_withdrawn(frozenset({(own.track_root, "b" * 64)}))
    assert found.shown(own.track_root, own) == own and shown(found, own) == ["1"]
    found.set_withdrawn(frozenset({(own.track_root, ARTIST)}))
    for ours in (own, None):
        with pytest.raises(Unavailable) as fault:
            found.shown(own.track_root, ours)
        assert fault.value.code == "track_withdrawn"
    assert shown(found, own) == [] == found.merged_release([own])
    assert found.shown("f" * 64, None) is None
    found.expected = frozenset({own.track_root})  # somebody else's claim stands
    assert found.shown(own.track_root, None) is None


def test_a_restart_shows_what_was_listed_and_a_damaged_file_shows_nothing(tmp_path: Path) -> None:
    assert load_listed(tmp_path).all() == [] and not (tmp_path / "chain").exists()
    file, gone = ListedFile(tmp_path), ("c" * 64, ARTIST)
    one, other = (ListedTrack(name=f"{n:064x}", entry=entry(n, 1.0)) for n in (1, 2))
    file.put(one)
    file.put(other)
    file.remove([other.name])
    file.set_withdrawn([gone])
    file._file.db.execute("INSERT INTO tracks VALUES ('of a newer version', x'90')")
    file.close()
    found = load_listed(tmp_path)
    assert found.all() == [one] and found.withdrawn == {gone}
    (tmp_path / "chain" / "listed.sqlite").write_bytes(b"no database" * 1_000)
    for beside in ("-wal", "-shm"):
        (tmp_path / "chain" / f"listed.sqlite{beside}").unlink(missing_ok=True)
    assert load_listed(tmp_path).all() == []
    file = ListedFile(tmp_path)
    file.put(one)
    file.close()
    assert load_listed(tmp_path).all() == [one]
