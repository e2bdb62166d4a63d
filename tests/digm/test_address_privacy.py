"""'Hide my address': nothing but a relay's address leaves."""

import re

from hypothesis import given
from hypothesis import strategies as st

from digm.address_privacy import has_relay, relay_only_candidate, relay_only_sdp
from digm.sdp import check_sdp

HOST = "candidate:1 1 udp 2113937151 192.168.1.7 51000 typ host generation 0 ufrag abcd network-cost 999"
MDNS = "candidate:1 1 udp 2113937151 9b36-eb.local 51000 typ host generation 0"
SRFLX = "candidate:2 1 udp 1677729535 203.0.113.9 51000 typ srflx raddr 192.168.1.7 rport 51000 generation 0"
PRFLX = "candidate:3 1 udp 1677729535 203.0.113.9 51000 typ prflx raddr 192.168.1.7 rport 51000"
RELAY = "candidate:4 1 udp 33562623 198.51.100.1 49200 typ relay raddr 203.0.113.9 rport 51000 generation 0"
SDP = "\r\n".join(
    [
        "v=0",
        "o=- 4611731400430051336 2 IN IP4 192.168.1.7",
        "s=-",
        "t=0 0",
        "m=application 51000 UDP/DTLS/SCTP webrtc-datachannel",
        "c=IN IP4 203.0.113.9",
        *("a=" + candidate for candidate in (HOST, MDNS, SRFLX, PRFLX, RELAY)),
        "a=ice-ufrag:abcd",
        "a=ice-pwd:0123456789012345678901",
        "a=fingerprint:sha-256 " + ":".join(["AB"] * 32),
        "a=setup:actpass",
        "a=mid:0",
        "a=sctp-port:5000",
        "",
    ]
)


def addresses(text: str) -> set[str]:
    return set(re.findall(r"\d+\.\d+\.\d+\.\d+|\S+\.local", text)) - {"0.0.0.0"}


def test_only_relay_candidates_leave_and_without_the_address_behind_them():
    assert [relay_only_candidate(c) for c in (HOST, MDNS, SRFLX, PRFLX)] == [None] * 4
    left = relay_only_candidate(RELAY)
    assert left == RELAY.replace("203.0.113.9 rport 51000", "0.0.0.0 rport 0")


def test_a_description_keeps_what_a_connection_needs_and_one_address_the_relays():
    left = relay_only_sdp(SDP)
    assert addresses(SDP) == {"192.168.1.7", "203.0.113.9", "198.51.100.1", "9b36-eb.local"}
    assert addresses(left) == {"198.51.100.1"}
    check_sdp(left)
    for line in ("a=ice-ufrag:abcd", "a=setup:actpass", "a=mid:0", "s=-", "a=sctp-port:5000"):
        assert line in left.split("\r\n")


def test_a_type_cannot_be_hidden_behind_another():
    assert relay_only_candidate(HOST + " typ relay") is None
    assert relay_only_candidate(RELAY + "\r\na=" + HOST) is None


@given(st.permutations([HOST, MDNS, SRFLX, PRFLX, RELAY]), st.sampled_from(["\r\n", "\n", "\r"]))
def test_in_whatever_order_and_with_whatever_line_ends_nothing_else_leaves(candidates, end):
    text = end.join(
        ["v=0", "o=- 1 2 IN IP6 2001:db8::7", *("a=" + c for c in candidates), "c=IN IP6 2001:db8::7"]
    )
    assert addresses(relay_only_sdp(text)) == {"198.51.100.1"}
    assert "2001:db8" not in relay_only_sdp(text)


def test_a_relay_is_a_turn_server():
    assert has_relay(["stun:a", "turn:b?transport=udp"])
    assert has_relay(["turns:b"])
    assert not has_relay(["stun:a"])
    assert not has_relay([])
