"""Who published what: the registry."""

import pytest

from tests.contracts.house import track_named
from tests.contracts.machine import ZERO

NONE = bytes(32)


def publish(house, artist, track, **changed):
    fields = {
        "root": track.root,
        "audit": track.audit_root,
        "manifest": track.manifest_hash,
        "renditions": track.renditions,
        "replaces": NONE,
    } | changed
    return house.registry.send(artist, "publish", *fields.values())


def test_a_track_is_published_with_its_roots_its_chunks_and_its_bytes(house):
    track = track_named("one")
    (event,) = publish(house, house.artist, track)
    name = house.registry.ask("track_id", house.artist, track.root)
    assert event.name == "TrackPublished"
    assert event.fields == {
        "artist": house.artist,
        "track_root": track.root,
        "track": name,
        "audit_root": track.audit_root,
        "manifest_hash": track.manifest_hash,
        "chunk_count": 3,
        "byte_size": 4 * 65_536,
    }
    facts = house.registry.ask("track", name)
    assert (facts["owner"], facts["version"], facts["is_withdrawn"]) == (house.artist, 1, False)
    assert (facts["chunk_count"], facts["byte_size"]) == (3, track.byte_size)
    assert [tuple(one.values()) for one in house.registry.ask("renditions", name)] == [*track.renditions]


def test_nobody_can_publish_in_anothers_place_and_a_copied_root_is_another_track(house, refused):
    track = track_named("one")
    stolen = house.publish(track, house.stranger)  # seen in the mempool, sent first
    own = house.publish(track, house.artist)
    assert stolen != own
    assert house.registry.ask("track", own)["owner"] == house.artist
    with refused("already_published"):
        publish(house, house.artist, track)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"root": NONE}, "empty_hash"),
        ({"audit": NONE}, "empty_hash"),
        ({"manifest": NONE}, "empty_hash"),
        ({"renditions": []}, "bad_rendition"),
        ({"renditions": [(0, 1, 1)]}, "bad_rendition"),
        ({"renditions": [(65_537, 1, 1)]}, "bad_rendition"),
        ({"renditions": [(1, 3, 1)]}, "bad_rendition"),
        ({"renditions": [(1, 32, 1)]}, "bad_rendition"),
        ({"renditions": [(1, 0, 1)]}, "bad_rendition"),
        ({"renditions": [(1, 8, 9)]}, "bad_rendition"),
        ({"renditions": [(1, 8, 0)]}, "bad_rendition"),
        ({"renditions": [(1, 8, 8), (2**256 - 1, 2**255, 2**256 - 1)]}, "bad_rendition"),
        ({"replaces": b"?" * 32}, "no_such_track"),
    ],
)
def test_what_is_no_track_is_refused(house, refused, changed, reason):
    with refused(reason):
        publish(house, house.artist, track_named("one"), **changed)


def test_the_largest_track_that_a_manifest_can_describe_is_counted_rightly(house):
    track = track_named("one")
    (event,) = publish(house, house.artist, track, renditions=[(65_536, 16, 16)] * 8)
    assert event.fields["chunk_count"] == 8 * 65_536
    assert event.fields["byte_size"] == 8 * 65_536 * 16 * 65_536


def test_a_random_number_leads_to_any_leaf_that_is_there_and_to_no_other(house):
    track = track_named("one")
    name = house.publish(track)
    leaves = [(chunk, leaf) for chunk, count in enumerate(track.leaf_counts) for leaf in range(count)]
    edges = [0, 255, 256, 511, 512, 1023, 1024, 2**128 - 1, 2**256 - 1]
    for draw in [*edges, *range(0, 1024, 97)]:
        place = house.registry.ask("audit_place", name, draw)
        assert (place["chunk"], place["leaf"]) == leaves[draw % len(leaves)]
        assert place["audit_root"] == track.audit_root
        assert (place["chunks"], place["leaves"]) == (3, track.leaf_counts[place["chunk"]])


