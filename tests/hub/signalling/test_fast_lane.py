"""The fast decoder and the ordinary one: a session does the same with every text, whichever read it."""

import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from digm import signalling as messages
from hub.signalling import fast_lane, session
from hub.signalling.allowance import SwarmBucket
from hub.signalling.bus import LocalBus
from hub.signalling.presence import LocalPresence
from hub.signalling.session import HubSession, Surroundings
from hub.signalling.settings import SignallingSettings
from hub.signalling.tokens import swarm_token
from tests.digm.test_signalling import EXAMPLES, SDP, json_values

SECRET, TRACK, KEYS = bytes(32), bytes([7] * 32), [bytes([n] * 32) for n in (1, 2)]
HOT = [
    m for m in EXAMPLES if type(m) in (messages.Offer, messages.Answer, messages.Candidate, messages.Announce)
]


def two_members() -> tuple[list[HubSession], list[list[bytes]]]:
    """Two sessions in one swarm and what each is told from then on."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    around = Surroundings(
        LocalPresence(random.Random(1)), LocalBus(), SignallingSettings(), SECRET,
        home=lambda track: None, ice_servers=lambda session, host: ((), 0),
        swarm_bucket=lambda track, now: SwarmBucket(0, 1, now),
        relay_offered=lambda peer, urls, secret: False, is_elder=lambda peer: False, unix_now=lambda: 0.0,
    )  # fmt: skip
    sessions, told = [], []
    for seed in KEYS:
        key, said = Ed25519PrivateKey.from_private_bytes(seed), []
        peer = key.public_key().public_bytes_raw().hex()
        one = HubSession(around, "s", "00" * 32, "n", "h", said.append, lambda peer: None)
        proof = key.sign(messages.hello_message("00" * 32)).hex()
        one.receive(messages.encode(messages.Hello(peer, proof)).encode(), 0.0)
        one.receive(
            messages.encode(messages.Join(TRACK.hex(), swarm_token(SECRET, TRACK, 9), 0.0)).encode(), 0.0
        )
        assert one.peer == peer
        sessions.append(one)
        told.append(said)
    for said in told:
        said.clear()
    return sessions, told


def outcome(text: bytes, is_fast: bool, monkeypatch: pytest.MonkeyPatch) -> object:
    """All that a session says and changes because of a text."""
    sessions, told = two_members()
    with monkeypatch.context() as patch:
        if not is_fast:
            patch.setattr(session.fast_lane, "decode", lambda data: None)
        try:
            sessions[0].receive(text, 1.0)
        except UnicodeDecodeError:
            return "not UTF-8"
    member = sessions[0]._around.presence.member(TRACK.hex(), sessions[0].peer or "")
    heard = [[json.loads(text) for text in said] for said in told]
    assert member is not None
    return heard, sessions[0]._faults, member.share, member.expires_at, sessions[0]._candidates


def between_members(message: messages.Message) -> dict[str, object]:
    """The document of a message from the first member to the second."""
    sessions, _ = two_members()
    document = json.loads(messages.encode(message)) | {"track": TRACK.hex()}
    return document | {"from": sessions[0].peer, "to": sessions[1].peer} if "from" in document else document


odd_values = json_values | st.sampled_from(
    [
        1e400,
        0,
        1,
        -0.0,
        2**70,
        "é" * 40,
        "\ud800",
        "m=audio",
        SDP + "\x0bm=audio 9",
        SDP * 2,
        SDP.replace("\r", ""),
    ]
)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(HOT), st.data())
def test_whatever_is_in_a_field_both_decoders_lead_to_the_same(
    monkeypatch: pytest.MonkeyPatch, message: messages.Message, data: st.DataObject
) -> None:
    document = between_members(message)
    for _ in range(data.draw(st.integers(0, 2))):
        document[data.draw(st.sampled_from([*sorted(document), "extra"]))] = data.draw(odd_values)
    text = json.dumps(document, ensure_ascii=data.draw(st.booleans())).encode("utf-8", "surrogatepass")
    fast, slow = (outcome(text, is_fast, monkeypatch) for is_fast in (True, False))
    if slow != "not UTF-8":
        assert fast == slow


@pytest.mark.parametrize("message", HOT, ids=lambda message: type(message).__name__)
def test_good_messages_take_the_fast_lane_and_arrive_as_they_were(
    monkeypatch: pytest.MonkeyPatch, message: messages.Message
) -> None:
    text = json.dumps(between_members(message)).encode()
    assert fast_lane.decode(text) is not None
    assert outcome(text, True, monkeypatch) == outcome(text, False, monkeypatch)


def test_a_name_that_stands_twice_reaches_nobody_twice() -> None:
    """A hub that checked one of them and passed on both would let a member speak as the hub."""
    sessions, told = two_members()
    good = json.dumps(between_members(messages.Offer(TRACK.hex(), "00" * 32, "00" * 32, SDP)))
    for trick in ('"type":"bye","code":"x","reconnect_after_s":3600}', f'"from":"{"cd" * 32}"}}'):
        sessions[0].receive(f"{good[:-1]},{trick}".encode(), 1.0)
    for raw in told[1]:
        names = [name for name, _ in json.loads(raw, object_pairs_hook=list)]
        assert len(names) == len(set(names))
        assert json.loads(raw)["type"] == "offer"
        assert json.loads(raw)["from"] == sessions[0].peer
