"""The embedded relay's limits, without a network: quotas, rates, permissions, and input of every kind."""

import dataclasses
import ipaddress
from collections.abc import Callable
from typing import Any

import pytest
from aioice import stun
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from digm.errors import PeerFault
from hub.relay.authentication import Authentication, long_term_key
from hub.relay.credentials import turn_credentials
from hub.relay.forbidden import PeerRules
from hub.relay.limits import DEFAULT_LIMITS, RelayLimits
from hub.relay.stun_messages import Framing, encode_channel_data, padded
from hub.relay.turn_server import Times, TurnServer

SECRET, REALM = bytes(32), "digm"
NOW = Times(1_000.0, 1_800_000_000.0)
RELAY_IP, PEER = "198.51.100.1", ("8.8.8.8", 4000)
OWN = PeerRules(own=frozenset({ipaddress.ip_address(RELAY_IP)}))
UDP = 17 << 24


def later(seconds: float) -> Times:
    return Times(NOW.steady + seconds, NOW.unix + seconds)


class Port:
    """A relayed socket that notes what is sent."""

    def __init__(self, number: int) -> None:
        self.address = (RELAY_IP, number)
        self.sent: list[tuple[bytes, tuple[str, int]]] = []
        self.is_closed = False

    def send(self, payload: bytes, peer: tuple[str, int]) -> None:
        self.sent.append((payload, peer))

    def close(self) -> None:
        self.is_closed = True


class Client:
    """One five-tuple with its credentials."""

    local_ip = RELAY_IP

    def __init__(self, house: "House", number: int, session: str = "s", ttl_s: int = 600) -> None:
        self.address = (f"192.0.2.{number}", 5000)
        self.answers: list[bytes] = []
        self._house = house
        self.username, self._password = turn_credentials(SECRET, session, NOW.unix, ttl_s)
        self._nonce = b""

    @property
    def key(self) -> object:
        return self.address

    def send(self, message: bytes) -> None:
        self.answers.append(message)

    def say(self, data: bytes, now: Times = NOW) -> None:
        self._house.server.from_client(self, data, now)

    def ask(self, method: stun.Method, now: Times = NOW, **attributes: Any) -> stun.Message:
        for _ in range(2):
            message = stun.Message(method, stun.Class.REQUEST)
            message.attributes = {name.replace("_", "-"): value for name, value in attributes.items()}
            if self._nonce:
                message.attributes |= {"USERNAME": self.username, "REALM": REALM, "NONCE": self._nonce}
                message.add_message_integrity(long_term_key(self.username, REALM, self._password))
            self.say(bytes(message), now)
            answer = stun.parse_message(self.answers.pop())
            if answer.error_code not in (401, 438):
                return answer
            self._nonce = answer.attributes["NONCE"]
        return answer

    def allocate(self, now: Times = NOW) -> stun.Message:
        return self.ask(stun.Method.ALLOCATE, now, REQUESTED_TRANSPORT=UDP)

    def permit(self, peer: tuple[str, int] = PEER, now: Times = NOW) -> stun.Message:
        return self.ask(stun.Method.CREATE_PERMISSION, now, XOR_PEER_ADDRESS=peer)

    def bind(self, channel: int, peer: tuple[str, int] = PEER, now: Times = NOW) -> stun.Message:
        return self.ask(stun.Method.CHANNEL_BIND, now, CHANNEL_NUMBER=channel, XOR_PEER_ADDRESS=peer)

    def give(self, payload: bytes, peer: tuple[str, int] = PEER, now: Times = NOW) -> None:
        message = stun.Message(stun.Method.SEND, stun.Class.INDICATION)
        message.attributes = {"XOR-PEER-ADDRESS": peer, "DATA": payload}
        self.say(bytes(message), now)


