"""Audits and the fresh index, over an in-memory network (`swarm.FakeNetwork` is a fake of the backbone)."""

import asyncio
import json
from pathlib import Path

import jsonschema
import pytest

from digm.audits import ChunkPlace, Health, Outcome, draw_challenge, encode_challenge
from digm.bitfield import Bitfield
from digm.errors import PeerFault, Unavailable
from digm.fresh_index import best_first, parse_fresh_index
from digm.ids import from_hex, to_hex
from digm.manifest import manifest_hash, parse_manifest
from hub.pinning.auditor import PROTOCOL
from hub.pinning.fresh_index_writer import FreshIndexWriter
from hub.pinning.herald import Holding
from hub.signatures import verify
from hub.storage.chunk_store import ChunkStore
from tests.hub.node.music import rot
from tests.hub.pinning.swarm import FakeSwarm

SCHEMA = Path(__file__).parents[3] / "docs" / "fresh-index.schema.json"
HOUR = 3600


@pytest.fixture
async def swarm(tmp_path):
    swarm = FakeSwarm(tmp_path)
    yield swarm
    await swarm.close()


async def two_holders(swarm, folder, chunks=10):
    """An auditor and a node that hold the same track, and know it of each other."""
    track = await swarm.publish_track(folder, chunks=chunks)
    auditor = next(node for node in swarm.nodes.values() if node.name == "origin")
    node = await swarm.add("node", is_taking=False)
    track.give(node.store)
    await swarm.run(20)
    return track, auditor, node


async def test_a_node_that_has_what_it_claims_passes(swarm, tmp_path):
    _, auditor, node = await two_holders(swarm, tmp_path / "artist")
    for _ in range(20):
        assert await auditor.auditor.audit(node.key) is Outcome.PASS
    assert auditor.auditor.health(node.key) is Health.HEALTHY
    assert {row[2] for row in auditor.records.results()} == {"pass"}


async def test_a_node_that_deleted_a_tenth_and_goes_on_claiming_it_is_found(swarm, tmp_path):
    track, auditor, node = await two_holders(swarm, tmp_path / "artist")
    for name in track.hashes[::10]:
        ChunkStore(node.store.data).delete(name)  # behind the store's back: it does not know and claims on
    node.store.read = lambda name: ChunkStore(node.store.data).read(name)
    audits = 0
    while auditor.auditor.health(node.key) is not Health.FAILED and audits < 500:
        await auditor.auditor.audit(node.key)
        await swarm.run(10)
        await say_again(node)
        swarm.deliver()
        await auditor.auditor.tick()
        audits += 1
    print(f"found after {audits} audits")
    assert auditor.auditor.health(node.key) is Health.FAILED


async def test_a_node_that_says_the_track_has_one_chunk_and_it_has_all_of_it_is_found(swarm, tmp_path):
    """What counts as a copy for an order is audited as all of the track."""
    track, auditor, node = await two_holders(swarm, tmp_path / "artist")
    manifest = parse_manifest(track.document)
    for name in track.hashes:
        if name != to_hex(manifest.renditions[0].chunk_hashes[0]):
            ChunkStore(node.store.data).delete(name)
    node.store.read = lambda name: ChunkStore(node.store.data).read(name)
    lie = Holding(manifest_hash(track.document), {0: Bitfield.full(1)}, (bytes(32),))
    node.herald._look = lambda: {manifest.track_root: lie}
    for _ in range(20):
        await say_again(node)
        swarm.deliver()
        await auditor.auditor.tick()
        await auditor.auditor.audit(node.key)
        swarm.now += 10
    assert auditor.auditor.health(node.key) is Health.FAILED


async def say_again(node):
    node.herald._said.clear()
    await node.herald.announce()


async def test_a_node_whose_disk_rots_says_so_and_is_not_failed(swarm, tmp_path):
    track, auditor, node = await two_holders(swarm, tmp_path / "artist", chunks=2)
    for name in track.hashes[:2]:
        rot(node.store, name)
    for _ in range(40):
        await auditor.auditor.audit(node.key)
        await swarm.run(10)
        await auditor.auditor.tick()
    assert auditor.auditor.scores[node.key].failed == 0
    assert auditor.auditor.health(node.key) is Health.HEALTHY


async def test_a_node_that_is_away_or_silent_is_absent_and_never_failed(swarm, tmp_path):
    _, auditor, node = await two_holders(swarm, tmp_path / "artist")
    node.is_silent = True
    for _ in range(50):
        assert await auditor.auditor.audit(node.key) is Outcome.TIMED_OUT
    node.is_silent, node.is_up = False, False
    assert await auditor.auditor.audit(node.key) is Outcome.OFFLINE
    assert auditor.auditor.health(node.key) is Health.ABSENT
    node.is_up = True
    for _ in range(60):
        assert await auditor.auditor.audit(node.key) is Outcome.PASS
    assert auditor.auditor.health(node.key) is Health.HEALTHY
    assert auditor.auditor.scores[node.key].failed == 0
    assert not auditor.auditor.scores[node.key].debts


