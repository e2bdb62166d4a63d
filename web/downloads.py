"""Does what the scheduler decides: fetches from peers and the gateway, and checks every chunk's hash.

This is the one gate that bytes pass: nothing goes into the cache, is announced or given on, or is opened for
playing before its SHA-256 is the one in the manifest that the artist signed.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from digm import peer_events as events
from digm.manifest import Rendition
from digm.scheduler import GATEWAY, Action, Cancel, Failure, Fetch, NoSource, Scheduler, SourceBanned
from digm.wire import Reason
from web import browser
from web.browser import JsBytes, now_s
from web.gateway import Gateway
from web.store import ChunkCache
from web.swarm import Swarm
from web.timer import Timer

_FAILURES = {
    Reason.NO_SLOT: Failure.BUSY,
    Reason.NOT_HELD: Failure.NOT_HELD,
    Reason.NOT_SHARING: Failure.REFUSED,
    Reason.GOING_AWAY: Failure.REFUSED,
}


@dataclass(slots=True)
class _Running:
    fetch: Fetch
    data: JsBytes
    received: int = 0
    request_id: int | None = None
    task: asyncio.Task[None] | None = None


class Downloads:
    """Fetches of one rendition.

    Attributes:
        bytes_by_source: verified bytes, "peer" and "gateway".
        origins: chunk -> "peer", "gateway", or "cache" when it was here before the page was.
    """

    def __init__(
        self,
        rendition: Rendition,
        scheduler: Scheduler,
        cache: ChunkCache,
        gateway: Gateway,
        *,
        on_chunk: Callable[[int], None],
        on_trouble: Callable[[NoSource], None],
    ) -> None:
        self.bytes_by_source = {"peer": 0, "gateway": 0}
        self.origins = dict.fromkeys(cache.held[rendition.id], "cache")
        self.swarm: Swarm | None = None
        self._rendition = rendition
        self._scheduler = scheduler
        self._cache = cache
        self._gateway = gateway
        self._on_chunk = on_chunk
        self._on_trouble = on_trouble
        self._running: dict[int, _Running] = {}
        self._by_request: dict[tuple[str, int], int] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._timer = Timer(self.poll)

    async def run(self) -> None:
        """Fetch until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self.poll()
                await asyncio.get_running_loop().create_future()
        finally:
            self._tasks = None
            self._timer.stop()

    def lost(self, chunk: int) -> None:
        """A chunk that was held is gone."""
        self._scheduler.drop(chunk)
        self.origins.pop(chunk, None)
        self.poll()

    async def adopt(self, chunk: int, data: JsBytes) -> bool:
        """Let in a chunk of the head start, through the same gate. False: it is wrong."""
        if await browser.sha256(data) != self._rendition.chunk_hashes[chunk]:
            return False
        # What was kept here is where the head start looks first.
        if self.origins.get(chunk) != "cache":
            self._let_in(chunk, data, "gateway")
        self._scheduler.hold(chunk)
        return True

    def poll(self) -> None:
        """Ask the scheduler what to do; after everything that it was told."""
        if self._tasks is None:
            return
        while not self._act(self._scheduler.poll(now_s())):
            pass  # a source that could not be asked: the scheduler names another
        self._timer.set(self._scheduler.next_deadline(now_s()))

    def _act(self, actions: list[Action]) -> bool:
        """Do as told. False when a fetch could not be started."""
        is_all_done = True
        for action in actions:
            match action:
                case Fetch():
                    is_all_done &= self._start(action)
                case Cancel():
                    self._stop(action.fetch_id)
                case SourceBanned():
                    if action.source != GATEWAY and self.swarm is not None:
                        self.swarm.ban(action.source)
                case NoSource():
                    self._on_trouble(action)
        return is_all_done

    # -- starting and stopping

    def _start(self, fetch: Fetch) -> bool:
        assert self._tasks is not None
        running = _Running(fetch, JsBytes.zeros(self._rendition.chunk_bytes(fetch.chunk)))
        self._running[fetch.fetch_id] = running
        if fetch.source == GATEWAY:
            running.task = self._tasks.create_task(self._from_gateway(running), name=f"gateway {fetch.chunk}")
            return True
        if self.swarm is not None:
            running.request_id = self.swarm.request(
                fetch.source, self._rendition.id, fetch.chunk, fetch.first_frame, fetch.frame_count
            )
        if running.request_id is None:
            del self._running[fetch.fetch_id]
            self._scheduler.failed(fetch.fetch_id, Failure.BUSY, now_s())
            return False
        self._by_request[fetch.source, running.request_id] = fetch.fetch_id
        return True

    def _stop(self, fetch_id: int) -> None:
        running = self._running.pop(fetch_id, None)
        if running is None:
            return
        if running.task is not None:
            running.task.cancel()
        if running.request_id is not None:
            self._by_request.pop((running.fetch.source, running.request_id), None)
            if self.swarm is not None:
                self.swarm.cancel(running.fetch.source, running.request_id)

    # -- what comes

    async def _from_gateway(self, running: _Running) -> None:
        fetch = running.fetch

        def on_progress(received: int) -> None:
            running.received = received
            self._scheduler.progress(fetch.fetch_id, received, now_s())

        chunk_hash = self._rendition.chunk_hashes[fetch.chunk].hex()
        failure = await self._gateway.fetch(
            chunk_hash, running.data, fetch.first_frame, fetch.frame_count, on_progress
        )
        if failure is None:
            self._scheduler.received(fetch.fetch_id, now_s())
            await self._check(running)
        else:
            self._fail(fetch.fetch_id, failure)

    def peer_event(self, peer: str, event: events.Event) -> None:
        """Something that a peer's session said."""
        now = now_s()
        match event:
            case events.PeerReady():
                slots = self.swarm.free_slots(peer) if self.swarm is not None else 0
                self._scheduler.peer_ready(peer, event.availability[self._rendition.id], slots, now)
            case events.ChunkAvailable() if event.rendition == self._rendition.id:
                self._scheduler.peer_has(peer, event.chunk, now)
            case events.RateOffered():
                self._scheduler.peer_rate(peer, event.slots)
            case events.Closed():
                self._forget(peer)
                self._scheduler.peer_gone(peer, now)
            case events.DataReceived():
                self._on_data(peer, event, now)
                return
            case events.RequestDone():
                self._on_done(peer, event)
                return
            case events.RequestRejected() | events.RequestTimedOut():
                is_silent = isinstance(event, events.RequestTimedOut)
                failure = Failure.SILENT if is_silent else _FAILURES.get(event.reason, Failure.BUSY)
                fetch_id = self._by_request.pop((peer, event.request_id), None)
                if fetch_id is not None:
                    self._fail(fetch_id, failure)
                return
        self.poll()

    def _on_data(self, peer: str, event: events.DataReceived, now: float) -> None:
        running = self._running.get(self._by_request.get((peer, event.request_id), -1))
        if running is None:
            return
        running.data.write(event.offset, event.payload)
        running.received += len(event.payload)
        self._scheduler.progress(running.fetch.fetch_id, running.received, now)

    def _on_done(self, peer: str, event: events.RequestDone) -> None:
        running = self._running.get(self._by_request.pop((peer, event.request_id), -1))
        if running is not None and self._tasks is not None:
            running.request_id = None
            self._scheduler.received(running.fetch.fetch_id, now_s())
            running.task = self._tasks.create_task(self._check(running), name=f"check {event.chunk}")

    def _forget(self, peer: str) -> None:
        """What a peer that is gone was sending; the scheduler knows by itself."""
        for key in [key for key in self._by_request if key[0] == peer]:
            self._running.pop(self._by_request.pop(key), None)

    def _fail(self, fetch_id: int, failure: Failure) -> None:
        self._running.pop(fetch_id, None)
        self._scheduler.failed(fetch_id, failure, now_s())
        self.poll()

    async def _check(self, running: _Running) -> None:
        """The gate: compare the hash, then let the chunk in or ban who sent it."""
        fetch = running.fetch
        digest = await browser.sha256(running.data)
        if self._running.pop(fetch.fetch_id, None) is None:
            return
        if digest != self._rendition.chunk_hashes[fetch.chunk]:
            if fetch.source == GATEWAY:
                self._gateway.was_wrong(self._rendition.chunk_hashes[fetch.chunk].hex())
            is_all_of_it = fetch.frame_count == self._rendition.chunk_frames(fetch.chunk)
            culprits = frozenset({fetch.source} if is_all_of_it else ())
            self._scheduler.chunk_wrong(fetch.chunk, culprits, now_s())
            self.poll()
            return
        self._let_in(fetch.chunk, running.data, "gateway" if fetch.source == GATEWAY else "peer")
        self._scheduler.chunk_verified(fetch.chunk, now_s())
        self._on_chunk(fetch.chunk)
        self.poll()

    def _let_in(self, chunk: int, data: JsBytes, origin: str) -> None:
        self.bytes_by_source[origin] += len(data)
        self.origins[chunk] = origin
        self._cache.put(self._rendition.id, chunk, data)
        if self.swarm is not None:
            self.swarm.announce(self._rendition.id, chunk)
