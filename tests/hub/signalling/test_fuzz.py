"""The hub's sessions among honest clients and a hostile one: nobody falls, nobody is hurt, nothing grows."""

import contextlib
import json
import random
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from digm import signalling as messages
from digm.ids import to_hex
from digm.signalling_client import HubFault, SignallingClient, SignatureWanted
from hub.signalling.allowance import SwarmBucket
from hub.signalling.bus import LocalBus
from hub.signalling.presence import MAX_KNOWN, LocalPresence, Member
from hub.signalling.session import MAX_CANDIDATE_PAIRS, HubSession, Surroundings
from hub.signalling.settings import SignallingSettings
from hub.signalling.tokens import swarm_token

SECRET = bytes(range(32))
TRACK, OTHER_TRACK = bytes([7] * 32), bytes([8] * 32)
SDP = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"
CANDIDATE = "candidate:1 1 udp 2122260223 127.0.0.1 {} typ host"
NONCE = "ab" * 32
KEYS = [Ed25519PrivateKey.from_private_bytes(bytes([n] * 32)) for n in range(1, 5)]
LIMITS = SignallingSettings()
FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
honest = st.integers(0, 2)


def token(track: bytes = TRACK) -> str:
    return swarm_token(SECRET, track, 2_000)


class Hub:
    """Everything that sessions share, without sockets."""

    def __init__(self) -> None:
        self.presence = LocalPresence(random.Random(1))
        self.bus = LocalBus()
        self.around = Surroundings(
            presence=self.presence,
            bus=self.bus,
            settings=LIMITS,
            swarm_secret=SECRET,
            home=lambda track: None,
            ice_servers=lambda session, host: ((), 0),
            swarm_bucket=lambda track, now: SwarmBucket(0, 1, now),
            relay_offered=lambda peer, urls, secret: False,
            is_elder=lambda peer: False,
            unix_now=lambda: 1_000.0,
        )

    def session(self, name: str, inbox: list[bytes]) -> HubSession:
        return HubSession(self.around, name, NONCE, name, "localhost", inbox.append, lambda peer: None)


class Visitor:
    """A session and who is at the other end of it."""

    def __init__(self, hub: Hub, number: int) -> None:
        self.key = KEYS[number]
        self.peer = self.key.public_key().public_bytes_raw().hex()
        self.inbox: list[bytes] = []
        self.session = hub.session(f"session {number}", self.inbox)
        self.client = SignallingClient(self.peer, random=lambda: 0.5)
        self.client.connected(0.0)
        self.heard: list[Any] = []
        self.said: list[str] = []

    def settle(self, now: float) -> None:
        """Read what came, and say what the client wants to say."""
        while self.inbox:
            texts, self.inbox[:] = self.inbox[:], []
            for raw in texts:
                for event in self.client.receive(raw.decode(), now):
                    if isinstance(event, SignatureWanted):
                        self.client.signed(self.key.sign(event.message))
                    self.heard.append(event)
        for text in self.client.to_send():
            self.said.append(text)
            self.session.receive(text.encode(), now)
            self.settle(now)


