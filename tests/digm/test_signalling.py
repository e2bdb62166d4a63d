"""Signalling messages and the client's session: bounds, directions, and that no text breaks them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digm import signalling as messages
from digm.errors import CallerFault, PeerFault
from digm.signalling_client import (
    HubFault,
    IceServersChanged,
    Ready,
    Refused,
    SignallingClient,
    SignatureWanted,
)

TRACK, ME, OTHER = "ab" * 32, "01" * 32, "02" * 32
SDP = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"

EXAMPLES = [
    messages.Challenge("cd" * 32),
    messages.Hello(ME, "ef" * 64, "0.1.0"),
    messages.Welcome("s1", 45.0, (messages.IceServer(("turn:t.example",), "u", "c"),), {"peers": 10}, 600.0),
    messages.Join(TRACK, "token", 0.25, 4),
    messages.Peers(TRACK, (messages.PeerShare(OTHER, 1.0, messages.NODE),), 7),
    messages.Announce(TRACK, 1.0),
    messages.Leave(TRACK),
    messages.Offer(TRACK, ME, OTHER, SDP),
    messages.Answer(TRACK, ME, OTHER, SDP),
    messages.Candidate(TRACK, ME, OTHER, "candidate:1 1 udp 1 10.0.0.1 9 typ host", "0", 0),
    messages.Candidate(TRACK, ME, OTHER, None),
    messages.PeerJoined(TRACK, OTHER, 0.5),
    messages.PeerLeft(TRACK, OTHER),
    messages.Error("token_bad", "No.", TRACK),
    messages.Error("message_type", "No."),
    messages.Bye("going_away", 2.5),
    messages.Report(TRACK, OTHER, "wrong_hash"),
    messages.Ice(),
    messages.IceServers((messages.IceServer(("turn:t.example",), "u", "c"),), 600.0),
    messages.Redirect(TRACK, "wss://other.example/signal"),
    messages.OfferRelay(("turn:[2001:db8::1]:3478?transport=udp", "turns:relay.example:5349")),
    messages.OfferRelay(("turn:192.0.2.1",), "ab" * 32),
]


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_every_message_survives_the_wire_in_its_direction_and_only_there(message):
    text = messages.encode(message)
    kind = type(message)
    for decode, allowed in (
        (messages.decode_from_peer, messages.FROM_PEER),
        (messages.decode_from_hub, messages.FROM_HUB),
    ):
        if kind in allowed:
            assert decode(text) == message
        else:
            with pytest.raises(PeerFault) as fault:
                decode(text)
            assert fault.value.code == "message_type"


def test_every_kind_of_message_has_an_example():
    assert {type(message) for message in EXAMPLES} == set(messages.SCHEMA)


def test_unknown_fields_are_ignored():
    text = json.dumps({"type": "leave", "track": TRACK, "mood": "good"})
    assert messages.decode_from_peer(text) == messages.Leave(TRACK)


def edited(message: messages.Message, **changes: object) -> str:
    return json.dumps(json.loads(messages.encode(message)) | changes)


OFFER, JOIN, CANDIDATE = EXAMPLES[7], EXAMPLES[3], EXAMPLES[9]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "message_not_json"),
        ("[1]", "message_not_json"),
        ("[" * 50_000, "message_not_json"),
        ('"' + "x" * 70_000 + '"', "message_too_long"),
        ('"' + "ü" * 40_000 + '"', "message_too_long"),
        ("{}", "message_type"),
        ('{"type": "dance"}', "message_type"),
        (edited(JOIN, track="AB" * 32), "message_field"),
        (edited(JOIN, track=None), "message_field"),
        (edited(JOIN, share=1.5), "message_field"),
        (edited(JOIN, share=float("nan")), "message_field"),
        (edited(JOIN, share=True), "message_field"),
        (edited(JOIN, want=11), "message_field"),
        (edited(JOIN, token="t" * 129), "message_field"),
        (edited(OFFER, sdp=7), "message_field"),
        (edited(OFFER, sdp=SDP + "a=x\r\n" * 4_000), "sdp_too_long"),
        (edited(OFFER, sdp="hello"), "sdp_malformed"),
        (edited(OFFER, sdp=SDP + "a=candidate:1\r\n" * 65), "sdp_malformed"),
        (edited(OFFER, sdp=SDP + "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"), "sdp_media"),
        (edited(OFFER, sdp=SDP + "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n"), "sdp_media"),
        (edited(OFFER, sdp=SDP.replace("m=application", "m=audio")), "sdp_media"),
        (edited(OFFER, sdp=SDP + SDP.splitlines()[-1]), "sdp_media"),
        (edited(OFFER, sdp=SDP + "\x0bm=audio 9 RTP/AVP 0"), "sdp_media"),
        (edited(OFFER, sdp="v=0\r\n"), "sdp_media"),
        (edited(CANDIDATE, candidate="c" * 1_025), "candidate_bad"),
        (edited(CANDIDATE, candidate="a\r\nm=audio 9"), "candidate_bad"),
        (edited(CANDIDATE, candidate=5), "candidate_bad"),
        (edited(CANDIDATE, sdp_m_line_index=-1), "message_field"),
        (edited(EXAMPLES[1], role="owner"), "message_field"),
        (edited(EXAMPLES[20], urls=[]), "message_field"),
        (edited(EXAMPLES[20], urls=["http://127.0.0.1/"]), "message_field"),
        (edited(EXAMPLES[20], urls=["turn:a b"]), "message_field"),
    ],
)
def test_what_breaks_a_bound_is_refused_by_name(text, code):
    with pytest.raises(PeerFault) as fault:
        messages.decode_from_peer(text)
    assert fault.value.code == code


def test_our_own_message_out_of_bounds_is_our_mistake():
    with pytest.raises(CallerFault):
        messages.encode(messages.Join(TRACK, "t" * 200, 0.5))
    with pytest.raises(CallerFault):
        messages.encode(messages.Offer(TRACK, ME, OTHER, "m=audio"))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from(EXAMPLES), st.data())
def test_a_message_with_any_field_replaced_by_anything_is_read_or_refused(message, data):
    document = json.loads(messages.encode(message))
    key = data.draw(st.sampled_from(sorted(document)))
    document[key] = data.draw(json_values)
    for decode in (messages.decode_from_peer, messages.decode_from_hub):
        try:
            decode(json.dumps(document))
        except PeerFault as fault:
            assert fault.code


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused_and_the_client_lives(text):
    client = ready_client()
    client.receive(text, 1.0)
    try:
        messages.decode_from_peer(text)
    except PeerFault as fault:
        assert fault.code


def ready_client() -> SignallingClient:
    client = SignallingClient(ME, random=lambda: 0.5)
    client.connected(0.0)
    wanted = client.receive(messages.encode(EXAMPLES[0]), 0.0)
    assert wanted == [SignatureWanted(b"digm/1 hello" + bytes([0xCD] * 32))]
    client.signed(bytes(64))
    assert isinstance(messages.decode_from_peer(client.to_send()[0]), messages.Hello)
    return client


def welcome(client: SignallingClient, now: float = 0.0) -> list:
    return client.receive(messages.encode(EXAMPLES[2]), now)


def sent(client: SignallingClient) -> list:
    return [messages.decode_from_peer(text) for text in client.to_send()]


def test_joins_wait_for_the_welcome_and_are_repeated_after_every_new_connection():
    client = ready_client()
    client.join(TRACK, "token", 0.0, 0.0)
    assert sent(client) == []
    assert welcome(client) == [Ready("s1", EXAMPLES[2].ice_servers, {"peers": 10})]
    assert sent(client) == [messages.Join(TRACK, "token", 0.0)]
    client.set_share(TRACK, 0.5)
    client.disconnected(5.0)
    assert not client.is_ready
    client.connected(6.0)
    welcome(client, 6.0)
    assert sent(client) == [messages.Join(TRACK, "token", 0.5)]
    client.leave(TRACK)
    assert sent(client) == [messages.Leave(TRACK)]


def test_presence_is_announced_within_the_heartbeat_with_jitter():
    client = ready_client()
    client.join(TRACK, "token", 0.0, 0.0)
    welcome(client)
    client.to_send()
    deadline = client.next_deadline()
    assert deadline is not None
    assert 45 * 0.7 <= deadline <= 45
    client.set_share(TRACK, 0.75)
    client.tick(deadline - 0.1)
    assert sent(client) == []
    client.tick(deadline)
    assert sent(client) == [messages.Announce(TRACK, 0.75)]
    assert client.next_deadline() > deadline


def test_offers_are_lost_while_the_hub_is_away_and_the_caller_knows():
    client = ready_client()
    assert not client.offer(TRACK, OTHER, SDP)
    welcome(client)
    assert client.offer(TRACK, OTHER, SDP)
    assert sent(client) == [messages.Offer(TRACK, ME, OTHER, SDP)]


def test_only_what_is_meant_for_us_and_our_swarms_is_passed_on():
    client = ready_client()
    client.join(TRACK, "token", 0.0, 0.0)
    welcome(client)
    for_us = messages.Offer(TRACK, OTHER, ME, SDP)
    assert client.receive(messages.encode(for_us), 0.0) == [for_us]
    assert client.receive(messages.encode(messages.Offer(TRACK, OTHER, OTHER, SDP)), 0.0) == []
    assert client.receive(messages.encode(messages.PeerJoined("cd" * 32, OTHER)), 0.0) == []
    assert client.receive(messages.encode(EXAMPLES[13]), 0.0) == [Refused("token_bad", "No.", TRACK)]
    assert client.receive("garbage", 0.0) == [HubFault("message_not_json")]


def test_the_pause_before_a_new_connection_grows_is_jittered_and_ends_with_a_welcome():
    client = SignallingClient(ME, random=lambda: 1.0)
    pauses = [client.disconnected(0.0) for _ in range(9)]
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    client.connected(0.0)
    welcome(client)
    assert client.disconnected(0.0) == 0.5
    early = SignallingClient(ME, random=lambda: 0.0)
    assert 0 < early.disconnected(0.0) < 0.5


def test_a_hub_that_says_bye_is_given_the_time_it_asked_for():
    client = ready_client()
    welcome(client)
    assert client.receive(messages.encode(EXAMPLES[15]), 0.0) == [EXAMPLES[15]]
    assert client.disconnected(10.0) >= 12.5


def test_fresh_credentials_are_asked_for_before_the_old_ones_expire():
    client = ready_client()
    welcome(client)
    deadline = client.next_deadline()
    assert deadline is not None
    assert 300 < deadline < 480.1
    client.tick(deadline)
    assert sent(client) == [messages.Ice()]
    fresh = (messages.IceServer(("turn:t.example",), "u2", "c2"),)
    answer = messages.encode(messages.IceServers(fresh, 600.0))
    assert client.receive(answer, deadline) == [IceServersChanged(fresh)]
    assert deadline + 300 < client.next_deadline() < deadline + 480.1


def test_a_swarm_that_lives_elsewhere_is_joined_again_on_the_next_connection():
    client = ready_client()
    client.join(TRACK, "token", 0.0, 0.0)
    welcome(client)
    client.to_send()
    redirect = messages.Redirect(TRACK, "wss://other.example/signal")
    assert client.receive(messages.encode(redirect), 1.0) == [redirect]
    client.disconnected(2.0)
    client.connected(3.0)
    welcome(client, 3.0)
    assert sent(client) == [messages.Join(TRACK, "token", 0.0)]


def test_who_stays_with_a_hub_that_sent_it_elsewhere_asks_again_until_it_is_let_in():
    client = ready_client()
    client.join(TRACK, "token", 0.0, 0.0)
    welcome(client)
    client.to_send()
    client.receive(messages.encode(messages.Redirect(TRACK, "wss://other.example/signal")), 1.0)
    deadline = client.next_deadline()
    assert deadline is not None
    assert deadline <= 4.0
    client.tick(deadline)
    assert sent(client) == [messages.Join(TRACK, "token", 0.0)]
    client.receive(messages.encode(messages.Peers(TRACK, (), 1)), deadline)
    client.tick(deadline + 45.0)
    assert sent(client) == [messages.Announce(TRACK, 0.0)]