class House:
    """A relay without sockets."""

    def __init__(self, rules: PeerRules = OWN, **limits: Any) -> None:
        self.ports: list[Port] = []
        self.limits: RelayLimits = dataclasses.replace(DEFAULT_LIMITS, **limits)
        authentication = Authentication(SECRET, REALM, b"nonce key", self.limits.nonce_s)
        self.server = TurnServer(authentication, rules, self.limits, self._open, NOW.steady)

    def _open(self, _local_ip: str, version: int, _is_even: bool) -> Port | None:
        if version != 4:
            return None
        self.ports.append(Port(50_000 + len(self.ports)))
        return self.ports[-1]


def test_an_allocation_ends_with_its_credentials_and_gives_its_port_back() -> None:
    house = House()
    client = Client(house, 1, ttl_s=30)
    assert client.allocate().attributes["LIFETIME"] == 30
    assert client.ask(stun.Method.REFRESH, later(29), LIFETIME=600).attributes["LIFETIME"] == 1
    house.server.tick(later(31).steady)
    assert len(house.server) == 0
    assert house.ports[0].is_closed
    assert client.ask(stun.Method.REFRESH, later(31), LIFETIME=600).error_code == 401


def test_no_datagram_passes_between_the_end_of_an_allocation_and_the_next_tick() -> None:
    house = House()
    client = Client(house, 1, ttl_s=30)
    client.allocate()
    client.permit()
    client.give(b"too late", now=later(31))
    house.server.from_peer(house.ports[0], b"too late", PEER, later(31))
    assert (house.ports[0].sent, client.answers) == ([], [])


@pytest.mark.parametrize(
    "limits, second, status",
    [
        ({"allocations_per_session": 1}, lambda house: Client(house, 2), 486),
        ({"allocations_per_address": 1}, lambda house: _neighbour(house), 486),
        ({"allocations": 1}, lambda house: Client(house, 2, session="t"), 508),
    ],
)
def test_an_allocation_beyond_a_quota_is_refused_until_another_ends(
    limits: dict[str, int], second: Callable[[House], Client], status: int
) -> None:
    house = House(**limits)
    first, other = Client(house, 1), second(house)
    assert first.allocate().error_code is None
    assert other.allocate().error_code == status
    first.ask(stun.Method.REFRESH, LIFETIME=0)
    assert other.allocate().error_code is None


def _neighbour(house: House) -> Client:
    client = Client(house, 1, session="t")
    client.address = (client.address[0], 5001)
    return client


def test_an_allocation_carries_no_more_than_its_rate_in_both_directions_together() -> None:
    house = House(allocation_bytes_per_s=10_000, burst_s=0.5)
    client = Client(house, 1)
    client.allocate()
    client.permit()
    for _ in range(10):
        client.give(bytes(1_000))
        house.server.from_peer(house.ports[0], bytes(1_000), PEER, NOW)
    assert len(house.ports[0].sent) + len(client.answers) == 5
    client.give(bytes(1_000), now=later(0.1))
    assert len(house.ports[0].sent) + len(client.answers) == 6


def test_all_allocations_together_carry_no_more_than_the_relays_rate() -> None:
    house = House(bytes_per_s=10_000, burst_s=0.5)
    clients = [Client(house, number, session=str(number)) for number in (1, 2)]
    for client in clients:
        client.allocate()
        client.permit()
        for _ in range(10):
            client.give(bytes(1_000))
    assert sum(len(port.sent) for port in house.ports) == 5


def test_a_packet_longer_than_any_of_webrtcs_is_dropped() -> None:
    house = House()
    client = Client(house, 1)
    client.allocate()
    client.bind(0x4000)
    client.say(encode_channel_data(0x4000, bytes(2_049)))
    house.server.from_peer(house.ports[0], bytes(2_049), PEER, NOW)
    assert (house.ports[0].sent, client.answers) == ([], [])


def test_nothing_passes_without_a_permission_and_permissions_end() -> None:
    house = House()
    client = Client(house, 1)
    client.allocate()
    client.give(b"out")
    house.server.from_peer(house.ports[0], b"in", PEER, NOW)
    assert (house.ports[0].sent, client.answers) == ([], [])
    client.permit()
    client.give(b"out")
    assert house.ports[0].sent == [(b"out", PEER)]
    client.give(b"out", now=later(301))
    assert len(house.ports[0].sent) == 1


