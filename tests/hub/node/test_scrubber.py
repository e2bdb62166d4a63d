import asyncio
import itertools

import pytest

from digm.errors import Unavailable
from hub.node.scrubber import BATCH, FIRST_PAUSE_S, Scrubber
from hub.node.storage import NodeStore
from tests.hub.node.music import CHUNK, Elsewhere, rot


class Time:
    """The loop's clock and sleep, as fast as the machine goes."""

    def __init__(self):
        self.now, self.slept = 0.0, []

    def clock(self):
        return self.now

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


@pytest.fixture
def track(tmp_path):
    return Elsewhere(tmp_path / "artist", chunk_count=3)


@pytest.fixture
def node(tmp_path, track):
    store = NodeStore(tmp_path / "node", 1 << 30)
    track.give(store)
    yield store
    store.close()


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def asked():
    return []


@pytest.fixture
def scrubber(node, track, time, asked):
    async def repair(place):
        asked.append(place.hash)
        return track.store.read(place.hash)

    return Scrubber(node, repair, CHUNK / 2, clock=time.clock, sleep=time.sleep)


async def test_a_rotten_chunk_is_found_taken_out_and_put_back(node, track, scrubber, asked):
    rotten = track.hashes[4]
    rot(node, rotten)
    await scrubber.scrub_batch()
    assert rotten not in node.chunks
    assert [place.hash for place in node.lost()] == [rotten]
    assert await scrubber.repair_lost() == 1
    assert asked == [rotten]
    assert node.tracks()[0].is_whole
    assert node.read(rotten) == track.store.read(rotten)
    assert await scrubber.repair_lost() == 0


async def test_what_is_sound_stays_as_it_is(node, track, scrubber, asked):
    before = node.tracks()
    assert await scrubber.scrub_batch() == 6
    await scrubber.repair_lost()
    assert (node.tracks(), asked) == (before, [])


async def test_it_reads_no_faster_than_it_is_told(scrubber, time):
    await scrubber.scrub_batch()
    assert time.now == pytest.approx(6 * 2.0)


async def test_every_chunk_has_its_turn(tmp_path, node, time, asked):
    big = Elsewhere(tmp_path / "artist", chunk_count=BATCH, seed=7)
    big.give(node)
    for name in big.hashes:
        rot(node, name)

    async def nobody_has_it(place):
        raise Unavailable("chunk_not_held", "Nobody has it.")

    scrubber = Scrubber(node, nobody_has_it, 1e9, clock=time.clock, sleep=time.sleep)
    for _ in range(3):
        await scrubber.scrub_batch()
    assert {place.hash for place in node.lost()} == set(big.hashes)


async def test_scrubbing_is_no_use_of_a_chunk(tmp_path, track, time):
    other = Elsewhere(tmp_path / "artist", seed=9)
    store = NodeStore(tmp_path / "small", track.bytes + other.bytes)
    try:
        track.give(store)
        other.give(store)
        store.read(track.hashes[0])
        await Scrubber(store, None, 1e9, clock=time.clock, sleep=time.sleep).scrub_batch()
        third = Elsewhere(tmp_path / "artist", chunk_count=1, seed=11)
        third.give(store, 1)
        assert track.hashes[0] in store.chunks
        assert track.hashes[1] not in store.chunks
    finally:
        store.close()


async def test_where_nobody_has_it_the_pauses_grow(node, track, time):
    asked_at = []

    async def nobody_has_it(place):
        asked_at.append(time.now)
        raise Unavailable("chunk_not_held", "Nobody has it.")

    scrubber = Scrubber(node, nobody_has_it, 1e9, clock=time.clock, sleep=time.sleep)
    rot(node, track.hashes[0])
    await scrubber.scrub_batch()
    began = time.now
    for _ in range(200):
        await scrubber.repair_lost()
        time.now += FIRST_PAUSE_S / 2
    waits = [later - sooner for sooner, later in itertools.pairwise(asked_at)]
    assert asked_at[0] == began
    assert waits[:3] == [5.0, 10.0, 20.0]
    assert len(asked_at) < 10


async def test_a_liar_does_not_repair_anything(node, track, time):
    async def lies(place):
        return track.store.read(track.hashes[1])

    scrubber = Scrubber(node, lies, 1e9, clock=time.clock, sleep=time.sleep)
    rot(node, track.hashes[0])
    await scrubber.scrub_batch()
    assert await scrubber.repair_lost() == 0
    assert track.hashes[0] not in node.chunks


async def test_it_runs_until_it_is_cancelled(node, track, time, scrubber):
    rot(node, track.hashes[5])
    running = asyncio.create_task(scrubber.run())
    async with asyncio.timeout(30):
        while not (node.lost() == [] and node.changes > 8):
            await asyncio.sleep(0.005)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert node.tracks()[0].is_whole