async def test_our_own_trouble_says_nothing_about_others(swarm, tmp_path):
    _, auditor, node = await two_holders(swarm, tmp_path / "artist")

    async def down(*_args, **_limits):
        raise Unavailable("backbone_down", "It is being started again.")

    auditor.network.request = down
    assert await auditor.auditor.audit(node.key) is Outcome.UNKNOWN
    assert auditor.auditor.health(node.key) is Health.UNPROVEN


async def test_a_node_that_answers_never_is_given_up_at_the_deadline(swarm, tmp_path):
    _, auditor, node = await two_holders(swarm, tmp_path / "artist")

    async def hangs(*_args, timeout_s, **_limits):
        async with asyncio.timeout(0):  # the deadline, without waiting for it
            await asyncio.Event().wait()

    auditor.network.request = hangs
    assert await auditor.auditor.audit(node.key) is Outcome.TIMED_OUT


async def test_what_was_found_is_known_after_a_restart(swarm, tmp_path):
    _, auditor, node = await two_holders(swarm, tmp_path / "artist")
    for _ in range(5):
        await auditor.auditor.audit(node.key)
    before = auditor.auditor.scores[node.key]
    again = await swarm.add("origin", is_taking=False)
    assert again.auditor.scores[node.key] == before
    assert len(again.records.results()) == 5


async def test_every_node_is_audited_in_every_epoch(swarm, tmp_path):
    track, auditor, node = await two_holders(swarm, tmp_path / "artist")
    third = await swarm.add("third", is_taking=False)
    track.give(third.store)
    await swarm.run(2 * HOUR, step_s=60, audits=True)
    for one in (auditor, node, third):
        others = {other.key for other in (auditor, node, third)} - {one.key}
        assert set(one.auditor.scores) == others
        assert all(score.passed >= 4 and not score.failed for score in one.auditor.scores.values())


async def test_who_comes_in_the_middle_of_an_epoch_is_audited_before_it_ends(swarm, tmp_path):
    swarm.now = swarm.now // HOUR * HOUR
    track = await swarm.publish_track(tmp_path / "artist", chunks=10)
    origin = next(node for node in swarm.nodes.values() if node.name == "origin")
    await swarm.run(HOUR / 2, step_s=60, audits=True)
    late = await swarm.add("late", is_taking=False)
    track.give(late.store)
    await swarm.run(HOUR / 2 - 120, step_s=60, audits=True)
    assert late.key in origin.auditor.scores
    assert 1 <= origin.auditor.scores[late.key].passed <= 4


async def test_a_challenge_for_another_node_or_beyond_the_end_is_refused(swarm, tmp_path):
    track, auditor, node = await two_holders(swarm, tmp_path / "artist")
    drawn = await auditor.auditor._draw(node.key, bytes(32))
    answer = node.network.served[PROTOCOL]
    for challenge, code in (
        (
            encode_challenge(drawn[1]).replace(node.key.hex().encode(), auditor.key.hex().encode()),
            "audit_not_for_us",
        ),
        (b"garbage", "audit_not_json"),
        (b" " * 2000, "audit_too_large"),
        (encode_challenge(beyond(track, node)), "audit_field"),
    ):
        with pytest.raises(PeerFault) as fault:
            await answer("them", challenge)
        assert fault.value.code == code


def beyond(track, node):

    return draw_challenge(
        node.key, from_hex(track.root), [ChunkPlace(from_hex(track.hashes[0]), 1 << 20)], b"s" * 32, 9
    )


async def test_the_fresh_index_is_what_the_node_knows_signed_and_as_the_schema_says(swarm, tmp_path):
    track, auditor, node = await two_holders(swarm, tmp_path / "artist")
    for _ in range(5):
        await auditor.auditor.audit(node.key)
    identity = auditor.herald._identity
    writer = FreshIndexWriter(
        auditor.network,
        identity,
        auditor.herald,
        lambda: auditor.auditor.scores,
        tmp_path / "served",
        now=lambda: swarm.now,
    )
    assert await writer.tick()
    assert not await writer.tick()
    jsonschema.validate(json.loads(writer.document), json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert writer.path.read_bytes() == writer.document
    index = parse_fresh_index(writer.document, swarm.now, verify)
    (found,) = best_first(index, swarm.now, from_hex(track.root))
    assert (found.node, found.health, found.latency_ms, found.score) == (node.key, Health.HEALTHY, 7.5, 1.0)
    assert found.tracks == {from_hex(track.root): 1.0}
    node.is_up = False
    await swarm.run(240)
    assert await writer.tick()
    assert parse_fresh_index(writer.document, swarm.now, verify).nodes == ()


async def test_of_many_nodes_those_who_were_audited_last_are_remembered(swarm, tmp_path, monkeypatch):
    _, auditor, node = await two_holders(swarm, tmp_path / "artist")
    monkeypatch.setattr("hub.pinning.auditor.MOST_SCORES", 2)
    for number in range(3):
        challenge = draw_challenge(bytes([number]) * 32, bytes(32), [ChunkPlace(bytes(32), 1)], bytes(32), 15)
        swarm.now += 1
        await auditor.auditor._record(challenge, Outcome.PASS)
    assert await auditor.auditor.audit(node.key) is Outcome.PASS
    expected = {bytes([2]) * 32, node.key}
    assert auditor.auditor.scores.keys() == expected
    assert auditor.records.scores().keys() == expected, "on the disk, too"
