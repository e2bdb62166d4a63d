"""Two honest peers at their worst, and a hostile one at its best: whatever the order of things, however much.

Both halves of both sessions move at random over a link that keeps order and takes its time; every byte that
arrives is compared with the chunk that it belongs to.
"""

import contextlib
from collections import deque

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from digm import wire
from digm.bitfield import Bitfield
from digm.chunks import FRAME_BYTES
from digm.peer_events import (
    Closed,
    DataReceived,
    RequestDone,
    RequestRejected,
    RequestTimedOut,
    UploadDropped,
    UploadWanted,
)
from digm.peer_session import PeerSession
from digm.peer_states import DEFAULT_SETTINGS
from digm.sdp import MAX_SDP_BYTES
from tests.digm.session_pair import RENDITIONS, ROOT, chunk_bytes, everything, nothing, session_of

CHUNKS = {
    (shape.id, chunk): chunk_bytes(shape.id, chunk)
    for shape in RENDITIONS
    for chunk in range(shape.chunk_count)
}
SLOWEST_S = 3.0  # one way; far below late_data_s, as every link that a session stands is
chunks = st.sampled_from(sorted(CHUNKS))
halves = st.integers(0, 1)
FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


class Half:
    """One peer: its session, the shell around it, and what it knows to be true."""

    def __init__(self, held: dict[int, Bitfield]) -> None:
        self.held = held
        self.session = session_of(held)
        self.loading: set[int] = set()
        self.loaded: dict[int, bytes] = {}
        self.asked: dict[int, tuple[tuple[int, int], int, int]] = {}
        self.got: dict[int, int] = {}
        self.ends: list[Closed] = []
        self.link: deque[tuple[float, bytes]] = deque()  # towards us

    def take(self, events: list) -> None:
        for event in events:
            match event:
                case UploadWanted():
                    assert event.request_id not in self.loading, "asked to load twice"
                    self.loading.add(event.request_id)
                    self.loaded[event.request_id] = CHUNKS[event.rendition, event.chunk]
                case UploadDropped(request_id):
                    self.loading.discard(request_id)
                    self.loaded.pop(request_id, None)
                case DataReceived():
                    place, at, end = self.asked[event.request_id]
                    at += self.got[event.request_id]
                    assert (event.rendition, event.chunk) == place
                    assert event.offset == at
                    assert event.payload == CHUNKS[place][at : at + len(event.payload)]
                    assert at + len(event.payload) <= end
                    self.got[event.request_id] += len(event.payload)
                case RequestDone(request_id):
                    _, at, end = self.asked.pop(request_id)
                    assert self.got[request_id] == end - at, "done before the last byte"
                case RequestRejected(request_id) | RequestTimedOut(request_id):
                    del self.asked[request_id]
                case Closed():
                    self.ends.append(event)
                    self.asked.clear()


