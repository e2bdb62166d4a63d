"""One track being fetched and unlocked: from the hub's word about it to pieces that a source buffer takes.

Every byte passes three gates: the manifest's signature and track root, the chunk's SHA-256 (web.downloads), the
frame's tag. Only while a listener's buffer is short are frames let through in front of the second one. When
what is played is the conductor's affair (web.player); what the listener is told, too.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any, Protocol

from digm import peer_events as events
from digm.errors import DigmError, Unavailable
from digm.manifest import Manifest, Rendition
from digm.rendition_choice import RenditionChoice
from digm.scheduler import NoSource, Playback
from web import browser, unlock
from web.begun import begun
from web.browser import JsBytes, now_s
from web.entitlement import Entitlement
from web.gateway import Gateway
from web.limits import Limits
from web.receipts import Frames, Receipts
from web.rendition_line import RenditionLine
from web.sharing import Sharing
from web.store import ChunkCache
from web.swarm import Swarm


def playable_renditions(manifest: Manifest) -> list[Rendition]:
    """What this browser plays, the best first.

    Raises:
        Unavailable: `codec_unsupported`.
    """
    playable = [item for item in manifest.renditions if browser.supports(item.config.mime)]
    if not playable:
        raise Unavailable(
            "codec_unsupported", "This browser plays none of the formats that this track comes in."
        )
    return playable


class TrackOwner(Protocol):
    """Who is told what becomes of a track, and decides what it may give away."""

    def track_changed(self, stream: "TrackStream") -> None:
        """A chunk or the keys came: there may be something to play."""

    def track_unlocked(self, stream: "TrackStream") -> None:
        """A key that was bought opens all of the track from now on."""

    def track_key_refused(self, stream: "TrackStream", fault: DigmError) -> None:
        """A key came that is not this track's, or does not open here; nothing changes."""

    def track_wrong(self, stream: "TrackStream", chunk: int) -> None:
        """Of a chunk that is not the artist's something may have been appended early."""

    def track_switched(self, stream: "TrackStream") -> None:
        """What is fetched from now on is another rendition of the track."""

    def track_in_trouble(self, stream: "TrackStream", trouble: NoSource) -> None:
        """A chunk that is needed now cannot be had."""

    def track_stats(self, stream: "TrackStream") -> None:
        """Numbers changed that people look at."""

    sharing: Sharing

    def buffered_s(self) -> float | None:
        """What can be played without a byte more; None while nothing is played, or all of it is there."""
        ...


