"""Tracks on one timeline: which is heard now, which comes next and when it is opened, which are let go.

The audio element has one clock for all tracks; a track begins on it where the one before ends, to the sample. A
jump goes on behind everything that was planned, so nothing that is played ever moves. What is fed when is the
conductor's affair (web.player), what comes after what the queue's (web.queue).
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from digm.errors import DigmError
from digm.scheduler import Playback
from web.begun import HeadStartFailed
from web.queue import PlayQueue
from web.track import TrackStream

OPEN_BEFORE_S = 45.0  # grant and swarm of the next track
PREFETCH_BEFORE_S = 30.0  # protocol.md: its first seconds
RETRY_S = 4.0
JUMP_GAP_S = 1.0  # on the clock, between what was planned and where a jump goes
SAME_MOMENT_S = 1e-3  # an audio element may stand a hair in front of the moment that it was sent to
# What passes by itself; anything else leaves the track out.
PASSING = frozenset({"hub_unreachable", "hub_failed", "gateway_unreachable", "artist_offline", "network"})


@dataclass(eq=False, slots=True)
class Entry:
    """A track on the timeline.

    Attributes:
        index: its place in the queue's list.
        offset_s: where its first sample is heard on the audio element's clock.
        is_ready: its manifest is checked; before that nothing is known of it but its name.
    """

    index: int
    stream: TrackStream
    offset_s: float
    is_ready: bool = False

    @property
    def end_s(self) -> float:
        """Where its last sample was heard; infinite while nobody knows."""
        return self.offset_s + self.stream.duration_s if self.is_ready else float("inf")


class PlaylistOwner(Protocol):
    """Who moves the audio element, and is told what happens to the timeline."""

    def clock_s(self) -> float:
        """Where the listener is on the audio element's clock."""
        ...

    def is_playing(self) -> bool:
        """Whether sound is wanted."""
        ...

    def entries_changed(self, unwanted_from_s: float | None = None) -> None:
        """A track is ready, or the plan is another one, and what was fed behind a moment is not wanted."""

    def go_to(self, moment_s: float) -> None:
        """Be at another moment of the clock, where nothing is yet."""

    def left_out(self, fault: Exception) -> None:
        """A track of the queue cannot be played, the music goes on without it."""


