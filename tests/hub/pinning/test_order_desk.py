"""Orders on their desk: kept, said again, corrected, forgotten. Over an in-memory network (a fake)."""

import pytest

from digm.errors import DigmError, Unavailable
from hub.pinning.order_desk import CORRECTED_EVERY_S, FIRST_REPEAT_S, OrderDesk
from hub.pinning.records import KeptAnswer, Records
from tests.hub.node.music import Elsewhere
from tests.hub.pinning.swarm import FakeSwarm, order_for

DAY = 86_400


@pytest.fixture
async def swarm(tmp_path):
    swarm = FakeSwarm(tmp_path)
    yield swarm
    await swarm.close()


class Desk:
    """A desk with nobody but itself, and what it says."""

    def __init__(self, swarm, node):
        self.swarm, self.node, self.said = swarm, node, []
        self.is_down = False
        self.renew()

    def renew(self):
        """As after a restart."""
        self.desk = OrderDesk(self, self.node.herald, self.node.records, now=lambda: self.swarm.now)

    async def publish(self, payload):
        if self.is_down:
            raise Unavailable("backbone_down", "It is being started again.")
        self.said.append(payload)

    async def turn(self, seconds, holders=frozenset(), is_ours=False):
        """What is said in that time."""
        self.said.clear()
        for _ in range(seconds):
            self.swarm.now += 1
            for item in list(self.desk.orders.values()):
                await self.desk.repeat(item, set(holders), is_ours)
        return self.said


@pytest.fixture
async def place(swarm):
    node = await swarm.add("origin", is_taking=False)
    desk = Desk(swarm, node)
    await desk.desk.start()
    return desk


@pytest.fixture
def order(swarm, tmp_path):
    """Makes signed orders of one artist for one track."""
    track = Elsewhere(tmp_path / "artist")

    def make(replicas=2, sequence=1, duration_s=30 * DAY):
        return order_for(track, tmp_path / "artist", replicas, swarm.now, sequence, duration_s)

    return make


async def test_an_order_is_on_the_disk_before_it_is_said(place, order, swarm):
    async def publish(payload):
        kept = Records(place.node.records.path.parent)
        assert kept.orders() == [(payload, True)]
        kept.close()
        place.said.append(payload)

    place.publish = publish
    await place.desk.place(order())
    assert len(place.said) == 1


async def test_an_order_that_cannot_be_kept_is_not_said(place, order, monkeypatch):
    def fails(*_args):
        raise Unavailable("records_failed", "The disk said no.")

    monkeypatch.setattr(place.node.records, "keep_orders", fails)
    document = order()
    with pytest.raises(Unavailable):
        await place.desk.place(document)
    assert place.said == []
    monkeypatch.undo()
    await place.desk.place(document)  # the artist tries again
    assert place.said == [document]
    assert place.node.records.orders() == [(document, True)]


async def test_an_order_is_said_again_with_growing_pauses_until_it_is_held(place, order):
    document = order()
    await place.desk.place(document)
    assert place.said == [document]
    assert len(await place.turn(int(FIRST_REPEAT_S) - 1)) == 0
    assert len(await place.turn(1)) == 1
    assert 4 <= len(await place.turn(3600)) <= 10
    assert await place.turn(3600, holders={b"a" * 32, b"b" * 32}) == []
    assert await place.turn(3600, holders={b"a" * 32}) != []


async def test_who_comes_while_an_order_waits_hears_of_it(place, order):
    await place.desk.place(order())
    await place.turn(600)
    place.node.herald.newcomers += 1
    assert len(await place.turn(1)) == 1
    assert len(await place.turn(1)) == 0
    place.node.herald.newcomers += 1
    assert await place.turn(1, holders={b"a" * 32, b"b" * 32}) == []


async def test_what_was_only_heard_is_left_to_others_to_say(place, order):
    place.desk.hear_order(order())
    assert await place.turn(7200) == []
    assert 5 <= len(await place.turn(3600, is_ours=True)) <= 7


async def test_an_order_that_cannot_be_said_yet_is_said_as_soon_as_it_goes(place, order):
    place.is_down = True
    await place.desk.place(order())
    with pytest.raises(Unavailable):
        await place.turn(1)
    place.is_down = False
    assert len(await place.turn(1)) == 1


async def test_what_was_placed_here_is_said_again_after_a_restart(place, order, swarm):
    ours, theirs = order(), order(sequence=2)
    await place.desk.place(ours)
    place.renew()
    await place.desk.start()
    assert ours in await place.turn(600)
    place.desk.hear_order(theirs)  # the artist went to another hub with the next one
    await place.desk.keep_changes()
    place.renew()
    await place.desk.start()
    assert [item.order.document for item in place.desk.orders.values()] == [theirs]
    assert await place.turn(600) == []


async def test_a_cancelling_order_is_said_again_for_those_who_were_away(place, order):
    await place.desk.place(order())
    cancelling = order(replicas=0, sequence=2)
    await place.desk.place(cancelling)
    for over in place.desk.over():
        place.desk.forget(over)
    assert set(await place.turn(3600)) == {cancelling}


async def test_who_still_says_an_old_order_is_told_the_new_one(place, order):
    old, new = order(), order(sequence=2)
    await place.desk.place(new)
    holders = {b"a" * 32, b"b" * 32}
    await place.turn(600, holders)
    for _ in range(5):
        with pytest.raises(DigmError) as fault:
            place.desk.hear_order(old)
        assert fault.value.code == "pin_order_replayed"
    assert await place.turn(int(CORRECTED_EVERY_S) + 1, holders) == [new]
    assert await place.turn(600, holders) == []