class SwarmWithAStranger(RuleBasedStateMachine):
    """Three honest clients go about their business; a fourth member does what it wants."""

    @initialize()
    def meet(self) -> None:
        self.now = 0.0
        self.hub = Hub()
        self.visitors = [Visitor(self.hub, number) for number in range(3)]
        self.sent: dict[tuple[str, str], list[str]] = {}
        self.hostile = Visitor(self.hub, 3)
        for visitor in [*self.visitors, self.hostile]:
            visitor.settle(self.now)
            visitor.client.join(to_hex(TRACK), token(), 0.0, self.now)
        self.settle()

    def settle(self) -> None:
        """Until nobody has anything to read or to say."""
        everybody = [*self.visitors, self.hostile]
        while True:
            for visitor in everybody:
                visitor.settle(self.now)
            if not any(visitor.inbox for visitor in everybody):
                return

    # -- the honest

    @rule(who=honest, share=st.floats(0, 1))
    def join_again(self, who: int, share: float) -> None:
        self.visitors[who].client.join(to_hex(TRACK), token(), share, self.now)
        self.settle()

    @rule(who=honest)
    def leave(self, who: int) -> None:
        self.visitors[who].client.leave(to_hex(TRACK))
        self.settle()

    @rule(who=honest, whom=honest, what=st.sampled_from(["offer", "answer"]), number=st.integers(0, 99))
    def describe(self, who: int, whom: int, what: str, number: int) -> None:
        one, other = self.visitors[who], self.visitors[whom]
        if who == whom or not all(self._is_member(visitor) for visitor in (one, other)):
            return
        sdp = SDP + f"a=x:{number}\r\n"
        getattr(one.client, what)(to_hex(TRACK), other.peer, sdp)
        self.settle()
        last = other.heard[-1]
        assert (last.sender, last.recipient, last.sdp) == (one.peer, other.peer, sdp)

    def _is_member(self, visitor: Visitor) -> bool:
        is_member = self.hub.presence.member(to_hex(TRACK), visitor.peer) is not None
        return is_member and to_hex(TRACK) in visitor.client._memberships

    @rule(seconds=st.sampled_from([1.0, 20.0, 44.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        for visitor in self.visitors:
            visitor.client.tick(self.now)
        self.settle()
        for track, peer in self.hub.presence.expired(self.now):
            self.hub.presence.leave(track, peer)

    # -- the hostile

    @rule(data=st.data())
    def say_what_one_should_not(self, data: st.DataObject) -> None:
        if self.hostile.session.is_over:
            return
        names = [visitor.peer for visitor in [*self.visitors, self.hostile]]
        text = data.draw(hostile_texts(names, [text for v in self.visitors for text in v.said[-5:]]))
        before = {visitor.peer: len(visitor.heard) for visitor in self.visitors}
        with contextlib.suppress(UnicodeDecodeError):
            self.hostile.session.receive(text, self.now)
        for visitor in self.visitors:
            visitor.settle(self.now)
            for event in visitor.heard[before[visitor.peer] :]:
                sender = getattr(event, "sender", None) or getattr(event, "peer", None)
                assert sender == self.hostile.peer, f"somebody else's name: {event}"
        assert sum(map(len, self.hostile.inbox)) < 4_000, "one message makes the hub say that much"
        self.hostile.inbox.clear()

    @invariant()
    def the_honest_are_well(self) -> None:
        for visitor in getattr(self, "visitors", []):
            assert not any(isinstance(event, HubFault) for event in visitor.heard)
            assert not visitor.session.is_over
            assert visitor.session._faults == 0
            assert len(visitor.session._candidates) <= MAX_CANDIDATE_PAIRS
            member = self.hub.presence.member(to_hex(TRACK), visitor.peer)
            assert member is None or len(member.known) <= MAX_KNOWN
            visitor.heard = visitor.heard[-3:]


@st.composite
def hostile_texts(draw: st.DrawFn, names: list[str], overheard: list[str]) -> bytes:
    """Messages with other people's names, replays, broken fields, broken JSON, and anything at all."""
    kind = draw(st.integers(0, 4))
    if kind == 0:
        return draw(st.binary(max_size=100))
    if kind == 1 and overheard:
        return draw(st.sampled_from(overheard)).encode()  # word for word
    name = st.sampled_from([*names, "00" * 32, "x"])
    document: dict[str, Any] = {
        "type": draw(st.sampled_from(["offer", "answer", "candidate", "join", "announce", "leave", "report",
                                      "ice", "offer_relay", "hello", "peers", "welcome", "bye"])),
        "track": draw(st.sampled_from([to_hex(TRACK), to_hex(OTHER_TRACK), "y"])),
        "from": draw(name), "to": draw(name), "peer": draw(name),
        "sdp": draw(st.sampled_from([SDP, "v=0", ""])),
        "token": draw(st.sampled_from([token(), token(OTHER_TRACK), "z"])),
        "share": draw(st.sampled_from([0, 1, 2, "1", None, float("nan")])), "want": draw(st.integers(-1, 12)),
        "code": "wrong_hash", "candidate": CANDIDATE.format(draw(st.integers(0, 70_000))), "sdp_mid": "0",
        "sdp_m_line_index": draw(st.integers(-1, 300)), "urls": ["turn:192.0.2.1:3478"], "signature": "0" * 128,
    }  # fmt: skip
    for field in draw(st.lists(st.sampled_from(sorted(document)), max_size=3)):
        document[field] = draw(_junk)
    text = json.dumps(document)
    if kind == 2:
        at = draw(st.integers(0, len(text) - 1))
        text = text[:at] + draw(st.sampled_from(["", "}", '"', "\x00", "[" * 50])) + text[at + 1 :]
    return text.encode()


_junk = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)

SwarmWithAStranger.TestCase.settings = settings(FUZZ, stateful_step_count=40)
TestSwarmWithAStranger = SwarmWithAStranger.TestCase


@FUZZ
@given(st.data(), st.booleans())
def test_whatever_is_said_the_session_answers_or_is_over(data, is_proven):
    hub = Hub()
    visitor = Visitor(hub, 0)
    if is_proven:
        visitor.settle(0.0)
    visitor.inbox.clear()
    for _ in range(30):
        if visitor.session.is_over:
            break
        faults = visitor.session._faults
        with contextlib.suppress(UnicodeDecodeError):
            visitor.session.receive(data.draw(hostile_texts([visitor.peer], [])), 0.0)
        assert len(visitor.inbox) <= 1
        if visitor.session._faults > faults:
            assert json.loads(visitor.inbox[0])["type"] == "error"
        visitor.inbox.clear()
    if not is_proven and visitor.session.peer is None:
        assert visitor.session.is_over == bool(visitor.session._faults), "no second try without a proof"


def test_a_description_of_ten_thousand_candidates_is_not_passed_on():
    hub = Hub()
    one, other = Visitor(hub, 0), Visitor(hub, 1)
    for visitor in (one, other):
        visitor.settle(0.0)
        visitor.client.join(to_hex(TRACK), token(), 0.0, 0.0)
        visitor.settle(0.0)
    other.settle(0.0)
    before = len(other.heard)
    sdp = SDP + "".join(f"a={CANDIDATE.format(n)}\r\n" for n in range(10_000))
    offer = {"type": "offer", "track": to_hex(TRACK), "from": one.peer, "to": other.peer, "sdp": sdp}
    one.session.receive(json.dumps(offer).encode(), 0.0)
    assert json.loads(one.inbox[-1])["code"] in ("message_too_long", "sdp_too_long")
    for number in range(10_000):
        offer = {"type": "candidate", "track": to_hex(TRACK), "from": one.peer, "to": other.peer,
                 "candidate": CANDIDATE.format(number), "sdp_mid": "0", "sdp_m_line_index": 0}  # fmt: skip
        if one.session.is_over:
            break
        one.session.receive(json.dumps(offer).encode(), 0.0)
    other.settle(0.0)
    assert one.session.is_over
    assert len(other.heard) - before <= LIMITS.max_candidates


def test_a_crowd_in_one_swarm_costs_a_join_the_same():
    hub = Hub()
    for number in range(2_000):
        hub.presence.enter(to_hex(TRACK), Member(f"{number:064x}", "listener", 0.5, "n", 99.0), 10)
    visitor = Visitor(hub, 0)
    visitor.settle(0.0)
    visitor.client.join(to_hex(TRACK), token(), 0.0, 0.0)
    visitor.settle(0.0)
    (peers,) = [event for event in visitor.heard if isinstance(event, messages.Peers)]
    assert len(peers.peers) == LIMITS.max_peers
    assert peers.listeners == 2_001
