"""Chunks that are heard soon: whom to ask, when to ask a second one, when it is time for the gateway."""

import math

from digm import chunk_mask
from digm.chunks import FRAME_BYTES
from digm.fetch_plan import Playback
from digm.listening import Listening, Look
from digm.running_fetches import RunningFetch
from digm.situation import Situation
from digm.sources import Source
from digm.splitting import shares, tail


class NearPlan:
    """Urgent and near zone.

    Args:
        situation: looked at and acted on.
        listening: tells how much time is left.
    """

    def __init__(self, situation: Situation, listening: Listening) -> None:
        self._situation = situation
        self._listening = listening

    def act(self, look: Look, now: float) -> None:
        """Ask for what is missing in the near zone, in the order in which it is heard."""
        situation = self._situation
        for chunk in chunk_mask.numbers(look.near & situation.chunks.missing):
            left_s = self._listening.left_s(look, chunk, situation.chunks.arrived(chunk))
            is_urgent = left_s < situation.settings.urgent_s and look.playback is not Playback.PREFETCH
            if chunk in situation.chunks.alone:
                self._from_one(chunk, left_s, is_urgent, now)
                continue
            if not self._ask(look, chunk, left_s, is_urgent, now):
                self._hedge(chunk, left_s, now)

    def may_fill(self, chunk: int, left_s: float, now: float) -> bool:
        """Whether it is for us to take a chunk that no peer has from the gateway now.

        The first in turn fetches it as soon as it is in reach. The turn of the others comes while the near zone
        runs out; at the gateway's floor everybody may.
        """
        situation, settings = self._situation, self._situation.settings
        floor_s = situation.gateway_floor_s(chunk, now)
        if left_s <= floor_s or situation.is_alone:
            return True
        is_new = self._listening.active_s(now) < settings.peer_patience_s
        is_awaited = situation.expects_peers and not situation.peers and chunk not in situation.troubles
        if situation.is_meeting(now) or (is_new and (is_awaited or left_s > settings.near_s)):
            return False  # who was here before may have it
        turn = situation.turns.turn(chunk)
        if left_s > settings.near_s:
            ahead_s = settings.ahead_gateway_s
            return turn <= (ahead_s - left_s) / (ahead_s - settings.near_s) * 0.99
        # The time that each turn has is counted from when the chunk came near, or we could see who is there.
        waited_s = min(settings.near_s - left_s, now - situation.meeting_until)
        gone = waited_s / max(0.1, waited_s + left_s - floor_s)
        return turn <= situation.turns.crowd * gone * gone

    # -- asking

    def _ask(self, look: Look, chunk: int, left_s: float, is_urgent: bool, now: float) -> bool:
        """Ask for the frames that nobody was asked for. False when there are none."""
        situation = self._situation
        unasked = situation.unasked(chunk)
        if not unasked:
            return False
        frame = self._listening.frame_at(look, chunk)
        before = unasked & chunk_mask.span(0, frame) if frame > 1 else 0  # one request more is worth two frames
        for part in (unasked & ~before, before):
            for first, count in chunk_mask.runs(part):
                self._ask_run(chunk, first, count, left_s, is_urgent, now)
        return True

    def _ask_run(self, chunk: int, first: int, count: int, left_s: float, is_urgent: bool, now: float) -> None:
        situation, settings = self._situation, self._situation.settings
        if len(situation.running) >= settings.parallel * (2 if is_urgent else 1):
            return
        size = count * FRAME_BYTES
        peers = self._peers(chunk, size, is_urgent, now)
        gateway = self._gateway(chunk, left_s, is_urgent, now)
        if not peers:
            if gateway is not None:
                situation.start(gateway, chunk, first, count, now)
            return
        if is_urgent and self._came_wrong(chunk) and (gateway is not None or peers[0].is_proven):
            # There is no time for another liar.
            peers = [peer for peer in peers if peer.is_proven]
            if not peers:
                assert gateway is not None
                situation.start(gateway, chunk, first, count, now)
                return
        best_s = situation.expected_s(peers[0], size, now)
        if is_urgent and best_s > settings.split_from_s:
            peers = self._team(peers)
            best_s = self._team_s(peers, count, now)
        else:
            peers = peers[:1]
        is_known = any(peer.bytes_per_s is not None for peer in peers)  # others get a chance: they are hedged
        if gateway is not None and is_known and best_s > max(left_s, 2 * settings.startup_hedge_s):
            # Peers alone would be too late: the gateway sends its share.
            peers = [gateway, *peers]
        self._start(peers, chunk, first, count, now, is_urgent)

    def _came_wrong(self, chunk: int) -> bool:
        trouble = self._situation.troubles.get(chunk)
        return trouble is not None and "wrong_hash" in trouble.reasons.values()

    def _peers(self, chunk: int, size: int, is_urgent: bool, now: float) -> list[Source]:
        """Whom to ask; for what is urgent also those that only have things for later to send."""
        situation = self._situation
        limit = situation.settings.parallel_per_peer
        peers = situation.peers_for(chunk, size, now, limit)
        if peers or not is_urgent:
            return peers
        peers = situation.peers_for(chunk, size, now, 2 * limit)
        return [peer for peer in peers if sum(not fetch.is_far for fetch in peer.fetches.values()) < limit]

    def _gateway(self, chunk: int, left_s: float, is_urgent: bool, now: float) -> Source | None:
        situation = self._situation
        gateway = situation.gateway_for(chunk, now, is_urgent=is_urgent)
        if gateway is None:
            return None
        if situation.has_holder(chunk, now):
            return gateway if left_s <= situation.gateway_floor_s(chunk, now) else None
        return gateway if self.may_fill(chunk, left_s, now) else None

    def _team(self, peers: list[Source]) -> list[Source]:
        """Those who split a chunk: of sources whose bytes were never checked only one, or a liar among them
        would spoil what the others sent."""
        proven = [peer for peer in peers if peer.is_proven]
        unproven = [peer for peer in peers if not peer.is_proven]
        team = sorted(proven + unproven[:1], key=peers.index)
        return team[: self._situation.settings.split_over]

    def _team_s(self, team: list[Source], count: int, now: float) -> float:
        """When so many frames would be there, split over a team."""
        situation = self._situation
        waits, rates = self._speeds(team, now)
        counts = shares(count, waits, rates)
        return max(
            situation.expected_s(source, share * FRAME_BYTES, now)
            for source, share in zip(team, counts, strict=True)
            if share
        )

    def _speeds(self, team: list[Source], now: float) -> tuple[list[float], list[float]]:
        situation = self._situation
        return [situation.expected_s(source, 0, now) for source in team], [
            situation.rate(source, now) for source in team
        ]

    def _start(
        self, team: list[Source], chunk: int, first: int, count: int, now: float, is_urgent: bool
    ) -> None:
        if is_urgent:
            for source in team:
                self._situation.make_way(source, now)
        waits, rates = self._speeds(team, now)
        for source, share in zip(team, shares(count, waits, rates), strict=True):
            if share:
                self._situation.start(source, chunk, first, share, now)
                first += share

    # -- a second source

    def _hedge(self, chunk: int, left_s: float, now: float) -> None:
        """When a chunk that is asked for will be late, another source takes the end of what is outstanding."""
        late = self._late(chunk, left_s, now)
        if late is None:
            return
        situation = self._situation
        frames = late.awaited & ~situation.chunks.arrived(chunk)
        for other in situation.running.of_chunk(chunk):
            if other is not late:
                frames &= ~other.awaited
        if not frames:
            return
        run_first, run_count = chunk_mask.runs(frames)[-1]
        helper = self._helper(chunk, run_count, left_s, now)
        if helper is None:
            return
        left_over_s = situation.left_over_s(late, now)
        rate = 0.0 if math.isinf(left_over_s) else late.left_bytes / max(0.01, left_over_s)
        first, count = tail(
            chunk_mask.span(run_first, run_first + run_count), rate, situation.rate(helper, now)
        )
        situation.start(helper, chunk, first, count, now)

    def _late(self, chunk: int, left_s: float, now: float) -> RunningFetch | None:
        """The fetch that holds a chunk up, if it will be too late."""
        situation, hedge_s = self._situation, self._situation.settings.startup_hedge_s
        fetches = situation.running.of_chunk(chunk)
        if not fetches:
            return None
        left_over_s, worst = max(
            ((situation.left_over_s(fetch, now), fetch) for fetch in fetches), key=lambda item: item[0]
        )
        if now - worst.started_at < hedge_s or left_over_s <= max(0.6 * left_s, hedge_s):
            return None
        return worst

    def _helper(self, chunk: int, frames: int, left_s: float, now: float) -> Source | None:
        """Who can take over: a peer that makes it in time, or the gateway when there is no time to lose."""
        situation = self._situation
        asked = {fetch.source.name for fetch in situation.running.of_chunk(chunk)}
        size = frames * FRAME_BYTES
        peers = [
            peer
            for peer in situation.peers_for(chunk, size, now, situation.settings.parallel_per_peer)
            if peer.name not in asked
        ]
        for peer in peers[:1]:
            if peer.bytes_per_s is not None and situation.expected_s(peer, size, now) < max(0.6 * left_s, 0.2):
                return peer
        is_time = left_s <= max(situation.gateway_floor_s(chunk, now), situation.settings.urgent_s / 2)
        gateway = situation.gateway_for(chunk, now, is_urgent=True) if is_time else None
        if gateway is not None and gateway.name not in asked:
            return gateway
        return peers[0] if peers else None

    # -- a chunk that came wrong from several sources

    def _from_one(self, chunk: int, left_s: float, is_urgent: bool, now: float) -> None:
        """All of it from one source, which then answers for it alone."""
        situation = self._situation
        if situation.running.of_chunk(chunk):
            return
        frames = situation.spans[chunk].frames
        peers = self._peers(chunk, frames * FRAME_BYTES, is_urgent, now)
        peers.sort(key=lambda peer: not peer.is_proven)
        gateway = situation.gateway_for(chunk, now, is_urgent=is_urgent)
        is_quick = bool(peers) and situation.expected_s(peers[0], frames * FRAME_BYTES, now) < left_s
        source = peers[0] if peers and (is_quick or gateway is None) else gateway
        if source is not None:
            self._start([source], chunk, 0, frames, now, is_urgent)