class HonestPair(RuleBasedStateMachine):
    """Two sessions that both ask and give, change their minds, evict, pause and wait."""

    @initialize(one=st.sets(chunks, min_size=4), other=st.sets(chunks))
    def meet(self, one: set[tuple[int, int]], other: set[tuple[int, int]]) -> None:
        self.now = 0.0
        self.halves = [Half(_held(one)), Half(_held(other))]
        self.pump()

    def pump(self) -> None:
        """What a shell does after everything: send what there is to be said."""
        for half, opposite in zip(self.halves, reversed(self.halves), strict=True):
            half.take(half.session.tick(self.now))
            opposite.link += [(self.now, message) for message in half.session.to_send()]
        for half, opposite in zip(self.halves, reversed(self.halves), strict=True):
            if half.ends and not opposite.ends:  # a shell closes the channel
                opposite.take(opposite.session.channel_closed())

    def deliver(self, half: Half) -> None:
        _, message = half.link.popleft()
        half.take(half.session.receive(message, self.now))
        self.pump()

    @rule(who=halves, count=st.integers(1, 5))
    def messages_arrive(self, who: int, count: int) -> None:
        for _ in range(count):
            if self.halves[who].link:
                self.deliver(self.halves[who])

    @rule(who=halves, which=st.integers(0, 50), first=st.integers(0, 7), count=st.integers(0, 8))
    def ask(self, who: int, which: int, first: int, count: int) -> None:
        half = self.halves[who]
        there = [place for place in sorted(CHUNKS) if place[1] in half.session.availability.get(place[0], ())]
        if not there or not half.session.free_slots:
            return
        place = there[which % len(there)]
        frames = RENDITIONS[place[0]].chunk_frames(place[1])
        first = min(first, frames - 1)
        count = min(count, frames - first)
        request = half.session.request(*place, self.now, first_frame=first, frame_count=count)
        end = first + count if count else frames
        half.asked[request] = (place, first * FRAME_BYTES, end * FRAME_BYTES)
        half.got[request] = 0
        self.pump()

    @rule(who=halves, which=st.integers(0, 15))
    def change_ones_mind(self, who: int, which: int) -> None:
        half = self.halves[who]
        if half.asked:
            request = sorted(half.asked)[which % len(half.asked)]
            half.session.cancel(request, self.now)
            del half.asked[request]
            self.pump()

    @rule(who=halves, is_there=st.sampled_from([True, True, True, False]))
    def finish_loading(self, who: int, is_there: bool) -> None:
        half = self.halves[who]
        if not half.loading:
            return
        request = half.loading.pop()
        if is_there:
            half.session.upload_ready(request)
        else:
            del half.loaded[request]
            half.take(half.session.refuse(request, wire.Reason.NOT_HELD))
        self.pump()

    @rule(who=halves, buffered=st.sampled_from([0, 200_000, 262_144]), count=st.integers(1, 12))
    def give(self, who: int, buffered: int, count: int) -> None:
        self.messages_arrive(who, 1)
        self.finish_loading(who, True)
        half, opposite = self.halves[who], self.halves[1 - who]
        for _ in range(count):
            piece = half.session.next_piece(buffered, self.now)
            if piece is None:
                break
            payload = half.loaded[piece.request_id][piece.start : piece.end]
            opposite.link.append((self.now, piece.header + payload))
            if piece.is_last:
                del half.loaded[piece.request_id]
        self.pump()

    @rule(who=halves, place=chunks, is_new=st.booleans())
    def gain_or_lose_a_chunk(self, who: int, place: tuple[int, int], is_new: bool) -> None:
        half = self.halves[who]
        if is_new and place[1] not in half.held[place[0]]:
            half.session.have(*place)
        elif not is_new and place[1] in half.held[place[0]]:
            half.session.gone(*place)
        self.pump()

    @rule(who=halves, slots=st.sampled_from([0, 2, 16]))
    def change_the_offer(self, who: int, slots: int) -> None:
        half = self.halves[who]
        half.take(half.session.offer_rate(1_000_000, slots))
        self.pump()

    @rule(seconds=st.sampled_from([0.1, 0.7, 2.1]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.pump()
        for half in self.halves:
            while half.link and half.link[0][0] <= self.now - SLOWEST_S:
                self.deliver(half)

    @precondition(lambda self: hasattr(self, "halves"))
    @invariant()
    def nobody_is_blamed_and_nothing_grows(self) -> None:
        for half in self.halves:
            # A listener may be left for its silence: here the shells are as slow as chance wants.
            assert all(end.code in ("unresponsive", "claims_false", "channel_closed") for end in half.ends), (
                half.ends
            )
            assert len(half.ends) <= 1
            assert half.session.outstanding <= DEFAULT_SETTINGS.max_outstanding
            assert len(half.loaded) <= DEFAULT_SETTINGS.upload_slots
            assert half.session.to_send() == []

    def teardown(self) -> None:
        """In the end every request was answered, one way or the other."""
        if not hasattr(self, "halves"):
            return
        for _ in range(200):
            for who in (0, 1):
                self.messages_arrive(who, 100)
                while self.halves[who].loading and not self.halves[who].ends:
                    self.finish_loading(who, True)
                self.give(who, 0, 100)
            if not any(half.link or half.loaded for half in self.halves):
                break
            self.time_passes(0.1)
        for half in self.halves:
            assert half.session.outstanding == len(half.asked) == 0


HonestPair.TestCase.settings = settings(FUZZ, stateful_step_count=60)
TestTwoHonestSessions = HonestPair.TestCase


def _held(places: set[tuple[int, int]]) -> dict[int, Bitfield]:
    held = nothing()
    for number, chunk in places:
        held[number].add(chunk)
    return held


# -- the hostile

ids = st.integers(0, 5)
numbers = st.sampled_from([0, 1, 7, 0xFFFF])
names, signatures = st.binary(min_size=32, max_size=32), st.binary(min_size=64, max_size=64)
valid = st.one_of(
    st.builds(wire.Have, numbers, ids),
    st.builds(wire.Gone, numbers, ids),
    st.builds(wire.Request, ids, st.integers(0, 1), ids, st.integers(0, 7), st.integers(1, 8)),
    st.builds(wire.Data, ids, st.integers(0, 2_000_000), st.binary(min_size=1, max_size=40)),
    st.builds(wire.Reject, ids, st.sampled_from(wire.Reason)),
    st.builds(wire.Cancel, ids, st.sampled_from(wire.Reason)),
    st.builds(wire.Rate, st.integers(0, 0xFFFF_FFFF), st.integers(0, 255)),
    st.builds(wire.Peers, st.lists(names, max_size=10).map(tuple)),
    st.builds(
        wire.Relay, names, names, st.sampled_from(wire.RelayKind), signatures, st.text(min_size=1, max_size=60)
    ),
    st.builds(wire.Hello, st.sampled_from([ROOT, bytes(32)]), st.just(everything())),
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid message, whole or hurt: a byte changed, cut off, grown, repeated."""
    with contextlib.suppress(UnicodeEncodeError):
        raw = bytearray(wire.encode(draw(valid)))
        match draw(st.integers(0, 4)):
            case 1:
                raw[draw(st.integers(0, len(raw) - 1))] ^= draw(st.integers(1, 255))
            case 2:
                del raw[draw(st.integers(0, len(raw) - 1)) :]
            case 3:
                raw += draw(st.binary(max_size=70_000 if draw(st.booleans()) else 20))
            case 4:
                raw = raw * draw(st.integers(2, 3))
        return bytes(raw)
    return b""


@FUZZ
@given(st.lists(st.one_of(damaged(), st.binary(max_size=60)), max_size=40), st.integers(0, 3))
def test_whatever_is_said_a_session_goes_on_or_ends_once_with_a_name(script, steps_in_good_manners):
    session, now = session_of(everything()), 0.0
    honest = [
        wire.encode(wire.Hello(ROOT, everything(), wire.Flag.UPLOADS)),
        wire.encode(wire.Request(90, 0, 0, 0, 8)),
        wire.encode(wire.Have(1, 1)),
    ]
    events = []
    for message in honest[:steps_in_good_manners] + script:
        events += session.receive(message, now)
        events += session.tick(now)
        replies = session.to_send()
        assert sum(map(len, replies)) <= 8192, "a message is answered with a message, not with a flood"
        now += 0.01
        deadline = session.next_deadline(now)
        assert deadline is None or deadline <= now + DEFAULT_SETTINGS.hello_timeout_s
    ends = [event for event in events if isinstance(event, Closed)]
    assert len(ends) <= 1
    if ends:
        assert ends[0].code
        assert ends[0].fault is not None
        assert session.receive(honest[0], now) == session.tick(now + 99) == session.to_send() == []
        assert session.next_deadline(now) is None


@FUZZ
@given(st.lists(st.one_of(damaged(), st.binary(max_size=60)), max_size=30), st.randoms(use_true_random=False))
def test_a_hostile_peer_costs_the_one_beside_it_no_byte(script, chance):
    held = everything()
    beside = session_of(held)
    beside.receive(wire.encode(wire.Hello(ROOT, nothing(), wire.Flag(0))), 0.0)
    giver, taker = session_of(held), session_of(nothing())
    taker.receive(giver.to_send()[0], 0.0)
    giver.receive(taker.to_send()[0], 0.0)
    request = taker.request(0, 0, 0.0)
    got, now = bytearray(), 0.0
    while len(got) < RENDITIONS[0].chunk_bytes(0):
        now += 0.01
        if script and chance.random() < 0.8:
            for event in beside.receive(script.pop(), now):
                if isinstance(event, UploadWanted):
                    beside.upload_ready(event.request_id)
            beside.next_piece(0, now)
        _exchange(giver, taker, got, now)
    assert bytes(got) == CHUNKS[0, 0]
    assert request == 1
    assert held == everything(), "nobody takes chunks away from us"


def _exchange(giver: PeerSession, taker: PeerSession, got: bytearray, now: float) -> None:
    """One round: what is asked arrives, one piece comes back."""
    for message in taker.to_send():
        for event in giver.receive(message, now):
            if isinstance(event, UploadWanted):
                giver.upload_ready(event.request_id)
    giver.to_send()
    if piece := giver.next_piece(0, now):
        payload = CHUNKS[piece.rendition, piece.chunk][piece.start : piece.end]
        for event in taker.receive(piece.header + payload, now):
            if isinstance(event, DataReceived):
                got += event.payload


def test_a_flood_ends_the_session_before_it_costs_memory():
    session = session_of(everything())
    session.receive(wire.encode(wire.Hello(ROOT, nothing(), wire.Flag(0))), 0.0)
    session.to_send()
    ends, said = [], 0
    while not ends:
        message = wire.encode(wire.Request(said, 0, 0, 0, 8))
        ends = [event for event in session.receive(message, 0.0) if isinstance(event, Closed)]
        said += 1
    assert ends[0].code == "message_flood"
    assert said <= DEFAULT_SETTINGS.message_burst + 2
    assert session.to_send() == []


def test_endless_data_ends_the_session():
    session = session_of(nothing())
    session.receive(wire.encode(wire.Hello(ROOT, everything(), wire.Flag.UPLOADS)), 0.0)
    request = session.request(0, 4, 0.0)
    size = RENDITIONS[0].chunk_bytes(4)
    given = 0
    while True:
        part = min(65_527, size - given) or 65_527
        message = wire.encode(wire.Data(request, given, bytes(part)))
        events = session.receive(message, 0.0)
        if isinstance(events[-1], Closed):
            break
        given += part
    assert given == size
    assert events[-1].code == "unexpected_data"


def test_the_longest_description_still_fits_into_one_message():
    relay = wire.Relay(bytes(32), bytes(32), wire.RelayKind.OFFER, bytes(64), "v" * MAX_SDP_BYTES)
    assert wire.decode(wire.encode(relay)) == relay
