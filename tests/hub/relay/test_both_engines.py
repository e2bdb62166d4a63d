"""What a relay promises, asked of both engines: the embedded one and coturn."""

import asyncio
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest
from aioice import stun, turn

from hub.relay.credentials import turn_credentials
from tests.hub.relay.conftest import HUB_ADDRESS, Relay
from tests.hub.relay.turn_client import TurnClient

FORBIDDEN = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.254",
    "192.0.0.8",
    "192.0.2.1",
    "192.168.0.1",
    "192.168.255.254",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.10",
    "224.0.0.251",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    HUB_ADDRESS,
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "2001:0:7f00:1::",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("peer", FORBIDDEN)
def test_a_forbidden_peer_is_refused(strict_relay: Relay, peer: str) -> None:
    with TurnClient(strict_relay.address, strict_relay.credentials()) as client:
        allocated = client.allocate(ip_version=6 if ":" in peer else 4)
        assert allocated.message_class is stun.Class.RESPONSE, allocated
        assert client.permit(peer).error_code == 403
        assert client.bind(0x4000, peer).error_code == 403
        assert client.refresh(0).message_class is stun.Class.RESPONSE


@pytest.mark.parametrize("peer", ["8.8.8.8", "2001:4860:4860::8888"])
def test_a_public_peer_is_not_refused(strict_relay: Relay, peer: str) -> None:
    with TurnClient(strict_relay.address, strict_relay.credentials()) as client:
        client.allocate(ip_version=6 if ":" in peer else 4)
        assert client.permit(peer).message_class is stun.Class.RESPONSE
        assert client.refresh(0).message_class is stun.Class.RESPONSE


def test_data_of_a_forbidden_peer_does_not_come_in(strict_relay: Relay) -> None:
    with (
        TurnClient(strict_relay.address, strict_relay.credentials()) as client,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer,
    ):
        peer.bind(("127.0.0.1", 0))
        relayed = client.allocate().attributes["XOR-RELAYED-ADDRESS"]
        client.permit("127.0.0.1", peer.getsockname()[1])
        peer.sendto(b"from inside", relayed)
        client.send(b"to the inside", *peer.getsockname())
        # The relay has read both by the time that it answers what was sent after them.
        assert client.refresh().message_class is stun.Class.RESPONSE
        with pytest.raises(TimeoutError):
            client.receive(0.2)
        peer.settimeout(0.2)
        with pytest.raises(TimeoutError):
            peer.recv(100)


def test_a_credential_works_until_its_expiry(relay: Relay) -> None:
    with TurnClient(relay.address, relay.credentials()) as client:
        allocated = client.allocate()
    assert allocated.message_class is stun.Class.RESPONSE
    assert allocated.attributes["LIFETIME"] <= 600
    assert allocated.attributes["XOR-MAPPED-ADDRESS"][0] == "127.0.0.1"


@pytest.mark.parametrize("ttl_s", [-1, -600, -(10**9)])
def test_no_credential_works_after_its_expiry(relay: Relay, ttl_s: int) -> None:
    with TurnClient(relay.address, relay.credentials(ttl_s=ttl_s)) as client:
        assert client.allocate().error_code == 401


# coturn looks at an expiry only when an allocation is made (docs/relay.md).
@pytest.mark.parametrize("engine", ["embedded"], indirect=True)
def test_an_allocation_is_not_kept_alive_after_the_expiry_of_its_credentials(relay: Relay) -> None:
    with TurnClient(relay.address, relay.credentials(ttl_s=3)) as client:
        assert client.allocate().message_class is stun.Class.RESPONSE
        time.sleep(3.5)  # until the credentials are over
        assert client.refresh().error_code in (401, 437)
        assert client.permit("127.0.0.1").error_code in (401, 437)
        assert client.bind(0x4000, "127.0.0.1").error_code in (401, 437)


def test_no_credential_works_for_another_session(relay: Relay) -> None:
    mine, others = relay.credentials("mine"), relay.credentials("others")
    with TurnClient(relay.address, (others[0], mine[1])) as client:
        assert client.allocate().error_code == 401


def test_an_allocation_belongs_to_its_session(relay: Relay) -> None:
    with TurnClient(relay.address, relay.credentials("mine")) as client:
        client.allocate()
        client.username, client.password = relay.credentials("others")
        for answer in (client.refresh(), client.permit("127.0.0.1"), client.bind(0x4001, "127.0.0.1")):
            assert answer.error_code in (401, 441)


def test_an_expiry_that_was_changed_makes_the_password_wrong(relay: Relay) -> None:
    username, password = relay.credentials(ttl_s=-10)
    later = f"{int(time.time()) + 600}:{username.partition(':')[2]}"
    with TurnClient(relay.address, (later, password)) as client:
        assert client.allocate().error_code == 401


def test_no_credential_works_with_another_realm(relay: Relay) -> None:
    with TurnClient(relay.address, relay.credentials(), realm="elsewhere") as client:
        assert client.allocate().error_code in (401, 437)


def test_no_credential_works_at_a_relay_with_another_secret(relay: Relay) -> None:
    with TurnClient(relay.address, turn_credentials(bytes(32), "mine", time.time())) as client:
        assert client.allocate().error_code == 401


