"""Which frames of which chunk to fetch next, and from whom (docs/protocol.md, "Scheduler"), sans-IO.

    scheduler = Scheduler(chunk_spans(rendition), now, me=peer_id)
    ... tell it what happens (`now`: seconds on one steady clock) ...
    for action in scheduler.poll(now): ...      # after what it was told, and at scheduler.next_deadline(now)

One scheduler serves one rendition of one track. A *source* is `GATEWAY` or a peer id; a *fetch* is a run of
frames of one chunk from one source.

**What the shell does.** It keeps one buffer per chunk that is being put together, and for each frame in it who
sent it. For a `Fetch` it asks the source for these frames, writes what comes into the buffer, and reports
`progress` (cheap: once per message), then `received` or `failed`. Whole frames that it reported stay in the
buffer, even when the fetch is cancelled or fails half way: they are not fetched again. When all frames of a
chunk are there, it checks the hash and says `chunk_verified` or `chunk_wrong`. Bytes of a cancelled fetch that
still come may be written, or not; reports about it are ignored. `poll` may be called at any time; it is not
needed after `progress`.

**The policy.** By the time left until a frame is heard:

* *urgent* (below 5 s): from whoever is quick. A chunk that would take long is split over several peers, in the
  proportion of their measured rates, the front to whoever starts first. What is asked for and will be too late
  is hedged: another peer, or the gateway, takes the end of what is outstanding while the first goes on with the
  front, so nothing is fetched twice. Things for later give way.
* *near* (5 to 15 s): the peer that will be done first.
* *far* (10 minutes): from peers, the chunk that the fewest of them hold first, from another place of the track
  than others begin at; where several peers have nothing left to send, the quick ones help out the slow ones.

**The server's part.** A chunk that no peer has is fetched from the gateway by one of those who know each other,
chosen by a rendezvous hash (digm.fill_turns): the first in turn fetches it up to a minute ahead, the others
wait for it, and their turns come one after the other while the near zone runs out. When the gateway would
otherwise be too late (`gateway_margin_s`, and the time that it was measured to take), everybody may ask it: no
rule holds back what is about to be missed. On arrival peers that were there before are waited for, as they may
hold everything, but never beyond that moment.

**Trust.** Bytes of an unproven source are never mixed with those of another unproven one, so that a liar spoils
one chunk. A chunk that came wrong from several senders is fetched again from one source alone; the shell then
knows by comparing whom to `ban`. Sources that are slow come last; ones that fail rest, each time twice as long.
"""

from collections.abc import Iterable, Sequence

from digm import chunk_mask
from digm.bitfield import Bitfield
from digm.cancelling import Cancelling
from digm.far_plan import FarPlan
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
from digm.hopeless import Hopeless
from digm.listening import Listening, Look
from digm.near_plan import NearPlan
from digm.situation import Situation
from digm.sources import Source

__all__ = [
    "GATEWAY", "Action", "Cancel", "ChunkSpan", "Failure", "Fetch", "NoSource", "Playback", "Scheduler",
    "SchedulerSettings", "SourceBanned", "chunk_spans",
]  # fmt: skip


DEFAULT_SETTINGS = SchedulerSettings()