class Playlist:
    """The timeline, and the streams of the tracks on it.

    Attributes:
        entries: in the order of the clock; what was heard stays in it, so that places stay valid.
        queue: the order of play.
        gone: bytes by source, and "uploaded", of streams that were let go.

    Args:
        open_stream: makes the stream of a track; the hub is asked for it already.
    """

    def __init__(
        self, queue: PlayQueue, open_stream: Callable[[str], TrackStream], owner: PlaylistOwner
    ) -> None:
        self.queue = queue
        self.entries: list[Entry] = []
        self.gone: Counter[str] = Counter()
        self._open_stream = open_stream
        self._owner = owner
        self._tasks: asyncio.TaskGroup | None = None
        self._wish: int | None = None
        self._streams: dict[str, tuple[TrackStream, asyncio.Task[None]]] = {}

    def begin(self, index: int, stream: TrackStream) -> None:
        """Put the first track, which is prepared, on the clock."""
        self.entries.append(Entry(index, stream, 0.0, is_ready=True))

    async def run(self) -> None:
        """Keep streams running until cancelled.

        Raises:
            DigmError, HeadStartFailed: what is heard now cannot go on.
        """
        async with asyncio.TaskGroup() as self._tasks:
            self._keep(self.entries[0].stream)
            self._owner.entries_changed()
            if self._wish is not None:
                self.jump(self._wish)
            self.advance()
            await asyncio.get_running_loop().create_future()

    # -- where we are

    def number_at(self, moment_s: float) -> int:
        """The place of the entry that is heard at a moment of the clock."""
        begun = (i for i, entry in enumerate(self.entries) if entry.offset_s <= moment_s + SAME_MOMENT_S)
        return max(begun, default=0)

    def current(self) -> Entry:
        """The track that is heard now."""
        return self.entries[self.number_at(self._owner.clock_s())]

    def is_last(self, number: int) -> bool:
        """Whether the music ends with an entry."""
        return number == len(self.entries) - 1 and self.queue.after(self.entries[number].index) is None

    @property
    def known_end_s(self) -> float:
        """Up to where on the clock it is known what is heard."""
        return max(entry.end_s for entry in self.entries if entry.is_ready)

    def streams(self) -> list[TrackStream]:
        """All that are open and prepared."""
        return [stream for stream, _ in self._streams.values() if stream.is_prepared]

    def open_streams(self, track: str) -> list[TrackStream]:
        """The stream of a track, if it is open."""
        return [stream for name, (stream, _) in self._streams.items() if name == track]

    def advance(self) -> None:
        """The clock moved: open what comes next in time, let go what is over, tell each stream where we are."""
        moment_s = self._owner.clock_s()
        number = self.number_at(moment_s)
        entry = self.entries[number]
        left_s = entry.end_s - moment_s
        if number == len(self.entries) - 1 and left_s <= OPEN_BEFORE_S:
            self._plan_next(entry)
        self._let_go({other.stream for other in self.entries[max(0, number - 1) :]})
        following = self.entries[number + 1].stream if number + 1 < len(self.entries) else None
        for stream in self.streams():
            if stream is entry.stream:
                playback = Playback.PLAYING if self._owner.is_playing() else Playback.PAUSED
                stream.set_playback(playback, max(0.0, moment_s - entry.offset_s))
            elif stream is following and left_s <= PREFETCH_BEFORE_S:
                stream.set_playback(Playback.PREFETCH, 0.0)
            else:
                stream.set_playback(Playback.IDLE, 0.0)

    # -- plans

    def jump(self, index: int) -> None:
        """Play another track now, or as soon as anything runs."""
        if self._tasks is None:
            self._wish = index
            return
        number = self.number_at(self._owner.clock_s())
        known_s = [entry.end_s for entry in self.entries if entry.is_ready]
        offset_s = max([*known_s, *(entry.offset_s for entry in self.entries)]) + JUMP_GAP_S
        del self.entries[number + 1 :]
        self._append(index, offset_s)
        self._owner.go_to(offset_s)

    def replan(self) -> None:
        """The order changed: what was planned behind what is heard may be wrong now."""
        if self._tasks is None:
            return
        number = self.number_at(self._owner.clock_s())
        entry = self.entries[number]
        if number + 1 < len(self.entries) and self.entries[number + 1].index != self.queue.after(entry.index):
            del self.entries[number + 1 :]
            self._owner.entries_changed(entry.end_s)
        else:
            self._owner.entries_changed()
        self.advance()

    def _plan_next(self, last: Entry) -> None:
        index = self.queue.after(last.index)
        if index is not None:
            self._append(index, last.end_s)

    def _append(self, index: int, offset_s: float) -> None:
        track = self.queue.tracks[index]
        if track in self._streams:
            stream, _ = self._streams[track]
        else:
            stream = self._open_stream(track)
            self._keep(stream)
        self.entries.append(Entry(index, stream, offset_s, is_ready=stream.is_prepared))
        self._owner.entries_changed()

    # -- streams

    def _keep(self, stream: TrackStream) -> None:
        assert self._tasks is not None
        task = self._tasks.create_task(self._run_stream(stream), name=f"track {stream.track[:8]}")
        self._streams[stream.track] = stream, task

    def _let_go(self, wanted: set[TrackStream]) -> None:
        """Streams that nobody will hear soon end, and with them what they fetch and give."""
        for track, (stream, task) in list(self._streams.items()):
            if stream not in wanted:
                del self._streams[track]
                if stream.is_prepared:
                    self.gone.update(stream.bytes_by_source(), uploaded=stream.uploaded_bytes)
                task.cancel()

    async def _run_stream(self, stream: TrackStream) -> None:
        try:
            if not stream.is_prepared:
                await self._prepare(stream)
            await stream.run()
        except* (DigmError, HeadStartFailed) as group:
            self._failed(stream, _first(group))
        finally:
            stream.close()

    async def _prepare(self, stream: TrackStream) -> None:
        """Check what the hub says of a track; what passes by itself is waited for."""
        while True:
            try:
                await stream.prepare()
                break
            except (DigmError, HeadStartFailed) as fault:
                if fault.code not in PASSING:
                    raise
            await asyncio.sleep(RETRY_S)
            stream.begin_again()
        for entry in self.entries:
            entry.is_ready |= entry.stream is stream
        self._owner.entries_changed()
        self.advance()

    def _failed(self, stream: TrackStream, fault: DigmError | HeadStartFailed) -> None:
        """A track that cannot be played is left out, unless it is heard already or there is no other."""
        current = self.current()
        is_heard = current.stream is stream
        following = self.queue.after(current.index, is_asked=True)
        if is_heard and (current.is_ready or following in (None, current.index)):
            raise fault
        for index, track in enumerate(self.queue.tracks):
            if track == stream.track:
                self.queue.leave_out(index)
        self._streams.pop(stream.track, None)
        self._owner.left_out(fault)
        if is_heard:
            self.jump(following)
        else:
            self.replan()


def _first(group: BaseExceptionGroup[Any]) -> DigmError | HeadStartFailed:
    """One failure of a group is enough for one listener."""
    fault: Any = group
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    assert isinstance(fault, DigmError | HeadStartFailed)
    return fault
