"""The conductor: feeds one source buffer from tracks on a timeline, and tells the element how it goes.

The element (static/digm-player.js) owns play, pause, volume and the clock; a track's bytes come from its
TrackStream (web.track). Here is decided what is appended next, and what the listener is told.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from digm.errors import DigmError
from digm.scheduler import NoSource, Playback
from web.browser import Subscriptions
from web.feeder import BufferFull, Feeder
from web.sharing import Sharing
from web.track import HeadStartFailed, TrackStream
from web.view import View

FEED_AHEAD_S = 30.0  # Chromium's quota for audio is 12 MB: 35 s of 24 bit, 96 kHz
EARLY_S = 3.0  # with less than this to play, frames are played before their chunk is whole
MEDIA_EVENTS = ("play", "pause", "playing", "waiting", "seeking", "seeked", "timeupdate", "ended")


@dataclass(frozen=True, slots=True)
class Entry:
    """A track on the timeline.

    Attributes:
        offset_s: where its first sample is heard on the audio element's clock.
    """

    stream: TrackStream
    offset_s: float

    @property
    def end_s(self) -> float:
        return self.offset_s + self.stream.rendition.presented_duration_s


@dataclass(frozen=True, slots=True)
class _Next:
    """What is appended next.

    Attributes:
        entry: a track, by its place in the timeline.
        at: from this byte of the chunk's plaintext on.
        units: the time of its first sample in the rendition's timescale; None: it follows what came last.
        window_s: nothing before this moment is to be heard; what is in front of it is for the decoder.
    """

    entry: int
    chunk: int
    at: int = 0
    units: int | None = None
    window_s: float | None = None


class Player:
    """The Python half of a <digm-player>.

    Args:
        host: what the element gives: track, audio, source, begun (static/digm-head-start.js), report.
    """

    def __init__(self, host: Any) -> None:
        self._host = host
        self._audio = host.audio
        self._view = View(host.report)
        self._task: asyncio.Task[None] | None = None
        self._subscriptions = Subscriptions()
        self._wake = asyncio.Event()
        self._timeline: list[Entry] = []
        self._must_place = True
        self._tainted_s: float | None = None
        self._next: _Next | None = None
        self._stalls = 0
        self._has_played = False
        self.sharing = Sharing(getattr(host, "sharing", None))
        self._missing: tuple[TrackStream, int] | None = None

    def start(self) -> None:
        self._task = asyncio.ensure_future(self._guarded())

    def close(self) -> None:
        """The element is gone or plays another track."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _guarded(self) -> None:
        try:
            await self._run()
        except* HeadStartFailed:
            pass
        except* DigmError as group:
            fault = _first(group)
            self._view.error(fault.code, fault.message)
        except* Exception as group:
            self._view.error(
                "player_failed", "The player stopped because of a mistake in it. Reload the page to go on."
            )
            raise group from None
        finally:
            self._subscriptions.close()
            self.sharing.close()

    async def _run(self) -> None:
        first = await self._host.firstSound.handOver() or None
        stream = TrackStream(self._host.track, self._host.begun, self)
        await stream.prepare(None if first is None else first.rendition)
        self._timeline.append(Entry(stream, 0.0))
        self._view.manifest(stream.manifest, stream.rendition)
        self._feeder = Feeder(self._audio, self._host.source, stream.rendition, first and first.buffer)
        if first is not None:
            self._stalls = int(first.stalls)
            stream.adopt(list(first.chunks))
            # Nobody listened to the element's events between the head start and now.
            is_there = self._feeder.buffered_end(self._audio.currentTime) is not None
            if first.at >= 0 and is_there:
                self._must_place = False
                self._next = _Next(0, first.chunk, first.at)
        for event in MEDIA_EVENTS:
            self._subscriptions.on(self._audio, event, self._on_media)
        self._tell_streams()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(stream.run(), name="track")
            tasks.create_task(self._feed(), name="feed")

    # -- the timeline

    def _current(self) -> Entry:
        """The track that is heard now."""
        position_s = self._audio.currentTime
        heard = self._timeline[0]
        for entry in self._timeline[1:]:
            if entry.offset_s <= position_s:
                heard = entry
        return heard

    def _tell_streams(self) -> None:
        """Tell every track where the listener is."""
        is_playing = not self._audio.paused and not self._audio.ended
        current = self._current()
        for entry in self._timeline:
            playback = Playback.IDLE
            if entry is current:
                playback = Playback.PLAYING if is_playing else Playback.PAUSED
            entry.stream.set_playback(playback, max(0.0, self._audio.currentTime - entry.offset_s))

    # -- what happens

    def _on_media(self, event: Any) -> None:
        kind = event.type
        if kind == "playing":
            self._has_played = True
        elif kind in ("seeking", "waiting"):
            self._must_place = True
            if kind == "waiting" and self._has_played and not self._audio.seeking and not self._is_at_end():
                self._stalls += 1
                self._tell_stats()
        self._tell_streams()
        self._stop_at_limit()
        self._wake.set()

    def _is_at_end(self) -> bool:
        entry = self._current()
        end_s = min(entry.end_s, entry.offset_s + entry.stream.limits.end_s())
        return bool(self._audio.currentTime >= end_s - 0.5)

    def _stop_at_limit(self) -> None:
        """What the keys do not open is not waited for: stop in front of it and say so."""
        entry = self._current()
        limits, position_s = entry.stream.limits, self._audio.currentTime - entry.offset_s
        if not limits.is_beyond(position_s):
            return
        self._audio.pause()
        self._view.notice(*limits.reason())
        rest_s = limits.rest_position_s()
        if position_s > limits.end_s():
            self._audio.currentTime = entry.offset_s + rest_s

    def track_changed(self, stream: TrackStream) -> None:
        if self._missing is not None and self._missing[0] is stream and stream.holds(self._missing[1]):
            self._missing = None
            self._view.notice_over("no_source", "wrong_bytes")
        self._wake.set()

    def track_wrong(self, stream: TrackStream, chunk: int) -> None:
        """What was not heard yet of a chunk that turned out wrong is taken out again."""
        for entry in self._timeline:
            if entry.stream is stream:
                self._tainted_s = entry.offset_s + stream.rendition.chunk_start_s(chunk)
        self._must_place = True
        self._wake.set()

    def track_in_trouble(self, stream: TrackStream, trouble: NoSource) -> None:
        self._missing = stream, trouble.chunk
        reasons = set(trouble.reasons.values())
        if "wrong_hash" in reasons:
            self._view.notice(
                "wrong_bytes",
                "What came for this part is not what the artist published, so it is not played. "
                "Looking elsewhere …",
            )
        else:
            self._view.notice("no_source", "Nobody has the next part of this track right now. Trying again …")

    def track_stats(self, stream: TrackStream) -> None:
        if stream is self._current().stream:
            self._tell_stats()

    def buffered_s(self) -> float | None:
        if self._audio.paused or self._next is None:
            return None
        end_s = self._feeder.buffered_end(self._audio.currentTime)
        return 0.0 if end_s is None else float(end_s - self._audio.currentTime)

    def _tell_stats(self) -> None:
        self._view.stats(**self._current().stream.stats(), stalls=self._stalls)

    # -- feeding

    async def _feed(self) -> None:
        await self._feeder.open()
        self._view.ready()
        while True:
            self._wake.clear()
            while await self._feed_step():
                pass
            await self._wake.wait()

    async def _feed_step(self) -> bool:
        """Append one chunk, or what is there of it. False: there is nothing to do until something happens."""
        position_s = self._audio.currentTime
        if self._tainted_s is not None:
            from_s, self._tainted_s = max(position_s, self._tainted_s), None
            await self._feeder.remove_from(from_s)
            self._must_place = True
        if self._must_place:
            self._place(position_s)
        if self._next is None:
            return False
        place = self._next
        entry = self._timeline[place.entry]
        stream, rendition = entry.stream, entry.stream.rendition
        if entry.offset_s + rendition.chunk_start_s(place.chunk) - position_s > FEED_AHEAD_S:
            return await self._feeder.evict(position_s)
        if place.at >= stream.plaintext_bytes(place.chunk):
            self._step_over(place)
            return True
        sound = await stream.sound(place.chunk, place.at, may_be_early=self._is_short(position_s))
        if sound is None:
            self._stop_at_limit()
            return False
        if self._must_place:
            return True  # the listener went elsewhere meanwhile
        try:
            await self._feeder.append(
                rendition, entry.offset_s, sound.data, place.units, window_s=place.window_s
            )
        except BufferFull:
            return await self._feeder.evict(position_s, all_played=True)
        if not self._must_place:
            self._next = _Next(place.entry, place.chunk, sound.end)
        return True

    def _step_over(self, place: _Next) -> None:
        """All of a chunk is appended: what comes behind it?"""
        stream = self._timeline[place.entry].stream
        stream.taken(place.chunk)
        if place.chunk + 1 < stream.rendition.chunk_count:
            self._next = _Next(place.entry, place.chunk + 1)
        elif place.entry + 1 < len(self._timeline):
            self._next = _Next(place.entry + 1, 0)
        else:
            self._finish()

    def _is_short(self, position_s: float) -> bool:
        """Whether the listener would soon hear nothing: at the start, after a seek, when bytes are late."""
        end_s = self._feeder.buffered_end(position_s)
        return end_s is None or end_s - position_s < EARLY_S

    def _place(self, position_s: float) -> None:
        """Where to append next: behind what is there without a gap from here, or here."""
        self._must_place = False
        end_s = self._feeder.buffered_end(position_s)
        target_s = position_s if end_s is None else end_s + 0.02
        if end_s is not None and target_s >= self._timeline[-1].end_s:
            self._finish()
            return
        number = max((i for i, entry in enumerate(self._timeline) if entry.offset_s <= target_s), default=0)
        entry = self._timeline[number]
        preroll_s = entry.stream.rendition.config.preroll_s if end_s is None else 0.0
        chunk, (at, units) = entry.stream.entrance(target_s - entry.offset_s, preroll_s)
        self._next = _Next(number, chunk, at, units, target_s if preroll_s else None)

    def _finish(self) -> None:
        self._next = None
        self._feeder.end()


def _first(group: BaseExceptionGroup[Any]) -> DigmError:
    """One failure of a group is enough for one listener."""
    fault: Any = group
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    assert isinstance(fault, DigmError)
    return fault
