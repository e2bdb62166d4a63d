"""One track being fetched and unlocked: from the hub's word about it to pieces that a source buffer takes.

Every byte passes three gates: the manifest's signature and track root, the chunk's SHA-256 (web.downloads), the
frame's tag. Only while a listener's buffer is short are frames let through in front of the second one. When
what is played is the conductor's affair (web.player); what the listener is told, too.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from digm import peer_events as events
from digm.chunks import FRAME_BYTES, FRAME_PLAINTEXT_BYTES
from digm.errors import Unavailable
from digm.grants import Grant, SealedGrant
from digm.json_reader import JsonReader
from digm.manifest import Manifest, Rendition
from digm.scheduler import GATEWAY, NoSource, Playback, Scheduler, chunk_spans
from web import browser, unlock
from web.assembly import Assembly
from web.browser import JsBytes, now_s
from web.downloads import Downloads
from web.gateway import Gateway
from web.limits import Limits
from web.sharing import Sharing
from web.store import ChunkCache
from web.swarm import Swarm

RENEW_BEFORE_S = 120.0
RENEW_RETRY_S = 30.0


class HeadStartFailed(Exception):
    """Something that the element asked for did not come; of the first track it tells the listener itself.

    Attributes:
        code: as the element names it (static/digm-head-start.js).
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


async def begun(promise: Any) -> Any:
    """Await something that was begun before Python was up."""
    try:
        return await promise
    except browser.BrowserError as fault:
        raise HeadStartFailed(str(getattr(fault, "code", ""))) from fault


def choose_rendition(manifest: Manifest) -> Rendition:
    """The first that this browser plays; the manifest has the best first.

    Raises:
        Unavailable: `codec_unsupported`.
    """
    for rendition in manifest.renditions:
        if browser.supports(rendition.config.mime):
            return rendition
    raise Unavailable("codec_unsupported", "This browser plays none of the formats that this track comes in.")


class TrackOwner(Protocol):
    """Who is told what becomes of a track, and decides what it may give away."""

    def track_changed(self, stream: "TrackStream") -> None:
        """A chunk or the keys came: there may be something to play."""

    def track_wrong(self, stream: "TrackStream", chunk: int) -> None:
        """Of a chunk that is not the artist's something may have been appended early."""

    def track_in_trouble(self, stream: "TrackStream", trouble: NoSource) -> None:
        """A chunk that is needed now cannot be had."""

    def track_stats(self, stream: "TrackStream") -> None:
        """Numbers changed that people look at."""

    sharing: Sharing

    def buffered_s(self) -> float | None:
        """What can be played without a byte more; None while nothing is played, or all of it is there."""
        ...


@dataclass(frozen=True, slots=True)
class Sound:
    """Plaintext of a chunk.

    Attributes:
        end: at which byte of the chunk's plaintext it ends.
    """

    data: JsBytes
    end: int


