"""`/signal` over real sockets: who gets in, what is relayed, what is refused, how it ends."""

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from aioice import stun
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client import REGISTRY

from digm import signalling as messages
from digm.node_ids import peer_id
from digm.sdp import MAX_CANDIDATES
from digm.signalling import SUBPROTOCOL, hello_message
from digm.signalling_client import IceServersChanged, Ready, Refused, SignallingClient
from hub.api.failures import failures_middleware
from hub.config import Settings
from hub.relay.credentials import turn_password
from hub.signalling import SignallingServer, add_signalling
from hub.signalling.settings import SignallingSettings
from hub.signalling.tokens import load_swarm_secret, swarm_token

TRACK, OTHER_TRACK = bytes([7] * 32), bytes([8] * 32)
SDP = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"


class Peer:
    """A real client: the sans-IO client session on a WebSocket."""

    def __init__(
        self,
        socket: aiohttp.ClientWebSocketResponse,
        key: Ed25519PrivateKey | None = None,
        role: str = messages.LISTENER,
    ) -> None:
        self.key = key or Ed25519PrivateKey.generate()
        self.id = self.key.public_key().public_bytes_raw().hex()
        self.socket = socket
        self.client = SignallingClient(self.id, random=lambda: 0.5, role=role)
        self.client.connected(time.monotonic())

    async def flush(self) -> None:
        for text in self.client.to_send():
            await self.socket.send_str(text)

    async def event(self) -> object:
        """The next event that is not about the hello."""
        async with asyncio.timeout(5):
            while True:
                frame = await self.socket.receive()
                assert frame.type is aiohttp.WSMsgType.TEXT, frame
                for event in self.client.receive(frame.data, time.monotonic()):
                    if hasattr(event, "message") and isinstance(event.message, bytes):
                        self.client.signed(self.key.sign(event.message))
                        await self.flush()
                    else:
                        return event

    async def enter(self, token: str, share: float = 0.0, track: bytes = TRACK) -> object:
        self.client.join(track.hex(), token, share, time.monotonic())
        await self.flush()
        return await self.event()


class House:
    def __init__(self, server: TestServer, signalling: SignallingServer, secret: bytes) -> None:
        self.server = server
        self.signalling = signalling
        self.secret = secret
        self.session = aiohttp.ClientSession()
        self.sockets: list[aiohttp.ClientWebSocketResponse] = []

    def token(self, track: bytes = TRACK, seconds: int = 60) -> str:
        return swarm_token(self.secret, track, int(time.time()) + seconds)

    def size(self, track: bytes = TRACK) -> int:
        return len(self.signalling.presence.members(track.hex()))

    async def socket(self) -> aiohttp.ClientWebSocketResponse:
        url = self.server.make_url("/signal")
        socket = await self.session.ws_connect(url, protocols=[SUBPROTOCOL])
        self.sockets.append(socket)
        return socket

    async def peer(self) -> Peer:
        peer = Peer(await self.socket())
        assert isinstance(await peer.event(), Ready)
        return peer


@contextlib.asynccontextmanager
async def house_with(
    tmp_path: Path, limits: SignallingSettings | None = None, **chosen: Any
) -> AsyncIterator[House]:
    settings = Settings(data=tmp_path, stun_urls=("stun:stun.example.org:3478",), **chosen)
    app = web.Application(middlewares=[failures_middleware()])
    signalling = add_signalling(app, settings, limits)
    server = TestServer(app)
    await server.start_server()
    house = House(server, signalling, load_swarm_secret(tmp_path))
    try:
        yield house
    finally:
        await asyncio.gather(*(socket.close() for socket in house.sockets))
        await house.session.close()
        await server.close()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with house_with(tmp_path) as house:
        yield house


async def test_the_newcomer_learns_who_is_there_and_they_learn_of_the_newcomer(house: House) -> None:
    seed, page = await house.peer(), await house.peer()
    assert await seed.enter(house.token(), share=1.0) == messages.Peers(TRACK.hex(), (), 1)
    answer = await page.enter(house.token())
    assert answer == messages.Peers(TRACK.hex(), (messages.PeerShare(seed.id, 1.0),), 2)
    assert await seed.event() == messages.PeerJoined(TRACK.hex(), page.id, 0.0)


async def test_welcome_names_ice_servers_and_heartbeat(house: House) -> None:
    peer = Peer(await house.socket())
    ready = await peer.event()
    assert isinstance(ready, Ready)
    assert ready.ice_servers == (messages.IceServer(("stun:stun.example.org:3478",)),)


