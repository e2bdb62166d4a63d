"""A hub's published tracks as its voice and its auditor see them: real files."""

from pathlib import Path

import pytest

from digm.errors import Unavailable
from hub.bridge.published import Published
from hub.pinning.herald import holdings_of
from hub.storage.catalogue import Catalogue
from hub.storage.chunk_store import ChunkStore
from tests.hub.house import publish_track


def published(data: Path) -> Published:
    return Published(Catalogue.open(data), ChunkStore(data))


def test_it_holds_what_was_published_and_what_is_published_later(tmp_path: Path) -> None:
    first = publish_track(tmp_path)
    house = published(tmp_path)
    assert {root.hex() for root in holdings_of(house)} == {first.root}
    second = publish_track(tmp_path, seed=2)
    held = holdings_of(house)
    assert {root.hex() for root in held} == {first.root, second.root}
    for holding in held.values():
        assert all(field.is_full for field in holding.held.values()) and not holding.pinned_for


@pytest.mark.parametrize("is_gone", [True, False])
def test_a_chunk_that_is_gone_or_damaged_is_claimed_no_more_once_it_was_asked_for(
    tmp_path: Path, is_gone: bool
) -> None:
    track = publish_track(tmp_path, chunk_count=4)
    house = published(tmp_path)
    before = holdings_of(house)[track.manifest.track_root]
    path = house.chunks.path(track.chunk(1, 2))
    path.unlink() if is_gone else path.write_bytes(b"x" + path.read_bytes()[1:])
    assert house.read(track.chunk(1, 1))
    with pytest.raises(Unavailable):
        house.read(track.chunk(1, 2))
    held = house.availability(track.root)
    assert held[0].is_full and sorted(held[1]) == [0, 1, 3]
    assert before.held[1].is_full, "what was said before is not changed behind the herald's back"
    assert holdings_of(house)[track.manifest.track_root].summary() != before.summary()


def test_a_track_that_is_not_here_is_not_held(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as fault:
        published(tmp_path).availability("0" * 64)
    assert fault.value.code == "track_not_held"