class TrackStream:
    """One track.

    Attributes:
        is_prepared: the manifest is checked.
        manifest, rendition, cover_url: of what is played; there after `prepare`.
        limits: how far its keys reach.
        downloads: what is fetched, and from whom.
        swarm: the other listeners; None before the grant, and where there is no WebRTC.

    Args:
        track: its root, 64 hex digits.
        begin: asks the hub for what it takes to begin (static/digm-head-start.js).
        begun: what the page asked for already.
    """

    manifest: Manifest
    rendition: Rendition
    cover_url: str
    limits: Limits
    downloads: Downloads

    def __init__(
        self, track: str, owner: TrackOwner, *, begin: Callable[[str], Any], begun: Any = None
    ) -> None:
        self.track = track
        self.is_prepared = False
        self.swarm: Swarm | None = None
        self._begin = begin
        self._begun = begun or begin(track)
        self._owner = owner
        self._taken: set[int] = set()
        self._early: set[int] = set()
        self._awaited: int | None = None
        self._cache_bytes = 0

    async def prepare(self, rendition: int | None = None) -> None:
        """Check the manifest, choose what to play.

        Args:
            rendition: the one that the head start plays already.
        Raises:
            HeadStartFailed, PeerFault (`manifest_*`), Unavailable (`codec_unsupported`).
        """
        details = await begun(self._begun.details)
        self.cover_url = details.cover_url or ""
        document = JsBytes.of(await begun(self._begun.manifest))
        self.manifest = manifest = await unlock.check_manifest(bytes(document), self.track)
        self.rendition = choose_rendition(manifest) if rendition is None else manifest.renditions[rendition]
        self.limits = Limits(manifest, self.rendition)
        self._cache = ChunkCache(manifest.renditions)
        await self._cache.open()
        gateway = Gateway(list(details.gateways.to_py()))
        self._scheduler = Scheduler(
            chunk_spans(self.rendition),
            now_s(),
            held=self._cache.held[self.rendition.id],
            has_gateway=bool(gateway),
            expects_peers=browser.has_peer_connections(),
        )
        self.downloads = Downloads(
            self.rendition, self._scheduler, self._cache, gateway,
            on_frames=self._on_frames,
            on_chunk=self._on_chunk,
            on_wrong=self._on_wrong,
            on_trouble=lambda trouble: self._owner.track_in_trouble(self, trouble),
            find_forged=self._find_forged,
        )  # fmt: skip
        self._cache.on_lost = self._on_lost
        self.is_prepared = True

    def begin_again(self) -> None:
        """Ask once more for what did not come."""
        self.close()
        self._begun = self._begin(self.track)

    def close(self) -> None:
        """Nothing is asked of the hub for it any more."""
        self._begun.abort.abort()

    def adopt(self, pieces: list[Any], measured_bytes: int, measured_s: float) -> None:
        """Go on from the head start, with the frames that it fetched (static/digm-first-sound.js) and the speed
        at which they came."""
        if measured_bytes and measured_s:
            self._scheduler.learn_rate(GATEWAY, measured_bytes, measured_s)
        for piece in pieces:
            if piece.end > piece.first:
                data = JsBytes(piece.data)[piece.first * FRAME_BYTES : piece.end * FRAME_BYTES]
                self.downloads.adopt(piece.chunk, piece.first, data)
                self._early.add(piece.chunk)
                if piece.end == self.rendition.chunk_frames(piece.chunk):
                    self.taken(piece.chunk)

    async def run(self) -> None:
        """Fetch, keep the keys fresh, be in the swarm; until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.downloads.run(), name="downloads")
            tasks.create_task(self._keep_unlocked(), name="grant")
            tasks.create_task(self._join(), name="swarm")

    # -- for the conductor

    def set_playback(self, playback: Playback, position_s: float) -> None:
        """Where the listener is in this track, in its own seconds."""
        self._scheduler.set_playback(playback, position_s, now_s())
        self.downloads.poll()

    def holds(self, chunk: int) -> bool:
        """Whether a chunk is here, verified."""
        return (self.rendition.id, chunk) in self._cache

    def entrance(self, moment_s: float, preroll_s: float) -> tuple[int, tuple[int, int]]:
        """Where to begin decoding for a moment of the track: the chunk, and (byte, units) in it.

        Args:
            preroll_s: how much earlier than the moment, if what that takes is here.
        """
        rendition = self.rendition
        chunk = rendition.chunk_at(moment_s - preroll_s)
        if chunk < rendition.chunk_at(moment_s) and not self.holds(chunk):
            chunk, preroll_s = rendition.chunk_at(moment_s), 0.0
        places = rendition.fragments[chunk]
        at_or_before = [place for place in places if rendition.presented_s(place[1]) <= moment_s - preroll_s]
        return chunk, at_or_before[-1] if at_or_before else places[0]

    def plaintext_bytes(self, chunk: int) -> int:
        """How long the plaintext of a chunk is."""
        return self.rendition.chunk_frames(chunk) * FRAME_PLAINTEXT_BYTES

    async def sound(self, chunk: int, at: int, *, may_be_early: bool) -> Sound | None:
        """Plaintext of a chunk from a byte on; None while the chunk or its key is missing.

        Args:
            may_be_early: what is there of a chunk that is not whole will do, frame by frame.
        """
        self._awaited = None
        key = self.limits.key_for(chunk)
        if key is None:
            return None
        if (data := await self._cache.load(self.rendition.id, chunk)) is not None:
            opened = await unlock.open_chunk(self.rendition, chunk, data, key, at)
            return Sound(opened, self.plaintext_bytes(chunk))
        if may_be_early:
            self._awaited = chunk
            return await self._early_sound(chunk, at, key)
        return None

    async def _early_sound(self, chunk: int, at: int, key: bytes) -> Sound | None:
        first = at // FRAME_PLAINTEXT_BYTES
        sealed = self.downloads.early_frames(chunk, first)
        if sealed is None:
            return None
        opened = await unlock.open_frames(self.rendition, chunk, first, sealed, key)
        good = len(opened) // FRAME_PLAINTEXT_BYTES
        if good < len(sealed) // FRAME_BYTES:
            await self.downloads.frame_refused(chunk, first + good)
        if not good:
            return None
        self._early.add(chunk)
        return Sound(opened[at - first * FRAME_PLAINTEXT_BYTES :], (first + good) * FRAME_PLAINTEXT_BYTES)

    def taken(self, chunk: int) -> None:
        """A chunk went into the source buffer; the second time it is the cache that gave it."""
        if chunk in self._taken or self.downloads.origins.get(chunk, [(0, "")])[0][1] == "cache":
            self._cache_bytes += self.rendition.chunk_bytes(chunk)
            self._owner.track_stats(self)
        self._taken.add(chunk)

    def bytes_by_source(self) -> dict[str, int]:
        """Audio by where it came from: "peer", "gateway", "cache"."""
        return {**self.downloads.bytes_by_source, "cache": self._cache_bytes}

    @property
    def uploaded_bytes(self) -> int:
        return self.swarm.uploaded_bytes if self.swarm is not None else 0

    def stats(self) -> dict[str, Any]:
        """Peers, and which second came from where."""
        rendition = self.rendition
        return {
            "peers": self.swarm.open_peers if self.swarm is not None else 0,
            "codec": rendition.config.codec,
            "links": self.swarm.links() if self.swarm is not None else [],
            "sharing": self._sharing(),
            "origins": [
                span
                for chunk, runs in sorted(self.downloads.origins.items())
                if self.holds(chunk)
                for span in self._origin_spans(chunk, runs)
            ],
        }

    def _sharing(self) -> dict[str, Any]:
        """Whether this page gives, and whether it meets anybody, with the reasons."""
        why = self._owner.sharing.why().value
        alone = self.swarm.why_alone() if self.swarm is not None else "not_joined"
        return {"on": why == "sharing" and alone is None, "why": why if alone is None else alone}

    def _origin_spans(self, chunk: int, runs: list[tuple[int, str]]) -> list[list[Any]]:
        """[from second, to second, origin] of the parts of a chunk."""
        spans: list[list[Any]] = []
        at_s, end_s = self.rendition.chunk_start_s(chunk), self.rendition.chunk_end_s(chunk)
        frame_s = (end_s - at_s) / self.rendition.chunk_frames(chunk)
        for frames, origin in runs:
            spans.append([at_s, at_s + frames * frame_s, origin])
            at_s += frames * frame_s
        return spans

    # -- keys

    async def _keep_unlocked(self) -> None:
        """Open the listening grant; fetch a new one before it expires."""
        answer = await begun(self._begun.grant)
        keys = await begun(self._begun.keys)
        while True:
            grant = await self._open(answer, keys)
            self.limits.grant = grant
            for chunk in self.limits.locked_chunks():
                self._scheduler.hold(chunk)  # nobody should send what cannot be opened
            self._owner.track_changed(self)
            left_s = grant.not_after - browser.wall_clock_s()
            await asyncio.sleep(left_s - min(RENEW_BEFORE_S, left_s / 4))
            answer = await self._renewed()

    async def _open(self, answer: Any, keys: Any) -> Grant:
        sealed = SealedGrant.from_reader(JsonReader(answer.grant.to_py(), "grant"))
        return await unlock.open_grant(sealed, self.manifest, keys)

    async def _renewed(self) -> Any:
        while True:
            try:
                answer = await self._begun.renew()
            except browser.BrowserError:
                await asyncio.sleep(RENEW_RETRY_S)
                continue
            if self.swarm is not None:
                self.swarm.renew(answer.swarm_token)
            return answer

    # -- peers

    async def _join(self) -> None:
        """Meet the other listeners; without them the gateway does it alone."""
        if not browser.has_peer_connections() or not self._owner.sharing.policy.peers:
            self._on_swarm(0)
            return
        details = await begun(self._begun.details)
        answer = await begun(self._begun.grant)
        self.swarm = self.downloads.swarm = Swarm(
            self.manifest, self._cache, self._on_peer,
            sharing=self._owner.sharing, buffered_s=self._owner.buffered_s, random=random.random,
        )  # fmt: skip
        self.swarm.on_expectation = self._on_swarm
        self.swarm.numbers_changed = lambda: self._owner.track_stats(self)
        try:
            urls = list(details.signal_urls.to_py())
            early = await begun(self._begun.swarm)
            handed = await early.handOver() if early else None
            await self.swarm.run(handed, answer.swarm_token, urls, self._begun.connect)
        except* Unavailable:
            self._on_swarm(0)

    def _on_swarm(self, peers: int) -> None:
        self._scheduler.set_expects_peers(peers > 0)
        self.downloads.poll()

    def _on_peer(self, peer: str, event: events.Event) -> None:
        self.downloads.peer_event(peer, event)
        if isinstance(event, events.PeerReady | events.Closed):
            self._owner.track_stats(self)

    def _on_lost(self, rendition: int, chunk: int) -> None:
        if rendition == self.rendition.id:
            self.downloads.lost(chunk)
        if self.swarm is not None:
            self.swarm.retract(rendition, chunk)

    # -- what downloads tell

    def _on_frames(self, chunk: int) -> None:
        if chunk == self._awaited:
            self._owner.track_changed(self)

    def _on_wrong(self, chunk: int) -> None:
        if chunk in self._early:
            self._owner.track_wrong(self, chunk)

    async def _find_forged(self, chunk: int, assembly: Assembly) -> frozenset[str]:
        """Who sent frames that do not open."""
        key = self.limits.key_for(chunk)
        culprits = set()
        for number, frame in assembly.frames.items() if key is not None else ():
            assert key is not None
            if not len(await unlock.open_frames(self.rendition, chunk, number, frame.data, key)):
                culprits.add(frame.source)
        return frozenset(culprits)

    def _on_chunk(self, chunk: int) -> None:
        self._early.discard(chunk)
        self._owner.track_changed(self)
        self._owner.track_stats(self)