async def test_offer_answer_and_candidates_reach_exactly_the_peer_they_are_for(house: House) -> None:
    seed, page, third = await house.peer(), await house.peer(), await house.peer()
    for peer in (seed, third, page):
        await peer.enter(house.token())
    assert isinstance(await seed.event(), messages.PeerJoined)
    assert isinstance(await seed.event(), messages.PeerJoined)
    page.client.offer(TRACK.hex(), seed.id, SDP)
    page.client.candidate(TRACK.hex(), seed.id, "candidate:1 1 udp 1 10.0.0.1 9 typ host", "0", 0)
    page.client.candidate(TRACK.hex(), seed.id, None)
    await page.flush()
    assert await seed.event() == messages.Offer(TRACK.hex(), page.id, seed.id, SDP)
    assert isinstance(await seed.event(), messages.Candidate)
    last = await seed.event()
    assert isinstance(last, messages.Candidate)
    assert last.candidate is None
    seed.client.answer(TRACK.hex(), page.id, SDP)
    await seed.flush()
    assert await page.event() == messages.Answer(TRACK.hex(), seed.id, page.id, SDP)
    assert house.size() == 3


async def test_who_leaves_or_vanishes_is_announced_to_those_who_knew_them(house: House) -> None:
    seed, page = await house.peer(), await house.peer()
    await seed.enter(house.token())
    await page.enter(house.token())
    await seed.event()
    await page.socket.close()
    assert await seed.event() == messages.PeerLeft(TRACK.hex(), page.id)
    assert house.size() == 1


@pytest.mark.parametrize(
    ("make_token", "code"),
    [
        (lambda house: "x", "token_bad"),
        (lambda house: house.token(OTHER_TRACK), "token_bad"),
        (lambda house: house.token(seconds=-1), "token_expired"),
        (lambda house: swarm_token(secrets.token_bytes(32), TRACK, int(time.time()) + 60), "token_bad"),
    ],
)
async def test_no_swarm_opens_without_its_own_unexpired_token(house: House, make_token, code: str) -> None:
    peer = await house.peer()
    refused = await peer.enter(make_token(house))
    assert isinstance(refused, Refused)
    assert (refused.code, refused.track) == (code, TRACK.hex())
    assert house.size() == 0


async def test_a_peer_that_cannot_prove_its_id_is_turned_away(house: House) -> None:
    socket = await house.socket()
    await socket.receive()
    await socket.send_json({"type": "hello", "peer": "ab" * 32, "signature": "00" * 64, "version": "1"})
    assert json.loads((await socket.receive()).data)["code"] == "signature_bad"
    assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE


async def test_a_signature_over_another_connections_nonce_is_worth_nothing(house: House) -> None:
    first, second = await house.socket(), await house.socket()
    key = Ed25519PrivateKey.generate()
    nonce = json.loads((await first.receive()).data)["nonce"]
    await second.receive()
    signature = key.sign(hello_message(nonce)).hex()
    peer = key.public_key().public_bytes_raw().hex()
    await second.send_json({"type": "hello", "peer": peer, "signature": signature, "version": "1"})
    assert json.loads((await second.receive()).data)["code"] == "signature_bad"


async def test_messages_between_strangers_are_not_relayed(house: House) -> None:
    seed, page = await house.peer(), await house.peer()
    await seed.enter(house.token())
    await page.enter(house.token(OTHER_TRACK), track=OTHER_TRACK)
    for track, code in ((TRACK, "not_joined"), (OTHER_TRACK, "peer_not_here")):
        page.client.offer(track.hex(), seed.id, SDP)
        await page.flush()
        refused = await page.event()
        assert isinstance(refused, Refused)
        assert refused.code == code


async def test_nobody_speaks_in_anothers_name(house: House) -> None:
    seed, page = await house.peer(), await house.peer()
    await seed.enter(house.token())
    await page.enter(house.token())
    await page.socket.send_str(messages.encode(messages.Offer(TRACK.hex(), seed.id, seed.id, SDP)))
    refused = await page.event()
    assert isinstance(refused, Refused)
    assert refused.code == "not_you"


async def test_more_candidates_than_a_connection_has_are_refused(house: House) -> None:
    seed, page = await house.peer(), await house.peer()
    await seed.enter(house.token())
    await page.enter(house.token())
    for _ in range(MAX_CANDIDATES + 1):
        page.client.candidate(TRACK.hex(), seed.id, "candidate:1 1 udp 1 10.0.0.1 9 typ host")
    await page.flush()
    refused = await page.event()
    assert isinstance(refused, Refused)
    assert refused.code == "too_many_candidates"


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "[]", '{"type":"join"}', '{"type":"welcome"}', "{" * 60_000, '{"type":"hello","peer":1}'],
)
async def test_garbage_is_named_and_after_too_much_of_it_the_session_ends(house: House, text: str) -> None:
    peer = await house.peer()
    for _ in range(house.signalling.limits.faults_allowed + 1):
        await peer.socket.send_str(text)
        assert isinstance(await peer.event(), Refused)
    frame = await peer.socket.receive(5)
    assert frame.type is aiohttp.WSMsgType.CLOSE
    assert frame.data == aiohttp.WSCloseCode.POLICY_VIOLATION