class TrackStream:
    """One track.

    Attributes:
        is_prepared: the manifest is checked.
        is_owned: its own key is here, bought or given.
        manifest, keys, cover_url, duration_s: there after `prepare`, like all that follows.
        line: the rendition that is fetched now.
        swarm: the other listeners; None before the grant, and where there is no WebRTC.

    Args:
        track: its root, 64 hex digits.
        begin: asks the hub for what it takes to begin (static/digm-head-start.js).
        begun: what the page asked for already.
    """

    manifest: Manifest
    keys: Entitlement
    cover_url: str
    duration_s: float
    line: RenditionLine

    def __init__(
        self, track: str, owner: TrackOwner, *, begin: Callable[[str], Any], begun: Any = None
    ) -> None:
        self.track = track
        self.is_prepared = False
        self._offered: asyncio.Queue[Any] = asyncio.Queue()
        self.swarm: Swarm | None = None
        self._begin = begin
        self._begun = begun or begin(track)
        self._owner = owner
        self._earlier_origins: list[list[Any]] = []
        self._ready: dict[str, events.PeerReady] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._earlier_cache_bytes = 0

    @property
    def rendition(self) -> Rendition:
        return self.line.rendition

    @property
    def is_owned(self) -> bool:
        return self.is_prepared and self.keys.is_owned

    @property
    def limits(self) -> Limits:
        return self.line.limits

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
        self._playable = playable_renditions(manifest)
        chosen = self._playable[0] if rendition is None else manifest.renditions[rendition]
        self._choice = RenditionChoice(
            [item.bit_rate for item in self._playable], start=self._playable.index(chosen)
        )
        self._cache = ChunkCache(manifest.renditions)
        await self._cache.open()
        self._cache.on_lost = self._on_lost
        self._gateway = Gateway(self._begun.gateways)
        self.line = RenditionLine(manifest, chosen, self._cache, self._gateway, self)
        self.keys = Entitlement(manifest, self._begun, self._offered, self)
        self.duration_s = chosen.presented_duration_s
        self.is_prepared = True

    def begin_again(self) -> None:
        """Ask once more for what did not come."""
        self.close()
        self._begun = self._begin(self.track)

    def close(self) -> None:
        """Nothing is asked of the hub for it any more."""
        self._begun.abort.abort()

    async def run(self) -> None:
        """Fetch, keep the keys fresh, be in the swarm; until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._fetching = tasks.create_task(self.line.downloads.run(), name="downloads")
            tasks.create_task(self.keys.run(), name="keys")
            tasks.create_task(self._join(), name="swarm")
            tasks.create_task(self._receipts().run(), name="receipts")
            self._owner.sharing.on_change(self._on_keys)
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._owner.sharing.forget(self._on_keys)

    # -- for the conductor

    def set_playback(self, playback: Playback, position_s: float) -> None:
        """Where the listener is in this track, in its own seconds."""
        if playback is Playback.PLAYING and len(self._playable) > 1:
            self._choose()
        self.line.scheduler.set_playback(playback, position_s, now_s())
        self.line.downloads.poll()

    def _choose(self) -> None:
        """Another rendition, if the line carries more than this one, or not even this one."""
        buffered_s, scheduler = self._owner.buffered_s(), self.line.scheduler
        if buffered_s is None or scheduler.is_complete:
            return
        now = now_s()
        chosen = self._playable[self._choice.choose(scheduler.bytes_per_s(now), buffered_s, now)]
        if chosen is not self.rendition:
            self.switch(chosen)

    def switch(self, rendition: Rendition) -> None:
        """Go on with another rendition where the appended sound ends; what is buffered stays."""
        before = self.line
        self._earlier_origins += before.origins()
        self._earlier_cache_bytes += before.cache_bytes
        before.scheduler.set_playback(Playback.IDLE, 0.0, now_s())
        before.downloads.poll()  # cancels what is under way
        self.line = line = RenditionLine(self.manifest, rendition, self._cache, self._gateway, self)
        line.downloads.bytes_by_source = before.downloads.bytes_by_source
        line.downloads.bytes_twice = before.downloads.bytes_twice
        line.downloads.taken_from = before.downloads.taken_from
        line.downloads.swarm = self.swarm
        line.unlock(self.keys.grant, saves_data=self._owner.sharing.saves_data)
        for peer, ready in self._ready.items():
            line.downloads.peer_event(peer, ready)
        if self._tasks is not None and self._fetching is not None:
            self._fetching.cancel()
            self._fetching = self._tasks.create_task(line.downloads.run(), name="downloads")
        self._owner.track_switched(self)
        self._owner.track_stats(self)

    def bytes_by_source(self) -> dict[str, int]:
        """Audio by where it came from: "peer", "gateway", "cache"; and "twice", what came more than once."""
        return {
            **self.line.downloads.bytes_by_source,
            "twice": self.line.downloads.bytes_twice,
            "cache": self._earlier_cache_bytes + self.line.cache_bytes,
        }

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
            "origins": self._earlier_origins + self.line.origins(),
        }

    def _sharing(self) -> dict[str, Any]:
        """Whether this page gives, and whether it meets anybody, with the reasons."""
        why = self._owner.sharing.why().value
        alone = self.swarm.why_alone() if self.swarm is not None else "not_joined"
        return {"on": why == "sharing" and alone is None, "why": why if alone is None else alone}

    # -- keys

    def own(self, owned: Any) -> None:
        """Take the wrapped key of a purchase (static/digm-owned.js)."""
        self._offered.put_nowait(owned)

    def own_sealed(self, sealed: bytes) -> None:
        """Take a key that was sealed to this page's session."""
        self._offered.put_nowait(sealed)

    def _on_keys(self) -> None:
        """Other keys, or another wish to save data."""
        self.line.unlock(self.keys.grant, saves_data=self._owner.sharing.saves_data)
        self.line.downloads.poll()
        self._owner.track_changed(self)

    def keys_renewed(self, swarm_token: str) -> None:
        self._on_keys()
        if self.swarm is not None:
            self.swarm.renew(swarm_token)

    def keys_owned(self) -> None:
        self._on_keys()
        self._owner.track_unlocked(self)

    def keys_refused(self, fault: DigmError) -> None:
        self._owner.track_key_refused(self, fault)

    # -- peers

    async def _join(self) -> None:
        """Meet the other listeners; without them the gateway does it alone."""
        if not browser.has_peer_connections() or not self._owner.sharing.policy.peers:
            self._on_swarm(0)
            return
        details = await begun(self._begun.details)
        answer = await self.keys.answer()
        if answer is None:
            self._on_swarm(0)
            return
        self.swarm = self.line.downloads.swarm = Swarm(
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

    def _receipts(self) -> Receipts:
        def take() -> Frames:
            taken, self.line.downloads.taken_from = self.line.downloads.taken_from, {}
            return taken

        signer = lambda: self.swarm and self.swarm.signer  # noqa: E731
        return Receipts(self.manifest.track_root, self._owner.sharing, take, signer)

    def _on_swarm(self, peers: int) -> None:
        self.line.scheduler.set_expects_peers(peers > 0)
        self.line.downloads.poll()

    def _on_peer(self, peer: str, event: events.Event) -> None:
        if isinstance(event, events.PeerReady):
            self._ready[peer] = event
        elif isinstance(event, events.Closed):
            self._ready.pop(peer, None)
        self.line.downloads.peer_event(peer, event)
        if isinstance(event, events.PeerReady | events.Closed):
            self._owner.track_stats(self)

    def _on_lost(self, rendition: int, chunk: int) -> None:
        if rendition == self.rendition.id:
            self.line.downloads.lost(chunk)
        if self.swarm is not None:
            self.swarm.retract(rendition, chunk)

    # -- what the line tells

    def line_changed(self) -> None:
        self._owner.track_changed(self)

    def line_wrong(self, chunk: int) -> None:
        self._owner.track_wrong(self, chunk)

    def line_in_trouble(self, trouble: NoSource) -> None:
        if self.limits.key_for(trouble.chunk) is None:
            return  # it could not be played anyway
        self._owner.track_in_trouble(self, trouble)

    def line_stats(self) -> None:
        self._owner.track_stats(self)