class Scheduler:
    """Decides for one rendition; deterministic: the same calls give the same actions.

    Args:
        spans: the chunk table.
        me: our peer id, for our turn among the others; it may be set later, with `set_members`.
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
        self._settings = settings
        self._situation = Situation(spans, settings, me, held)
        self._situation.has_gateway = has_gateway
        self._situation.expects_peers = expects_peers
        self._listening = Listening(spans, settings, now)
        self._near = NearPlan(self._situation, self._listening)
        self._far = FarPlan(self._situation, self._listening, self._near)
        self._cancelling = Cancelling(self._situation)
        self._hopeless = Hopeless(self._situation, self._listening)
        self._polled_at = now
        self._has_met = False

    # -- the listener

    def set_playback(self, playback: Playback, position_s: float, now: float) -> None:
        """Where the listener is: on play, pause, seek, and now and then (each timeupdate will do).

        Between two calls the position runs on while PLAYING, up to the end of what is held. After a jump to
        where something is missing, everything else is cancelled with the next `poll`.
        """
        situation = self._situation
        is_jump = self._listening.report(playback, position_s, situation.chunks.held, now)
        if is_jump and situation.chunks.missing >> self._listening.chunk_at(position_s) & 1:
            self._cancelling.all_but(self._look(now).near, now)

    # -- peers

    def set_members(self, peers: Iterable[str], now: float, *, me: str = "", listeners: int = 0) -> None:
        """Who shares the work with us: ids of listeners whose channel is open or still being opened.

        Call it whenever that changes. Without it every listener is on its own.

        Args:
            peers: without us. Peers that give nothing do not belong here.
            me: our own id, if it was not known when the scheduler was made.
            listeners: how many are in the whole swarm, with us, as the hub says; 0: not known.
        """
        situation = self._situation
        if me:
            situation.turns.set_me(me)
        situation.turns.set_members(peers, listeners)
        if not self._has_met and situation.turns.others:
            self._has_met = True
            situation.meeting_until = now + self._settings.peer_patience_s
        self._end_meeting(now)

    def peer_ready(self, peer: str, availability: Bitfield, slots: int, now: float) -> None:
        """A peer can be asked. A banned one stays banned; one that was ready already has a new channel.

        Args:
            availability: what it holds now; later changes come with `peer_has` and `peer_lost`.
            slots: how many requests it takes at once (PeerSession.free_slots); 0: none, until `peer_rate`.
        """
        situation = self._situation
        before = situation.peers.get(peer)
        for running in list(before.fetches.values()) if before else ():
            situation.cancel(running, now)
        self.peer_gone(peer, now)
        if peer in situation.banned:
            return
        source = Source(peer, chunk_mask.of_bitfield(availability), slots)
        if before is not None:
            source.bytes_per_s, source.is_proven = before.bytes_per_s, before.is_proven
        situation.peers[peer] = source
        if slots:
            situation.holders.add(peer, source.chunks)
        self._end_meeting(now)

    def peer_has(self, peer: str, chunk: int, now: float) -> None:
        """HAVE came: the peer holds one more chunk."""
        if (source := self._situation.peers.get(peer)) and 0 <= chunk < len(self._spans):
            source.chunks |= 1 << chunk
            source.chunk_rests.pop(chunk, None)
            self._situation.holders.gain(peer, 1 << chunk)

    def peer_lost(self, peer: str, chunk: int, now: float) -> None:
        """GONE came: the peer holds one chunk less."""
        self._situation.lose(peer, chunk)

    def peer_rate(self, peer: str, slots: int) -> None:
        """RATE came: the peer takes this many requests at once; 0: none until the next RATE."""
        situation = self._situation
        if source := situation.peers.get(peer):
            if bool(slots) is not bool(source.slots):
                situation.holders.remove(peer)
                if slots:
                    situation.holders.add(peer, source.chunks)
            source.slots = slots

    def peer_gone(self, peer: str, now: float) -> None:
        """Its channel closed: what it was fetching moves elsewhere with the next `poll`; no `failed` needed."""
        situation = self._situation
        if source := situation.peers.pop(peer, None):
            situation.holders.remove(peer)
            for running in list(source.fetches.values()):
                situation.end(running.fetch_id, now)
                situation.trouble(running.chunk, now).add(peer, "gone")
            situation.pool_rates()

    def set_gateway(self, is_there: bool) -> None:
        """Whether the gateway may be asked at all."""
        self._situation.has_gateway = is_there

    def set_expects_peers(self, is_so: bool) -> None:
        """False when no peer will come (no WebRTC, an empty swarm): the gateway is not held back for them."""
        self._situation.expects_peers = is_so

    def learn_rate(self, source: str, received_bytes: int, seconds: float) -> None:
        """A source was measured before there was a scheduler (the head start's requests to the gateway).

        With it the gateway is trusted to be quick, and peers that are still connecting are given more time.
        """
        if found := self._situation.source(source):
            found.learn_rate(received_bytes, seconds)

    # -- fetches

    def progress(self, fetch_id: int, received_bytes: int, now: float) -> None:
        """So many bytes of a fetch have come in all."""
        situation = self._situation
        running = situation.running.get(fetch_id)
        if running is None or received_bytes <= running.received_bytes:
            return
        more = min(received_bytes, running.received_bytes + running.left_bytes) - running.received_bytes
        running.received_bytes += more
        running.heard_at = now
        running.source.heard(more, now)
        situation.throughput.add(more)
        if running.chunk not in situation.chunks.alone:
            situation.chunks.add(running.chunk, running.arrived, running.source.name)
            if len(situation.running.of_chunk(running.chunk)) > 1:
                self._cancelling.surplus(running.chunk, now)

    def received(self, fetch_id: int, now: float) -> None:
        """Every frame that was asked for came. Once a chunk is whole, nothing more of it is fetched until
        `chunk_verified` or `chunk_wrong` is told."""
        situation = self._situation
        running = situation.running.get(fetch_id)
        if running is None:
            return
        self.progress(fetch_id, running.received_bytes + running.left_bytes, now)
        situation.end(fetch_id, now)
        situation.pool_rates()
        frames = chunk_mask.span(running.first_frame, running.first_frame + running.frame_count)
        situation.chunks.add(running.chunk, frames, running.source.name)
        self._cancelling.surplus(running.chunk, now)

    def failed(self, fetch_id: int, failure: Failure, now: float) -> None:
        """The fetch ended early: the source rests a while, what did not come is fetched elsewhere."""
        self._situation.fail(fetch_id, failure, now)

    # -- chunks

    def partial(self, chunk: int, frames: frozenset[int], now: float, source: str = GATEWAY) -> None:
        """These frames of a chunk are there already (from the head start): only the rest is fetched."""
        mask = 0
        for frame in frames:
            mask |= 1 << frame
        self._situation.chunks.add(chunk, mask, source)
        self._cancelling.surplus(chunk, now)

    def chunk_verified(self, chunk: int, now: float) -> None:
        """The chunk is whole and its hash is right: it is held now; other fetches of it get cancelled."""
        situation = self._situation
        for name in situation.chunks.senders(chunk):
            if source := situation.source(name):
                source.succeeded(chunk)
        self.hold(chunk)

    def chunk_wrong(self, chunk: int, culprits: frozenset[str], now: float) -> None:
        """The chunk's hash, or a frame's tag, is wrong: all of its frames are fetched anew.

        Args:
            culprits: sources that are known to have sent wrong frames (a frame's tag is wrong, or one source
                sent everything): banned. Empty: it is not known who it was; all of the chunk then comes from
                one other source, and when that is right, compare the frames and `ban`.
        """
        situation = self._situation
        for running in list(situation.running.of_chunk(chunk)):
            situation.cancel(running, now)
        senders = situation.chunks.forget(chunk)
        if not culprits:
            situation.chunks.alone.add(chunk)
        for name in sorted(culprits or senders):
            situation.trouble(chunk, now).add(name, "wrong_hash")
            if source := situation.source(name):
                source.rest_for_chunk(chunk, now, self._settings.backoff_first_s, self._settings.backoff_most_s)
        for name in sorted(culprits):
            self.ban(name, chunk)

    def ban(self, name: str, chunk: int) -> None:
        """A source sent wrong bytes of this chunk: it is not asked again for this track.

        The gateway is not banned for one chunk, which may have been damaged on its disk, but left alone for it.
        """
        situation = self._situation
        source = situation.source(name)
        if name in situation.banned:
            return
        if source is situation.gateway:
            source.wrong_chunks.add(chunk)
            if len(source.wrong_chunks) < self._settings.gateway_wrong_chunks:
                return
            source.is_banned = True
        situation.banned.add(name)
        if source is not None:
            for running in list(source.fetches.values()):
                situation.cancel(running, self._polled_at)
        situation.peers.pop(name, None)
        situation.holders.remove(name)
        situation.actions.append(SourceBanned(name, chunk))

    def hold(self, chunk: int) -> None:
        """The chunk is verified and came another way (cache, head start)."""
        self._situation.chunks.hold(chunk)
        self._situation.troubles.pop(chunk, None)

    def drop(self, chunk: int) -> None:
        """The chunk, or what there was of it, is no longer at hand; it is fetched again when it is needed."""
        self._situation.chunks.drop(chunk)

    # -- what to do

    def poll(self, now: float) -> list[Action]:
        """What to do now, in this order. Call after everything above and at `next_deadline`."""
        self._polled_at = now
        situation = self._situation
        look = self._look(now)
        self._cancelling.unwanted(look, now)
        self._cancelling.silent(now)
        if look.playback is not Playback.IDLE:
            self._near.act(look, now)
            self._far.act(look, now)
            self._hopeless.act(look, now)
        actions, situation.actions = situation.actions, []
        return actions

    def next_deadline(self, now: float) -> float | None:
        """When `poll` may have something new to say without anything happening; None: not by itself."""
        situation = self._situation
        look = self._look(now)
        if not look.far & situation.chunks.missing and not situation.running:
            is_done = self._listening.playback is not Playback.PLAYING or self.is_complete
            return None if is_done else self._polled_at + self._settings.tick_s
        moments = [self._cancelling.silent_at(running) for running in situation.running]
        moments += [running.started_at + self._settings.startup_hedge_s for running in situation.running]
        for chunk in chunk_mask.numbers(look.near & situation.chunks.missing)[:2]:
            moments += [source.usable_at(chunk) for source in situation.sources]
            left_s = self._listening.left_s(look, chunk, situation.chunks.arrived(chunk))
            moments.append(now + left_s - situation.gateway_floor_s(chunk, now))
        # Counted from the last poll: asking again must not put it off.
        return min([self._polled_at + self._settings.tick_s, *(m for m in moments if m > self._polled_at)])

    # -- what is going on

    @property
    def held(self) -> frozenset[int]:
        """The chunks at hand."""
        return frozenset(chunk_mask.numbers(self._situation.chunks.held))

    @property
    def banned(self) -> frozenset[str]:
        """Sources that gave wrong bytes."""
        return frozenset(self._situation.banned)

    @property
    def is_complete(self) -> bool:
        """Every chunk is held."""
        return self._situation.chunks.is_complete

    def bytes_per_s(self, now: float) -> float | None:
        """What this listener can count on, for digm.rendition_choice; None before it is known.

        What came from all sources together while something was asked for; or what the gateway gives by itself,
        if that is more: peers that keep silent are no reason for a poorer rendition while it is there.
        """
        situation = self._situation
        together = situation.throughput.bytes_per_s(now)
        gateway = situation.gateway
        if together is None or not situation.can_ask_gateway(now) or gateway.bytes_per_s is None:
            return together
        return max(together, gateway.bytes_per_s)

    # -- inside

    def _look(self, now: float) -> Look:
        situation = self._situation
        return self._listening.look(situation.chunks.held, now, is_alone=situation.is_alone)

    def _end_meeting(self, now: float) -> None:
        """Everybody who was met on arrival is there: no need to wait."""
        situation, turns = self._situation, self._situation.turns
        if turns.others >= min(turns.crowd, self._settings.meeting_enough) and turns.all_in(
            situation.peers.keys()
        ):
            situation.meeting_until = min(situation.meeting_until, now)
