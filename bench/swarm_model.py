"""A swarm in a computer's memory: pages that run the real scheduler, links that carry bytes, a server, a clock.

Flow level: a source sends one frame (64 KiB) at a time per connection; how long that takes is settled as it
begins, by the share of the sender's uplink, of the receiver's downlink, and by what one channel carries. No
browser, no packets. What a page does around its scheduler is here in small: head start in JavaScript, frames
played early, the hash of a whole chunk, manners (nothing is given while less than 3 s are buffered).
"""

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from digm.chunks import FRAME_BYTES
from digm.scheduler import ChunkSpan, Fetch

MEGA = 1_000_000.0


@dataclass(frozen=True)
class Line:
    """A listener's connection: bytes per second each way, and seconds to any other place and back."""

    up: float
    down: float
    round_trip_s: float


LOOPBACK = Line(7 * MEGA, 14 * MEGA, 0.002)  # pages of one machine: findings, Chromium to Chromium
FIBRE = Line(12.5 * MEGA, 31 * MEGA, 0.015)
CABLE = Line(2.5 * MEGA, 12.5 * MEGA, 0.03)
DSL = Line(0.25 * MEGA, 2 * MEGA, 0.045)
MOBILE = Line(0.6 * MEGA, 2.5 * MEGA, 0.08)
CHANNEL_BYTES_PER_S = 7 * MEGA  # findings: what one data channel carries

HOMES = ((FIBRE, 0.25), (CABLE, 0.4), (DSL, 0.2), (MOBILE, 0.15))


@dataclass(frozen=True)
class Case:
    """One run. Times in seconds.

    Attributes:
        arrivals: when each page navigates.
        python_s: from navigation to the scheduler's first poll, from..to.
        connect_s: from meeting a peer to an open channel, from..to.
        stays_s: mean of how long a listener stays; 0: to the end.
        free_riders, corrupted: parts of all listeners.
        offers: how many peers a newcomer connects to.
    """

    name: str
    arrivals: tuple[float, ...]
    lines: tuple[tuple[Line, float], ...] = ((LOOPBACK, 1.0),)
    chunks: int = 39
    track_s: float = 180.0
    server: Line = Line(40 * MEGA, 40 * MEGA, 0.0)
    server_delay_s: float = 0.0
    python_s: tuple[float, float] = (1.0, 6.0)
    connect_s: tuple[float, float] = (0.2, 2.0)
    stays_s: float = 0.0
    free_riders: float = 0.0
    corrupted: float = 0.0
    offers: int = 10
    most_links: int = 16
    seed: int = 1

    def spans(self) -> list[ChunkSpan]:
        each_s = self.track_s / self.chunks
        return [ChunkSpan(8 * FRAME_BYTES, 8, i * each_s, (i + 1) * each_s) for i in range(self.chunks)]


class Clock:
    """Events in the order of their time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, when: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (max(when, self.now), next(self._order), action))

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, action = heapq.heappop(self._events)
            action()


@dataclass
class Port:
    """One direction of a line, shared evenly by what flows."""

    bytes_per_s: float
    flowing: int = 0
    carried: int = 0


@dataclass
class Request:
    """A fetch at its source."""

    fetch: Fetch
    on_frame: Callable[[Fetch, int], None]
    next_frame: int = 0
    is_dropped: bool = False


@dataclass
class Channel:
    """From one source to one page: requests are answered one after the other.

    Args:
        may_send: asked before each frame.
        latency_s: from a request to its first byte, when nothing is in front of it.
    """

    clock: Clock
    sender: Port
    receiver: Port
    latency_s: float
    limit: float
    may_send: Callable[[], bool] = lambda: True
    _queue: deque[Request] = field(default_factory=deque)
    _is_busy: bool = False

    def ask(self, request: Request) -> None:
        self._queue.append(request)
        if not self._is_busy:
            self._is_busy = True
            self.clock.at(self.clock.now + self.latency_s, self._next)

    def drop(self, fetch_id: int) -> None:
        for request in list(self._queue):
            if request.fetch.fetch_id == fetch_id:
                request.is_dropped = True

    def close(self) -> None:
        for request in self._queue:
            request.is_dropped = True

    def _next(self) -> None:
        while self._queue and self._queue[0].is_dropped:
            self._queue.popleft()
        if not self._queue:
            self._is_busy = False
            return
        if not self.may_send():
            self.clock.at(self.clock.now + 0.1, self._next)
            return
        sender, receiver = self.sender, self.receiver
        sender.flowing += 1
        receiver.flowing += 1
        rate = min(sender.bytes_per_s / sender.flowing, receiver.bytes_per_s / receiver.flowing, self.limit)
        self.clock.at(self.clock.now + FRAME_BYTES / rate, self._sent)

    def _sent(self) -> None:
        self.sender.flowing -= 1
        self.receiver.flowing -= 1
        self.sender.carried += FRAME_BYTES
        request = self._queue[0]
        if not request.is_dropped:
            frame = request.fetch.first_frame + request.next_frame
            request.next_frame += 1
            if request.next_frame == request.fetch.frame_count:
                self._queue.popleft()
            request.on_frame(request.fetch, frame)
        self._next()


class Playhead:
    """The ear: frames play as they are there, in order; a gap is a stall."""

    def __init__(self, frames: int, frame_s: float) -> None:
        self._has = bytearray(frames + 1)
        self._frame_s = frame_s
        self._end = 0
        self._position_s = 0.0
        self._since: float | None = None
        self.first_sound_at: float | None = None
        self.stalls = 0
        self.stalled_s = 0.0

    def add(self, frame: int, now: float) -> None:
        """A frame of the track is there."""
        self._has[frame] = 1
        if frame != self._end:
            return
        end_s = self._end * self._frame_s
        while self._has[self._end]:
            self._end += 1
        if self._since is None:
            self.first_sound_at = self._since = now
            return
        would_be_s = self._position_s + now - self._since
        if would_be_s > end_s + 0.02:  # what a decoder has in hand
            self.stalls += 1
            self.stalled_s += would_be_s - end_s
            self._position_s, self._since = end_s, now

    def position_s(self, now: float) -> float:
        if self._since is None:
            return 0.0
        return min(self._end * self._frame_s, self._position_s + now - self._since)

    def buffered_s(self, now: float) -> float:
        return self._end * self._frame_s - self.position_s(now)

    def is_over(self, now: float) -> bool:
        return self.position_s(now) >= (len(self._has) - 1) * self._frame_s - 0.01


def pick_line(lines: tuple[tuple[Line, float], ...], rng: random.Random) -> Line:
    return rng.choices([line for line, _ in lines], [weight for _, weight in lines])[0]
