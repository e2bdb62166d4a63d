"""The voice and the ears of a node or a hub, over a network that only remembers what it is told (a fake)."""

from dataclasses import dataclass

import pytest

from digm.announcements import (
    PRESENCE,
    Announcement,
    AnnouncementLedger,
    encode_announcement,
    parse_announcement,
)
from digm.bitfield import Bitfield
from digm.errors import Unavailable
from digm.node_ids import peer_id
from digm.pinning import AnswerState, PinAnswer, encode_pin_answer
from hub.pinning.herald import (
    MESSAGES_AT_ONCE,
    MESSAGES_PER_S,
    NEWCOMERS_EVERY_S,
    NOTHING,
    SETTLED_S,
    Herald,
    HeraldSettings,
    Holding,
)
from hub.signatures import verify
from tests.digm.signers import Signer
from tests.hub.node.music import Elsewhere
from tests.hub.pinning.swarm import STARTED, FakeIdentity, FakePeer, order_for

ROOT, OTHER = b"\1" * 32, b"\2" * 32
ORDER = b"\7" * 32


def holding(chunks=4, pins=()):
    return Holding(b"\3" * 32, {0: Bitfield(4, range(chunks))}, pins)


class Remembering:
    """FAKE of the backbone."""

    multiaddrs = ("/ip4/192.0.2.1/tcp/4001",)

    def __init__(self):
        self.said, self.provided, self.neighbours = [], [], []
        self.is_down, self.takes_records = False, True

    async def publish(self, topic_payload):
        if self.is_down:
            raise Unavailable("backbone_down", "It is being started again.")
        self.said.append(topic_payload)

    async def provide(self, key):
        if self.is_down:
            raise Unavailable("backbone_down", "It is being started again.")
        self.provided.append(key)
        return self.takes_records

    def serve(self, protocol, handler, **_limits):
        pass

    def peers(self):
        return [FakePeer(name) for name in self.neighbours]


@dataclass
class House:
    """A herald, its clock, and what is held."""

    network: Remembering
    held: dict
    herald: Herald
    now: float

    async def announce(self, after_s=0.0):
        """What is said when that much time has passed."""
        self.now += after_s
        self.network.said.clear()
        await self.herald.announce()
        return [parse_announcement(document, self.now, verify) for document in self.network.said]

    async def roots(self, after_s=0.0):
        return [said.track_root for said in await self.announce(after_s)]


@pytest.fixture
def house():
    network, held = Remembering(), {}
    settings = HeraldSettings("Ann", "AS 64500", "https://gateway.example", "wss://hub.example/signal")
    house = House(network, held, None, STARTED)
    identity = FakeIdentity(Signer("ann"))
    house.herald = Herald(network, identity, lambda: dict(held), settings, lambda: house.now)
    return house


async def test_it_says_that_it_is_there_and_what_it_holds(house):
    house.held[ROOT] = holding(pins=(ORDER,))
    present, said = await house.announce()
    assert (present.track_root, present.held) == (PRESENCE, {})
    assert (said.track_root, said.is_whole, said.pinned_for) == (ROOT, True, (ORDER,))
    for one in (present, said):
        assert (one.operator, one.network) == ("Ann", "AS 64500")
        assert (one.gateway_url, one.signal_url) == ("https://gateway.example", "wss://hub.example/signal")
        assert one.multiaddrs == Remembering.multiaddrs
    assert house.herald.ledger.claim(said.node, ROOT, house.now) == said


async def test_what_has_not_changed_is_said_again_before_it_expires_and_not_sooner(house):
    house.held[ROOT] = holding()
    await house.announce()
    assert await house.roots(30) == []
    assert await house.roots(31) == [PRESENCE]
    said = [root for _ in range(60) for root in await house.roots(30)]
    assert said.count(ROOT) == 1


async def test_a_change_is_said_at_once_and_a_loss_is_taken_back(house):
    house.held[ROOT] = holding(2)
    await house.announce()
    house.held[ROOT] = holding(3)
    (said,) = await house.announce(1)
    assert said.share == 0.75
    house.held[ROOT].held[0].discard(0)  # the same object, as a hub's library changes it
    (said,) = await house.announce(1)
    assert said.share == 0.5
    house.held.clear()
    (said,) = await house.announce(1)
    assert (said.track_root, said.held) == (ROOT, {})
    assert house.herald.ledger.of_track(ROOT, house.now) == []
    assert await house.roots(1) == []


async def test_a_newcomer_is_told_everything_once_it_is_in_the_mesh(house):
    house.held[ROOT] = holding()
    house.network.neighbours = ["first"]
    await house.announce()
    await house.announce(SETTLED_S)
    house.network.neighbours = ["first", "second"]
    assert await house.roots(60) == [PRESENCE]
    before = house.herald.newcomers
    assert await house.roots(SETTLED_S) == [PRESENCE, ROOT]
    assert house.herald.newcomers == before + 1


async def test_a_crowd_of_newcomers_is_told_together(house):
    house.held[ROOT] = holding()
    told = 0
    for second in range(60):
        house.network.neighbours = [f"n{number}" for number in range(second)]
        told += (await house.roots(1)).count(ROOT)
    assert 60 / NEWCOMERS_EVERY_S <= told <= 60 / NEWCOMERS_EVERY_S + 2


