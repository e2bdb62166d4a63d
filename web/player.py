"""One track in one page: checks it, unlocks it, has its chunks fetched, and feeds the audio element.

The element (static/digm-player.js) owns play, pause, volume and the clock; this decides which bytes it gets.
Every byte passes three gates: the manifest's signature and track root, the chunk's SHA-256 (web.downloads),
the frame's tag.
"""

import asyncio
import random
from typing import Any

from digm import peer_events as events
from digm.errors import DigmError, PeerFault, Unavailable
from digm.grants import Grant, SealedGrant
from digm.json_reader import JsonReader
from digm.manifest import Manifest, Rendition
from digm.scheduler import NoSource, Playback, Scheduler, chunk_spans
from web import browser, unlock
from web.browser import JsBytes, Subscriptions, now_s
from web.downloads import Downloads
from web.feeder import BufferFull, Feeder
from web.gateway import Gateway
from web.limits import Limits
from web.store import ChunkCache
from web.swarm import Swarm
from web.view import View

FEED_AHEAD_S = 30.0  # Chromium's quota for audio is 12 MB: 35 s of 24 bit, 96 kHz
UPLOAD_RESERVE_S = 3.0  # protocol.md: nothing is given away while less than this is buffered
RENEW_BEFORE_S = 120.0
RENEW_RETRY_S = 30.0
MEDIA_EVENTS = ("play", "pause", "playing", "waiting", "seeking", "seeked", "timeupdate", "ended")


class HeadStartFailed(Exception):
    """Something that the element asked for did not come; it tells the listener itself."""


async def begun(promise: Any) -> Any:
    """Await something that was begun before Python was up."""
    try:
        return await promise
    except browser.BrowserError as fault:
        raise HeadStartFailed from fault


def choose_rendition(manifest: Manifest) -> Rendition:
    """The first that this browser plays; the manifest has the best first.

    Raises:
        Unavailable: `codec_unsupported`.
    """
    for rendition in manifest.renditions:
        if browser.supports(rendition.config.mime):
            return rendition
    raise Unavailable("codec_unsupported", "This browser plays none of the formats that this track comes in.")


