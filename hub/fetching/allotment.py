"""Who is asked for which chunk, so that all of a track comes as quickly as its sources give it. Sans-IO.

The player's scheduler (digm.scheduler) goes by the moment at which each frame is heard: it splits chunks among
listeners and keeps the gateway for what would be late. A program that wants all of a track has no such moments,
and nobody to spare: it asks everybody at once, each for whole chunks. So whoever sent a wrong one is known at
once, and a source that answers nothing but whole chunks is as good as another.

In order, and each chunk from whoever will probably be done with it first. When nothing is left to ask for, idle
sources are asked for what slow ones still owe; who is first wins. A source that fails rests, each time twice as
long; one that lies is left.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from digm.manifest import Manifest
from digm.sources import Rest

REST_FIRST_S = 0.5
REST_MOST_S = 15.0
ASSUMED_BYTES_PER_S = 1_000_000.0  # of a source that has sent nothing yet
RATE_WEIGHT = 0.4  # of the newest chunk
HEDGE_AFTER_S = 1.0  # a source may need a round trip or two, and a busy one a moment


@dataclass(frozen=True, slots=True)
class Wanted:
    """One chunk: its place, its size in bytes, and its SHA-256."""

    rendition: int
    chunk: int
    size: int
    hash: bytes

    @property
    def name(self) -> str:
        """Its hash in hex."""
        return self.hash.hex()


def wanted_chunks(manifest: Manifest, renditions: Iterable[int]) -> list[Wanted]:
    """All chunks of some renditions, in order."""
    return [
        Wanted(number, chunk, rendition.chunk_bytes(chunk), chunk_hash)
        for number in renditions
        for rendition in [manifest.renditions[number]]
        for chunk, chunk_hash in enumerate(rendition.chunk_hashes)
    ]


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask a source for a chunk; tell `progress`, then `came` and `verified` or `wrong`, or `failed`."""

    number: int
    source: str
    index: int
    wanted: Wanted


@dataclass(frozen=True, slots=True)
class Drop:
    """Stop this one; nothing is to be told of it any more. `is_silent`: because nothing came of it."""

    number: int
    is_silent: bool = False


Action = Ask | Drop


@dataclass(slots=True)
class _Running:
    ask: Ask
    began_at: float
    heard_at: float
    received: int = 0
    is_checked: bool = False  # all of it came; its hash is being compared


@dataclass(slots=True)
class _Source:
    name: str
    slots: int
    silence_s: float
    wrongs_allowed: int
    holds: Callable[[Wanted], bool]
    is_last: Callable[[], bool]
    bytes_per_s: float | None = None
    rest: Rest = field(default_factory=Rest)
    lacks: set[int] = field(default_factory=set)
    running: dict[int, _Running] = field(default_factory=dict)
    wrongs: int = 0
    is_banned: bool = False
    freed_at: float = 0.0

    @property
    def busy(self) -> list[_Running]:
        """What it still sends."""
        return [running for running in self.running.values() if not running.is_checked]

    def may_have(self, index: int, wanted: Wanted) -> bool:
        return not self.is_banned and index not in self.lacks and self.holds(wanted)

    def is_free(self, now: float) -> bool:
        return not self.is_banned and self.rest.until <= now and len(self.busy) < self.slots

    def expected_s(self, size: int) -> float:
        """How long until it would have sent so many bytes more."""
        owed = sum(running.ask.wanted.size - running.received for running in self.busy)
        return (owed + size) / (self.bytes_per_s or ASSUMED_BYTES_PER_S)