def test_a_corrected_manifest_is_a_new_version_of_the_same_bytes(house, refused):
    name = house.publish(track_named("one"))
    (event,) = house.registry.send(house.artist, "revise", name, b"2" * 32)
    assert event.fields == {"track": name, "manifest_hash": b"2" * 32, "version": 2}
    assert house.registry.ask("track", name)["manifest_hash"] == b"2" * 32
    with refused("nothing_new"):
        house.registry.send(house.artist, "revise", name, b"2" * 32)
    with refused("not_the_owner"):
        house.registry.send(house.stranger, "revise", name, b"3" * 32)
    with refused("no_such_track"):
        house.registry.send(house.artist, "revise", b"?" * 32, b"3" * 32)


def test_new_bytes_replace_a_track_which_is_withdrawn_with_it(house, refused):
    old = house.publish(track_named("one"))
    with refused("not_the_owner"):
        publish(house, house.stranger, track_named("two"), replaces=old)
    new = house.publish(track_named("two"), replaces=old)
    assert house.registry.ask("track", old)["is_withdrawn"]
    assert not house.registry.ask("track", new)["is_withdrawn"]
    with refused("withdrawn"):
        house.registry.send(house.artist, "revise", old, b"3" * 32)
    with refused("withdrawn"):
        house.registry.send(house.artist, "withdraw", old)


def test_ownership_moves_only_to_who_takes_it(house, refused):
    name = house.publish(track_named("one"))
    heir, thief = house.nodes[:2]
    with refused("not_the_owner"):
        house.registry.send(thief, "offer", name, thief)
    with refused("not_offered"):
        house.registry.send(thief, "take", name)
    with refused("not_offered"):
        house.registry.send(thief, "take", b"?" * 32)
    house.registry.send(house.artist, "offer", name, thief)
    house.registry.send(house.artist, "offer", name, heir)
    with refused("not_offered"):
        house.registry.send(thief, "take", name)
    (event,) = house.registry.send(heir, "take", name)
    assert event.fields == {"track": name, "sender": house.artist, "receiver": heir}
    assert house.registry.ask("track", name)["owner"] == heir
    with refused("not_offered"):
        house.registry.send(heir, "take", name)
    with refused("not_the_owner"):
        house.registry.send(house.artist, "withdraw", name)


def test_income_is_split_as_the_owner_says_until_that_is_final(house, refused):
    name = house.publish(track_named("one"))
    singer, drummer = house.nodes[:2]
    whole = [{"account": house.artist, "share_bps": 10_000}]
    assert house.registry.ask("split", name) == whole
    for bad in ([(singer, 9_999)], [(singer, 5_000), (ZERO, 5_000)], [(singer, 10_000), (drummer, 0)], []):
        with refused("bad_split"):
            house.registry.send(house.artist, "set_split", name, bad, False)
    with refused("bad_split"):
        house.registry.send(house.artist, "set_split", name, [(singer, 2**256 - 1), (drummer, 10_001)], False)
    with refused("not_the_owner"):
        house.registry.send(singer, "set_split", name, [(singer, 10_000)], False)
    house.registry.send(house.artist, "set_split", name, [(singer, 7_500), (drummer, 2_500)], True)
    assert [one["share_bps"] for one in house.registry.ask("split", name)] == [7_500, 2_500]
    with refused("split_is_final"):
        house.registry.send(house.artist, "set_split", name, [(house.artist, 10_000)], False)


def test_a_split_that_is_final_outlives_a_change_of_owner(house, refused):
    name = house.publish(track_named("one"))
    singer, buyer = house.nodes[:2]
    house.registry.send(house.artist, "set_split", name, [(singer, 10_000)], True)
    house.registry.send(house.artist, "offer", name, buyer)
    house.registry.send(buyer, "take", name)
    with refused("split_is_final"):
        house.registry.send(buyer, "set_split", name, [(buyer, 10_000)], False)
    assert house.registry.ask("split", name) == [{"account": singer, "share_bps": 10_000}]


def test_an_artists_key_is_bound_to_the_address_that_says_so(house, refused):
    key = b"k" * 32
    with refused("bad_signature"):
        house.registry.send(house.artist, "bind_key", key, b"s" * 63)
    (event,) = house.registry.send(house.artist, "bind_key", key, b"s" * 64)
    assert event.fields == {"artist": house.artist, "key": key, "signature": b"s" * 64}
    house.registry.send(house.artist, "bind_key", NONE, b"")
    assert house.registry.ask("artist_key", house.artist) == NONE
