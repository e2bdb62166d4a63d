"""Which chunk to fetch next, and from whom (docs/protocol.md, "Scheduler"), sans-IO: the page does as told.

    scheduler = Scheduler(chunk_spans(rendition), now)
    ... tell it what happens (`now`: seconds on one steady clock) ...
    for action in scheduler.poll(now): ...      # after every call above, and at scheduler.next_deadline(now)

One scheduler serves one rendition of one track. A *source* is `GATEWAY` or a peer id. Chunks are fetched whole;
`Fetch` names frames all the same, so that a chunk can be split over several peers without a new face.

By the time left until a chunk is heard: urgent chunks come from whoever is quick, the gateway at once if no
peer is ready; near ones from the best peer, and from the gateway as well when half of the time has gone; far
ones from peers, and from the gateway only if no peer has them, and not too far ahead.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence

from digm.bitfield import Bitfield
from digm.chunks import FRAME_BYTES
from digm.fetch_plan import (
    GATEWAY,
    Action,
    Cancel,
    ChunkSpan,
    Failure,
    Fetch,
    NoSource,
    Playback,
    SchedulerSettings,
    SourceBanned,
    chunk_spans,
)
from digm.partial_chunks import PartialChunks
from digm.running_fetches import RunningFetch, RunningFetches
from digm.sources import Source, Trouble

__all__ = [
    "GATEWAY", "Action", "Cancel", "ChunkSpan", "Failure", "Fetch", "NoSource", "Playback", "Scheduler",
    "SchedulerSettings", "SourceBanned", "chunk_spans",
]  # fmt: skip


DEFAULT_SETTINGS = SchedulerSettings()


class Scheduler:
    """Decides for one rendition; deterministic: the same calls give the same actions.

    Args:
        spans: the chunk table.
        held: chunks that are verified and at hand already.
        has_gateway: False when there is no gateway to ask.
        expects_peers: True while peers may still connect; see `set_expects_peers`.
    """

    def __init__(
        self,
        spans: Sequence[ChunkSpan],
        now: float,
        *,
        me: str = "",
        settings: SchedulerSettings = DEFAULT_SETTINGS,
        held: Iterable[int] = (),
        has_gateway: bool = True,
        expects_peers: bool = True,
    ) -> None:
        self._spans = spans
        self._starts = [span.start_s for span in spans]
        self._settings = settings
        self._held = set(held)
        self._gateway = Source(GATEWAY, None, settings.parallel_gateway)
        self._has_gateway = has_gateway
        self._expects_peers = expects_peers
        self._peers: dict[str, Source] = {}
        self._banned: set[str] = set()
        self._playback = Playback.IDLE
        self._position_s = 0.0
        self._position_at = now
        self._active_since = math.inf
        self._running = RunningFetches()
        self._chunks = PartialChunks([span.frames for span in spans])
        self._polled_at = now
        self._troubles: dict[int, Trouble] = {}
        self._told_no_source: tuple[int, int] | None = None
        self._pending: list[Action] = []

    # -- what happens

    def set_playback(self, playback: Playback, position_s: float, now: float) -> None:
        """Where the listener is: on play, pause, seek, and now and then (each timeupdate will do).

        Between two calls the position runs on while PLAYING, up to the end of what is held.
        """
        if playback is not Playback.IDLE:
            self._active_since = min(self._active_since, now)
        self._playback = playback
        self._position_s = position_s
        self._position_at = now

    def peer_ready(self, peer: str, availability: Bitfield, slots: int, now: float) -> None:
        """A peer can be asked. A banned one stays banned; one that was ready already has a new channel.

        Args:
            availability: read live (the bitfield of PeerReady for this rendition).
            slots: how many requests it takes at once (PeerSession.free_slots).
        """
        if before := self._peers.get(peer):
            self._pending += [self._cancel(running) for running in self._running.of_source(before)]
        if peer not in self._banned:
            self._peers[peer] = Source(peer, availability, slots)

    def peer_rate(self, peer: str, slots: int) -> None:
        """RATE came: the peer takes this many requests at once; 0: none until the next RATE."""
        if source := self._peers.get(peer):
            source.slots = slots

    def peer_gone(self, peer: str, now: float) -> None:
        """Its channel closed: what it was fetching moves elsewhere with the next `poll`; no `failed` needed."""
        if source := self._peers.pop(peer, None):
            for running in self._running.of_source(source):
                self._running.remove(running.fetch_id)
                self._trouble(running.chunk, now).add(peer, "gone")

    def peer_has(self, peer: str, chunk: int, now: float) -> None:
        """HAVE came: the peer holds one more chunk."""

    def set_members(self, peers: Iterable[str], now: float, listeners: int = 0) -> None:
        """Who shares the work with us: peer ids, channels that are open and such that are still being opened.

        Args:
            listeners: how many there are in the whole swarm, as the hub says; 0: not known.
        """

    def learn_rate(self, source: str, received_bytes: int, seconds: float) -> None:
        """A source was measured before there was a scheduler (head start)."""

    def set_gateway(self, is_there: bool) -> None:
        """Whether the gateway may be asked at all."""
        self._has_gateway = is_there

    def set_expects_peers(self, is_so: bool) -> None:
        """False when no peer will come (no WebRTC, an empty swarm): the gateway is not held back for them."""
        self._expects_peers = is_so

    def progress(self, fetch_id: int, received_bytes: int, now: float) -> None:
        """So many bytes of a fetch have come in all."""
        if running := self._running.get(fetch_id):
            running.received_bytes = received_bytes
            running.heard_at = now

    def received(self, fetch_id: int, now: float) -> None:
        """Every frame that was asked for came. Once a chunk is whole, nothing more of it is fetched until
        `chunk_verified` or `chunk_wrong` is told."""
        if running := self._running.remove(fetch_id):
            running.source.measured(running.frame_count * FRAME_BYTES, running.started_at, now)
            self._chunks.received(running.chunk, running.frames, running.source.name)

    def partial(self, chunk: int, frames: frozenset[int], now: float, source: str = GATEWAY) -> None:
        """These frames of a chunk are there already (head start, what a cancelled or failed fetch had brought):
        only the rest is fetched."""
        self._chunks.received(chunk, frames, source)

    def chunk_verified(self, chunk: int, now: float) -> None:
        """The chunk is whole and its hash is right: it is held now; other fetches of it get cancelled."""
        for name in self._chunks.senders(chunk):
            if source := self._source(name):
                source.succeeded(chunk)
        self.hold(chunk)

    def chunk_wrong(self, chunk: int, culprits: frozenset[str], now: float) -> None:
        """The chunk is whole and its hash is wrong: all of its frames are fetched anew, as one, elsewhere.

        Args:
            culprits: sources that are known to have sent wrong frames: banned. Empty: it is not known who it
                was (unless one source sent everything); when the chunk came right, compare and `ban`.
        """
        senders = self._chunks.forget(chunk)
        if len(senders) == 1:
            culprits = senders
        for running in self._running.of_chunk(chunk):
            self._pending.append(self._cancel(running))
        for name in sorted(senders):
            self._trouble(chunk, now).add(name, "wrong_hash")
            if source := self._source(name):
                source.rest_for_chunk(chunk, now, self._settings.backoff_first_s, self._settings.backoff_most_s)
        for name in sorted(culprits):
            self.ban(name, chunk)

    def ban(self, name: str, chunk: int) -> None:
        """A source sent wrong bytes of this chunk: it is not asked again for this track.

        The gateway is not banned for one chunk, which may have been damaged on its disk, but left alone for it.
        """
        source = self._source(name)
        if source is None or source.is_banned:
            self._banned |= {name} - {GATEWAY}
            return
        source.wrong_chunks.add(chunk)
        if source is self._gateway and len(source.wrong_chunks) < self._settings.gateway_wrong_chunks:
            return
        source.is_banned = True
        self._banned.add(name)
        self._peers.pop(name, None)
        self._pending += [self._cancel(other) for other in self._running.of_source(source)]
        self._pending.append(SourceBanned(name, chunk))

    def failed(self, fetch_id: int, failure: Failure, now: float) -> None:
        """The fetch ended without the chunk: the source rests a while, the chunk is fetched elsewhere."""
        running = self._running.remove(fetch_id)
        if running is None:
            return
        first_s, most_s = self._settings.backoff_first_s, self._settings.backoff_most_s
        self._trouble(running.chunk, now).add(running.source.name, failure.value)
        if failure in (Failure.NOT_HELD, Failure.WRONG_SIZE):
            running.source.rest_for_chunk(running.chunk, now, first_s, most_s)
        else:
            running.source.rest.extend(now, first_s, most_s)

    def hold(self, chunk: int) -> None:
        """The chunk came another way (cache, head start)."""
        self._held.add(chunk)
        self._chunks.forget(chunk)
        self._troubles.pop(chunk, None)

    def drop(self, chunk: int) -> None:
        """The chunk, or what there was of it, is no longer at hand; it is fetched again when it is needed."""
        self._held.discard(chunk)
        self._chunks.forget(chunk)

    # -- what to do

    def poll(self, now: float) -> list[Action]:
        """What to do now, cancellations first. Call after everything above and at `next_deadline`."""
        self._polled_at = now
        actions, self._pending = self._pending, []
        position_s = self._position(now)
        wanted = self._wanted(position_s)
        actions += self._cancel_unwanted(position_s)
        actions += self._cancel_silent(now)
        for chunk in wanted:
            left_s = max(0.0, self._starts[chunk] - position_s)
            source = self._choose(chunk, left_s, now)
            if source is not None:
                actions.append(self._start(source, chunk, now))
        return actions + self._say_no_source(wanted, position_s, now)

    def next_deadline(self, now: float) -> float | None:
        """When `poll` may have something new to say without anything happening; None: not by itself."""
        position_s = self._position(now)
        wanted = self._wanted(position_s)
        if not wanted and not self._running:
            is_done = self._playback is not Playback.PLAYING or self.is_complete
            return None if is_done else self._polled_at + self._settings.tick_s
        moments = [self._silent_at(running) for running in self._running]
        moments += [running.started_at + self._settings.startup_hedge_s for running in self._running]
        moments += [source.usable_at(chunk) for chunk in wanted[:2] for source in self._sources()]
        # Counted from the last poll: asking again must not put it off.
        return min([self._polled_at + self._settings.tick_s, *(m for m in moments if m > self._polled_at)])

    # -- what is going on

    @property
    def held(self) -> frozenset[int]:
        """The chunks at hand."""
        return frozenset(self._held)

    @property
    def banned(self) -> frozenset[str]:
        """Sources that gave wrong bytes."""
        return frozenset(self._banned)

    @property
    def is_complete(self) -> bool:
        """Every chunk is held."""
        return len(self._held) == len(self._spans)

    # -- inside

    def _chunk_at(self, position_s: float) -> int:
        return max(0, bisect_right(self._starts, position_s) - 1)

    def _position(self, now: float) -> float:
        """Where the listener is now: sound stops at the end of what is held, whatever the clock says."""
        if self._playback is not Playback.PLAYING:
            return self._position_s
        chunk = self._chunk_at(self._position_s)
        while chunk in self._held:
            chunk += 1
        limit_s = self._starts[chunk] if chunk < len(self._starts) else self._spans[-1].end_s
        return max(self._position_s, min(limit_s, self._position_s + now - self._position_at))

    def _wanted(self, position_s: float) -> list[int]:
        """Missing chunks in the order in which they will be heard, as far ahead as is looked."""
        if self._playback is Playback.IDLE:
            return []
        is_playing = self._playback is Playback.PLAYING
        ahead_s = self._settings.ahead_playing_s if is_playing else self._settings.ahead_paused_s
        if self._playback is Playback.PREFETCH:
            ahead_s = self._settings.ahead_prefetch_s
        first, end_s = self._chunk_at(position_s), position_s + ahead_s
        return [
            c
            for c in range(first, bisect_right(self._starts, end_s))
            if c not in self._held and not self._chunks.is_whole(c)
        ]

    def _cancel_unwanted(self, position_s: float) -> list[Action]:
        first = self._chunk_at(position_s)
        last = bisect_right(self._starts, position_s + self._settings.ahead_playing_s) - 1
        return [
            self._cancel(running)
            for running in self._running
            if self._playback is Playback.IDLE
            or running.chunk in self._held
            or self._chunks.is_whole(running.chunk)
            or not first <= running.chunk <= last
        ]

    def _cancel_silent(self, now: float) -> list[Action]:
        actions: list[Action] = []
        for running in [r for r in self._running if now >= self._silent_at(r)]:
            self.failed(running.fetch_id, Failure.SILENT, now)
            actions.append(Cancel(running.fetch_id))
        return actions

    def _choose(self, chunk: int, left_s: float, now: float) -> Source | None:
        """Whom to ask for a missing chunk now; None: nobody (more), or not yet."""
        running = self._running.of_chunk(chunk)
        is_playing = self._playback is Playback.PLAYING
        if running:
            is_late = is_playing or left_s == 0
            return self._hedge(running, left_s, now) if is_late and left_s < self._settings.near_s else None
        is_urgent = is_playing and left_s < self._settings.urgent_s
        if len(self._running) >= self._settings.parallel and not is_urgent:
            return None
        peers = self._peers_for(chunk, now)
        if peers and not (is_urgent and self._is_known_slow(peers[0], chunk, left_s)):
            return peers[0]
        gateway = self._gateway_for(chunk, now, is_urgent)
        if gateway is None or not self._may_ask_gateway(chunk, left_s, is_urgent, now):
            return peers[0] if peers and is_urgent else None
        return gateway

    def _may_ask_gateway(self, chunk: int, left_s: float, is_urgent: bool, now: float) -> bool:
        """The gateway is for what peers cannot give in time, so that a swarm does not fall on it at once."""
        settings = self._settings
        patience_s = settings.startup_patience_s if is_urgent else settings.peer_patience_s
        is_peer_awaited = self._expects_peers and not self._peers and chunk not in self._troubles
        if is_peer_awaited and now - self._active_since < patience_s:
            return False
        has_holder = any(s.slots and s.holds(chunk) and s.rest.until <= now for s in self._peers.values())
        if has_holder and not is_urgent:
            # Its slots are full: wait for one until half of the near zone has gone.
            return self._playback is Playback.PLAYING and left_s < settings.near_s / 2
        return left_s < settings.gateway_ahead_s

    def _hedge(self, running: list[RunningFetch], left_s: float, now: float) -> Source | None:
        """A second source for a chunk whose first one has used up half of the time and is behind."""
        if len(running) > 1:
            return None
        first = running[0]
        elapsed_s = now - first.started_at
        if elapsed_s < max(left_s, self._settings.startup_hedge_s):
            return None
        size = self._spans[first.chunk].size_bytes
        if first.received_bytes:
            rest_s = (size - first.received_bytes) * elapsed_s / first.received_bytes
            if rest_s <= max(left_s, self._settings.startup_hedge_s):
                return None
        if first.source is not self._gateway and (gateway := self._gateway_for(first.chunk, now, True)):
            return gateway
        others = [peer for peer in self._peers_for(first.chunk, now) if peer is not first.source]
        return others[0] if others else None

    def _peers_for(self, chunk: int, now: float) -> list[Source]:
        """Peers that can be asked for a chunk now, the one that will be done first in front."""
        ready = [
            source
            for source in self._peers.values()
            if source.holds(chunk)
            and source.usable_at(chunk) <= now
            and len(self._running.of_source(source)) < min(source.slots, self._settings.parallel_per_peer)
        ]
        return sorted(ready, key=lambda source: (self._expected_s(source, chunk), source.name))

    def _gateway_for(self, chunk: int, now: float, is_urgent: bool) -> Source | None:
        gateway = self._gateway
        is_usable = self._has_gateway and not gateway.is_banned and gateway.usable_at(chunk) <= now
        # What is needed now does not wait behind what is needed later.
        has_room = is_urgent or len(self._running.of_source(gateway)) < self._settings.parallel_gateway
        return gateway if is_usable and has_room else None

    def _expected_s(self, source: Source, chunk: int) -> float:
        """How long until a source would have delivered a chunk, behind what it still owes."""
        owed = sum(self._spans[r.chunk].size_bytes - r.received_bytes for r in self._running.of_source(source))
        rate = source.bytes_per_s or self._settings.assumed_bytes_per_s
        return (owed + self._spans[chunk].size_bytes) / rate

    def _is_known_slow(self, peer: Source, chunk: int, left_s: float) -> bool:
        if peer.bytes_per_s is None:  # give it a chance: it is hedged
            return False
        return self._expected_s(peer, chunk) > max(left_s, 2 * self._settings.startup_hedge_s)

    def _start(self, source: Source, chunk: int, now: float) -> Fetch:
        first, count = self._chunks.missing(chunk)
        running = self._running.start(source, chunk, now, first, count)
        return Fetch(running.fetch_id, source.name, chunk, first, count)

    def _cancel(self, running: RunningFetch) -> Cancel:
        self._running.remove(running.fetch_id)
        return Cancel(running.fetch_id)

    def _silent_at(self, running: RunningFetch) -> float:
        if running.source is self._gateway:
            return running.heard_at + self._settings.gateway_silence_s
        return self._running.heard_in_turn_at(running) + self._settings.silence_s

    def _source(self, name: str) -> Source | None:
        return self._gateway if name == GATEWAY else self._peers.get(name)

    def _sources(self) -> list[Source]:
        gateway = [self._gateway] if self._has_gateway and not self._gateway.is_banned else []
        return [*gateway, *self._peers.values()]

    def _trouble(self, chunk: int, now: float) -> Trouble:
        return self._troubles.setdefault(chunk, Trouble(now))

    def _say_no_source(self, wanted: list[int], position_s: float, now: float) -> list[Action]:
        """Say once, and again after each further failure, that the chunk that is needed now cannot be had."""
        chunk = wanted[0] if wanted else None
        is_needed = chunk is not None and self._starts[chunk] - position_s < self._settings.urgent_s
        if chunk is None or not is_needed or self._running.of_chunk(chunk):
            return []
        sources = [source for source in self._sources() if source.holds(chunk) and source.slots]
        trouble = self._troubles.get(chunk)
        if sources:
            is_hopeless = trouble is not None and (
                trouble.attempts >= self._settings.no_source_attempts
                or now - trouble.since >= self._settings.no_source_after_s
            )
        else:
            waited_s = now - self._active_since
            is_hopeless = not self._expects_peers or waited_s >= self._settings.peer_patience_s
        attempts = trouble.attempts if trouble else 0
        if not is_hopeless or self._told_no_source == (chunk, attempts):
            return []
        self._told_no_source = (chunk, attempts)
        moments = [source.usable_at(chunk) for source in sources]
        retry_at = max(now, min(moments, default=now + self._settings.tick_s))
        return [NoSource(chunk, attempts, trouble.snapshot() if trouble else {}, retry_at)]
