"""What the registry's events say of tracks, one after the other."""

from typing import Any

import pytest

from digm.chain_tracks import ChainTracks, binding_message
from digm.errors import CallerFault

ARTIST, BUYER = "0x" + "aa" * 20, "0x" + "bb" * 20


def published(number: int, artist: str = ARTIST) -> tuple[str, dict[str, Any]]:
    said = {
        "artist": artist, "track_root": bytes([number]) * 32, "track": bytes([number, 1]) * 16,
        "audit_root": bytes([2]) * 32, "manifest_hash": bytes([3]) * 32, "chunk_count": 9,
        "byte_size": 65_536 * 9,
    }  # fmt: skip
    return "TrackPublished", said


def test_tracks_are_listed_as_they_were_published_and_changed() -> None:
    one, other = published(7), published(8)
    track = one[1]["track"]
    found = ChainTracks.of(
        [one, other, ("ManifestRevised", {"track": track, "manifest_hash": b"n" * 32, "version": 2})]
    )
    first, second = found.listed()
    assert (first.track_root, first.manifest_hash, first.version) == (bytes([7]) * 32, b"n" * 32, 2)
    assert (second.track_root, second.version, second.owner) == (bytes([8]) * 32, 1, ARTIST)
    found.apply("TrackTransferred", {"track": track, "sender": ARTIST, "receiver": BUYER})
    assert found.listed()[0].owner == BUYER and found.listed()[0].artist == ARTIST
    found.apply(*published(9), block=12)
    assert found.listed()[-1].block == 12
    found.apply("TrackWithdrawn", {"track": published(9)[1]["track"]})
    found.apply("TrackWithdrawn", {"track": track})
    assert [one.track_root for one in found.listed()] == [bytes([8]) * 32]
    assert found.tracks[track].is_withdrawn


def test_a_key_is_named_replaced_and_taken_back() -> None:
    found = ChainTracks()
    for key in (b"k" * 32, b"l" * 32):
        found.apply("ArtistKeyBound", {"artist": ARTIST, "key": key, "signature": b"s" * 64})
        assert found.bindings[ARTIST].key == key
    found.apply("ArtistKeyBound", {"artist": ARTIST, "key": bytes(32), "signature": b""})
    assert found.bindings == {}


def test_events_of_unknown_tracks_and_of_other_things_change_nothing() -> None:
    found = ChainTracks()
    found.apply("TrackWithdrawn", {"track": b"?" * 32})
    found.apply("SplitSet", {})
    assert found.tracks == {}


def test_a_binding_is_for_one_chain_one_registry_and_one_account() -> None:
    message = binding_message(31_337, b"r" * 20, b"a" * 20)
    assert (
        message
        == b"digm/1 chain artist\n"
        + (31_337).to_bytes(32, "big")
        + bytes(12)
        + b"r" * 20
        + bytes(12)
        + b"a" * 20
    )
    others = [(1, b"r" * 20, b"a" * 20), (31_337, b"x" * 20, b"a" * 20), (31_337, b"r" * 20, b"x" * 20)]
    assert message not in [binding_message(*other) for other in others]
    with pytest.raises(CallerFault):
        binding_message(1, b"r" * 19, b"a" * 20)