class Player:
    """The Python half of a <digm-player>.

    Args:
        host: what the element gives: track, audio, source, begun (static/digm-head-start.js), report.
    """

    def __init__(self, host: Any) -> None:
        self._host = host
        self._audio = host.audio
        self._view = View(host.report)
        self._task: asyncio.Task[None] | None = None
        self._subscriptions = Subscriptions()
        self._wake = asyncio.Event()
        self._must_place = True
        self._next: tuple[int, int] | None = None
        self._is_contiguous = False
        self._fed: set[int] = set()
        self._cache_bytes = 0
        self._stalls = 0
        self._has_played = False
        self._missing: int | None = None
        self._swarm: Swarm | None = None

    def start(self) -> None:
        self._task = asyncio.ensure_future(self._guarded())

    def close(self) -> None:
        """The element is gone or plays another track."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _guarded(self) -> None:
        try:
            await self._run()
        except* HeadStartFailed:
            pass
        except* DigmError as group:
            fault = _first(group)
            self._view.error(fault.code, fault.message)
        except* Exception as group:
            self._view.error(
                "player_failed", "The player stopped because of a mistake in it. Reload the page to go on."
            )
            raise group from None
        finally:
            self._subscriptions.close()

    async def _run(self) -> None:
        details = await begun(self._host.begun.details)
        document = JsBytes.of(await begun(self._host.begun.manifest))
        self._manifest = await unlock.check_manifest(bytes(document), self._host.track)
        first = await self._host.firstSound.handOver() or None
        self._rendition = (
            choose_rendition(self._manifest) if first is None else self._manifest.renditions[first.rendition]
        )
        self._view.manifest(self._manifest, self._rendition)
        self._cache = ChunkCache(self._manifest.renditions)
        self._limits = Limits(self._manifest, self._rendition)
        gateway = Gateway(list(details.gateways.to_py()))
        self._scheduler = Scheduler(
            chunk_spans(self._rendition),
            now_s(),
            has_gateway=bool(gateway),
            expects_peers=browser.has_peer_connections(),
        )
        self._downloads = Downloads(
            self._rendition, self._scheduler, self._cache, gateway,
            on_chunk=self._on_chunk, on_trouble=self._on_trouble,
        )  # fmt: skip
        self._feeder = Feeder(self._audio, self._host.source, self._rendition, first and first.buffer)
        await self._adopt(list(first.chunks) if first else [])
        for event in MEDIA_EVENTS:
            self._subscriptions.on(self._audio, event, self._on_media)
        self._tell_scheduler()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._downloads.run(), name="downloads")
            tasks.create_task(self._keep_unlocked(), name="grant")
            tasks.create_task(self._join(), name="swarm")
            tasks.create_task(self._feed(), name="feed")

    async def _adopt(self, chunks: list[Any]) -> None:
        """Go on from the head start: its chunks are in the source buffer already."""
        for chunk, data in enumerate(chunks):
            if not await self._downloads.adopt(chunk, JsBytes(data)):
                raise PeerFault("wrong_bytes", "The first part of this track is not what the artist published.")
            self._fed.add(chunk)

    # -- keys and peers

    async def _keep_unlocked(self) -> None:
        """Open the listening grant; fetch a new one before it expires."""
        answer = await begun(self._host.begun.grant)
        keys = await begun(self._host.begun.keys)
        while True:
            grant = await self._open(answer, keys)
            self._limits.grant = grant
            for chunk in self._limits.locked_chunks():
                self._scheduler.hold(chunk)  # nobody should send what cannot be opened
            self._wake.set()
            left_s = grant.not_after - browser.wall_clock_s()
            await asyncio.sleep(left_s - min(RENEW_BEFORE_S, left_s / 4))
            answer = await self._renewed()

    async def _open(self, answer: Any, keys: Any) -> Grant:
        sealed = SealedGrant.from_reader(JsonReader(answer.grant.to_py(), "grant"))
        return await unlock.open_grant(sealed, self._manifest, keys)

    async def _renewed(self) -> Any:
        while True:
            try:
                answer = await self._host.begun.renew()
            except browser.BrowserError:
                await asyncio.sleep(RENEW_RETRY_S)
                continue
            if self._swarm is not None:
                self._swarm.renew(answer.swarm_token)
            return answer

    async def _join(self) -> None:
        """Meet the other listeners; without them the gateway does it alone."""
        if not browser.has_peer_connections():
            return
        answer = await begun(self._host.begun.grant)
        self._swarm = self._downloads.swarm = Swarm(
            self._manifest, self._cache, self._on_peer,
            reconnect=self._host.begun.reconnect, may_upload=self._may_upload, random=random.random,
        )  # fmt: skip
        self._swarm.on_expectation = self._on_swarm
        try:
            await self._swarm.run(await begun(self._host.begun.signal), answer.swarm_token)
        except* Unavailable:
            self._on_swarm(0)

    def _on_swarm(self, peers: int) -> None:
        self._scheduler.set_expects_peers(peers > 0)
        self._downloads.poll()

    def _on_peer(self, peer: str, event: events.Event) -> None:
        self._downloads.peer_event(peer, event)
        if isinstance(event, events.PeerReady | events.Closed):
            self._tell_stats()

    def _may_upload(self) -> bool:
        if self._audio.paused or self._next is None:
            return True
        end_s = self._feeder.buffered_end(self._audio.currentTime)
        return end_s is not None and end_s - self._audio.currentTime >= UPLOAD_RESERVE_S

    # -- what happens

    def _on_media(self, event: Any) -> None:
        kind = event.type
        if kind == "playing":
            self._has_played = True
        elif kind in ("seeking", "waiting"):
            self._must_place = True
            if kind == "waiting" and self._has_played and not self._audio.seeking and not self._is_at_end():
                self._stalls += 1
                self._tell_stats()
        self._tell_scheduler()
        self._stop_at_limit()
        self._wake.set()

    def _is_at_end(self) -> bool:
        end_s = min(self._rendition.presented_duration_s, self._limits.end_s())
        return bool(self._audio.currentTime >= end_s - 0.5)

    def _tell_scheduler(self) -> None:
        is_playing = not self._audio.paused and not self._audio.ended
        playback = Playback.PLAYING if is_playing else Playback.PAUSED
        self._scheduler.set_playback(playback, self._audio.currentTime, now_s())
        self._downloads.poll()

    def _stop_at_limit(self) -> None:
        """What the keys do not open is not waited for: stop in front of it and say so."""
        if not self._limits.is_beyond(self._audio.currentTime):
            return
        self._audio.pause()
        self._view.notice(*self._limits.reason())
        rest_s = self._limits.rest_position_s()
        if self._audio.currentTime > self._limits.end_s():
            self._audio.currentTime = rest_s

    def _on_chunk(self, chunk: int) -> None:
        if chunk == self._missing:
            self._view.notice_over("no_source", "wrong_bytes")
        self._wake.set()
        self._tell_stats()

    def _on_trouble(self, trouble: NoSource) -> None:
        self._missing = trouble.chunk
        reasons = set(trouble.reasons.values())
        if "wrong_hash" in reasons:
            self._view.notice(
                "wrong_bytes",
                "What came for this part is not what the artist published, so it is not played. "
                "Looking elsewhere …",
            )
        else:
            self._view.notice("no_source", "Nobody has the next part of this track right now. Trying again …")

    def _tell_stats(self) -> None:
        chunks = sorted(self._downloads.origins.items())
        rendition = self._rendition
        self._view.stats(
            bytes={**self._downloads.bytes_by_source, "cache": self._cache_bytes},
            peers=self._swarm.open_peers if self._swarm is not None else 0,
            stalls=self._stalls,
            codec=rendition.config.codec,
            uploaded=self._swarm.uploaded_bytes if self._swarm is not None else 0,
            origins=[
                [rendition.chunk_start_s(chunk), rendition.chunk_end_s(chunk), origin]
                for chunk, origin in chunks
                if (rendition.id, chunk) in self._cache
            ],
        )

    # -- feeding

    async def _feed(self) -> None:
        await self._feeder.open()
        self._view.ready()
        while True:
            self._wake.clear()
            while await self._feed_step():
                pass
            await self._wake.wait()

    async def _feed_step(self) -> bool:
        """Append one chunk, or a part of it. False when there is nothing to do until something happens."""
        position_s = self._audio.currentTime
        if self._must_place:
            self._place(position_s)
        if self._next is None:
            return False
        chunk, fragment = self._next
        if self._rendition.chunk_start_s(chunk) - position_s > FEED_AHEAD_S:
            return await self._feeder.evict(position_s)
        key, data = self._limits.key_for(chunk), self._cache.get(self._rendition.id, chunk)
        if key is None or data is None:
            self._stop_at_limit()
            return False
        offset, start_units = self._rendition.fragments[chunk][fragment]
        sound = await unlock.open_chunk(self._rendition, chunk, data, key, offset)
        if self._must_place:
            return True  # the listener went elsewhere meanwhile
        try:
            await self._feeder.append(sound, start_units, is_contiguous=self._is_contiguous)
        except BufferFull:
            return await self._feeder.evict(position_s, all_played=True)
        self._after_append(chunk, len(data))
        return True

    def _after_append(self, chunk: int, size: int) -> None:
        if chunk in self._fed:
            self._cache_bytes += size
        self._fed.add(chunk)
        if self._must_place:
            return
        self._is_contiguous = True
        if chunk + 1 < self._rendition.chunk_count:
            self._next = (chunk + 1, 0)
        else:
            self._finish()

    def _place(self, position_s: float) -> None:
        """Where to append next: behind what is there without a gap from here, or here."""
        self._must_place = False
        self._is_contiguous = False
        end_s = self._feeder.buffered_end(position_s)
        target_s = position_s if end_s is None else end_s + 0.02
        if end_s is not None and target_s >= self._rendition.presented_duration_s:
            self._finish()
            return
        chunk = self._rendition.chunk_at(target_s)
        starts = [self._rendition.presented_s(units) for _, units in self._rendition.fragments[chunk]]
        fragment = max((i for i, start_s in enumerate(starts) if start_s <= target_s), default=0)
        self._next = (chunk, fragment)

    def _finish(self) -> None:
        self._next = None
        self._feeder.end()


def _first(group: BaseExceptionGroup[Any]) -> DigmError:
    """One failure of a group is enough for one listener."""
    fault: Any = group
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    assert isinstance(fault, DigmError)
    return fault
