"""Pins from order to end, over an in-memory network (`swarm.FakeNetwork` is a fake of the backbone)."""

import pytest

from digm.announcements import Announcement, encode_announcement
from digm.bitfield import Bitfield
from digm.errors import DigmError, Unavailable
from digm.pinning import (
    MAX_DURATION_S,
    AnswerState,
    Decline,
    PinOrder,
    parse_pin_answer,
    parse_pin_order,
    sign_pin_order,
)
from digm.signed_document import MAX_SEQUENCE
from hub.pinning.order_desk import PER_PEER_AT_ONCE, PER_PEER_S
from hub.pinning.pinner import PROTOCOL, PinSettings
from hub.signatures import verify
from tests.digm.signers import Signer
from tests.hub.node.music import rot
from tests.hub.pinning.swarm import FakeSwarm, order_for


@pytest.fixture
async def swarm(tmp_path):
    swarm = FakeSwarm(tmp_path)
    yield swarm
    await swarm.close()


async def started(swarm, folder, nodes=6, replicas=3, **settings):
    """Nodes that know each other, and a track whose order has just been placed."""
    for number in range(nodes):
        await swarm.add(f"node {number}", **settings)
    track = await swarm.publish_track(folder)
    await swarm.run(60)
    order = order_for(track, folder, replicas, swarm.now)
    origin = next(node for node in swarm.nodes.values() if node.name == "origin")
    await origin.pinner.place(order)
    return track, order


def named(swarm, name):
    return next(node for node in swarm.nodes.values() if node.name == name)


async def test_an_order_is_held_by_as_many_nodes_as_it_asks_for(swarm, tmp_path):
    track, _ = await started(swarm, tmp_path / "artist")
    await swarm.run(120)
    assert len(swarm.holders(track)) == 3
    for name in swarm.holders(track):
        store = named(swarm, name).store
        assert all(store.read(chunk) == track.store.read(chunk) for chunk in track.hashes)


async def test_everybody_sees_the_progress_and_the_end_of_it(swarm, tmp_path):
    track, _ = await started(swarm, tmp_path / "artist")
    await swarm.run(120)
    expected = {named(swarm, name).key for name in swarm.holders(track)}
    for node in swarm.nodes.values():
        (progress,) = node.pinner.progress()
        assert progress.holders == expected and not progress.promised


async def test_a_node_says_held_only_when_every_chunk_is_on_its_disk(swarm, tmp_path):
    track, order = await started(swarm, tmp_path / "artist", nodes=1, replicas=1)
    origin, node = named(swarm, "origin"), named(swarm, "node 0")
    swarm.deliver()
    origin.may_give.clear()
    first = parse_pin_answer(await node.network.served[PROTOCOL]("them", order), swarm.now, verify)
    assert first.state is AnswerState.ACCEPTED
    await swarm.run(30)
    assert not node.pinner.progress()[0].holders
    second = parse_pin_answer(await node.network.served[PROTOCOL]("them", order), swarm.now, verify)
    assert second.state is AnswerState.ACCEPTED
    origin.may_give.set()
    await swarm.run(30)
    third = parse_pin_answer(await node.network.served[PROTOCOL]("them", order), swarm.now, verify)
    assert third.state is AnswerState.HELD
    assert node.holds(track)


@pytest.mark.parametrize(
    ("lie", "is_believed"),
    [
        (lambda counts: counts, True),
        (lambda counts: counts | {0: 1}, False),
        (lambda counts: counts | {0: counts[0] + 1}, False),
        (lambda counts: counts | {7: 1}, False),
        (lambda counts: {7: counts[0]}, False),
    ],
)
async def test_who_claims_all_of_another_number_of_chunks_than_the_manifest_has_holds_no_copy(
    swarm, tmp_path, lie, is_believed
):
    track, document = await started(swarm, tmp_path / "artist", nodes=1, replicas=2)
    order = parse_pin_order(document, swarm.now, verify)
    node, liar = named(swarm, "node 0"), await swarm.add("liar", is_taking=False)
    await swarm.run(60)
    now = int(swarm.now)
    counts = {rendition: held.count for rendition, held in node.store.availability(track.root).items()}
    claim = Announcement(
        node=liar.key, instance=bytes(16), track_root=order.track_root, manifest_hash=order.manifest_hash,
        held={rendition: Bitfield(count, range(count)) for rendition, count in lie(counts).items()},
        operator="liar", network="AS1", sequence=MAX_SEQUENCE, issued_at=now, valid_until=now + 3600,
        pinned_for=(order.order_id,),
    )  # fmt: skip
    await liar.network.publish(encode_announcement(claim, Signer("liar").sign))
    swarm.deliver()
    (progress,) = node.pinner.progress()
    assert progress.holders == ({node.key, liar.key} if is_believed else {node.key})