async def test_what_is_over_is_forgotten_on_the_disk_too(place, order, swarm):
    short, long = order(duration_s=DAY), order(sequence=2, duration_s=DAY)
    await place.desk.place(short)
    await place.desk.place(long)
    assert [item.order.document for item in place.desk.over()] == [short]
    swarm.now += DAY
    assert len(place.desk.over()) == 2
    await place.desk.sweep()
    assert place.node.records.orders() == []


async def test_an_order_that_ended_while_we_were_down_is_dropped_at_the_start(place, order, swarm):
    await place.desk.place(order(duration_s=DAY))
    swarm.now += 2 * DAY
    place.renew()
    await place.desk.start()
    assert not place.desk.orders
    assert place.node.records.orders() == []


async def test_progress_names_who_holds_who_will_who_will_not_and_who_lost_it(swarm, tmp_path):
    for number in range(5):
        await swarm.add(f"node {number}")
    await swarm.add("miser", is_taking=False)
    track = await swarm.publish_track(tmp_path / "artist")
    await swarm.run(60)
    origin = next(node for node in swarm.nodes.values() if node.name == "origin")
    await origin.pinner.place(order_for(track, tmp_path / "artist", 6, swarm.now))
    await swarm.run(300)
    by_name = {node.name: node for node in swarm.nodes.values()}
    (progress,) = origin.pinner.progress()
    assert progress.holders == {by_name[f"node {number}"].key for number in range(5)}
    assert not progress.is_held
    assert progress.declined[by_name["miser"].key].value == "policy"
    by_name["node 0"].is_up = False
    await swarm.run(240)
    (progress,) = origin.pinner.progress()
    assert progress.lost == {by_name["node 0"].key}
    assert len(progress.holders) == 4


async def started(swarm, tmp_path, replicas):
    """An origin, six nodes, and an order of which nobody gives a chunk yet."""
    for number in range(6):
        await swarm.add(f"node {number}")
    track = await swarm.publish_track(tmp_path / "artist")
    await swarm.run(60)
    origin = next(node for node in swarm.nodes.values() if node.name == "origin")
    origin.may_give.clear()
    await origin.pinner.place(order_for(track, tmp_path / "artist", replicas, swarm.now))
    await swarm.run(60)
    return origin


async def test_who_accepted_and_is_gone_is_named_and_not_counted(swarm, tmp_path):
    origin = await started(swarm, tmp_path, replicas=3)
    (progress,) = origin.pinner.progress()
    assert len(progress.promised) == 3 and not progress.gone
    name = next(node for node in swarm.nodes.values() if node.key in progress.promised)
    name.is_up, gone_at = False, swarm.now
    await swarm.run(240)
    (progress,) = origin.pinner.progress()
    assert progress.gone == {name.key}
    assert name.key not in progress.promised
    assert gone_at - 60 <= origin.herald.ledger.heard_at(name.key) <= gone_at
    assert origin.herald.ledger.last_word(name.key).operator == name.name
    name.is_up = True
    await swarm.run(60)
    assert name.key in origin.pinner.progress()[0].promised


async def test_answers_outlive_a_restart(swarm, tmp_path):
    origin = await started(swarm, tmp_path, replicas=3)
    (before,) = origin.pinner.progress()
    assert len(before.promised) == 3
    origin = await swarm.add("origin", is_taking=False)
    (after,) = origin.pinner.progress()
    assert after.promised == before.promised, "they have not been heard since, and have a while for it"
    swarm.now += 181
    (later,) = origin.pinner.progress()
    assert (later.promised, later.gone) == (set(), before.promised)
    swarm.now += 1800
    assert origin.pinner.progress()[0].broken == before.promised


async def test_who_held_a_copy_before_a_restart_is_not_called_lost_before_it_could_be_heard(swarm, tmp_path):
    origin = await started(swarm, tmp_path, replicas=3)
    origin.may_give.set()
    await swarm.run(60)
    (before,) = origin.pinner.progress()
    assert before.is_held
    gone = next(node for node in swarm.nodes.values() if node.key in before.holders)
    gone.is_up = False
    origin = await swarm.add("origin", is_taking=False)
    assert origin.pinner.progress()[0].lost == set()
    await swarm.run(240)
    (after,) = origin.pinner.progress()
    assert after.lost == {gone.key}
    assert after.holders == before.holders - {gone.key}


async def test_answers_are_forgotten_with_their_order(swarm, tmp_path):
    origin = await started(swarm, tmp_path, replicas=3)
    assert len(origin.records.answers()) >= 3
    track_orders = list(origin.pinner.desk.orders.values())
    for item in track_orders:
        origin.pinner.desk.forget(item)
    await origin.pinner.desk.keep_changes()
    assert origin.records.answers() == []


async def test_a_flood_of_answers_fills_no_disk_and_pushes_nobody_out(tmp_path, monkeypatch):
    monkeypatch.setattr("hub.pinning.records.MOST_ANSWERS", 3)
    records = Records(tmp_path)
    order_id = bytes(32)
    answers = [KeptAnswer(order_id, bytes([number]) * 32, b"first", 1.0) for number in range(5)]
    records.keep_answers(answers)
    records.keep_answers([KeptAnswer(order_id, bytes(32), b"second", 2.0)])
    assert sorted(records.answers()) == [(b"first", 1.0), (b"first", 1.0), (b"second", 2.0)]
    records.drop_answers([order_id])
    assert records.answers() == []
    records.close()