def test_a_client_may_not_name_endless_peers() -> None:
    house = House(permissions=3, channels=2)
    client = Client(house, 1)
    client.allocate()
    statuses = [client.permit((f"9.9.9.{n}", 1)).error_code for n in range(4)]
    assert statuses == [None, None, None, 508]
    assert client.permit(("9.9.9.3", 1), later(301)).error_code is None
    assert [client.bind(0x4000 + n, ("9.9.9.3", n + 1), later(301)).error_code for n in range(3)] == [
        None, None, 508,
    ]  # fmt: skip


def test_a_channel_stays_with_its_peer() -> None:
    house = House(channel_s=100)
    client = Client(house, 1)
    client.allocate()
    assert client.bind(0x4000).error_code is None
    assert client.bind(0x4000).error_code is None
    assert client.bind(0x4000, ("9.9.9.9", 1)).error_code == 400
    assert client.bind(0x4001).error_code == 400
    assert client.bind(0x3FFF, ("9.9.9.9", 1)).error_code == 400
    assert client.bind(0x4001, now=later(101)).error_code is None


def test_two_clients_of_one_relay_reach_each_other_and_nothing_else_on_its_address() -> None:
    house = House()
    first, second = Client(house, 1, session="a"), Client(house, 2, session="b")
    first.allocate()
    second.allocate()
    for client, other in ((first, 1), (second, 0)):
        assert client.permit(house.ports[other].address).error_code is None
        assert client.permit((RELAY_IP, 8080)).error_code == 403
    first.give(b"hello", house.ports[1].address)
    answer = stun.parse_message(second.answers.pop())
    assert (answer.attributes["DATA"], answer.attributes["XOR-PEER-ADDRESS"]) == (
        b"hello", house.ports[0].address,
    )  # fmt: skip
    first.give(b"hello", (RELAY_IP, 8080))
    second.ask(stun.Method.REFRESH, LIFETIME=0)
    first.give(b"hello", house.ports[1].address)  # whoever has the port now is not who was meant
    assert house.ports[0].sent == []


def test_fresh_credentials_of_the_same_session_go_on_with_its_allocation() -> None:
    house = House()
    client = Client(house, 1, ttl_s=60)
    client.allocate()
    client.username, client._password = turn_credentials(SECRET, "s", NOW.unix, 300)
    assert client.ask(stun.Method.REFRESH, LIFETIME=600).attributes["LIFETIME"] == 300


def test_an_allocate_request_that_comes_again_gets_the_same_answer() -> None:
    house = House()
    client = Client(house, 1)
    client.allocate()
    known = house.server._by_client[client.key]
    message = stun.Message(stun.Method.ALLOCATE, stun.Class.REQUEST, known.transaction_id)
    message.attributes = {"REQUESTED-TRANSPORT": UDP, "USERNAME": client.username, "REALM": REALM}
    message.attributes["NONCE"] = client._nonce
    message.add_message_integrity(long_term_key(client.username, REALM, client._password))
    client.say(bytes(message))
    assert stun.parse_message(client.answers.pop()).attributes["XOR-RELAYED-ADDRESS"] == known.relayed
    assert client.allocate().error_code == 437
    assert len(house.ports) == 1


def test_a_nonce_is_good_for_its_time_and_its_address_alone() -> None:
    authentication = Authentication(SECRET, REALM, b"nonce key", 600)
    nonce = authentication.nonce("a", NOW.unix)
    assert authentication._is_ours(nonce, "a", NOW.unix + 599)
    assert not authentication._is_ours(nonce, "a", NOW.unix + 601)
    assert not authentication._is_ours(nonce, "b", NOW.unix)
    assert not authentication._is_ours(nonce[:-1], "a", NOW.unix)