async def test_a_thousand_tracks_do_not_drown_the_others_and_are_known_here_at_once(house):
    house.held.update({number.to_bytes(32, "big"): holding() for number in range(1, 1001)})
    assert len(await house.roots()) == 1 + MESSAGES_AT_ONCE
    assert len(house.herald.ledger.of_node(house.herald._identity.node_key, house.now)) == 1000
    said = [root for _ in range(10) for root in await house.roots(1)]
    assert len(said) == len(set(said)) == 10 * MESSAGES_PER_S
    rest = [root for _ in range(200) for root in await house.roots(1)]
    assert {*rest} >= house.held.keys() - {*said} - {number.to_bytes(32, "big") for number in range(1, 21)}


async def test_nothing_is_lost_while_the_backbone_is_down(house):
    house.network.is_down = True
    house.held[ROOT] = holding()
    for _ in range(3):
        with pytest.raises(Unavailable):
            await house.announce(1)
    house.network.is_down = False
    assert await house.roots(1) == [PRESENCE, ROOT]
    assert house.network.provided == [ROOT]


async def test_the_dht_is_told_of_each_track_once_or_until_somebody_takes_the_record(house):
    house.network.takes_records = False
    house.held[ROOT] = holding()
    await house.announce()
    await house.announce(1)
    assert house.network.provided == [ROOT]
    house.network.takes_records = True
    house.network.neighbours = ["first"]
    await house.announce(1)
    await house.announce(SETTLED_S)
    assert house.network.provided == [ROOT, ROOT]
    house.network.neighbours = ["first", "second"]
    await house.announce(60)
    await house.announce(SETTLED_S)
    assert house.network.provided == [ROOT, ROOT]


def announcement(name, now, instance=b"i" * 16, root=ROOT, sequence=None, held=None):
    signer = Signer(name)
    said = Announcement(
        node=signer.public, instance=instance, track_root=root, manifest_hash=bytes(32),
        held=NOTHING.held if held is None else held, operator=name, network="AS1",
        sequence=sequence or int(now * 1000) + 1, issued_at=int(now), valid_until=int(now) + 600,
    )  # fmt: skip
    return encode_announcement(said, signer.sign)


async def test_what_is_forged_old_or_of_no_known_kind_is_not_passed_on(house):
    on_gossip = house.herald.on_gossip
    valid = announcement("bob", house.now, sequence=2)
    assert on_gossip("them", valid)
    assert on_gossip("them", valid)  # said again for newcomers
    assert on_gossip("them", valid.replace(b"AS1", b"AS2")) is False
    assert on_gossip("them", announcement("eve", house.now - 8000)) is False
    for garbage in (b"garbage", b"", b"\xff" * 100, b"[" * 5000):
        assert on_gossip("them", garbage) is False


async def test_what_others_could_not_know_to_be_old_or_of_one_of_two_is_not_passed_on_and_nobodys_fault(house):
    on_gossip = house.herald.on_gossip
    assert on_gossip("them", announcement("bob", house.now, sequence=5))
    assert on_gossip("them", announcement("bob", house.now, sequence=4)) is None
    assert on_gossip("them", announcement("bob", house.now + 1, instance=b"j" * 16, sequence=1)) is None
    assert on_gossip("them", b'{"kind":"party"}') is None


async def test_what_is_too_much_for_us_is_passed_on(house):
    house.herald.ledger = AnnouncementLedger(most_bytes=0)
    assert house.herald.on_gossip("them", announcement("bob", house.now))
    house.held[ROOT] = holding()
    assert await house.roots() == [PRESENCE, ROOT]  # and our own word goes out all the same


async def test_a_second_process_with_our_key_is_noticed_and_our_own_former_one_is_not(house):
    await house.announce()
    house.herald.on_gossip("them", announcement("ann", house.now - 60, root=OTHER))
    assert house.herald.doubled_at is None
    house.now += 60
    house.herald.on_gossip("them", announcement("ann", house.now, instance=b"j" * 16, root=OTHER))
    assert house.herald.doubled_at == house.now


async def test_who_has_no_desk_for_orders_and_answers_passes_them_on_if_they_are_right(house, tmp_path):
    order = order_for(Elsewhere(tmp_path), tmp_path, 2, house.now)
    node, now = Signer("bob"), int(house.now)
    said = PinAnswer(node.public, ORDER, AnswerState.HELD, None, now, now + 600)
    for document in (order, encode_pin_answer(said, node.sign)):
        assert house.herald.on_gossip("them", document)
        assert not house.herald.on_gossip("them", document[:-10] + b"0" * 8 + b'"}')


async def test_a_neighbour_that_started_again_is_told_everything_though_its_name_never_left(house):
    bob = peer_id(Signer("bob").public)
    house.held[ROOT] = holding()
    house.network.neighbours = [bob]
    await house.announce()
    house.herald.on_gossip("them", announcement("bob", house.now))
    assert await house.roots(NEWCOMERS_EVERY_S) == [PRESENCE, ROOT]
    house.now += 300
    house.herald.on_gossip("them", announcement("bob", house.now))  # the same process
    assert ROOT not in await house.roots(SETTLED_S)
    house.herald.on_gossip("them", announcement("bob", house.now, instance=b"j" * 16))
    assert await house.roots(SETTLED_S) == [PRESENCE, ROOT]


async def test_names_of_strangers_make_nobody_say_everything_again_and_again(house):
    house.held[ROOT] = holding()
    await house.announce()
    said = []
    for second in range(1200):
        house.herald.on_gossip("them", announcement(f"stranger {second}", house.now))
        said += await house.roots(1)
    assert 3 <= said.count(ROOT) <= 6