@pytest.mark.parametrize("username", ["alice", "", "alice:9999999999", "-1:s", "99999999999999999999999:s"])
def test_a_user_name_that_no_hub_made_is_refused(relay: Relay, username: str) -> None:
    with TurnClient(relay.address, (username, "password")) as client:
        assert client.allocate().error_code in (400, 401)


def test_nobody_gets_an_allocation_without_credentials(relay: Relay) -> None:
    with TurnClient(relay.address, ("", "")) as client:
        request = stun.Message(stun.Method.ALLOCATE, stun.Class.REQUEST)
        request.attributes["REQUESTED-TRANSPORT"] = 17 << 24
        answer = client.exchange(request)
    assert answer.error_code == 401
    assert answer.attributes["REALM"] == "digm"
    assert "FINGERPRINT" in answer.attributes


def test_tcp_services_are_not_reached_through_it(relay: Relay) -> None:
    with TurnClient(relay.address, relay.credentials()) as client:
        answer = client.request(stun.Method.ALLOCATE, {"REQUESTED-TRANSPORT": 6 << 24})
    assert answer.error_code in (400, 403, 442)


def test_it_answers_stun(relay: Relay) -> None:
    with TurnClient(relay.address, ("", "")) as client:
        answer = client.exchange(stun.Message(stun.Method.BINDING, stun.Class.REQUEST))
        assert answer.attributes["XOR-MAPPED-ADDRESS"] == client.address


TRANSPORTS = {"udp": [], "tcp": ["-t"], "tls": ["-t", "-S"]}
WAYS = ("channels", "indications")


@pytest.fixture(scope="module")
def echo() -> Iterator[int]:
    """A peer that sends back what it gets; its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        port = peer.getsockname()[1]

        def run() -> None:
            while (received := peer.recvfrom(4096))[0] != b"end":
                peer.sendto(*received)

        thread = threading.Thread(target=run)
        thread.start()
        yield port
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ending:
            ending.sendto(b"end", ("127.0.0.1", port))
        thread.join()


def coturns_client(relay: Relay, echo: int, transport: str, way: str) -> "subprocess.Popen[str]":
    username, password = relay.credentials(f"{transport}-{way}")
    port = relay.tls_port if transport == "tls" else relay.port
    command = ["turnutils_uclient", *TRANSPORTS[transport], "-c", "-n", "20", "-z", "5"]
    command += ["-u", username, "-w", password, *(["-s"] if way == "indications" else [])]
    command += ["-e", "127.0.0.1", "-r", str(echo), "-p", str(port), "127.0.0.1"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


Clients = dict[tuple[str, str], "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def coturns_clients(engine: str, relay: Relay, echo: int) -> Iterator[Clients]:
    """By transport and way; all at the same time, for each spends most of its time waiting."""
    transports = [name for name in TRANSPORTS if (engine, name) != ("coturn", "tls")]
    clients = {(name, way): coturns_client(relay, echo, name, way) for name in transports for way in WAYS}
    yield clients
    for client in clients.values():
        client.kill()
        client.communicate()


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("way", WAYS)
def test_coturns_own_client_gets_all_its_messages_back(
    coturns_clients: Clients, transport: str, way: str
) -> None:
    if (transport, way) not in coturns_clients:
        pytest.skip("this client waits for ever when two TLS records of its own server arrive together")
    output, _ = coturns_clients[transport, way].communicate(timeout=60)
    assert "tot_send_msgs=20, tot_recv_msgs=20" in output, output
    assert "Total lost packets 0 (0.000000%)" in output, output


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
async def test_aioice_sends_and_receives_through_it(relay: Relay, transport: str) -> None:
    received: asyncio.Queue[tuple[bytes, tuple[str, int]]] = asyncio.Queue()

    class Side(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
            received.put_nowait((data, address))

    class Relayed(Side):
        def connection_lost(self, _error: Exception | None) -> None:
            gone.set()

    gone = asyncio.Event()
    username, password = relay.credentials()
    context = ssl.create_default_context(cafile=str(relay.certificate)) if transport == "tls" else None
    if context:
        context.check_hostname = False
    port = relay.tls_port if transport == "tls" else relay.port
    relayed, _ = await turn.create_turn_endpoint(
        Relayed,
        ("127.0.0.1", port),
        username,
        password,
        ssl=context,
        transport="udp" if transport == "udp" else "tcp",
    )
    loop = asyncio.get_running_loop()
    peer, _ = await loop.create_datagram_endpoint(Side, local_addr=("127.0.0.1", 0))
    try:
        relayed.sendto(b"there" * 200, peer.get_extra_info("sockname"))
        async with asyncio.timeout(5):
            assert await received.get() == (b"there" * 200, relayed.get_extra_info("sockname"))
            peer.sendto(b"back", relayed.get_extra_info("sockname"))
            assert await received.get() == (b"back", peer.get_extra_info("sockname"))
    finally:
        peer.close()
        await relayed._close()
        async with asyncio.timeout(60):
            await gone.wait()  # TLS takes leave; else its socket would be left to the garbage collector