async def test_who_sends_orders_without_end_is_told_to_wait_and_nobody_else_is(swarm, tmp_path):
    _, order = await started(swarm, tmp_path / "artist", nodes=1, replicas=1)
    ask = named(swarm, "node 0").network.served[PROTOCOL]
    for _ in range(int(PER_PEER_AT_ONCE)):
        await ask("a flood", order)
    with pytest.raises(Unavailable) as caught:
        await ask("a flood", order)
    assert (caught.value.code, caught.value.data["retry_after_s"]) == ("too_many_requests", 1)
    await ask("somebody else", order)
    swarm.now += 1 / PER_PEER_S
    await ask("a flood", order)


async def test_the_cover_is_kept_with_the_copy(swarm, tmp_path):
    picture = b"\xff\xd8\xff a picture"
    node = await swarm.add("node")
    track = await swarm.publish_track(tmp_path / "artist", cover=picture)
    origin = named(swarm, "origin")
    track.give_cover(origin.store)
    await swarm.run(60)
    await origin.pinner.place(order_for(track, tmp_path / "artist", 1, swarm.now))
    await swarm.run(60)
    assert node.holds(track)
    assert node.store.read(track.cover) == picture


async def test_a_copy_without_its_cover_is_a_copy(swarm, tmp_path):
    node = await swarm.add("node")
    track = await swarm.publish_track(tmp_path / "artist", cover=b"\xff\xd8\xff a picture")
    await swarm.run(60)
    origin = named(swarm, "origin")  # which has none
    await origin.pinner.place(order_for(track, tmp_path / "artist", 1, swarm.now))
    await swarm.run(60)
    assert origin.pinner.progress()[0].holders == {node.key}
    assert [place.rendition for place in node.store.missing(track.root)] == [None]


async def test_two_lost_copies_are_made_again_by_two_nodes_and_no_more(swarm, tmp_path):
    track, _ = await started(swarm, tmp_path / "artist", nodes=8, replicas=4)
    await swarm.run(120)
    before = swarm.holders(track)
    for name in sorted(before)[:2]:
        named(swarm, name).is_up = False
    await swarm.run(180 + 300 + 120)
    after = swarm.holders(track)
    assert len(after) == 4
    assert len(after - before) == 2


async def test_who_accepted_and_went_away_is_not_waited_for(swarm, tmp_path):
    track, _ = await started(swarm, tmp_path / "artist", nodes=6, replicas=3)
    origin = named(swarm, "origin")
    origin.may_give.clear()
    await swarm.run(30)
    promised = origin.pinner.progress()[0].promised
    gone = {name for name in (f"node {number}" for number in range(6)) if named(swarm, name).key in promised}
    assert len(gone) == 3
    for name in gone:
        named(swarm, name).is_up = False
        await named(swarm, name).pinner.stop()
    origin.may_give.set()
    await swarm.run(180 + 120)
    assert len(swarm.holders(track)) == 3
    assert not swarm.holders(track) & gone


async def test_a_restart_moves_nothing_and_the_node_goes_on_with_what_it_had(swarm, tmp_path):
    track, _ = await started(swarm, tmp_path / "artist", nodes=6, replicas=3)
    await swarm.run(120)
    before = swarm.holders(track)
    name = sorted(before)[0]
    named(swarm, name).is_up = False
    await swarm.run(240)
    await swarm.add(name)
    await swarm.run(600)
    assert swarm.holders(track) == before
    assert len(named(swarm, name).pinner.desk.book) == 1


async def test_with_a_third_of_all_messages_lost_the_copies_are_made_and_stay_few(swarm, tmp_path):
    track, order = await started(swarm, tmp_path / "artist", nodes=12, replicas=3)
    for node in swarm.nodes.values():
        node.herald.on_gossip("them", order)
    await swarm.run(900, lost=0.33)
    # Of 12, were each to act alone; 4 to 6 in ten runs with other seeds.
    assert 3 <= len(swarm.holders(track)) <= 7


