"""Peers as they should not be: real members of a swarm, over WebRTC, that lie, corrupt, keep silent, or flood.

They speak the protocol from its messages alone, without the session that would keep them honest.
"""

import asyncio
import contextlib
import math
import random
import time
from collections.abc import AsyncIterator, Callable, Collection

import aiohttp
from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from digm import signalling as messages
from digm import wire
from digm.bitfield import Bitfield
from digm.chunks import FRAME_BYTES
from digm.manifest import parse_manifest
from digm.signalling_client import SignallingClient, SignatureWanted
from hub.seeding.ice import offer_loopback, usable_candidate, without_unusable_candidates
from hub.seeding.sctp import bound_slow_start
from hub.signalling.tokens import load_swarm_secret, swarm_token
from tests.browser.stack import Stack

PIECE_BYTES = 60_000
BUFFER_BYTES = 524_288


class HostilePeer:
    """One member; what it does when it is asked is `answer`. As it stands here, it is honest.

    Args:
        lacks: chunks that it does not claim to hold.
    Attributes:
        bytes_per_s: how fast it gives.
        asked: chunks that somebody asked for, in order.
        wrong: chunks of which wrong bytes went out.
        left: set when a page closed its channel with us.
    """

    bytes_per_s = math.inf

    def __init__(self, stack: Stack, track_root: str, lacks: Collection[int] = ()) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.peer_id = self._key.public_key().public_bytes_raw().hex()
        self.asked: list[int] = []
        self.wrong: set[int] = set()
        self.met = asyncio.Event()
        self.left = asyncio.Event()
        self._track = track_root
        self._lacks = lacks
        self._url = f"{stack.url}/signal"
        document = (stack.data / "manifests" / f"{track_root}.json").read_bytes()
        self._manifest = parse_manifest(document)
        self._chunks = [path.read_bytes() for path in stack.chunks_of(track_root)]
        self._token = swarm_token(
            load_swarm_secret(stack.data), self._manifest.track_root, int(time.time()) + 600
        )
        self._client = SignallingClient(self.peer_id, random=random.random)
        self._connections: dict[str, RTCPeerConnection] = {}
        self._cancelled: set[int] = set()
        self._jobs: set[asyncio.Task[None]] = set()

    # -- what makes it hostile

    async def answer(self, channel: RTCDataChannel, request: wire.Request) -> None:
        """Do with a request whatever this kind of peer does."""
        await self.give(channel, request, self._chunks[request.chunk])

    def opened(self, channel: RTCDataChannel) -> None:
        """The channel is open and HELLO went out."""

    async def give(self, channel: RTCDataChannel, request: wire.Request, chunk: bytes) -> None:
        """Send what was asked for, of these bytes."""
        at = request.first_frame * FRAME_BYTES
        end = min(at + request.frame_count * FRAME_BYTES, len(chunk))
        while at < end and channel.readyState == "open" and request.request_id not in self._cancelled:
            piece = chunk[at : min(end, at + PIECE_BYTES)]
            await asyncio.sleep(len(piece) / self.bytes_per_s)
            await self.say(channel, wire.Data(request.request_id, at, piece))
            at += len(piece)

    async def say(self, channel: RTCDataChannel, message: wire.Message) -> None:
        """Send one message when there is room for it."""
        while channel.readyState == "open" and channel.bufferedAmount > BUFFER_BYTES:
            await asyncio.sleep(0.005)
        if channel.readyState == "open":
            channel.send(wire.encode(message))

    # -- membership

    @contextlib.asynccontextmanager
    async def here(self) -> AsyncIterator["HostilePeer"]:
        """Be in the swarm; entered when the hub has let us in."""
        offer_loopback(True)
        entered = asyncio.Event()
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(self._url, protocols=[messages.SUBPROTOCOL]) as socket,
        ):
            talk = asyncio.create_task(self._talk(socket, entered))
            try:
                async with asyncio.timeout(20):
                    await entered.wait()
                yield self
            finally:
                for job in (talk, *self._jobs):
                    job.cancel()
                await asyncio.gather(talk, *self._jobs, return_exceptions=True)
                for connection in self._connections.values():
                    await connection.close()
                offer_loopback(False)

    async def _talk(self, socket: aiohttp.ClientWebSocketResponse, entered: asyncio.Event) -> None:
        self._client.connected(time.monotonic())
        self._client.join(self._track, self._token, 1.0, time.monotonic(), want=0)
        async for frame in socket:
            for event in self._client.receive(frame.data, time.monotonic()):
                match event:
                    case SignatureWanted(message):
                        self._client.signed(self._key.sign(message))
                    case messages.Peers():
                        entered.set()
                    case messages.Offer():
                        await self._accept(event)
                    case messages.Candidate(_, sender) if sender in self._connections:
                        candidate = usable_candidate(event.candidate, event.sdp_mid, event.sdp_m_line_index)
                        if candidate is not None:
                            await self._connections[sender].addIceCandidate(candidate)
            for text in self._client.to_send():
                await socket.send_str(text)

    async def _accept(self, offer: messages.Offer) -> None:
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._connections[offer.sender] = connection
        connection.on("datachannel", lambda channel: self._on_channel(connection, channel))
        sdp = without_unusable_candidates(offer.sdp)
        await connection.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
        await connection.setLocalDescription(await connection.createAnswer())
        self._client.answer(self._track, offer.sender, connection.localDescription.sdp)

    def _on_channel(self, connection: RTCPeerConnection, channel: RTCDataChannel) -> None:
        bound_slow_start(connection)
        held = {
            r.id: Bitfield(r.chunk_count, (i for i in range(r.chunk_count) if i not in self._lacks))
            for r in self._manifest.renditions
        }
        channel.on("message", lambda message: self._on_message(channel, message))
        channel.on("close", self.left.set)
        channel.send(wire.encode(wire.Hello(self._manifest.track_root, held)))
        self.met.set()
        self.opened(channel)

    def _on_message(self, channel: RTCDataChannel, raw: bytes) -> None:
        message = wire.decode(raw)
        if isinstance(message, wire.Request):
            self.asked.append(message.chunk)
            self.spawn(lambda: self.answer(channel, message))
        elif isinstance(message, wire.Cancel):
            self._cancelled.add(message.request_id)

    def spawn(self, work: Callable[[], object]) -> None:
        """Do something beside all the rest, until the end."""
        job = asyncio.ensure_future(work())  # type: ignore[arg-type]
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)


