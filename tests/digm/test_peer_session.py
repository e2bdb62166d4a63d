"""Two sessions joined in memory; one session and a stranger that says anything at all."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digm import wire
from digm.bitfield import Bitfield
from digm.chunks import FRAME_BYTES
from digm.errors import CallerFault, Unavailable
from digm.peer_events import (
    ChunkAvailable,
    ChunkGone,
    Closed,
    DataReceived,
    PeerReady,
    PeersOffered,
    RateOffered,
    Relayed,
    RequestDone,
    RequestRejected,
    RequestTimedOut,
    UploadDropped,
    UploadWanted,
)
from digm.peer_session import PeerSession
from digm.peer_states import TRANSITIONS, SessionSettings, State
from digm.token_bucket import TokenBucket
from digm.wire import Reason
from tests.digm.session_pair import RENDITIONS, ROOT, Pair, chunk_bytes, everything, nothing, session_of
from tests.digm.test_wire import messages


def test_both_sides_are_ready_after_one_hello_each():
    pair = Pair()
    ready = pair.of(PeerReady)
    assert len(ready) == 1
    assert ready[0].availability[0].is_full
    assert ready[0].uploads
    assert pair.listener.state is pair.seed.state is State.OPEN


def test_a_whole_chunk_arrives_in_order_and_complete():
    pair = Pair()
    request = pair.listener.request(0, 2, pair.now)
    pair.run()
    assert pair.received(request) == chunk_bytes(0, 2)
    assert pair.heard[-1] == RequestDone(request, 0, 2)
    assert pair.listener.outstanding == 0
    assert pair.seed.is_drained


def test_a_range_of_frames_arrives_with_offsets_from_the_start_of_the_chunk():
    pair = Pair()
    request = pair.listener.request(0, 1, pair.now, first_frame=3, frame_count=2)
    pair.run()
    assert pair.of(DataReceived)[0].offset == 3 * FRAME_BYTES
    assert pair.received(request) == chunk_bytes(0, 1)[3 * FRAME_BYTES : 5 * FRAME_BYTES]


def test_many_requests_are_answered_oldest_first():
    pair = Pair()
    asked = [pair.listener.request(0, chunk, pair.now) for chunk in range(5)]
    asked += [pair.listener.request(1, chunk, pair.now) for chunk in range(9)]
    pair.run()
    assert [event.request_id for event in pair.of(RequestDone)] == asked


def test_a_cancelled_request_frees_the_queue_and_its_late_data_is_dropped():
    pair = Pair()
    request = pair.listener.request(0, 0, pair.now)
    pair.run(pieces=2)
    heard = len(pair.of(DataReceived))
    pair.listener.cancel(request, pair.now)
    piece = pair.seed.next_piece(0, pair.now)  # in flight before the CANCEL arrives
    assert piece is not None
    late = piece.header + pair.loaded[request][piece.start : piece.end]
    assert pair.listener.receive(late, pair.now) == []
    pair.run()
    assert UploadDropped(request) in pair.seed_heard
    assert len(pair.of(DataReceived)) == heard
    assert pair.of(RequestDone) == []
    other = pair.listener.request(0, 1, pair.now)
    pair.run()
    assert pair.received(other) == chunk_bytes(0, 1)


def test_have_makes_a_chunk_available():
    pair = Pair()
    pair.listener.have(1, 4)
    pair.run()
    assert ChunkAvailable(1, 4) in pair.seed_heard
    assert 4 in pair.seed.availability[1]


def test_gone_takes_a_chunk_back_and_what_is_gone_cannot_be_asked_for():
    pair = Pair()
    pair.seed.gone(0, 2)
    pair.run()
    assert pair.of(ChunkGone) == [ChunkGone(0, 2)]
    with pytest.raises(Unavailable):
        pair.listener.request(0, 2, pair.now)
    pair.seed.gone(0, 2)
    pair.seed.have(0, 2)
    pair.run()
    assert len(pair.of(ChunkGone)) == 1
    pair.listener.request(0, 2, pair.now)


def test_what_is_not_held_cannot_be_asked_for_and_is_refused_when_it_went_away():
    pair = Pair()
    with pytest.raises(Unavailable) as fault:
        pair.seed.request(0, 0, pair.now)
    assert fault.value.code == "not_held"
    pair.seed._held[0].discard(3)
    request = pair.listener.request(0, 3, pair.now)
    pair.run()
    assert pair.of(RequestRejected) == [RequestRejected(request, 0, 3, Reason.NOT_HELD)]
    assert 3 not in pair.listener.availability[0]


@pytest.mark.parametrize(
    "place", [(2, 0, 0, 0), (0, 5, 0, 0), (0, -1, 0, 0), (0, 4, 3, 0), (0, 0, 0, 9), (0, 0, -1, 1)]
)
def test_frames_that_do_not_exist_are_our_own_mistake_to_ask_for(place):
    pair = Pair()
    number, chunk, first, count = place
    with pytest.raises(CallerFault):
        pair.listener.request(number, chunk, pair.now, first_frame=first, frame_count=count)


def test_a_full_queue_says_no_slot():
    pair = Pair(settings=SessionSettings(upload_slots=1, upload_queue=2))
    pair.is_loading = False
    asked = [pair.listener.request(1, chunk, pair.now) for chunk in range(5)]
    pair.run()
    rejected = [(event.request_id, event.reason) for event in pair.of(RequestRejected)]
    assert rejected == [(request, Reason.NO_SLOT) for request in asked[3:]]


def test_silence_for_two_seconds_moves_a_request_elsewhere():
    pair = Pair()
    pair.is_loading = False
    request = pair.listener.request(0, 0, pair.now)
    pair.run()
    assert pair.listener.next_deadline(pair.now) == 2.0
    pair.wait(1.9)
    assert pair.of(RequestTimedOut) == []
    pair.wait(0.2)
    assert pair.of(RequestTimedOut) == [RequestTimedOut(request, 0, 0)]
    assert UploadDropped(request) in pair.seed_heard


def test_a_request_behind_another_is_not_silent_while_that_one_is_answered():
    pair = Pair(bucket=TokenBucket(100_000, 65_536, 0.0))
    asked = [pair.listener.request(0, chunk, pair.now) for chunk in (0, 1)]
    for _ in range(50):
        pair.wait(0.5)
    assert pair.of(RequestTimedOut) == []
    assert [event.request_id for event in pair.of(RequestDone)] == asked[:2]


def test_the_rate_cap_holds_over_time_and_names_the_next_moment():
    pair = Pair(bucket=TokenBucket(200_000, 65_536, 0.0))
    pair.listener.request(0, 0, pair.now)
    pair.run()
    for _ in range(20):
        deadline = pair.seed.next_deadline(pair.now)
        if deadline is None:
            break
        assert deadline > pair.now
        pair.wait(deadline - pair.now + 1e-6)
        given = sum(len(event.payload) for event in pair.of(DataReceived))
        assert given <= 200_000 * pair.now + 65_536
    assert pair.of(RequestDone)


def test_a_full_channel_gets_no_more_pieces():
    pair = Pair()
    pair.listener.request(0, 0, pair.now)
    pair.run(pieces=1)
    assert pair.seed.next_piece(262_144, pair.now) is None
    assert pair.seed.next_deadline(pair.now, has_room=False) is None
    assert pair.seed.next_piece(262_143, pair.now) is not None


def test_rate_zero_stops_asking_and_rejects_what_waits():
    pair = Pair()
    pair.is_loading = False
    request = pair.listener.request(0, 0, pair.now)
    pair.run()
    assert pair.seed.offer_rate(0, 0) == [UploadDropped(request)]
    pair.run()
    assert RateOffered(0, 0) in pair.heard
    assert pair.listener.free_slots == 0
    assert pair.of(RequestRejected)[0].reason is Reason.NOT_SHARING
    pair.seed.offer_rate(1_000_000, 4)
    pair.run()
    assert pair.listener.free_slots == 4


def test_who_does_not_share_says_so_in_hello_and_answers_nothing():
    pair = Pair(is_sharing=False)
    assert not pair.of(PeerReady)[0].uploads
    assert pair.listener.free_slots == 0
    pair.listener.request(0, 0, pair.now)
    pair.run()
    assert pair.of(RequestRejected)[0].reason is Reason.NOT_SHARING


def test_a_drain_finishes_what_has_a_slot_and_rejects_the_rest():
    pair = Pair(settings=SessionSettings(upload_slots=1))
    first, second = (pair.listener.request(0, chunk, pair.now) for chunk in (0, 1))
    pair.run(pieces=1)
    pair.seed.drain()
    assert not pair.seed.is_drained
    pair.run()
    assert pair.seed.is_drained
    assert pair.of(RequestDone) == [RequestDone(first, 0, 0)]
    assert pair.of(RequestRejected) == [RequestRejected(second, 0, 1, Reason.GOING_AWAY)]


def test_a_chunk_that_cannot_be_loaded_is_refused_and_the_slot_goes_on():
    pair = Pair(settings=SessionSettings(upload_slots=1))
    pair.is_loading = False
    first, second = (pair.listener.request(0, chunk, pair.now) for chunk in (0, 1))
    pair.run()
    assert [event.request_id for event in pair.seed_heard if isinstance(event, UploadWanted)] == [first]
    assert [event.request_id for event in pair.seed.refuse(first, Reason.NOT_HELD)] == [second]


def test_peer_exchange_carries_ids():
    pair = Pair()
    pair.seed.offer_peers([bytes([i] * 32) for i in range(12)])
    pair.run()
    assert pair.of(PeersOffered) == [PeersOffered(tuple(bytes([i] * 32) for i in range(10)))]


SDP = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"


def relay_message(sdp: str = SDP) -> wire.Relay:
    return wire.Relay(bytes([1] * 32), bytes([2] * 32), wire.RelayKind.OFFER, bytes(64), sdp)


def test_a_description_travels_through_a_session():
    pair = Pair()
    pair.seed.relay(relay_message())
    pair.run()
    assert pair.of(Relayed) == [Relayed(relay_message())]


@pytest.mark.parametrize(("message", "most"), [(relay_message(), 20), (wire.Peers((bytes(32),)), 8)])
def test_more_introductions_than_anybody_needs_are_ignored_and_cost_nothing_else(message, most):
    pair = Pair()
    heard = [event for _ in range(100) for event in pair.listener.receive(wire.encode(message), pair.now)]
    assert len(heard) == most
    request = pair.listener.request(0, 0, pair.now)
    pair.run()
    assert pair.received(request) == chunk_bytes(0, 0)


def test_a_peer_that_claims_what_it_does_not_have_is_left_after_eight_refusals():
    pair = Pair()
    for chunk in range(5):
        pair.seed._held[0].discard(chunk)
    for chunk in range(9):
        pair.seed._held[1].discard(chunk)
    for number, chunk in [(0, c) for c in range(5)] + [(1, c) for c in range(3)]:
        assert pair.of(Closed) == []
        pair.listener.request(number, chunk, pair.now)
        pair.run()
    assert [event.code for event in pair.of(Closed)] == ["claims_false"]


def test_a_good_answer_between_refusals_keeps_a_peer_that_evicts():
    pair = Pair()
    refused = [(0, chunk) for chunk in range(4)] + [(1, chunk) for chunk in range(8)]
    for number, chunk in refused:
        pair.seed._held[number].discard(chunk)
    for at, (number, chunk) in enumerate(refused):
        pair.listener.request(number, chunk, pair.now)
        if at == 6:
            pair.listener.request(1, 8, pair.now)
        pair.run()
    assert len(pair.of(RequestRejected)) == 12
    assert pair.of(Closed) == []


def test_a_peer_that_is_silent_for_many_requests_in_a_row_is_left():
    pair = Pair()
    pair.is_loading = False
    for _ in range(4):
        pair.listener.request(0, 0, pair.now)
        pair.listener.request(0, 1, pair.now)
        pair.run()
        pair.wait(2.0)
    assert len(pair.of(RequestTimedOut)) == 8
    assert [event.code for event in pair.of(Closed)] == ["unresponsive"]


def test_a_peer_that_sends_a_little_between_its_silences_is_kept():
    pair = Pair()
    for _ in range(12):
        pair.listener.request(0, 0, pair.now)
        pair.run(pieces=1)
        pair.now += 2.5
        pair.heard += pair.listener.tick(pair.now)
        pair.run(pieces=0)
    assert len(pair.of(RequestTimedOut)) == 12
    assert pair.of(Closed) == []


def test_data_may_come_late_after_a_cancel_but_not_for_ever():
    for later, codes in ((29.0, []), (31.0, ["unexpected_data"])):
        session = session_of(nothing())
        session.receive(wire.encode(hello()), 0.0)
        request = session.request(0, 0, 0.0)
        session.cancel(request, 1.0)
        heard = session.receive(wire.encode(wire.Data(request, 0, bytes(60_000))), 1.0 + later)
        assert [event.code for event in heard] == codes


def test_data_in_crumbs_is_refused_but_the_end_of_an_answer_may_be_small():
    for pieces, codes in (((4_096, 60_000, 1_440), []), ((4_095,), ["data_crumbs"]), ((1,), ["data_crumbs"])):
        session = session_of(nothing())
        session.receive(wire.encode(hello()), 0.0)
        request = session.request(1, 0, 0.0)
        at, heard = 0, []
        for size in pieces:
            heard += session.receive(wire.encode(wire.Data(request, at, bytes(size))), 0.0)
            at += size
        assert [event.code for event in heard if isinstance(event, Closed)] == codes


def test_a_peer_that_never_says_hello_is_closed():
    session = session_of(nothing())
    assert session.next_deadline(0.0) == 10.0
    assert session.tick(9.9) == []
    assert session.tick(10.0) == [Closed("hello_timeout")]
    assert session.next_deadline(10.0) is None


def hello(**changes: object) -> wire.Hello:
    return replace(wire.Hello(ROOT, everything()), **changes)


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ([wire.Have(0, 0)], "message_out_of_turn"),
        ([hello(), hello()], "message_out_of_turn"),
        ([hello(track_root=bytes(32))], "wrong_track"),
        ([hello(availability={0: Bitfield(5)})], "wrong_shape"),
        ([hello(availability={0: Bitfield(5), 1: Bitfield(8)})], "wrong_shape"),
        ([hello(), wire.Have(2, 0)], "chunk_out_of_range"),
        ([hello(), wire.Have(0, 5)], "chunk_out_of_range"),
        ([hello(), wire.Request(1, 0, 5, 0, 1)], "request_out_of_range"),
        ([hello(), wire.Request(1, 0, 4, 0, 4)], "request_out_of_range"),
        ([hello(), wire.Request(1, 7, 0, 0, 1)], "request_out_of_range"),
        ([hello(), wire.Request(1, 0, 0, 0, 1), wire.Request(1, 0, 1, 0, 1)], "request_repeated"),
        ([hello(), wire.Data(9, 0, b"x")], "unexpected_data"),
        ([hello()] + [wire.Have(0, 0)] * 2_000, "message_flood"),
        ([hello()] + [relay_message()] * 2_000, "message_flood"),
        ([hello(), wire.Gone(0, 5)], "chunk_out_of_range"),
        ([hello(), wire.Gone(2, 0)], "chunk_out_of_range"),
        ([hello(), relay_message("v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\n")], "sdp_media"),
        ([hello(), relay_message("v=0\r\n" + "a=candidate:\r\n" * 900 + SDP[5:])], "sdp_malformed"),
    ],
)
def test_each_broken_rule_ends_the_session_with_its_name(script, code):
    session = session_of(everything())
    heard = [event for message in script for event in session.receive(wire.encode(message), 1.0)]
    assert isinstance(heard[-1], Closed)
    assert heard[-1].code == code
    assert session.state is State.CLOSED
    assert session.receive(wire.encode(hello()), 1.0) == []
    assert session.to_send() == []


@pytest.mark.parametrize("offset", [1, FRAME_BYTES])
def test_data_out_of_order_or_past_the_end_closes(offset):
    session = session_of(nothing())
    session.receive(wire.encode(hello()), 0.0)
    request = session.request(1, 0, 0.0)
    heard = session.receive(wire.encode(wire.Data(request, offset, b"x")), 0.0)
    assert [event.code for event in heard] == ["data_out_of_order"]


def test_more_data_than_was_asked_for_closes_even_after_a_cancel():
    session = session_of(nothing())
    session.receive(wire.encode(hello()), 0.0)
    request = session.request(1, 0, 0.0)
    session.cancel(request, 0.0)
    assert session.receive(wire.encode(wire.Data(request, 0, bytes(60_000))), 0.0) == []
    heard = session.receive(wire.encode(wire.Data(request, 60_000, bytes(6_000))), 0.0)
    assert [event.code for event in heard] == ["data_out_of_order"]


def test_every_state_has_its_transitions_and_closed_has_none():
    assert set(TRANSITIONS) == set(State)
    assert TRANSITIONS[State.CLOSED] == {}


def test_availability_that_does_not_fit_the_manifest_is_our_mistake():
    with pytest.raises(CallerFault):
        PeerSession(ROOT, RENDITIONS, {0: Bitfield(5)}, 0.0)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=80), messages.map(wire.encode)), max_size=30), st.booleans())
def test_a_stranger_may_say_anything_and_the_session_neither_raises_nor_hangs(script, begins_well):
    session = session_of(everything())
    now = 0.0
    if begins_well:
        session.receive(wire.encode(hello()), now)
        session.request(0, 0, now)
    for message in script:
        now += 0.1
        for event in session.receive(message, now):
            if isinstance(event, UploadWanted):
                session.upload_ready(event.request_id)
        session.tick(now)
        session.to_send()
        for _ in range(200):
            if session.next_piece(0, now) is None:
                break
        deadline = session.next_deadline(now, has_room=False)
        assert deadline is None or session.state is not State.CLOSED
    assert len(session._uploads) <= 16


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_an_honest_pair_delivers_whatever_is_asked_in_whatever_order(data):
    pair = Pair()
    open_requests: dict[int, tuple[int, int, int, int]] = {}
    cancelled = set()
    for _ in range(data.draw(st.integers(1, 15))):
        if open_requests and data.draw(st.booleans()):
            request = data.draw(st.sampled_from(sorted(open_requests)))
            pair.listener.cancel(request, pair.now)
            cancelled.add(request)
        elif pair.listener.free_slots:
            number = data.draw(st.integers(0, 1))
            chunk = data.draw(st.integers(0, RENDITIONS[number].chunk_count - 1))
            first = data.draw(st.integers(0, RENDITIONS[number].chunk_frames(chunk) - 1))
            count = data.draw(st.integers(1, RENDITIONS[number].chunk_frames(chunk) - first))
            request = pair.listener.request(number, chunk, pair.now, first_frame=first, frame_count=count)
            open_requests[request] = (number, chunk, first, count)
        pair.run(pieces=data.draw(st.integers(0, 12)))
    pair.run()
    assert pair.of(Closed) == []
    for request, (number, chunk, first, count) in open_requests.items():
        if request not in cancelled:
            expected = chunk_bytes(number, chunk)[first * FRAME_BYTES : (first + count) * FRAME_BYTES]
            assert pair.received(request) == expected
