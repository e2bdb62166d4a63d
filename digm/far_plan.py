"""Chunks that are heard later: the rarest first from peers, and from the gateway what nobody has, in turn."""

from bisect import bisect_left

from digm import chunk_mask
from digm.fetch_plan import Playback
from digm.listening import Listening, Look
from digm.near_plan import NearPlan
from digm.situation import Situation
from digm.sources import Source
from digm.splitting import tail


class FarPlan:
    """Far zone.

    Args:
        situation: looked at and acted on.
        listening: tells how much time is left.
        near: knows whose turn it is at the gateway.
    """

    def __init__(self, situation: Situation, listening: Listening, near: NearPlan) -> None:
        self._situation = situation
        self._listening = listening
        self._near = near
        self._starts = [span.start_s for span in situation.spans]

    def act(self, look: Look, now: float) -> None:
        """Ask for what is missing behind the near zone, as far as there is room."""
        situation = self._situation
        wanted = look.far & situation.chunks.missing
        self._from_peers(look, wanted & ~look.near & situation.holders.anybody, now)
        nobody_has = wanted & look.gateway & ~situation.holders.anybody & ~situation.running.chunks
        if nobody_has & ~look.near:
            self._from_gateway(look, nobody_has & ~look.near, now)

    def _from_peers(self, look: Look, wanted: int, now: float) -> None:
        situation, settings = self._situation, self._situation.settings
        if not wanted or len(situation.running) >= settings.parallel_far:
            return
        pivot = situation.turns.pivot(len(situation.spans))
        for _ in range(settings.parallel_per_peer):
            ready = [
                (situation.expected_s(peer, 0, now), peer.name, peer)
                for peer in situation.peers.values()
                if len(peer.fetches) < min(peer.slots, settings.parallel_per_peer) and peer.rest.until <= now
            ]
            for _, _, peer in sorted(ready):
                if len(situation.running) >= settings.parallel_far:
                    return
                self._from_peer(look, peer, wanted, pivot, now)

    def _from_peer(self, look: Look, peer: Source, wanted: int, pivot: int, now: float) -> None:
        situation = self._situation
        chunk = self._rarest(look, peer, wanted & ~situation.running.chunks, pivot, now)
        if chunk is not None:
            for first, count in chunk_mask.runs(situation.unasked(chunk))[:1]:
                situation.start(peer, chunk, first, count, now, is_far=True)
        elif wanted & peer.chunks and look.playback is not Playback.PAUSED:
            self._help(look, peer, now)

    def _rarest(self, look: Look, peer: Source, wanted: int, pivot: int, now: float) -> int | None:
        """The rarest chunk that this peer holds and can send before it is heard."""
        situation = self._situation
        wanted &= peer.chunks
        for chunk in peer.chunk_rests:
            if peer.usable_at(chunk) > now:
                wanted &= ~(1 << chunk)
        if not wanted:
            return None
        needs_s = situation.expected_s(peer, situation.spans[0].size_bytes, now) - look.lead_s
        first = bisect_left(self._starts, look.position_s + needs_s)
        in_time = wanted >> first << first
        return situation.holders.rarest(in_time, pivot) if in_time else None

    def _help(self, look: Look, peer: Source, now: float) -> None:
        """Nothing is left to ask this peer for: it takes over the end of the fetch that lasts longest."""
        situation = self._situation
        if peer.bytes_per_s is None or peer.fetches:
            return
        slowest, worst_s = None, 2.0 * situation.settings.silence_s
        for fetch in situation.running:
            left_over_s = situation.left_over_s(fetch, now)
            is_lone = (
                len(situation.running.of_chunk(fetch.chunk)) == 1 and fetch.chunk not in situation.chunks.alone
            )
            if left_over_s > worst_s and is_lone and fetch.is_far and peer.holds(fetch.chunk):
                slowest, worst_s = fetch, left_over_s
        if slowest is None or peer.usable_at(slowest.chunk) > now:
            return
        frames = slowest.awaited & ~situation.chunks.arrived(slowest.chunk)
        if not frames:
            return
        rate = slowest.left_bytes / worst_s
        if situation.rate(peer, now) < 2 * rate:
            return
        run_first, run_count = chunk_mask.runs(frames)[-1]
        first, count = tail(chunk_mask.span(run_first, run_first + run_count), rate, situation.rate(peer, now))
        situation.start(peer, slowest.chunk, first, count, now, is_far=True)

    def _from_gateway(self, look: Look, chunks: int, now: float) -> None:
        situation = self._situation
        for chunk in chunk_mask.numbers(chunks):
            gateway = situation.gateway_for(chunk, now, is_urgent=False)
            if gateway is None or len(situation.running) >= situation.settings.parallel:
                return
            left_s = self._listening.left_s(look, chunk, situation.chunks.arrived(chunk))
            if self._near.may_fill(chunk, left_s, now):
                for first, count in chunk_mask.runs(situation.unasked(chunk))[:1]:
                    situation.start(gateway, chunk, first, count, now, is_far=True)
