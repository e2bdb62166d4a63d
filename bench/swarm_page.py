"""One page of the simulated swarm: the real scheduler, and what a page does around it (bench.swarm_model)."""

import random
import time
from dataclasses import dataclass, field

from bench.swarm_model import (
    CHANNEL_BYTES_PER_S,
    Case,
    Channel,
    Clock,
    Line,
    Playhead,
    Port,
    Request,
    pick_line,
)
from digm.bitfield import Bitfield
from digm.chunks import FRAME_BYTES
from digm.scheduler import GATEWAY, Cancel, Failure, Fetch, Playback, Scheduler, SchedulerSettings, SourceBanned

HEAD_START_AHEAD_S = 3.0  # what the head start keeps ahead until Python takes over
RESERVE_S = 3.0  # protocol.md: nothing is given while less is buffered
NAVIGATION_S = 0.25  # from navigation to the head start's first request for a frame, without the server's delay


@dataclass
class World:
    """What all pages share."""

    case: Case
    clock: Clock
    settings: SchedulerSettings
    rng: random.Random
    server: Port
    pages: dict[str, "Page"] = field(default_factory=dict)
    members: dict[str, "Page"] = field(default_factory=dict)
    polls: int = 0
    poll_s: float = 0.0
    longest_poll_s: float = 0.0

    def introduce(self, page: "Page") -> list["Page"]:
        """The hub's answer to a join: at most ten members."""
        others = [other for other in self.members.values() if other is not page]
        return self.rng.sample(others, min(10, len(others)))


@dataclass
class Link:
    """A connection as one side sees it: what comes from the other side."""

    other: "Page"
    incoming: Channel
    is_open: bool = False


