"""A listener for tests: a real peer with aiortc that joins a swarm, makes the offers, and fetches."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator

import aiohttp
from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from digm import signalling as messages
from digm.bitfield import Bitfield
from digm.manifest import Manifest
from digm.peer_events import Closed, DataReceived, Event, PeerReady, RequestDone, RequestRejected
from digm.peer_session import PeerSession
from digm.signalling_client import SignallingClient, SignatureWanted
from digm.wire import LABEL


class ChannelSession:
    """A peer session on an aiortc data channel; its events come out of a queue."""

    def __init__(self, channel: RTCDataChannel, manifest: Manifest) -> None:
        held = {r.id: Bitfield(r.chunk_count) for r in manifest.renditions}
        self.channel = channel
        self.session = PeerSession(manifest.track_root, manifest.renditions, held, time.monotonic())
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        channel.on("open", self.flush)
        channel.on("message", self._on_message)
        channel.on("close", lambda: self._take(self.session.channel_closed()))

    def _on_message(self, message: bytes) -> None:
        self._take(self.session.receive(message, time.monotonic()))
        self.flush()

    def _take(self, events: list[Event]) -> None:
        for event in events:
            self.events.put_nowait(event)

    def flush(self) -> None:
        if self.channel.readyState == "open":
            for message in self.session.to_send():
                self.channel.send(message)

    async def wait_for(self, kind: type) -> Event:
        async with asyncio.timeout(20):
            while True:
                event = await self.events.get()
                if isinstance(event, kind):
                    return event
                assert not isinstance(event, Closed), event

    async def fetch(self, rendition: int, chunk: int) -> bytes | RequestRejected:
        """One whole chunk, or why it is not given."""
        self.session.request(rendition, chunk, time.monotonic())
        self.flush()
        received = bytearray()
        async with asyncio.timeout(60):
            while True:
                event = await self.events.get()
                match event:
                    case DataReceived():
                        received += event.payload
                    case RequestDone():
                        return bytes(received)
                    case RequestRejected():
                        return event
                    case Closed():
                        raise AssertionError(event)


class Listener:
    """One peer in one swarm."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, manifest: Manifest) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.peer_id = self._key.public_key().public_bytes_raw().hex()
        self._socket = socket
        self._manifest = manifest
        self._client = SignallingClient(self.peer_id, random=random.random)
        self._connections: list[RTCPeerConnection] = []
        self._unread: list[object] = []

    @property
    def track(self) -> str:
        return self._manifest.track_root.hex()

    async def flush(self) -> None:
        for text in self._client.to_send():
            await self._socket.send_str(text)

    async def event(self, kind: type) -> object:
        async with asyncio.timeout(20):
            while True:
                for event in self._unread:
                    if isinstance(event, kind):
                        self._unread.remove(event)
                        return event
                frame = await self._socket.receive()
                assert frame.type is aiohttp.WSMsgType.TEXT, frame
                for event in self._client.receive(frame.data, time.monotonic()):
                    if isinstance(event, SignatureWanted):
                        self._client.signed(self._key.sign(event.message))
                    else:
                        self._unread.append(event)
                await self.flush()

    async def join(self, token: str) -> tuple[str, ...]:
        """Enter the swarm. Returns who is there."""
        self._client.join(self.track, token, 0.0, time.monotonic())
        await self.flush()
        peers = await self.event(messages.Peers)
        assert isinstance(peers, messages.Peers)
        return tuple(peer.peer for peer in peers.peers)

    async def connect(self, peer: str, edit_offer=lambda sdp: sdp, label: str = LABEL) -> ChannelSession:
        """Offer to a peer, and wait until its session is ready."""
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._connections.append(connection)
        channel = connection.createDataChannel(label, protocol=label)
        session = ChannelSession(channel, self._manifest)
        await connection.setLocalDescription(await connection.createOffer())
        self._client.offer(self.track, peer, edit_offer(connection.localDescription.sdp))
        await self.flush()
        answer = await self.event(messages.Answer)
        assert isinstance(answer, messages.Answer)
        await connection.setRemoteDescription(RTCSessionDescription(answer.sdp, "answer"))
        await session.wait_for(PeerReady)
        return session

    async def take_offer(self, edit_answer=lambda sdp: sdp) -> ChannelSession:
        """Wait for an offer as a page does, answer it, and wait until the session is ready."""
        offer = await self.event(messages.Offer)
        assert isinstance(offer, messages.Offer)
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._connections.append(connection)
        sessions: asyncio.Queue[ChannelSession] = asyncio.Queue()

        def on_channel(channel: RTCDataChannel) -> None:
            session = ChannelSession(channel, self._manifest)
            session.flush()
            sessions.put_nowait(session)

        connection.on("datachannel", on_channel)
        await connection.setRemoteDescription(RTCSessionDescription(offer.sdp, "offer"))
        await connection.setLocalDescription(await connection.createAnswer())
        self._client.answer(self.track, offer.sender, edit_answer(connection.localDescription.sdp))
        await self.flush()
        async with asyncio.timeout(20):
            session = await sessions.get()
        await session.wait_for(PeerReady)
        return session

    async def close(self) -> None:
        for connection in self._connections:
            await connection.close()
        await self._socket.close()


@contextlib.asynccontextmanager
async def listening(hub_url: str, manifest: Manifest) -> AsyncIterator[Listener]:
    """A listener on a hub, welcomed."""
    async with aiohttp.ClientSession() as http:
        socket = await http.ws_connect(hub_url + "/signal", protocols=[messages.SUBPROTOCOL])
        listener = Listener(socket, manifest)
        listener._client.connected(time.monotonic())
        try:
            yield listener
        finally:
            await listener.close()