async def test_a_chunk_that_rots_is_fetched_again(swarm, tmp_path):
    track, _ = await started(swarm, tmp_path / "artist", nodes=3, replicas=2)
    await swarm.run(120)
    node = named(swarm, sorted(swarm.holders(track))[0])
    rot(node.store, track.hashes[0])
    with pytest.raises(DigmError):
        node.store.read(track.hashes[0])
    assert not node.holds(track)
    await swarm.run(60)
    assert node.store.read(track.hashes[0]) == track.store.read(track.hashes[0])


async def test_wrong_bytes_are_not_kept_and_the_next_source_is_asked(swarm, tmp_path):
    track, _ = await started(swarm, tmp_path / "artist", nodes=4, replicas=2)
    await swarm.run(120)
    named(swarm, "origin").is_lying = True
    for name in sorted(swarm.holders(track))[:1]:
        named(swarm, name).is_up = False
    await swarm.run(700)
    assert len(swarm.holders(track)) == 2


async def test_when_nobody_gives_the_track_nodes_decline_and_try_again_later(swarm, tmp_path):
    track, _ = await started(swarm, tmp_path / "artist", nodes=2, replicas=1)
    origin = named(swarm, "origin")
    origin.is_lying = True
    await swarm.run(300)
    assert not swarm.holders(track)
    assert Decline.NO_SOURCE in decline_reasons(swarm)
    origin.is_lying = False
    await swarm.run(900)
    assert len(swarm.holders(track)) == 1


async def test_a_source_that_comes_back_soon_is_asked_again_soon(swarm, tmp_path):
    track, _ = await started(swarm, tmp_path / "artist", nodes=1, replicas=1)
    origin = named(swarm, "origin")
    origin.is_lying = True
    while Decline.NO_SOURCE not in decline_reasons(swarm):
        await swarm.run(1)
    origin.is_lying = False
    await swarm.run(2 * PinSettings.no_source_s)
    assert len(swarm.holders(track)) == 1


def decline_reasons(swarm):
    answers = [
        answer
        for node in swarm.nodes.values()
        for item in node.pinner._pinned.values()
        for answer in item.promises._answers.values()
    ]
    return {answer.reason for answer in answers}


async def test_a_node_without_room_declines_and_another_steps_in(swarm, tmp_path):
    for number in range(3):
        await swarm.add(f"small {number}", quota=1000)
    track, order = await started(swarm, tmp_path / "artist", nodes=3, replicas=3)
    await swarm.run(600)
    assert swarm.holders(track) == {"node 0", "node 1", "node 2"}
    small = named(swarm, "small 0")
    answer = parse_pin_answer(await small.network.served[PROTOCOL]("them", order), swarm.now, verify)
    if answer.state is AnswerState.ACCEPTED:  # the room is known to be too small once the manifest is there
        await small.pinner.idle()
    assert Decline.NO_SPACE in decline_reasons(swarm)
    assert not small.holds(track)


@pytest.mark.parametrize(
    "policy", [{"is_taking": False}, {"artists": frozenset([bytes(32)])}, {"most_tracks": 0}]
)
async def test_a_node_declines_what_its_operator_does_not_want(swarm, tmp_path, policy):
    track, order = await started(swarm, tmp_path / "artist", nodes=1, replicas=1, **policy)
    node = named(swarm, "node 0")
    answer = parse_pin_answer(await node.network.served[PROTOCOL]("them", order), swarm.now, verify)
    assert (answer.state, answer.reason) == (AnswerState.DECLINED, Decline.POLICY)
    await swarm.run(120)
    assert not swarm.holders(track)


async def test_who_asks_a_node_for_one_copy_more_than_was_ordered_gets_none(swarm, tmp_path):
    track, order = await started(swarm, tmp_path / "artist", nodes=4, replicas=2)
    await swarm.run(120)
    other = next(node for node in swarm.nodes.values() if not node.holds(track) and node.name != "origin")
    answer = parse_pin_answer(await other.network.served[PROTOCOL]("them", order), swarm.now, verify)
    assert (answer.state, answer.reason) == (AnswerState.DECLINED, Decline.NOT_NEEDED)
    await swarm.run(60)
    assert len(swarm.holders(track)) == 2


async def test_an_order_for_somebody_elses_track_is_dropped(swarm, tmp_path):
    await started(swarm, tmp_path / "artist", nodes=2, replicas=1)
    other = await swarm.publish_track(tmp_path / "other", seed=2)
    await swarm.run(60)
    forged = order_for(other, tmp_path / "artist", 2, swarm.now)
    origin = named(swarm, "origin")
    await origin.pinner.place(forged)
    await swarm.run(120)
    assert not swarm.holders(other)
    assert Decline.NO_SOURCE in decline_reasons(swarm)  # nobody has a manifest that this artist signed


