"""A hub that says anything at all: the client names the fault or goes on, and never babbles."""

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from digm import signalling as messages
from digm.signalling_client import HubFault, SignallingClient, SignatureWanted

ME, OTHER, TRACK = "aa" * 32, "bb" * 32, "cc" * 32
FUZZ = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
_junk = st.one_of(
    st.none(), st.integers(), st.floats(), st.text(max_size=9), st.lists(st.integers(), max_size=3)
)
_ids = st.sampled_from([ME, OTHER, TRACK, "z"])


@st.composite
def hub_texts(draw: st.DrawFn) -> str:
    """What a hub says, right, almost right, or not at all."""
    if draw(st.integers(0, 5)) == 0:
        return draw(st.text(max_size=80))
    document = {
        "type": draw(st.sampled_from([messages.SCHEMA[kind][0] for kind in messages.FROM_HUB] + ["join"])),
        "nonce": "ab" * 32, "session": "s", "heartbeat_s": draw(st.sampled_from([1, 45, 3600, 0, -1])),
        "ice_servers": draw(st.sampled_from([[], [{"urls": ["stun:192.0.2.1"]}], [{}], "x"])),
        "ice_ttl_s": draw(st.sampled_from([0, 1, 600, -5])), "ttl_s": draw(st.sampled_from([0, 1, 600])),
        "limits": draw(st.sampled_from([{}, {"peers": 10}, {"peers": "x"}])),
        "track": draw(_ids), "peer": draw(_ids), "from": draw(_ids), "to": draw(_ids), "share": 0.5,
        "peers": draw(st.sampled_from([[], [{"peer": OTHER, "share": 1}], [{"peer": 1}], {}])),
        "sdp": "v=0", "candidate": None, "url": "wss://elsewhere.example/signal", "role": "listener",
        "code": "c", "message": "m", "reconnect_after_s": draw(st.sampled_from([0, 5, 3600, 1e9])),
    }  # fmt: skip
    for field in draw(st.lists(st.sampled_from(sorted(document)), max_size=2)):
        document[field] = draw(_junk)
    return json.dumps(document)


@FUZZ
@given(st.lists(st.tuples(hub_texts(), st.floats(0, 100)), max_size=40))
def test_whatever_the_hub_says_the_client_neither_raises_nor_babbles(script):
    client = SignallingClient(ME, random=lambda: 0.5)
    client.connected(0.0)
    client.join(TRACK, "token", 0.0, 0.0)
    now = 0.0
    for text, pause_s in script:
        now += pause_s
        for event in client.receive(text, now):
            if isinstance(event, SignatureWanted):
                client.signed(bytes(64))
            if isinstance(event, HubFault):
                assert event.code
            if isinstance(event, messages.Offer | messages.Answer | messages.Candidate):
                assert (event.recipient, event.track) == (ME, TRACK), "somebody else's mail"
        client.tick(now)
        assert len(client.to_send()) <= 4
        deadline = client.next_deadline()
        assert deadline is None or deadline > now - 1e-6, "it would be called again and again"
    again_at = client.disconnected(now)
    assert now < again_at <= now + 3600 + 30