async def test_binary_and_oversized_messages_close_the_socket(house: House) -> None:
    first, second = await house.peer(), await house.peer()
    await first.socket.send_bytes(b"x")
    assert (await first.socket.receive(5)).data == aiohttp.WSCloseCode.UNSUPPORTED_DATA
    await second.socket.send_str("x" * 70_000)
    assert (await second.socket.receive(5)).data == aiohttp.WSCloseCode.MESSAGE_TOO_BIG


async def test_a_client_without_the_subprotocol_is_told_so(house: House) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await house.session.ws_connect(house.server.make_url("/signal"))
    assert refused.value.status == 400


async def test_a_silent_stranger_is_closed(tmp_path: Path) -> None:
    async with house_with(tmp_path, SignallingSettings(hello_timeout_s=0.05)) as house:
        socket = await house.socket()
        await socket.receive()
        assert (await socket.receive(5)).data == aiohttp.WSCloseCode.POLICY_VIOLATION


async def test_presence_ends_without_announcements_and_lasts_with_them(house: House) -> None:
    peer = await house.peer()
    await peer.enter(house.token())
    presence_s = house.signalling.limits.presence_s
    later = time.monotonic() + presence_s
    assert house.signalling.presence.renew(TRACK.hex(), peer.id, 1.0, later + presence_s)
    assert house.signalling.expire(later + 1) == 0
    assert house.signalling.expire(later + 2 * presence_s) == 1
    assert house.size() == 0


async def test_a_peer_that_connects_again_replaces_its_old_connection_and_keeps_its_place(house: House) -> None:
    old = await house.peer()
    await old.enter(house.token())
    new = Peer(await house.socket())
    new.key, new.id = old.key, old.id
    new.client = SignallingClient(old.id, random=lambda: 0.5)
    new.client.connected(0)
    assert isinstance(await new.event(), Ready)
    await new.enter(house.token())
    frame = await old.socket.receive(5)
    assert (frame.type, frame.data) == (aiohttp.WSMsgType.CLOSE, 4001)
    assert house.size() == 1


async def test_a_flood_is_slowed_down_and_nobody_else_notices(tmp_path: Path) -> None:
    async with house_with(tmp_path, SignallingSettings(messages_per_s=50, message_burst=50)) as house:
        flooder, other = await house.peer(), await house.peer()
        await flooder.enter(house.token())
        announce = messages.encode(messages.Announce(TRACK.hex(), 0.5))
        for _ in range(500):
            await flooder.socket.send_str(announce)
        before = time.monotonic()
        assert isinstance(await other.enter(house.token()), messages.Peers)
        assert time.monotonic() - before < 1.0


async def test_a_drained_hub_says_when_to_come_back(house: House) -> None:
    peer = await house.peer()
    drain = asyncio.create_task(house.signalling.drain())
    bye = await peer.event()
    assert isinstance(bye, messages.Bye)
    assert 0.5 <= bye.reconnect_after_s <= 6
    assert (await peer.socket.receive(5)).data == aiohttp.WSCloseCode.GOING_AWAY
    await drain
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await house.socket()
    assert refused.value.status == 503


async def test_an_address_has_so_many_connections_and_no_more(tmp_path: Path) -> None:
    async with house_with(tmp_path, SignallingSettings(sessions_per_address=2)) as house:
        first, second = await house.peer(), await house.peer()
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await house.socket()
        assert refused.value.status in (429, 503)
        await first.socket.close()
        assert not second.socket.closed
        third = await house.peer()
        assert isinstance(await third.enter(house.token()), messages.Peers)


async def test_an_address_may_open_so_many_a_minute(tmp_path: Path) -> None:
    async with house_with(tmp_path, SignallingSettings(address_opens_per_minute=3)) as house:
        for _ in range(3):
            await (await house.socket()).close()
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await house.socket()


def paced(limit: str) -> float:
    return REGISTRY.get_sample_value("digm_signal_paced_total", {"limit": limit}) or 0.0


@pytest.mark.parametrize(
    ("limits", "whose"),
    [
        (SignallingSettings(messages_per_s=200, message_burst=20), "session"),
        (SignallingSettings(address_messages_per_s=200, address_message_burst=20), "address"),
        (SignallingSettings(swarm_messages_per_s=200, swarm_message_burst=20), "swarm"),
    ],
)
async def test_who_says_too_much_is_heard_later_and_nothing_is_lost(
    tmp_path: Path, limits: SignallingSettings, whose: str
) -> None:
    before = paced(whose)
    async with house_with(tmp_path, limits) as house:
        other, talker = await house.peer(), await house.peer()
        await other.enter(house.token())
        await talker.enter(house.token())
        assert isinstance(await other.event(), messages.PeerJoined)
        for _ in range(100):
            talker.client.offer(TRACK.hex(), other.id, SDP)
        await talker.flush()
        for _ in range(100):
            assert isinstance(await other.event(), messages.Offer)
        assert house.signalling.relayed(TRACK.hex()) == 100
    assert paced(whose) > before