class Page:
    """A listener from navigation to the end of the track, or until it leaves."""

    def __init__(self, world: World, name: str) -> None:
        case, rng = world.case, world.rng
        self.world, self.name = world, name
        self.line: Line = pick_line(case.lines, rng)
        self.up, self.down = Port(self.line.up), Port(self.line.down)
        self.is_free_rider = rng.random() < case.free_riders
        self.is_corrupt = not self.is_free_rider and rng.random() < case.corrupted
        self.spans = case.spans()
        self.playhead = Playhead(8 * case.chunks, case.track_s / case.chunks / 8)
        self.scheduler: Scheduler | None = None
        self.held = Bitfield(case.chunks)
        self.frames: dict[int, dict[int, Page | None]] = {}
        self.links: dict[str, Link] = {}
        self.fetches: dict[int, Channel] = {}
        self.born_at = 0.0
        self.is_gone = False
        self.from_server = 0
        self.from_peers = 0
        self.wrong_bytes = 0
        self._head_frames = 0
        self._head_asked_at = 0.0
        self._head_s = 0.0
        self._poll_at: float | None = None
        self._banned: set[str] = set()

    # -- the page's life

    def navigate(self) -> None:
        case, clock, rng = self.world.case, self.world.clock, self.world.rng
        self.born_at = clock.now
        trips_s = 3 * (case.server_delay_s + self.line.round_trip_s)  # page, script, grant and manifest
        clock.at(clock.now + NAVIGATION_S + trips_s, self._head_start)
        clock.at(clock.now + rng.uniform(*case.python_s), self._wake_python)
        if case.stays_s:
            clock.at(clock.now + rng.expovariate(1 / case.stays_s), self.leave)

    def leave(self) -> None:
        if self.is_gone:
            return
        self.is_gone = True
        self.world.members.pop(self.name, None)
        for name in list(self.links):
            self._unlink(name)
        for channel in self.fetches.values():
            channel.close()

    def _head_start(self) -> None:
        """The next frame over HTTP, as long as less than HEAD_START_AHEAD_S are buffered."""
        if self.scheduler is not None or self.is_gone:
            return
        clock = self.world.clock
        ahead_s = self.playhead.buffered_s(clock.now)
        if ahead_s >= HEAD_START_AHEAD_S:
            clock.at(clock.now + 0.1, self._head_start)
            return
        chunk, frame = divmod(self._head_frames, 8)
        self._head_asked_at = clock.now
        self._server_channel().ask(Request(Fetch(0, GATEWAY, chunk, frame, 1), self._on_head_frame))

    def _on_head_frame(self, fetch: Fetch, frame: int) -> None:
        self.from_server += FRAME_BYTES
        distance_s = self.world.case.server_delay_s + self.line.round_trip_s
        self._head_s += self.world.clock.now - self._head_asked_at - distance_s
        self._head_frames += 1
        self._write(fetch.chunk, frame, None)
        if self.scheduler is not None:
            self.scheduler.partial(fetch.chunk, frozenset({frame}), self.world.clock.now)
        self._head_start()

    def _wake_python(self) -> None:
        if self.is_gone:
            return
        clock = self.world.clock
        self.scheduler = Scheduler(self.spans, clock.now, me=self.name, settings=self.world.settings)
        for chunk, frames in sorted(self.frames.items()):
            self.scheduler.partial(chunk, frozenset(frames), clock.now)
            self._check(chunk)
        if self._head_s:
            self.scheduler.learn_rate(GATEWAY, self._head_frames * FRAME_BYTES, self._head_s)
        self._tick()
        clock.at(clock.now + 0.1 + self.world.case.server_delay_s + self.line.round_trip_s, self._join)

    def _tick(self) -> None:
        """timeupdate."""
        if self.is_gone or self.scheduler is None:
            return
        now = self.world.clock.now
        is_over = self.playhead.is_over(now)
        playback = Playback.PAUSED if is_over else Playback.PLAYING
        self.scheduler.set_playback(playback, self.playhead.position_s(now), now)
        self.poll()
        if not is_over:
            self.world.clock.at(now + 0.25, self._tick)

    # -- the swarm

    def _join(self) -> None:
        if self.is_gone or self.scheduler is None:
            return
        world = self.world
        others = world.introduce(self)
        world.members[self.name] = self
        self.scheduler.set_expects_peers(bool(others))
        for other in others[: world.case.offers]:
            if len(other.links) < world.case.most_links and self.name not in other._banned:
                self._meet(other)
                other._meet(self)
                delay_s = world.rng.uniform(*world.case.connect_s)
                world.clock.at(world.clock.now + delay_s, lambda other=other: self._open(other))
        self._tell_members()
        for link in self.links.values():
            link.other._tell_members()

    def _meet(self, other: "Page") -> None:
        latency_s = (self.line.round_trip_s + other.line.round_trip_s) / 2
        channel = Channel(
            self.world.clock, other.up, self.down, latency_s, CHANNEL_BYTES_PER_S, may_send=other._may_upload
        )
        self.links[other.name] = Link(other, channel)

    def _open(self, other: "Page") -> None:
        if self.name not in other.links or other.name not in self.links:
            return
        for one, two in ((self, other), (other, self)):
            one.links[two.name].is_open = True
            assert one.scheduler is not None
            one.scheduler.peer_ready(two.name, two.held, 0 if two.is_free_rider else 16, one.world.clock.now)
        for page in (self, other):
            page._tell_members()
            page.poll()

    def _unlink(self, name: str) -> None:
        link = self.links.pop(name, None)
        if link is None:
            return
        for one, two in ((self, link.other), (link.other, self)):
            closed = one.links.pop(two.name, None)
            if closed is not None:
                closed.incoming.close()
            if one.scheduler is not None and not one.is_gone:
                one.fetches = {
                    i: c for i, c in one.fetches.items() if closed is None or c is not closed.incoming
                }
                one.scheduler.peer_gone(two.name, one.world.clock.now)
                one._tell_members()
                one._soon()
        link.incoming.close()

    def _tell_members(self) -> None:
        if self.scheduler is not None:
            members = [
                name for name, link in self.links.items() if not link.other.is_free_rider or not link.is_open
            ]
            now = self.world.clock.now
            self.scheduler.set_members(members, now, listeners=len(self.world.members))

    def _may_upload(self) -> bool:
        now = self.world.clock.now
        return self.held.is_full or self.playhead.buffered_s(now) >= RESERVE_S or self.playhead.is_over(now)

    # -- what the scheduler decides

    def _soon(self) -> None:
        self._set_timer(self.world.clock.now + 0.005)

    def _set_timer(self, when: float | None) -> None:
        if when is None or (self._poll_at is not None and self._poll_at <= when):
            return
        self._poll_at = when
        self.world.clock.at(when, lambda: self._fire(when))

    def _fire(self, when: float) -> None:
        if self._poll_at == when:
            self._poll_at = None
            self.poll()

    def poll(self) -> None:
        if self.is_gone or self.scheduler is None:
            return
        world, now = self.world, self.world.clock.now
        began = time.thread_time()  # the machine may be busy
        actions = self.scheduler.poll(now)
        took_s = time.thread_time() - began
        world.polls += 1
        world.poll_s += took_s
        world.longest_poll_s = max(world.longest_poll_s, took_s)
        for action in actions:
            match action:
                case Fetch():
                    self._fetch(action)
                case Cancel(fetch_id):
                    if channel := self.fetches.pop(fetch_id, None):
                        channel.drop(fetch_id)
                case SourceBanned(source):
                    self._banned.add(source)
                    self._unlink(source)
        deadline = self.scheduler.next_deadline(now)
        self._set_timer(deadline if deadline is None else max(deadline, now + 0.001))

    def _fetch(self, fetch: Fetch) -> None:
        if fetch.source == GATEWAY:
            channel = self._server_channel()
        else:
            link = self.links.get(fetch.source)
            if link is None or fetch.chunk not in link.other.held:
                assert self.scheduler is not None
                self.scheduler.failed(fetch.fetch_id, Failure.NOT_HELD, self.world.clock.now)
                self._soon()
                return
            channel = link.incoming
        self.fetches[fetch.fetch_id] = channel
        channel.ask(Request(fetch, self._on_frame))

    def _server_channel(self) -> Channel:
        case = self.world.case
        latency_s = case.server_delay_s + self.line.round_trip_s
        return Channel(self.world.clock, self.world.server, self.down, latency_s, case.server.up)

    def _on_frame(self, fetch: Fetch, frame: int) -> None:
        if self.is_gone or self.scheduler is None or fetch.fetch_id not in self.fetches:
            return
        now = self.world.clock.now
        sender = None if fetch.source == GATEWAY else self.world.pages[fetch.source]
        if sender is None:
            self.from_server += FRAME_BYTES
        else:
            self.from_peers += FRAME_BYTES
        self.scheduler.progress(fetch.fetch_id, (frame - fetch.first_frame + 1) * FRAME_BYTES, now)
        self._write(fetch.chunk, frame, sender)
        if frame == fetch.first_frame + fetch.frame_count - 1:
            del self.fetches[fetch.fetch_id]
            self.scheduler.received(fetch.fetch_id, now)
            self._check(fetch.chunk)
            self.poll()

    # -- frames and chunks

    def _write(self, chunk: int, frame: int, sender: "Page | None") -> None:
        if chunk in self.held:
            return
        self.frames.setdefault(chunk, {}).setdefault(frame, sender)
        if sender is None or not sender.is_corrupt:  # otherwise its tag is wrong: nothing of it is heard
            self.playhead.add(8 * chunk + frame, self.world.clock.now)
        if self.scheduler is not None:
            self._check(chunk)

    def _check(self, chunk: int) -> None:
        frames = self.frames.get(chunk, {})
        if len(frames) < 8 or self.scheduler is None:
            return
        del self.frames[chunk]
        now = self.world.clock.now
        liars = {sender.name for sender in frames.values() if sender is not None and sender.is_corrupt}
        if liars:  # their frames' tags are wrong, so it is known who they are; the other frames stay
            self.wrong_bytes += FRAME_BYTES * len(frames)
            self.scheduler.chunk_wrong(chunk, frozenset(liars), now)
            for frame, sender in frames.items():
                if sender is None or not sender.is_corrupt:
                    self.frames.setdefault(chunk, {})[frame] = sender
                    name = sender.name if sender else GATEWAY
                    self.scheduler.partial(chunk, frozenset({frame}), now, name)
            self._soon()
            return
        self.held.add(chunk)
        self.scheduler.chunk_verified(chunk, now)
        for link in list(self.links.values()):
            if link.is_open and not self.is_free_rider and link.other.scheduler is not None:
                link.other.scheduler.peer_has(self.name, chunk, now)
                link.other._soon()
        self._soon()
