"""The seeding peer in one process with the hub's signalling: strangers, lost hubs, limits; WebRTC is real."""

import asyncio
import contextlib
import inspect
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription, rtcsctptransport

from digm import signalling as messages
from digm.errors import Unavailable
from digm.manifest import Manifest
from digm.peer_events import Closed, RequestDone, RequestRejected
from digm.wire import Reason
from hub.config import Settings
from hub.seeding.chunk_cache import ChunkCache
from hub.seeding.ice import offer_loopback, usable_candidate, without_unusable_candidates
from hub.seeding.metrics import OFFERS
from hub.seeding.peer import SeedingPeer
from hub.seeding.sctp import bound_slow_start, quicken_retransmission
from hub.seeding.settings import SeedLimits
from hub.seeding.source import SeedSource
from hub.signalling import add_signalling
from hub.signalling.tokens import load_swarm_secret, swarm_token
from hub.storage.catalogue import Catalogue
from hub.storage.chunk_store import ChunkStore
from tests.hub.seeding.listener import Listener, listening
from tests.hub.seeding.noise_track import publish_noise


class House:
    """Signalling and a seeding peer over one data folder."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.server: TestServer | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def open_hub(self) -> None:
        app = web.Application()
        add_signalling(app, Settings(data=self.data))
        self.server = TestServer(app, host="127.0.0.1", port=self.port or None)
        await self.server.start_server()
        self.port = self.server.port or 0

    async def close_hub(self) -> None:
        if self.server is not None:
            await self.server.close()

    async def seed_of(self, listener: Listener, manifest: Manifest) -> str:
        token = swarm_token(load_swarm_secret(self.data), manifest.track_root, int(time.time()) + 60)
        async with asyncio.timeout(20):
            while not (peers := await listener.join(token)):
                await asyncio.sleep(0.05)
        return peers[0]


@contextlib.asynccontextmanager
async def house_over(data: Path, limits: SeedLimits | None = None) -> AsyncIterator[House]:
    house = House(data)
    await house.open_hub()
    try:
        async with seeding(house, limits):
            yield house
    finally:
        await house.close_hub()


@contextlib.asynccontextmanager
async def seeding(house: House, limits: SeedLimits | None = None) -> AsyncIterator[None]:
    stop, catalogue = asyncio.Event(), Catalogue.open(house.data)
    offer_loopback(True)
    settings = Settings(data=house.data, signal_url=house.url)
    seed = SeedingPeer(settings, SeedSource.of_hub(settings, catalogue), limits)
    running = asyncio.create_task(seed.run(stop))
    try:
        yield
    finally:
        stop.set()
        async with asyncio.timeout(20):
            await running
        offer_loopback(False)
        catalogue.close()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with house_over(tmp_path) as house:
        yield house


@pytest.fixture
def track(tmp_path: Path) -> Manifest:
    return publish_noise(tmp_path)


def hidden(sdp: str) -> str:
    """The offer as a browser makes it that hides its addresses: `.local` names, and no more to come."""
    lines = []
    for line in sdp.split("\r\n"):
        words = line.split(" ")
        if line.startswith("a=candidate:"):
            words[4] = "4d6c0cbc-8b6b-4b0c-a3c1-3a2f4c1c6d5e.local"
        lines.append(" ".join(words))
    return "\r\n".join(lines)


async def test_a_listener_that_hides_its_address_is_reached_without_a_pause(track, house) -> None:
    async with listening(house.url, track) as listener:
        seed = await house.seed_of(listener, track)
        before = time.monotonic()
        session = await listener.connect(seed, edit_offer=hidden)
        connected_s = time.monotonic() - before
        assert isinstance(await session.fetch(0, 2), bytes)
        assert connected_s < 5


@pytest.mark.parametrize("edit_answer", [lambda sdp: sdp, hidden])
async def test_a_listener_that_joins_is_made_an_offer(track, house, edit_answer) -> None:
    async with listening(house.url, track) as listener:
        await house.seed_of(listener, track)
        session = await listener.take_offer(edit_answer)
        assert isinstance(await session.fetch(0, 2), bytes)


async def test_a_listener_that_takes_all_the_time_is_not_taken_for_one_that_takes_nothing(
    tmp_path, track
) -> None:
    """Two requests are always open and the buffer is always full, for longer than a stall may last."""
    limits = SeedLimits(stall_s=1.0)
    async with house_over(tmp_path, limits) as house, listening(house.url, track) as listener:
        session = await listener.connect(await house.seed_of(listener, track))
        began, came = time.monotonic(), 0
        session.session.request(0, 0, began)
        while time.monotonic() - began < 3 * limits.stall_s or not came:
            session.session.request(0, 0, time.monotonic())
            session.flush()
            assert isinstance(await session.wait_for(RequestDone), RequestDone)
            came += 1


async def test_a_seeding_peer_that_comes_later_makes_offers_to_those_who_are_there(tmp_path, track) -> None:
    house = House(tmp_path)
    await house.open_hub()
    token = swarm_token(load_swarm_secret(tmp_path), track.track_root, int(time.time()) + 60)
    try:
        async with listening(house.url, track) as listener:
            assert await listener.join(token) == ()
            async with seeding(house):
                session = await listener.take_offer()
                assert isinstance(await session.fetch(0, 1), bytes)
    finally:
        await house.close_hub()


async def test_an_answer_that_makes_no_sense_costs_the_others_nothing(track, house) -> None:
    async with listening(house.url, track) as hostile, listening(house.url, track) as listener:
        await house.seed_of(hostile, track)
        offer = await hostile.event(messages.Offer)
        nonsense = offer.sdp.replace("a=fingerprint", "a=fingerpaint").replace("a=ice-ufrag", "a=ice-frog")
        hostile._client.answer(hostile.track, offer.sender, nonsense)
        await hostile.flush()
        await house.seed_of(listener, track)
        session = await listener.take_offer()
        assert isinstance(await session.fetch(0, 2), bytes)


async def test_offers_are_made_no_faster_than_they_may_and_only_so_many_wait(tmp_path, track) -> None:
    limits = SeedLimits(offers_per_s=0.001, offer_burst=1, max_waiting=1)
    async with house_over(tmp_path, limits) as house, contextlib.AsyncExitStack() as stack:
        crowd = [await stack.enter_async_context(listening(house.url, track)) for _ in range(5)]
        for listener in crowd:
            await house.seed_of(listener, track)
        assert await crowd[0].take_offer()
        before = OFFERS.labels("made")._value.get()
        for listener in crowd[1:]:
            assert await house.seed_of(listener, track)
        assert OFFERS.labels("made")._value.get() == before


@pytest.mark.parametrize(
    "edit",
    [
        lambda sdp: sdp.replace("a=fingerprint", "a=fingerpaint"),
        lambda sdp: sdp.replace("a=ice-ufrag", "a=ice-frog"),
        lambda sdp: sdp.replace("a=mid:0\r\n", ""),
        lambda sdp: sdp.replace("a=sctp-port:5000", "a=sctp-port:five"),
        lambda sdp: sdp.replace("a=setup:actpass", "a=setup:nonsense"),
        lambda sdp: sdp.replace("sha-256", "md5"),
        lambda sdp: sdp.replace("a=candidate:", "a=candidate:x y z "),
        lambda sdp: "v=0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n",
    ],
)
async def test_an_offer_that_makes_no_sense_costs_the_others_nothing(track, house, edit) -> None:
    async with listening(house.url, track) as stranger, listening(house.url, track) as listener:
        seed = await house.seed_of(stranger, track)
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        connection.createDataChannel("digm.peer.1", protocol="digm.peer.1")
        await connection.setLocalDescription(await connection.createOffer())
        stranger._client.offer(stranger.track, seed, edit(connection.localDescription.sdp))
        await stranger.flush()
        session = await listener.connect(await house.seed_of(listener, track))
        assert isinstance(await session.fetch(0, 2), bytes)
        await connection.close()


async def test_text_on_the_channel_ends_the_session(track, house) -> None:
    async with listening(house.url, track) as listener:
        session = await listener.connect(await house.seed_of(listener, track))
        session.channel.send("hello?")
        async with asyncio.timeout(10):
            while not isinstance(await session.events.get(), Closed):
                pass


async def test_a_channel_with_another_name_is_closed(track, house) -> None:
    async with listening(house.url, track) as listener:
        seed = await house.seed_of(listener, track)
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        channel = connection.createDataChannel("chat")
        closed = asyncio.Event()
        channel.on("close", closed.set)
        await connection.setLocalDescription(await connection.createOffer())
        listener._client.offer(listener.track, seed, connection.localDescription.sdp)
        await listener.flush()
        answer = await listener.event(messages.Answer)
        assert isinstance(answer, messages.Answer)
        await connection.setRemoteDescription(RTCSessionDescription(answer.sdp, "answer"))
        async with asyncio.timeout(10):
            await closed.wait()
        await connection.close()


async def test_a_page_that_is_loaded_again_gets_a_new_connection(track, house) -> None:
    async with listening(house.url, track) as listener:
        seed = await house.seed_of(listener, track)
        await listener.connect(seed)
        session = await listener.connect(seed)
        assert isinstance(await session.fetch(0, 2), bytes)


async def test_a_flood_of_requests_is_bounded_and_what_fits_is_answered(track, house) -> None:
    async with listening(house.url, track) as listener:
        session = await listener.connect(await house.seed_of(listener, track))
        session.session._settings = type(session.session._settings)(max_outstanding=1_000)
        for _ in range(100):
            session.session.request(0, 2, time.monotonic(), frame_count=1)
        session.flush()
        async with asyncio.timeout(30):
            ended = [
                event
                for event in [await session.wait_for(RequestRejected | RequestDone) for _ in range(100)]
                if isinstance(event, RequestRejected)
            ]
        assert {event.reason for event in ended} == {Reason.NO_SLOT}
        assert 50 <= len(ended) <= 90


async def test_a_hub_that_went_away_is_found_again_and_its_swarms_joined(track, house) -> None:
    async with listening(house.url, track) as listener:
        seed = await house.seed_of(listener, track)
        session = await listener.connect(seed)
        await house.close_hub()
        assert isinstance(await session.fetch(0, 2), bytes)  # who is connected needs no hub
    await house.open_hub()
    async with listening(house.url, track) as listener:
        assert await house.seed_of(listener, track) == seed


async def test_one_peer_cannot_take_all_connections(tmp_path: Path) -> None:
    tracks = [publish_noise(tmp_path, chunk_count=1, seed=number) for number in range(2)]
    async with (
        house_over(tmp_path, SeedLimits(max_connections_per_peer=1)) as house,
        listening(house.url, tracks[0]) as listener,
    ):
        await listener.connect(await house.seed_of(listener, tracks[0]))
        listener._manifest = tracks[1]
        seed = await house.seed_of(listener, tracks[1])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await listener.connect(seed)


async def test_askers_of_one_chunk_share_one_read_and_damage_is_not_remembered(tmp_path: Path) -> None:
    store, reads = ChunkStore(tmp_path), []
    name = store.put(b"a chunk")

    class Counting(ChunkStore):
        def read_verified(self, hash_hex: str) -> bytes:
            reads.append(hash_hex)
            return super().read_verified(hash_hex)

    cache = ChunkCache(Counting(tmp_path), limit_bytes=10)
    assert await asyncio.gather(*(cache.read(name) for _ in range(5))) == [b"a chunk"] * 5
    assert await cache.read(name) == b"a chunk"
    assert len(reads) == 1
    other = store.put(b"another")
    store.path(other).write_bytes(b"anotheR")
    with pytest.raises(Unavailable):
        await cache.read(other)
    store.put(b"another")
    assert await cache.read(other) == b"another"
    await cache.read(name)
    assert len(reads) == 4  # 7 + 7 bytes do not fit into 10


async def test_what_is_set_inside_aiortc_is_still_there(monkeypatch) -> None:
    for name in ("SCTP_RTO_MIN", "SCTP_RTO_INITIAL"):
        monkeypatch.setattr(rtcsctptransport, name, getattr(rtcsctptransport, name))
    quicken_retransmission()
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    connection.createDataChannel("any")
    assert connection.sctp is not None
    assert connection.sctp._rto == 1.0
    source = inspect.getsource(rtcsctptransport)
    assert "max(SCTP_RTO_MIN, min(" in source
    assert "self._cwnd <= self._ssthresh" in source
    bound_slow_start(connection)
    assert connection.sctp._ssthresh == 65_536
    await connection.close()


def test_candidates_that_cannot_be_used_are_left_out() -> None:
    host = "1 1 udp 2113937151 10.0.0.7 50000 typ host"
    assert usable_candidate(f"candidate:{host}", "0", 0) is not None
    for text in (None, "", "candidate:nonsense", f"candidate:{host.replace('10.0.0.7', 'x.local')}"):
        assert usable_candidate(text, "0", 0) is None
    assert usable_candidate(f"candidate:{host.replace('udp', 'tcp')} tcptype active", "0", 0) is None
    assert usable_candidate(f"candidate:{host}", None, None) is None
    local = host.replace("10.0.0.7", "x.local")
    sdp = f"v=0\r\na=candidate:{host}\r\na=candidate:{local}\r\na=end-of-candidates\r\n"
    assert without_unusable_candidates(sdp) == f"v=0\r\na=candidate:{host}\r\n"
