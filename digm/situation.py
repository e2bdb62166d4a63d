"""Everything that the scheduler's plans look at and act on: chunks, sources, fetches under way."""

import math
from collections.abc import Iterable, Sequence

from digm import chunk_mask
from digm.chunk_states import ChunkStates
from digm.fetch_plan import GATEWAY, Action, Cancel, ChunkSpan, Failure, Fetch, SchedulerSettings
from digm.fill_turns import FillTurns
from digm.holders import Holders
from digm.running_fetches import RunningFetch, RunningFetches
from digm.sources import Source, Trouble
from digm.throughput import Throughput


class Situation:
    """State without a policy; `start` and `cancel` are how a plan becomes actions.

    Attributes:
        actions: decided and not told to the shell yet.
        peers: those that can be asked, by id.
        expects_peers: more may still connect.
        meeting_until: until then peers that were met on arrival may still be connecting, and may hold much;
            when they have connected, the time when that was so.
        troubles: what went wrong with chunks that are still missing.
    """

    def __init__(
        self, spans: Sequence[ChunkSpan], settings: SchedulerSettings, me: str, held: Iterable[int]
    ) -> None:
        self.spans = spans
        self.settings = settings
        self.chunks = ChunkStates([span.frames for span in spans], held)
        self.running = RunningFetches()
        self.holders = Holders()
        self.turns = FillTurns(me)
        self.throughput = Throughput()
        self.gateway = Source(GATEWAY, chunk_mask.span(0, len(spans)), settings.parallel_gateway)
        self.has_gateway = True
        self.peers: dict[str, Source] = {}
        self.banned: set[str] = set()
        self.expects_peers = True
        self.meeting_until = 0.0
        self.troubles: dict[int, Trouble] = {}
        self.actions: list[Action] = []
        self._assumed_bytes_per_s = settings.assumed_bytes_per_s

    # -- sources

    def source(self, name: str) -> Source | None:
        return self.gateway if name == GATEWAY else self.peers.get(name)

    @property
    def sources(self) -> list[Source]:
        """Everybody who may be asked."""
        gateway = [self.gateway] if self.has_gateway and not self.gateway.is_banned else []
        return [*gateway, *self.peers.values()]

    @property
    def is_alone(self) -> bool:
        """Nobody shares the work, and nobody is expected to."""
        return not self.peers and not self.turns.others and not self.expects_peers

    def is_meeting(self, now: float) -> bool:
        """Peers that were there before us, and may hold a lot, are still connecting."""
        return now < self.meeting_until

    def peers_for(self, chunk: int, size_bytes: int, now: float, limit: int) -> list[Source]:
        """Peers with fewer fetches than `limit` that can be asked for so much of a chunk, quickest first."""
        ready = [
            (self.expected_s(source, size_bytes, now), not source.is_proven, source.name, source)
            for source in self.peers.values()
            if source.chunks >> chunk & 1
            and len(source.fetches) < min(source.slots, limit)
            and source.usable_at(chunk) <= now
        ]
        ready.sort()
        return [source for *_, source in ready]

    def can_ask_gateway(self, now: float) -> bool:
        """Whether there is a gateway that is neither banned nor resting."""
        return self.has_gateway and not self.gateway.is_banned and self.gateway.rest.until <= now

    def gateway_for(self, chunk: int, now: float, *, is_urgent: bool) -> Source | None:
        """The gateway, if it can be asked now; what is needed at once does not wait behind what is not."""
        gateway = self.gateway
        if not self.has_gateway or gateway.is_banned or gateway.usable_at(chunk) > now:
            return None
        has_room = is_urgent or len(gateway.fetches) < self.settings.parallel_gateway
        return gateway if has_room else None

    def has_holder(self, chunk: int, now: float) -> bool:
        """Whether a peer that is willing has this chunk, busy or not."""
        if not self.holders.anybody >> chunk & 1:
            return False
        return any(
            source.holds(chunk) and source.usable_at(chunk) <= now
            for source in self.peers.values()
            if source.slots
        )

    def rate(self, source: Source, now: float) -> float:
        """Bytes per second that may be counted on."""
        if source is self.gateway:
            return source.rate(self.settings.assumed_gateway_bytes_per_s, now)
        return source.rate(self._assumed_bytes_per_s, now)

    def expected_s(self, source: Source, size_bytes: int, now: float) -> float:
        """How long until a source would have sent so many bytes more."""
        return (source.answer_s or 0.0) + (source.owed_bytes + size_bytes) / self.rate(source, now)

    def pool_rates(self) -> None:
        """An unmeasured peer is taken for half as fast as those that were measured."""
        rates = [source.bytes_per_s for source in self.peers.values() if source.bytes_per_s is not None]
        if rates:
            self._assumed_bytes_per_s = sum(rates) / len(rates) / 2
        else:
            self._assumed_bytes_per_s = self.settings.assumed_bytes_per_s

    def gateway_floor_s(self, chunk: int, now: float) -> float:
        """The gateway must be asked when less than this is left, or it is too late."""
        expected_s = self.expected_s(self.gateway, self.spans[chunk].size_bytes, now)
        settings = self.settings
        # Bounded, or a busy machine that measures badly would make everybody ask for everything.
        return min(settings.near_s / 2, settings.gateway_margin_s + settings.gateway_margin_factor * expected_s)

    def lose(self, peer: str, chunk: int) -> None:
        """A peer does not hold a chunk (any more)."""
        if (source := self.peers.get(peer)) and chunk >= 0:
            source.chunks &= ~(1 << chunk)
            self.holders.lose(peer, 1 << chunk)

    def trouble(self, chunk: int, now: float) -> Trouble:
        return self.troubles.setdefault(chunk, Trouble(now))

    # -- fetches

    def unasked(self, chunk: int) -> int:
        """Frames of a missing chunk that neither are there nor are on their way (digm.chunk_mask)."""
        return self.chunks.frames(chunk) & ~self.chunks.arrived(chunk) & ~self.running.awaited(chunk)

    def start(
        self, source: Source, chunk: int, first: int, count: int, now: float, *, is_far: bool = False
    ) -> None:
        if not self.running:
            self.throughput.begin(now)
        fetch = self.running.start(source, chunk, first, count, now, is_far)
        self.actions.append(Fetch(fetch.fetch_id, source.name, chunk, first, count))

    def end(self, fetch_id: int, now: float) -> RunningFetch | None:
        """Forget a fetch and keep the frames that it brought. None: it was over already."""
        fetch = self.running.remove(fetch_id, now)
        if fetch is None:
            return None
        if not self.running:
            self.throughput.pause(now)
        if (arrived := fetch.arrived) and fetch.chunk not in self.chunks.alone:
            self.chunks.add(fetch.chunk, arrived, fetch.source.name)
        return fetch

    def fail(self, fetch_id: int, failure: Failure, now: float) -> None:
        """A fetch ended early: its source rests, altogether or for this chunk."""
        fetch = self.end(fetch_id, now)
        if fetch is None:
            return
        source, chunk = fetch.source, fetch.chunk
        first_s, most_s = self.settings.backoff_first_s, self.settings.backoff_most_s
        self.trouble(chunk, now).add(source.name, failure.value)
        if failure not in (Failure.NOT_HELD, Failure.WRONG_SIZE):
            source.rest.extend(now, first_s, most_s)
            return
        source.rest_for_chunk(chunk, now, first_s, most_s)
        if failure is Failure.NOT_HELD:
            self.lose(source.name, chunk)

    def cancel(self, fetch: RunningFetch, now: float) -> None:
        if self.end(fetch.fetch_id, now):
            self.actions.append(Cancel(fetch.fetch_id))

    def make_way(self, source: Source, now: float) -> None:
        """What a peer is to send for later gives way to what is heard soon; frames that came are kept."""
        for fetch in [fetch for fetch in source.fetches.values() if fetch.is_far]:
            self.cancel(fetch, now)

    def left_over_s(self, fetch: RunningFetch, now: float) -> float:
        """How long a fetch will still take at the speed that it shows; infinite when it shows none.

        One that waits behind another one of its peer is judged by what its peer was measured at.
        """
        source = fetch.source
        is_first = next(iter(source.fetches)) == fetch.fetch_id
        owed, rate = 0, self.rate(source, now)
        for other in source.fetches.values():
            owed += other.left_bytes
            if other is fetch:
                break
        if is_first and fetch.received_bytes:
            return owed / rate
        waited_s = now - max(fetch.started_at, fetch.heard_at) if is_first else 0.0
        expected_s = (source.answer_s or 0.0) + owed / rate
        is_stuck = waited_s > max(self.settings.startup_hedge_s, 2 * expected_s)
        return math.inf if is_stuck else expected_s
