"""Does what the scheduler decides: fetches from peers and the gateway, and checks every chunk's hash.

This is the one gate that bytes pass: nothing goes into the cache, is announced or given on before its SHA-256
is the one in the manifest that the artist signed. Frames of a chunk that is not whole yet can be had with
`early_frames`, for a listener whose buffer is short.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from digm import chunk_mask
from digm import peer_events as events
from digm.chunks import FRAME_BYTES
from digm.manifest import Rendition
from digm.scheduler import GATEWAY, Action, Cancel, Failure, Fetch, NoSource, Scheduler, SourceBanned
from digm.wire import Reason
from web import browser
from web.assembly import Assembly, senders_of_wrong
from web.browser import JsBytes, now_s
from web.gateway import Gateway
from web.receipts import Frames, note
from web.store import ChunkCache
from web.swarm import Swarm
from web.timer import Timer

_FAILURES = {
    Reason.NO_SLOT: Failure.BUSY,
    Reason.NOT_HELD: Failure.NOT_HELD,
    Reason.NOT_SHARING: Failure.REFUSED,
    Reason.GOING_AWAY: Failure.REFUSED,
}
# Of chunks that were begun and are not wanted now (a seek); 8 MB, as one chunk has at most 1 MB.
MOST_UNFINISHED = 8


@dataclass(slots=True)
class _Running:
    """A fetch; `data` has room for exactly the frames that it asks for."""

    fetch: Fetch
    data: JsBytes
    received: int = 0
    frames: int = 0
    request_id: int | None = None
    task: asyncio.Task[None] | None = None


class Downloads:
    """Fetches of one rendition.

    Attributes:
        bytes_by_source: verified bytes, "peer" and "gateway".
        bytes_twice: of frames that came although they had come, or were kept here, before.
        origins: chunk -> which of its frames came from where: [(frames, origin), ...] in order; the origin is
            "peer", "gateway", or "cache" when it was here before the page was.
        taken_from: verified frames, by the peers that they came from; whoever reads it may empty it.

    Args:
        on_frames: told that frames of a chunk came.
        on_chunk: told that a chunk is here, verified.
        on_wrong: told that a chunk's hash is wrong: what was played of it early goes.
        find_forged: says whose frames of an assembly with a wrong hash do not open; empty: it cannot say.
    """

    def __init__(
        self,
        rendition: Rendition,
        scheduler: Scheduler,
        cache: ChunkCache,
        gateway: Gateway,
        *,
        on_frames: Callable[[int], None],
        on_chunk: Callable[[int], None],
        on_wrong: Callable[[int], None],
        on_trouble: Callable[[NoSource], None],
        find_forged: Callable[[int, Assembly], Awaitable[frozenset[str]]],
    ) -> None:
        self.bytes_by_source = {"peer": 0, "gateway": 0}
        self.bytes_twice = 0
        self.origins = {chunk: [(rendition.chunk_frames(chunk), "cache")] for chunk in cache.held[rendition.id]}
        self._came = {chunk: (1 << frames) - 1 for chunk, [(frames, _)] in self.origins.items()}
        self.taken_from: Frames = {}
        self.swarm: Swarm | None = None
        self._rendition = rendition
        self._scheduler = scheduler
        self._cache = cache
        self._gateway = gateway
        self._on_frames = on_frames
        self._on_chunk = on_chunk
        self._on_wrong = on_wrong
        self._on_trouble = on_trouble
        self._find_forged = find_forged
        self._running: dict[int, _Running] = {}
        self._by_request: dict[tuple[str, int], int] = {}
        self._assemblies: dict[int, Assembly] = {}
        self._suspects: dict[int, dict[int, tuple[str, bytes]]] = {}
        self._checking: set[int] = set()
        self._tasks: asyncio.TaskGroup | None = None
        self._timer = Timer(self.poll)

    async def run(self) -> None:
        """Fetch until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                for chunk in list(self._assemblies):
                    self._check_when_whole(chunk)
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

    def adopt(self, chunk: int, first: int, data: JsBytes) -> None:
        """Take frames of the head start; whole chunks go through the same gate as all others."""
        if (self._rendition.id, chunk) in self._cache:  # where the head start looks first
            return
        self._assembly(chunk).add(first, GATEWAY, data)
        self._count(chunk, first, first + len(data) // FRAME_BYTES)
        self._tell_partial(chunk, first, len(data) // FRAME_BYTES, GATEWAY)

    def early_frames(self, chunk: int, first: int) -> JsBytes | None:
        """Frames from `first` on that came, with no gap, of a chunk that is not verified yet."""
        assembly = self._assemblies.get(chunk)
        return assembly.run_from(first) if assembly is not None else None

    async def frame_refused(self, chunk: int, frame: int) -> None:
        """A frame that `early_frames` gave does not open: its sender is at fault, the chunk begins anew."""
        assembly = self._assemblies.get(chunk)
        if assembly is not None and frame in assembly.frames:
            await self._refuse(chunk, assembly, frozenset({assembly.frames[frame].source}))

    def poll(self) -> None:
        """Ask the scheduler what to do; after everything that it was told."""
        if self._tasks is None:
            return
        if self.swarm is not None:
            me, *others = self.swarm.members()
            self._scheduler.set_members(others, now_s(), me=me, listeners=self.swarm.listeners)
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
                    self._disown(action.source)
                case NoSource():
                    self._on_trouble(action)
        return is_all_done

    # -- starting and stopping

    def _start(self, fetch: Fetch) -> bool:
        assert self._tasks is not None
        running = _Running(fetch, JsBytes.zeros(fetch.frame_count * FRAME_BYTES))
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
        self._keep(running)

    def _keep(self, running: _Running) -> None:
        """What a fetch brought before it ended need not come again."""
        fetch = running.fetch
        if running.frames and (self._rendition.id, fetch.chunk) not in self._cache:
            came = running.data[: running.frames * FRAME_BYTES]
            self._assembly(fetch.chunk).add(fetch.first_frame, fetch.source, came)
            self._tell_partial(fetch.chunk, fetch.first_frame, running.frames, fetch.source)
            self._check_when_whole(fetch.chunk)

    def _disown(self, source: str) -> None:
        """Leave a source that gave wrong bytes, and what else of it waits to be checked."""
        for chunk in [chunk for chunk, assembly in self._assemblies.items() if source in assembly.sources]:
            if chunk not in self._checking:
                del self._assemblies[chunk]
                self._scheduler.drop(chunk)
        if source != GATEWAY and self.swarm is not None:
            self.swarm.ban(source)

    def _tell_partial(self, chunk: int, first: int, count: int, source: str) -> None:
        self._scheduler.partial(chunk, frozenset(range(first, first + count)), now_s(), source)

    def _assembly(self, chunk: int) -> Assembly:
        if chunk not in self._assemblies:
            self._assemblies[chunk] = Assembly(self._rendition.chunk_frames(chunk))
            self._forget_oldest()
        return self._assemblies[chunk]

    def _forget_oldest(self) -> None:
        wanted = {running.fetch.chunk for running in self._running.values()} | self._checking
        idle = [chunk for chunk in self._assemblies if chunk not in wanted]
        for chunk in idle[: max(0, len(self._assemblies) - len(wanted) - MOST_UNFINISHED)]:
            del self._assemblies[chunk]
            self._scheduler.drop(chunk)

    # -- what comes

    async def _from_gateway(self, running: _Running) -> None:
        fetch = running.fetch
        failure = await self._gateway.fetch(
            self._rendition.chunk_hashes[fetch.chunk].hex(),
            running.data,
            fetch.first_frame,
            lambda received: self._on_progress(running, received),
            is_whole=fetch.frame_count == self._rendition.chunk_frames(fetch.chunk),
        )
        if failure is None:
            self._on_received(running)
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
            case events.ChunkGone() if event.rendition == self._rendition.id:
                self._scheduler.peer_lost(peer, event.chunk, now)
            case events.RateOffered():
                self._scheduler.peer_rate(peer, event.slots)
            case events.Closed():
                self._forget(peer)
                self._scheduler.peer_gone(peer, now)
            case events.DataReceived():
                self._on_data(peer, event)
                return
            case events.RequestDone():
                running = self._running.get(self._by_request.pop((peer, event.request_id), -1))
                if running is not None:
                    running.request_id = None
                    self._on_received(running)
                return
            case events.RequestRejected() | events.RequestTimedOut():
                is_silent = isinstance(event, events.RequestTimedOut)
                failure = Failure.SILENT if is_silent else _FAILURES.get(event.reason, Failure.BUSY)
                fetch_id = self._by_request.pop((peer, event.request_id), None)
                if fetch_id is not None:
                    self._fail(fetch_id, failure)
                return
        self.poll()

    def _on_data(self, peer: str, event: events.DataReceived) -> None:
        running = self._running.get(self._by_request.get((peer, event.request_id), -1))
        if running is not None:
            running.data.write(event.offset - running.fetch.first_frame * FRAME_BYTES, event.payload)
            self._on_progress(running, running.received + len(event.payload))

    def _on_progress(self, running: _Running, received: int) -> None:
        fetch, before = running.fetch, running.frames
        running.received = received
        running.frames = min(received // FRAME_BYTES, fetch.frame_count)
        self._scheduler.progress(fetch.fetch_id, received, now_s())
        if running.frames > before:
            came = running.data[before * FRAME_BYTES : running.frames * FRAME_BYTES]
            self._assembly(fetch.chunk).add(fetch.first_frame + before, fetch.source, came)
            self._count(fetch.chunk, fetch.first_frame + before, fetch.first_frame + running.frames)
            self._on_frames(fetch.chunk)

    def _count(self, chunk: int, first: int, end: int) -> None:
        """Frames came: had they come before?"""
        frames, before = chunk_mask.span(first, end), self._came.get(chunk, 0)
        self.bytes_twice += (frames & before).bit_count() * FRAME_BYTES
        self._came[chunk] = before | frames

    def _on_received(self, running: _Running) -> None:
        """All that was asked for came."""
        fetch = running.fetch
        if self._running.pop(fetch.fetch_id, None) is None:
            return
        self._assembly(fetch.chunk).add(fetch.first_frame, fetch.source, running.data)
        self._scheduler.received(fetch.fetch_id, now_s())
        self._check_when_whole(fetch.chunk)
        self.poll()

    def _forget(self, peer: str) -> None:
        """What a peer that is gone was sending; the scheduler knows by itself, but not of what had come."""
        for key in [key for key in self._by_request if key[0] == peer]:
            running = self._running.pop(self._by_request.pop(key), None)
            if running is not None:
                self._keep(running)

    def _fail(self, fetch_id: int, failure: Failure) -> None:
        running = self._running.pop(fetch_id, None)
        self._scheduler.failed(fetch_id, failure, now_s())
        if running is not None:
            self._keep(running)
        self.poll()

    # -- the gate

    def _check_when_whole(self, chunk: int) -> None:
        assembly = self._assemblies.get(chunk)
        if assembly is None or not assembly.is_whole or chunk in self._checking or self._tasks is None:
            return
        self._checking.add(chunk)
        self._tasks.create_task(self._check(chunk, assembly), name=f"check {chunk}")

    async def _check(self, chunk: int, assembly: Assembly) -> None:
        """The gate: compare the hash, then let the chunk in, or find out who sent something else."""
        try:
            data = assembly.run_from(0)
            assert data is not None
            is_right = await browser.sha256(data) == self._rendition.chunk_hashes[chunk]
            if self._assemblies.get(chunk) is not assembly:
                return
            if is_right:
                await self._accept(chunk, assembly, data)
                return
            culprits = await self._find_forged(chunk, assembly)
            if not culprits:  # who sent it has the key: what was played of it early may be wrong as well
                self._on_wrong(chunk)
            await self._refuse(chunk, assembly, culprits)
        finally:
            self._checking.discard(chunk)

    async def _accept(self, chunk: int, assembly: Assembly, data: JsBytes) -> None:
        del self._assemblies[chunk]
        self._let_in(chunk, assembly, data)
        self._scheduler.chunk_verified(chunk, now_s())
        self._on_chunk(chunk)
        self.poll()
        if suspects := self._suspects.pop(chunk, None):
            for culprit in await senders_of_wrong(suspects, data):
                self._scheduler.ban(culprit, chunk)
            self.poll()

    async def _refuse(self, chunk: int, assembly: Assembly, culprits: frozenset[str]) -> None:
        """A chunk is wrong. What others than the culprits sent stays; if it is not known who they are, all of
        it comes again from elsewhere, and then it shows."""
        self._assemblies.pop(chunk, None)
        self._came.pop(chunk, None)  # what comes instead is something else
        for running in [running for running in self._running.values() if running.fetch.chunk == chunk]:
            running.frames = 0
            self._stop(running.fetch.fetch_id)
        if not culprits and len(assembly.sources) == 1:
            culprits = assembly.sources
        if not culprits:
            self._suspects[chunk] = await assembly.digests()
        if GATEWAY in (culprits or assembly.sources):
            self._gateway.was_wrong(self._rendition.chunk_hashes[chunk].hex())
        self._scheduler.chunk_wrong(chunk, culprits, now_s())
        for number, frame in assembly.frames.items() if culprits else ():
            if frame.source not in culprits:
                self._assembly(chunk).add(number, frame.source, frame.data)
                self._tell_partial(chunk, number, 1, frame.source)
        self.poll()

    def _let_in(self, chunk: int, assembly: Assembly, data: JsBytes) -> None:
        runs: list[tuple[int, str]] = []
        for _, frame in sorted(assembly.frames.items()):
            origin = "gateway" if frame.source == GATEWAY else "peer"
            self.bytes_by_source[origin] += len(frame.data)
            count = runs.pop()[0] if runs and runs[-1][1] == origin else 0
            runs.append((count + 1, origin))
        self.origins[chunk] = runs
        note(self.taken_from, (self._rendition.id, chunk), assembly)
        self._cache.put(self._rendition.id, chunk, data)
        if self.swarm is not None:
            self.swarm.announce(self._rendition.id, chunk)