async def test_a_peer_that_reads_nothing_is_cut_and_nobody_waits_for_it(tmp_path: Path) -> None:
    limits = SignallingSettings(
        outgoing_bytes=65_536, message_burst=1e6, messages_per_s=1e6, close_timeout_s=0.1
    )
    async with house_with(tmp_path, limits) as house:
        deaf, talker = await house.peer(), await house.peer()
        await deaf.enter(house.token())
        await talker.enter(house.token())
        transport = deaf.socket._response.connection.transport
        transport.pause_reading()
        big = SDP + "a=x-padding:" + "y" * 15_000 + "\r\n"
        async with asyncio.timeout(30):
            while house.size() == 2:
                talker.client.offer(TRACK.hex(), deaf.id, big)
                await talker.flush()
                await asyncio.sleep(0)
        assert isinstance(await talker.event(), messages.PeerLeft | Refused)
        transport.resume_reading()


async def test_text_that_is_not_utf8_ends_the_connection(house: House) -> None:
    peer = await house.peer()
    await peer.socket._writer.send_frame(b'{"type":"leave","track":"\xff"}', aiohttp.WSMsgType.TEXT)
    assert (await peer.socket.receive(5)).data == aiohttp.WSCloseCode.INVALID_TEXT


async def test_only_named_nodes_offer_relays_and_only_those_that_answer_are_handed_out(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    elder = key.public_key().public_bytes_raw().hex()
    loop = asyncio.get_running_loop()
    relay, _ = await loop.create_datagram_endpoint(StunEcho, local_addr=("127.0.0.1", 0))
    port = relay.get_extra_info("sockname")[1]
    async with house_with(tmp_path, elder_nodes=(elder,)) as house:
        node = Peer(await house.socket(), key, messages.NODE)
        assert isinstance(await node.event(), Ready)
        node.client.offer_relay((f"turn:127.0.0.1:{port}",), "cd" * 32)
        await node.flush()
        page = await house.peer()
        page.client.offer_relay(("turn:127.0.0.1:1",))
        await page.flush()
        assert (await page.event()) == Refused("not_a_node", "Only nodes offer a relay.", None)
        stranger = Peer(await house.socket(), Ed25519PrivateKey.generate(), messages.NODE)
        await stranger.event()
        stranger.client.offer_relay(("turn:127.0.0.1:1",))
        await stranger.flush()
        refused = await stranger.event()
        assert isinstance(refused, Refused)
        assert refused.code == "relay_not_wanted"
        async with asyncio.timeout(10):
            while not (found := await servers_of(page)):
                pass
    relay.close()
    assert found[-1].urls == (f"turn:127.0.0.1:{port}",)
    assert found[-1].credential == turn_password(bytes.fromhex("cd" * 32), found[-1].username or "")


async def test_a_node_that_the_operator_named_needs_no_token_and_nobody_else_is_let_in_so(
    tmp_path: Path,
) -> None:
    key = Ed25519PrivateKey.generate()
    name = peer_id(key.public_key().public_bytes_raw())  # as its operator knows it
    async with house_with(tmp_path, elder_nodes=(name,)) as house:
        elder = Peer(await house.socket(), key, messages.NODE)
        stranger = Peer(await house.socket(), Ed25519PrivateKey.generate(), messages.NODE)
        for peer in (elder, stranger):
            assert isinstance(await peer.event(), Ready)
        assert isinstance(await elder.enter("any"), messages.Peers)
        refused = await stranger.enter("any")
        assert isinstance(refused, Refused)
        assert refused.code == "token_bad"
        as_listener = Peer(await house.socket(), key)
        assert isinstance(await as_listener.event(), Ready)
        refused = await as_listener.enter("any")
        assert isinstance(refused, Refused)
        assert refused.code == "token_bad"


async def servers_of(peer: Peer) -> list[messages.IceServer]:
    """The relays that the hub hands out now."""
    await peer.socket.send_str(messages.encode(messages.Ice()))
    event = await peer.event()
    assert isinstance(event, IceServersChanged)
    return [server for server in event.ice_servers if server.urls[0].startswith("turn:")]


class StunEcho(asyncio.DatagramProtocol):
    """Answers STUN bindings."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        request = stun.parse_message(data)
        answer = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, request.transaction_id)
        self.transport.sendto(bytes(answer), address)
