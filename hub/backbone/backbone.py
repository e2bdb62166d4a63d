"""The backbone as the rest of the hub sees it: asyncio outside, libp2p in a supervised trio thread inside.

    backbone = Backbone(NodeIdentity.load(data), BackboneSettings(...))
    backbone.on_gossip = judge            # before start, or what is heard before counts as not valid
    backbone.serve("/digm/pin/1.0.0", handler, most_bytes=16_384, timeout_s=10, parallel=8)
    await backbone.start()

When the libp2p side ends by a crash, it is started again with the same key, ports and handlers, and provides
what it provided; calls made meanwhile fail with Unavailable `backbone_down`.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar, TypeVarTuple

import structlog

from digm.backbone_messages import (
    MAX_GOSSIP_BYTES,
    PEER,
    Status,
    decode_answer,
    encode_answer,
    encode_refusal,
    provider_key,
)
from digm.bitfield import Bitfield
from digm.errors import CallerFault, DigmError, PeerFault, Unavailable
from hub.backbone.chunk_streams import FindTrack, HeldTrack, ReadChunk, serve_chunks
from hub.backbone.host import BackboneHost, Served
from hub.backbone.identity import NodeIdentity
from hub.backbone.model import PeerAddress, PeerInfo
from hub.backbone.settings import BackboneSettings, with_port
from hub.backbone.streams import FrameStream, fault_or_gone
from hub.backbone.trio_thread import TrioThread

log = structlog.get_logger()
Result = TypeVar("Result")
Args = TypeVarTuple("Args")
Gossip = Callable[[str, bytes], Awaitable[bool | None] | bool | None]
Handler = Callable[[str, bytes], Awaitable[bytes]]
STOP_WITHIN_S = 5.0
PARALLEL_CHUNK_STREAMS = 64
CHUNK_STREAM_S = 3_600.0  # a stream is used again and again; silence ends it sooner


class Backbone:
    """One node's part in the network. Made, started and stopped on one asyncio loop.

    Attributes:
        on_gossip: `(author's peer id, payload) -> is it valid`, called on the asyncio side for every message of
            `digm.audio.v1` once, ours included. Only valid ones are passed on; who sends others loses standing.
            No function, an exception, no answer within `verdict_timeout_s`: not valid. None as an answer: not
            passed on, and nobody's fault.
    """

    def __init__(self, identity: NodeIdentity, settings: BackboneSettings | None = None) -> None:
        self._identity = identity
        self._settings = settings or BackboneSettings()
        self.on_gossip: Gossip | None = None
        self._served: dict[str, tuple[Handler, int, float, int]] = {}
        self._share: tuple[FindTrack, ReadChunk] | None = None
        self._provided: dict[bytes, None] = {}
        self._thread: TrioThread | None = None
        self._host: BackboneHost | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._multiaddrs: list[str] = []
        self.restarts = 0

    @property
    def peer_id(self) -> str:
        """libp2p's name of our key."""
        return self._identity.peer_id

    @property
    def identity(self) -> NodeIdentity:
        """Our key, for what is signed beside libp2p."""
        return self._identity

    @property
    def multiaddrs(self) -> list[str]:
        """Where others reach us, each with `/p2p/` and our id; known once started."""
        return list(self._multiaddrs)

    @property
    def is_running(self) -> bool:
        """False before the start, after the stop, and between a crash and the restart."""
        return self._thread is not None and self._thread.is_running

    async def start(self) -> None:
        """Listen and join.

        Raises:
            Unavailable: `address_in_use`, `backbone_not_started`.
        """
        # The same ports after a restart: others know us by them.
        self._settings = replace(self._settings, listen=tuple(map(with_port, self._settings.listen)))
        await self._start_thread()
        self._supervisor = asyncio.create_task(self._supervise(), name="backbone-supervisor")
        log.info("backbone_started", peer_id=self.peer_id, addresses=len(self._multiaddrs))

    async def stop(self) -> None:
        """Leave the network. Safe to call twice."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            with suppress(asyncio.CancelledError):
                await self._supervisor
            self._supervisor = None
        thread, self._thread = self._thread, None
        if thread is not None:
            await thread.stop(STOP_WITHIN_S)

    # -- gossip

    async def publish(self, topic_payload: bytes) -> None:
        """Gossip to everybody on `digm.audio.v1`, at most 8 KiB. Our own `on_gossip` has to find it valid, too.

        Raises:
            CallerFault: `gossip_too_large`.
            Unavailable: `backbone_down`, `backbone_timeout`.
        """
        if len(topic_payload) > MAX_GOSSIP_BYTES:
            raise CallerFault(
                "gossip_too_large",
                f"A gossip message has at most {MAX_GOSSIP_BYTES} bytes.",
                bytes=len(topic_payload),
            )
        await self._call(self._running().publish, topic_payload)

    async def _judge(self, author: str, payload: bytes) -> bool | None:
        if self.on_gossip is None:
            return False
        verdict = self.on_gossip(author, payload)
        return await verdict if inspect.isawaitable(verdict) else verdict

    # -- who has what

    async def provide(self, key: bytes) -> bool:
        """Tell the network that we have what 32 bytes name: a track root, a manifest or a chunk hash.

        libp2p repeats it while we run. About 40 ms of CPU: for tracks, not for every chunk.

        Returns:
            False when no other node took the record (yet).
        Raises:
            CallerFault: `bad_id`.
        """
        provided = provider_key(key)
        self._provided[key] = None
        return await self._call(self._running().provide, provided)

    async def withdraw(self, key: bytes) -> None:
        """No longer say that we have it. Others forget it with time; whoever finds us asks."""
        self._provided.pop(key, None)
        await self._call(self._running().withdraw, provider_key(key))

    async def find_providers(
        self, key: bytes, most: int = 20, on_found: Callable[[PeerAddress], object] = lambda _: None
    ) -> list[PeerAddress]:
        """Nodes that have it: each once, answering just now, never ourselves.

        Args:
            on_found: told of each as soon as it has answered, on the asyncio side.
        """
        host, thread = self._running(), self._thread
        assert thread is not None
        tell = thread.posting(on_found)
        return await self._call(host.find_providers, provider_key(key), most, tell)

    # -- streams

    async def request(
        self, peer: str, protocol: str, payload: bytes, *, timeout_s: float, most_bytes: int
    ) -> bytes:
        """Ask a node one thing: one frame there, one back.

        Args:
            peer: its id; connected, found by `find_providers`, or made known by `introduce`.
            most_bytes: of the answer.
        Raises:
            Unavailable: `peer_unreachable`, `peer_refused` (with `status` and `reason`), `stream_ended`,
                `backbone_timeout`, `backbone_down`.
            PeerFault: `answer_malformed`, `frame_too_large`, `frame_prefix`.
        """
        host = self._running()

        async def ask() -> bytes:
            async with await host.open(peer, protocol, most_bytes + 1) as frames:
                await frames.write(payload)
                return decode_answer(await frames.read())

        return await self._call(ask, timeout_s=timeout_s)

    def serve(
        self, protocol: str, handler: Handler, *, most_bytes: int, timeout_s: float, parallel: int
    ) -> None:
        """Answer requests of a protocol: `handler(peer id, request) -> answer`, on the asyncio side.

        What it raises goes back as a refusal with its code: Unavailable as NOT_HERE, or as BUSY where it has
        `retry_after_s`; CallerFault and PeerFault as REFUSED; anything else is logged and goes back as FAILED.

        Args:
            most_bytes: of a request.
            timeout_s: from the open stream to the end of the answer.
            parallel: streams at once, of all nodes together; more are reset.
        """
        self._served[protocol] = (handler, most_bytes, timeout_s, parallel)
        if self._host is not None and self.is_running:
            self._register(self._host, protocol)

    def share(self, find: FindTrack, read: ReadChunk) -> None:
        """Give chunks over `/digm/peer/1.0.0`. Call before `start`.

        Args:
            find: a track by its root, None when nothing of it is held; on the asyncio side.
            read: a chunk by its hash in hex, verified; raises Unavailable.
        """
        self._share = (find, read)

    async def fetch_chunk(
        self,
        peer: str,
        track_root: bytes,
        rendition: int,
        chunk: int,
        size: int,
        *,
        timeout_s: float = 30.0,
        on_progress: Callable[[int], object] = lambda _received: None,
    ) -> bytes:
        """A chunk of a node, whole and *not verified*: compare its SHA-256 before anything else.

        Args:
            on_progress: told how many bytes have come, on the asyncio side.
        Raises:
            Unavailable: `peer_unreachable`, `peer_refused`, `not_held`, `chunk_rejected`, `stream_ended`,
                `backbone_timeout`, `backbone_down`.
            PeerFault: the node breaks the rules.
        """
        chunks = self._running().chunks
        assert self._thread is not None
        progress = self._thread.telling(on_progress)
        return await self._call(
            chunks.fetch, peer, track_root, rendition, chunk, size, progress, timeout_s=timeout_s
        )

    async def availability(
        self, peer: str, track_root: bytes, *, timeout_s: float = 30.0
    ) -> Mapping[int, Bitfield]:
        """What a node says that it holds of a track, by rendition id.

        Raises:
            Unavailable: `peer_unreachable`, `peer_refused`, `stream_ended`, `backbone_timeout`,
                `backbone_down`.
            PeerFault: the node breaks the rules.
        """
        return await self._call(self._running().chunks.availability, peer, track_root, timeout_s=timeout_s)

    # -- nodes

    def peers(self) -> list[PeerInfo]:
        """Who is connected, with the round trip; empty while libp2p is down."""
        return self._host.peers() if self._host is not None and self.is_running else []

    async def connect(self, multiaddr: str) -> str:
        """Call a node by `/ip4/.../p2p/ID`; returns its id. Raises CallerFault `bad_multiaddr`, Unavailable."""
        return await self._call(self._running().connect, multiaddr)

    async def introduce(self, address: PeerAddress) -> None:
        """Make a node's addresses known: `request` can call it."""
        await self._call(self._running().introduce, address)

    async def disconnect(self, peer: str) -> None:
        """Hang up."""
        await self._call(self._running().disconnect, peer)

    async def sign_anew(self) -> None:
        """Be believed again by those to whom another process spoke with our key."""
        await self._call(self._running().sign_anew)

    async def refresh(self) -> None:
        """Look around in the DHT now."""
        await self._call(self._running().refresh)

    # -- inside

    def _running(self) -> BackboneHost:
        if self._host is None or not self.is_running:
            raise Unavailable("backbone_down", "libp2p is not running just now; it is being started again.")
        return self._host

    async def _call(
        self,
        function: Callable[[*Args], Awaitable[Result]],
        *args: *Args,
        timeout_s: float | None = None,
    ) -> Result:
        assert self._thread is not None
        return await self._thread.call(function, *args, timeout_s=timeout_s or self._settings.call_timeout_s)

    async def _start_thread(self) -> None:
        thread = TrioThread()

        async def verdict(author: str, payload: bytes) -> bool | None:
            return await thread.ask(self._judge, author, payload)

        async def main(ready: Callable[[], None]) -> None:
            host = BackboneHost(self._identity.secret, self._settings, verdict)
            self._thread, self._host = thread, host
            for protocol in self._served:
                self._register(host, protocol)
            if self._share is not None:
                host.serve(
                    PEER.name,
                    Served(self._give_chunks, PEER.most_request_bytes, CHUNK_STREAM_S, PARALLEL_CHUNK_STREAMS),
                )

            def is_ready() -> None:
                self._multiaddrs = host.multiaddrs()
                ready()

            await host.run(is_ready)

        try:
            await thread.start(main, self._settings.start_timeout_s)
        except BaseExceptionGroup as group:
            raise fault_or_gone(group) or group from group

    def _register(self, host: BackboneHost, protocol: str) -> None:
        _, most_bytes, timeout_s, parallel = self._served[protocol]

        async def answer(frames: FrameStream, peer: str) -> None:
            request = await frames.read()
            assert self._thread is not None
            await frames.write(await self._thread.ask(self._answer, protocol, peer, request))

        host.serve(protocol, Served(answer, most_bytes, timeout_s, parallel))

    async def _answer(self, protocol: str, peer: str, request: bytes) -> bytes:
        try:
            return encode_answer(await self._served[protocol][0](peer, request))
        except Unavailable as error:
            status = Status.BUSY if "retry_after_s" in error.data else Status.NOT_HERE
            return encode_refusal(status, error.code)
        except (CallerFault, PeerFault) as error:
            return encode_refusal(Status.REFUSED, error.code)
        except Exception:
            log.exception("handler_failed", protocol=protocol)
            return encode_refusal(Status.FAILED, "internal_error")

    async def _give_chunks(self, frames: FrameStream, peer: str) -> None:
        assert self._share is not None and self._thread is not None
        find, read, ask = *self._share, self._thread.ask

        async def find_there(track_root: bytes) -> HeldTrack | None:
            return await ask(_as_coroutine(find), track_root)

        async def read_there(name: str) -> bytes:
            return await ask(_as_coroutine(read), name)

        await serve_chunks(frames, peer, find_there, read_there)

    async def _supervise(self) -> None:
        """Start the libp2p side again whenever it ends; for ever, with growing pauses."""
        delay_s = self._settings.restart_first_s
        while True:
            thread = self._thread
            assert thread is not None
            error = await asyncio.shield(thread.done)
            self._host = None
            log.error("backbone_crashed", error=f"{error!r:.500}", restart_in_s=delay_s)
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, self._settings.restart_most_s)
            try:
                await self._start_thread()
            except DigmError as failure:
                log.error("backbone_not_restarted", code=failure.code)
            except Exception as failure:
                log.error("backbone_not_restarted", error=f"{failure!r:.200}")
            else:
                self.restarts += 1
                delay_s = self._settings.restart_first_s
                await self._provide_again()

    async def _provide_again(self) -> None:
        for key in list(self._provided):
            with suppress(DigmError):
                await self.provide(key)


def _as_coroutine(
    function: Callable[[*Args], Awaitable[Result]],
) -> Callable[[*Args], Coroutine[Any, Any, Result]]:
    async def call(*args: *Args) -> Result:
        return await function(*args)

    return call