class Allotment:
    """The chunks that are missing and who was asked for them. Deterministic: the same calls, the same actions.

    Args:
        wanted: in the order in which they are wanted.
        held: indexes of those that are there already.
        ahead: at most so many chunks beyond the first missing one are asked for; None: all (who listens at a
            pipe wants the beginning first).
    """

    def __init__(
        self, wanted: Sequence[Wanted], now: float, held: Iterable[int] = (), ahead: int | None = None
    ) -> None:
        self.wanted = wanted
        self._missing = dict.fromkeys(range(len(wanted)))
        for index in held:
            del self._missing[index]
        self._ahead = ahead
        self._sources: dict[str, _Source] = {}
        self._asked: dict[int, list[_Running]] = {}
        self._running: dict[int, _Running] = {}
        self._drops: list[Drop] = []
        self._next_number = 1
        self.good_at = now

    # -- sources

    def add_source(
        self,
        name: str,
        *,
        slots: int,
        silence_s: float,
        wrongs_allowed: int = 1,
        holds: Callable[[Wanted], bool] = lambda _: True,
        is_last: Callable[[], bool] = lambda: False,
    ) -> None:
        """Somebody who can be asked; one that is known already stays as it is.

        Args:
            slots: chunks at once.
            silence_s: without a byte for so long, a chunk is asked for elsewhere.
            wrongs_allowed: wrong chunks in a row after which it is left; a gateway's disk may damage one.
            holds: whether it says that it has a chunk; read live.
            is_last: whether it is asked only where all others fail, or are slow to send; read live.
        """
        self._sources.setdefault(name, _Source(name, slots, silence_s, wrongs_allowed, holds, is_last))

    def lose_source(self, name: str) -> None:
        """It is gone; what it was asked for is asked for elsewhere, and nothing of it is told any more."""
        source = self._sources.get(name)
        if source is None or source.is_banned:  # who comes back is banned still
            return
        del self._sources[name]
        for running in list(source.running.values()):
            self._drop(running)

    @property
    def banned(self) -> list[str]:
        """Sources that are not asked any more, because of what they sent."""
        return [source.name for source in self._sources.values() if source.is_banned]

    # -- what becomes of an ask

    def progress(self, number: int, received: int, now: float) -> None:
        """So many bytes of it have come in all."""
        if running := self._running.get(number):
            running.received, running.heard_at = received, now

    def came(self, number: int, now: float) -> bool:
        """All of it came, not checked yet. False: it is not wanted any more."""
        running = self._running.get(number)
        if running is None:
            return False
        running.received, running.is_checked = running.ask.wanted.size, True
        source = self._sources[running.ask.source]
        # Several at once share its line: each is measured from when the one before was done.
        seconds = max(0.001, now - max(running.began_at, source.freed_at))
        source.freed_at = now
        rate, before = running.received / seconds, source.bytes_per_s
        source.bytes_per_s = rate if before is None else before + RATE_WEIGHT * (rate - before)
        return True

    def verified(self, number: int, now: float) -> None:
        """Its hash is right, and it is kept."""
        running = self._end(number)
        if running is None:
            return
        source = self._sources[running.ask.source]
        source.wrongs, source.rest = 0, Rest()
        self.hold(running.ask.index, now)

    def hold(self, index: int, now: float) -> None:
        """A chunk is there."""
        self._missing.pop(index, None)
        self.good_at = now
        for other in list(self._asked.get(index, ())):
            self._drop(other)

    def wrong(self, number: int, now: float) -> bool:
        """Its hash is not right. True: the source is banned now."""
        running = self._end(number)
        if running is None:
            return False
        source = self._sources[running.ask.source]
        source.lacks.add(running.ask.index)
        source.wrongs += 1
        if source.wrongs >= source.wrongs_allowed:
            self._ban(source)
        return source.is_banned

    def failed(self, number: int, now: float, *, is_missing: bool = False, is_fault: bool = False) -> None:
        """It did not come.

        Args:
            is_missing: the source does not have it, and is not asked for it again.
            is_fault: the source broke a rule, and is left.
        """
        running = self._end(number)
        if running is None:
            return
        source = self._sources[running.ask.source]
        if is_fault:
            self._ban(source)
        elif is_missing:
            source.lacks.add(running.ask.index)
        elif source.rest.until <= now:  # several that fail at once are one failure
            source.rest.extend(now, REST_FIRST_S, REST_MOST_S)

    # -- what to do

    def poll(self, now: float) -> list[Action]:
        """What to do now; call after everything above, and at `next_deadline`."""
        actions: list[Action] = []
        for running in list(self._running.values()):
            if not running.is_checked and now >= self._silent_at(running):
                self._drop(running, is_silent=True)
                source = self._sources[running.ask.source]
                if source.rest.until <= now:
                    source.rest.extend(now, REST_FIRST_S, REST_MOST_S)
        for index in self._reach():
            if not any(source.is_free(now) for source in self._sources.values()):
                break
            if index not in self._asked and (best := self._best_for(index, now)):
                actions.append(self._start(best, index, now))
        actions += self._hedges(now)
        drops, self._drops = self._drops, []
        return [*drops, *actions]

    def next_deadline(self, now: float) -> float | None:
        """When `poll` may have something new to say by itself; None: not before something happens."""
        moments = [self._silent_at(running) for running in self._running.values() if not running.is_checked]
        moments += [
            source.rest.until
            for source in self._sources.values()
            if not source.is_banned and source.rest.until > now
        ]
        if self._running and any(source.is_free(now) for source in self._sources.values()):
            moments.append(now + HEDGE_AFTER_S / 2)
        return min(moments, default=None)

    @property
    def is_complete(self) -> bool:
        """Nothing is missing."""
        return not self._missing

    @property
    def missing(self) -> list[int]:
        """Indexes of what is not there, in order."""
        return list(self._missing)

    def hopeless(self) -> int | None:
        """The first missing chunk that none of the sources will ever give; None while there is hope."""
        for index in self._missing:
            wanted = self.wanted[index]
            if not any(source.may_have(index, wanted) for source in self._sources.values()):
                return index
        return None

    # -- inside

    def _reach(self) -> list[int]:
        """The missing chunks that may be asked for now."""
        missing = list(self._missing)
        if self._ahead is None or not missing:
            return missing
        return [index for index in missing if index <= missing[0] + self._ahead]

    def _best_for(self, index: int, now: float) -> _Source | None:
        wanted = self.wanted[index]
        able = [s for s in self._sources.values() if s.may_have(index, wanted) and s.rest.until <= now]
        # Those that are to be last wait for others that are busy, not for others that fail.
        able = [s for s in able if not s.is_last()] or able
        able = [s for s in able if s.is_free(now)]
        return min(able, key=lambda source: (source.expected_s(wanted.size), source.name), default=None)

    def _start(self, source: _Source, index: int, now: float) -> Ask:
        ask = Ask(self._next_number, source.name, index, self.wanted[index])
        self._next_number += 1
        running = _Running(ask, now, now)
        self._running[ask.number] = source.running[ask.number] = running
        self._asked.setdefault(index, []).append(running)
        return ask

    def _hedges(self, now: float) -> list[Action]:
        """Idle sources take what others owe, where they will be done first."""
        actions: list[Action] = []
        for source in self._sources.values():
            while source.is_free(now) and (slow := self._slowest_for(source, now)) is not None:
                actions.append(self._start(source, slow, now))
        return actions

    def _slowest_for(self, helper: _Source, now: float) -> int | None:
        worst, worst_s = None, 0.0
        for index, askings in self._asked.items():
            if len(askings) > 1 or askings[0].is_checked or now - askings[0].began_at < HEDGE_AFTER_S:
                continue
            wanted = self.wanted[index]
            if askings[0].ask.source == helper.name or not helper.may_have(index, wanted):
                continue
            left_s = self._left_s(askings[0], now)
            if left_s > 2 * helper.expected_s(wanted.size) and left_s > worst_s:
                worst, worst_s = index, left_s
        return worst

    def _left_s(self, running: _Running, now: float) -> float:
        """How long a chunk will still take at the speed that it shows; infinite when it should be there."""
        size, waited_s = running.ask.wanted.size, now - running.began_at
        if running.received:
            return (size - running.received) * waited_s / running.received
        usual_s = size / (self._sources[running.ask.source].bytes_per_s or ASSUMED_BYTES_PER_S)
        return usual_s if waited_s < 2 * usual_s else math.inf

    def _silent_at(self, running: _Running) -> float:
        return running.heard_at + self._sources[running.ask.source].silence_s

    def _ban(self, source: _Source) -> None:
        source.is_banned = True
        for running in list(source.running.values()):
            self._drop(running)

    def _drop(self, running: _Running, *, is_silent: bool = False) -> None:
        if self._end(running.ask.number):
            self._drops.append(Drop(running.ask.number, is_silent))

    def _end(self, number: int) -> _Running | None:
        running = self._running.pop(number, None)
        if running is None:
            return None
        source = self._sources.get(running.ask.source)
        if source is not None:
            source.running.pop(number, None)
        askings = self._asked[running.ask.index]
        askings.remove(running)
        if not askings:
            del self._asked[running.ask.index]
        return running