async def test_what_is_cancelled_or_over_is_let_go(swarm, tmp_path):
    folder = tmp_path / "artist"
    track, _ = await started(swarm, folder, nodes=4, replicas=2)
    await swarm.run(120)
    origin = named(swarm, "origin")
    await origin.pinner.place(order_for(track, folder, 0, swarm.now, sequence=2))
    await swarm.run(30)
    assert not swarm.holders(track)
    short = order_for(track, folder, 2, swarm.now, sequence=3, duration_s=300)
    await origin.pinner.place(short)
    await swarm.run(120)
    assert len(swarm.holders(track)) == 2
    await swarm.run(240)
    assert not swarm.holders(track)
    assert not any(node.pinner.progress() for node in swarm.nodes.values())


async def test_a_greater_order_makes_more_copies(swarm, tmp_path):
    folder = tmp_path / "artist"
    track, _ = await started(swarm, folder, nodes=6, replicas=2)
    await swarm.run(120)
    await named(swarm, "origin").pinner.place(order_for(track, folder, 5, swarm.now, sequence=2))
    await swarm.run(300)
    assert len(swarm.holders(track)) == 5


async def test_a_node_that_comes_later_hears_of_old_orders(swarm, tmp_path):
    track, _ = await started(swarm, tmp_path / "artist", nodes=1, replicas=3)
    await swarm.run(120)
    await swarm.add("late 0")
    await swarm.add("late 1")
    await swarm.run(900)
    assert len(swarm.holders(track)) == 3


async def test_a_wrong_order_is_refused_on_the_stream_and_in_the_gossip(swarm, tmp_path):
    track, order = await started(swarm, tmp_path / "artist", nodes=1, replicas=1)
    node = named(swarm, "node 0")
    broken = order[:-10] + b"0" * 8 + b'"}'
    assert not node.herald.on_gossip("them", broken)
    assert not node.herald.on_gossip("them", b"\xff" * 100)
    assert not node.herald.on_gossip("them", b'{"kind":"unknown"}')
    with pytest.raises(DigmError) as fault:
        await node.network.served[PROTOCOL]("them", broken)
    assert fault.value.code == "pin_order_forged"
    newer = order_for(track, tmp_path / "artist", 1, swarm.now, sequence=5)
    assert node.herald.on_gossip("them", newer)
    assert not node.herald.on_gossip("them", order)


async def test_a_track_that_does_not_fit_beside_what_is_promised_is_declined(swarm, tmp_path):
    folder = tmp_path / "artist"
    track, _ = await started(swarm, folder, nodes=0, replicas=1)
    size = sum(len(track.store.read(name)) for name in track.hashes) + len(track.document)
    # Room for one of the two, to the byte.
    small = await swarm.add("small", quota=size)
    other = await swarm.publish_track(folder, seed=2)
    await swarm.run(900)
    assert small.holds(track)
    await named(swarm, "origin").pinner.place(order_for(other, folder, 1, swarm.now))
    await swarm.run(120)
    assert small.holds(track) and not small.holds(other)
    assert small.store.promised_bytes <= small.store.quota_bytes


async def test_orders_of_a_stranger_for_nothing_do_not_keep_a_node_from_those_of_artists(swarm, tmp_path):
    """They are cheap, may be for ten years, and are kept over a restart."""
    track = await swarm.publish_track(tmp_path / "artist")
    node = await swarm.add("node")
    await swarm.run(60)
    node.pinner.desk.book._most_orders = 3
    for number in range(3):
        stranger = Signer(f"stranger {number}")
        order = PinOrder(
            track_root=bytes([number]) * 32, desired_replicas=7, duration_s=MAX_DURATION_S,
            manifest_hash=bytes(32), artist=stranger.public, sequence=1, issued_at=int(swarm.now),
        )  # fmt: skip
        node.pinner.desk.hear_order(sign_pin_order(order, stranger.sign).document)
    await swarm.run(20)
    assert len(node.records.orders()) == 3
    document = order_for(track, tmp_path / "artist", 1, swarm.now)
    await named(swarm, "origin").pinner.place(document)
    await swarm.run(300)
    assert node.holds(track)
    assert [kept for kept, _ in node.records.orders()] == [document]