class Corrupting(HostilePeer):
    """Gives a part of the chunks with one byte changed; the rest as they are. One after the other, from home.

    Args:
        share: of the chunks, spread evenly; the fifth is the first of them.
    """

    bytes_per_s = 2_000_000.0

    def __init__(self, stack: Stack, track_root: str, share: float) -> None:
        super().__init__(stack, track_root)
        spread = [(7 * chunk + 2) % 10 for chunk in range(len(self._chunks))]
        self.corrupted = {chunk for chunk, place in enumerate(spread) if place < 10 * share}
        self._uplink = asyncio.Lock()

    async def answer(self, channel: RTCDataChannel, request: wire.Request) -> None:
        async with self._uplink:
            if channel.readyState != "open" or request.request_id in self._cancelled:
                return
            chunk = self._chunks[request.chunk]
            if request.chunk in self.corrupted:
                at = request.first_frame * FRAME_BYTES + 20_000
                chunk = chunk[:at] + bytes([chunk[at] ^ 0x40]) + chunk[at + 1 :]
                self.wrong.add(request.chunk)
            await self.give(channel, request, chunk)


class Boasting(HostilePeer):
    """Says that it has everything, and has nothing."""

    async def answer(self, channel: RTCDataChannel, request: wire.Request) -> None:
        await self.say(channel, wire.Reject(request.request_id, wire.Reason.NOT_HELD))


class Silent(HostilePeer):
    """Takes every request and sends nothing."""

    async def answer(self, channel: RTCDataChannel, request: wire.Request) -> None:
        return


class Endless(HostilePeer):
    """Answers, and does not stop when the answer is complete."""

    async def answer(self, channel: RTCDataChannel, request: wire.Request) -> None:
        await self.give(channel, request, self._chunks[request.chunk])
        at = (request.first_frame + request.frame_count) * FRAME_BYTES
        while channel.readyState == "open":
            await self.say(channel, wire.Data(request.request_id, at, bytes(PIECE_BYTES)))
            at += PIECE_BYTES


class Flooding(HostilePeer):
    """Asks for everything at once, over and over."""

    def opened(self, channel: RTCDataChannel) -> None:
        self.spawn(lambda: self._flood(channel))

    async def _flood(self, channel: RTCDataChannel) -> None:
        request_id = 0
        while channel.readyState == "open":
            for _ in range(50):
                request_id += 1
                chunk = request_id % len(self._chunks)
                await self.say(channel, wire.Request(request_id, 0, chunk, 0, 1))
            await asyncio.sleep(0.005)


class Babbling(HostilePeer):
    """Sends bytes that are no message at all."""

    def opened(self, channel: RTCDataChannel) -> None:
        channel.send(random.Random(1).randbytes(5_000))