def test_an_unknown_attribute_that_must_be_understood_is_named() -> None:
    house = House()
    client = Client(house, 1)
    message = bytearray(bytes(stun.Message(stun.Method.ALLOCATE, stun.Class.REQUEST)))
    message += bytes.fromhex("7fff0000")
    message[2:4] = (4).to_bytes(2, "big")
    client.say(bytes(message))
    answer = stun.parse_message(client.answers.pop())
    assert (answer.error_code, answer.attributes["UNKNOWN-ATTRIBUTES"]) == (420, b"\x7f\xff")


def test_strangers_get_only_so_many_answers() -> None:
    house = House(challenges_per_minute=5)
    client = Client(house, 1)
    for _ in range(20):
        client.say(bytes(stun.Message(stun.Method.BINDING, stun.Class.REQUEST)))
    assert len(client.answers) == 5


# The machine that runs them may be busy; what is looked for is not time.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
ANY_MESSAGE = st.builds(
    lambda kind, cookie, transaction, attributes: (
        kind.to_bytes(2, "big") + len(attributes).to_bytes(2, "big") + cookie + transaction + attributes
    ),
    st.integers(0, 0x3FFF) | st.sampled_from([1, 3, 4, 6, 8, 9, 0x16]),
    st.just(b"\x21\x12\xa4\x42") | st.binary(min_size=4, max_size=4),
    st.binary(min_size=12, max_size=12),
    st.lists(
        st.builds(
            lambda kind, value, length: (
                kind.to_bytes(2, "big")
                + (len(value) if length is None else length).to_bytes(2, "big")
                + padded(value)
            ),
            st.sampled_from(sorted(stun.ATTRIBUTES_BY_TYPE)) | st.integers(0, 0xFFFF),
            st.binary(max_size=40),
            st.none() | st.integers(0, 0xFFFF),
        ),
        max_size=6,
    ).map(b"".join),
)


@unhurried
@given(
    st.binary(max_size=200) | ANY_MESSAGE | st.builds(lambda data: b"\x40\x00" + data, st.binary(max_size=50))
)
def test_no_datagram_raises_or_opens_anything(data: bytes) -> None:
    house = House()
    client = Client(house, 1)
    client.allocate()
    client.say(data)
    house.server.from_peer(house.ports[0], data, PEER, NOW)
    assert len(house.server) == 1
    assert house.ports[0].sent == []


@unhurried
@given(st.lists(st.binary(max_size=300)), st.lists(ANY_MESSAGE, max_size=3))
def test_a_stream_gives_whole_messages_or_a_fault_and_keeps_little(
    pieces: list[bytes], honest: list[bytes]
) -> None:
    framing = Framing(2_560)
    try:
        for piece in (*honest, *pieces):
            for frame in framing.feed(piece):
                assert len(frame) <= 2_564
            assert len(framing._buffer) <= 2_564
    except PeerFault as fault:
        assert fault.code == "frame_bad"


def test_messages_come_out_of_a_stream_however_it_is_cut() -> None:
    message = bytes(stun.Message(stun.Method.BINDING, stun.Class.REQUEST))
    data = encode_channel_data(0x4000, b"seven b")
    stream = message + padded(data) + message
    for size in range(1, len(stream) + 1):
        framing = Framing(2_560)
        frames = [f for at in range(0, len(stream), size) for f in framing.feed(stream[at : at + size])]
        assert frames == [message, padded(data), message]


def test_a_network_may_be_allowed_but_not_our_own_address_in_it() -> None:
    network, own = ipaddress.ip_network("203.0.113.0/24"), ipaddress.ip_address("203.0.113.10")
    rules = PeerRules((network,), frozenset({own}))
    assert rules.refusal("203.0.113.11") is None
    assert rules.refusal("203.0.113.10") == "own_address"
    assert rules.refusal("10.0.0.1") == "private"
    assert all(not first <= own <= last for first, last in rules.allowed_ranges())
    assert (
        PeerRules((ipaddress.ip_network("203.0.113.10/32"),), frozenset({own})).refusal("203.0.113.10") is None
    )
    assert PeerRules((ipaddress.ip_network("::/0"),)).refusal("::ffff:127.0.0.1") == "ipv4_mapped"
