"""The conductor: feeds one source buffer from tracks on a timeline, and tells the element how it goes.

The element (static/digm-player.js) owns play, pause, volume and the clock; a track's bytes come from its
TrackStream (web.track). Here is decided what is appended next, and what the listener is told.
"""

import asyncio
import random
from typing import Any

from digm.errors import DigmError
from digm.scheduler import NoSource
from web.begun import HeadStartFailed
from web.browser import Subscriptions
from web.ending import Ending
from web.feeder import ROUNDING_S, BufferFull, Feeder
from web.placing import Place, find_seam, place_at
from web.playlist import Playlist
from web.queue import PlayQueue, Repeat
from web.sharing import Sharing
from web.track import TrackStream
from web.view import View

FEED_AHEAD_S = 30.0  # Chromium's quota for audio is 12 MB: 35 s of 24 bit, 96 kHz
EARLY_S = 3.0  # with less than this to play, frames are played before their chunk is whole
MEDIA_EVENTS = ("play", "pause", "playing", "waiting", "seeking", "seeked", "timeupdate", "ended")


class Player:
    """The Python half of a <digm-player>.

    Args:
        host: what the element gives: tracks, first, isShuffled, repeat, begin, audio, source, begun
            (static/digm-head-start.js), firstSound, sharing, report, resume.
    """

    def __init__(self, host: Any) -> None:
        self._host = host
        self._audio = host.audio
        self._view = View(host.report)
        self._ending = Ending(self._audio, self._view)
        self._task: asyncio.Task[None] | None = None
        self._subscriptions = Subscriptions()
        self._wake = asyncio.Event()
        tracks = list(host.tracks.to_py())
        self._playlist = Playlist(PlayQueue(tracks, random=random.random), self._open_stream, self)
        self._target_s: float | None = None
        self._tainted_s: float | None = None
        self._must_place = True
        self._next: Place | None = None
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
        index = int(self._host.first)
        stream = self._open_stream(self._playlist.queue.tracks[index], self._host.begun)
        await stream.prepare(None if first is None else first.rendition)
        self._playlist.begin(index, stream)
        self.set_order(self._host.isShuffled, self._host.repeat)
        self._feeder = Feeder(self._audio, self._host.source, stream.rendition, first and first.buffer)
        if first is not None:
            self._stalls = int(first.stalls)
            stream.line.adopt(list(first.chunks), first.bytes, first.seconds)
            # Nobody listened to the element's events between the head start and now.
            is_there = self._feeder.buffered_end(self._audio.currentTime) is not None
            if first.at >= 0 and is_there:
                self._must_place = False
                self._next = Place(0, first.chunk, first.at)
        for event in MEDIA_EVENTS:
            self._subscriptions.on(self._audio, event, self._on_media)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._playlist.run(), name="playlist")
            tasks.create_task(self._feed(), name="feed")

    def _open_stream(self, track: str, begun: Any = None) -> TrackStream:
        return TrackStream(track, self, begin=self._host.begin, begun=begun)

    # -- what the element asks for

    def jump(self, index: int) -> None:
        """Play a track of the queue now."""
        self._playlist.jump(index)

    def next(self) -> None:
        """Play what comes next, if anything does."""
        index = self._playlist.queue.after(self._index(), is_asked=True)
        if index is not None:
            self._playlist.jump(index)

    def previous(self) -> None:
        """Play the track before this one, or this one again if it is the first."""
        index = self._playlist.queue.before(self._index())
        if index is not None:
            self._playlist.jump(index)
        elif self._playlist.entries:
            self._audio.currentTime = self._playlist.current().offset_s

    def _index(self) -> int:
        """Which track of the queue is heard."""
        return self._playlist.current().index if self._playlist.entries else int(self._host.first)

    def begin_again(self) -> None:
        """Play the queue from its beginning."""
        self.jump(self._playlist.queue.order[0])

    def set_order(self, is_shuffled: bool, repeat: str) -> None:
        """Take over what the listener pressed."""
        queue = self._playlist.queue
        queue.repeat = Repeat(repeat)
        if is_shuffled != queue.is_shuffled:
            queue.shuffle(is_shuffled, self._index())
        self._playlist.replan()

    # -- the timeline

    def clock_s(self) -> float:
        return float(self._audio.currentTime) if self._target_s is None else self._target_s

    def is_playing(self) -> bool:
        return not self._audio.paused and not self._audio.ended

    def go_to(self, moment_s: float) -> None:
        self._target_s = moment_s
        self._must_place = True
        self._playlist.advance()
        self._tell_timeline()
        self._wake.set()

    def entries_changed(self, unwanted_from_s: float | None = None) -> None:
        if unwanted_from_s is not None:
            self._tainted_s = unwanted_from_s
        if self._next is None or unwanted_from_s is not None:
            self._must_place = True
        self._tell_timeline()
        self._wake.set()

    def left_out(self, fault: Exception) -> None:
        reason = fault.message if isinstance(fault, DigmError) else "It could not be opened."
        self._view.notice("track_left_out", f"A track of this queue is left out. {reason}")

    def _tell_timeline(self) -> None:
        playlist, queue = self._playlist, self._playlist.queue
        number = playlist.number_at(self.clock_s())
        index = playlist.entries[number].index
        self._view.timeline(
            playlist.entries[number:],
            has_next=queue.after(index, is_asked=True) is not None,
            has_previous=queue.before(index) is not None,
        )

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
        self._playlist.advance()
        self._look_at_end()
        self._wake.set()

    def _is_at_end(self) -> bool:
        entry = self._playlist.current()
        if not entry.is_ready:
            return False
        end_s = min(entry.end_s, entry.offset_s + entry.stream.limits.end_s())
        return bool(self._audio.currentTime >= end_s - 0.5)

    def _look_at_end(self) -> None:
        """What the keys do not open is not waited for."""
        entry = self._playlist.current()
        if entry.is_ready and self._target_s is None:
            self._ending.look(entry)

    def own(self, track: str, owned: Any) -> None:
        """A track was bought: its wrapped key, and what opens it (static/digm-owned.js)."""
        for stream in self._playlist.open_streams(track):
            stream.own(owned)

    def own_sealed(self, track: str, sealed: Any) -> None:
        """A track was bought in another window: its key, sealed to this page's session."""
        for stream in self._playlist.open_streams(track):
            stream.own_sealed(sealed.to_bytes())

    def track_unlocked(self, stream: TrackStream) -> None:
        """Sound goes on where it is: what was cut short is appended again whole, the rest behind it."""
        entry = self._playlist.current()
        if entry.stream is stream and self._ending.release(entry):
            if stream.rendition.config.preroll_s:  # a decoder that has stopped begins anew, with what it needs
                self._target_s = float(self._audio.currentTime)
            self._host.resume()
        self._view.unlocked(stream.track)
        self._must_place = True
        self._wake.set()

    def track_key_refused(self, stream: TrackStream, fault: DigmError) -> None:
        self._view.notice(fault.code, fault.message)

    def track_changed(self, stream: TrackStream) -> None:
        if self._missing is not None and self._missing[0] is stream and stream.line.holds(self._missing[1]):
            self._missing = None
            self._view.notice_over("no_source", "wrong_bytes")
        self._wake.set()

    def track_wrong(self, stream: TrackStream, chunk: int) -> None:
        """What was not heard yet of a chunk that turned out wrong is taken out again."""
        for entry in self._playlist.entries:
            if entry.stream is stream:
                self._tainted_s = entry.offset_s + stream.rendition.chunk_start_s(chunk)
        self._must_place = True
        self._wake.set()

    def track_switched(self, stream: TrackStream) -> None:
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
        if self._playlist.entries and stream is self._playlist.current().stream:
            self._tell_stats()

    def buffered_s(self) -> float | None:
        if self._audio.paused or self._next is None:
            return None
        end_s = self._feeder.buffered_end(self._audio.currentTime)
        return 0.0 if end_s is None else float(end_s - self._audio.currentTime)

    def _tell_stats(self) -> None:
        playlist = self._playlist
        stream = playlist.current().stream
        if not stream.is_prepared:
            return
        totals = playlist.gone.copy()
        for open_stream in playlist.streams() or [stream]:
            totals.update(open_stream.bytes_by_source(), uploaded=open_stream.uploaded_bytes)
        by_source = {origin: totals[origin] for origin in ("peer", "gateway", "cache", "twice")}
        self._view.stats(**stream.stats(), bytes=by_source, uploaded=totals["uploaded"], stalls=self._stalls)

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
        await self._go_where_it_is_wanted()
        position_s = self._audio.currentTime
        if self._must_place:
            self._place(position_s)
        if self._next is None:
            return False
        place = self._next
        entry = self._playlist.entries[place.entry]
        if not entry.is_ready:
            return False
        stream, rendition = entry.stream, entry.stream.rendition
        if entry.offset_s + rendition.chunk_start_s(place.chunk) - position_s > FEED_AHEAD_S:
            return await self._feeder.evict(position_s)
        if place.at >= stream.line.plaintext_bytes(place.chunk):
            self._step_over(place)
            return True
        sound = await stream.line.sound(place.chunk, place.at, may_be_early=self._is_short(position_s))
        if sound is None:
            self._look_at_end()
            return False
        if self._must_place:
            return True  # the listener went elsewhere meanwhile
        try:
            await self._feeder.append(
                rendition, entry.offset_s, sound.data, place.units,
                window_s=place.window_s, until_s=entry.offset_s + stream.limits.end_s(),
            )  # fmt: skip
        except BufferFull:
            return await self._feeder.evict(position_s, all_played=True)
        if not self._must_place:
            self._next = Place(place.entry, place.chunk, sound.end)
        return True

    def _step_over(self, place: Place) -> None:
        """All of a chunk is appended: what comes behind it?"""
        entries, number = self._playlist.entries, place.entry + 1
        stream = entries[place.entry].stream
        stream.line.taken(place.chunk)
        if place.chunk + 1 < stream.rendition.chunk_count:
            self._next = Place(place.entry, place.chunk + 1)
        elif number < len(entries) and entries[number].offset_s == entries[place.entry].end_s:
            self._next = Place(number, 0)
        else:
            self._finish()

    def _is_short(self, position_s: float) -> bool:
        """Whether the listener would soon hear nothing: at the start, after a seek, when bytes are late."""
        end_s = self._feeder.buffered_end(position_s)
        return end_s is None or end_s - position_s < EARLY_S

    def _place(self, position_s: float) -> None:
        """Where to append next: behind what is there without a gap from here, or here."""
        self._must_place = False
        seam = find_seam(self._playlist, self._feeder, position_s)
        if seam.is_joined and seam.moment_s + ROUNDING_S >= self._playlist.entries[-1].end_s:
            self._finish()
        else:
            self._next = place_at(self._playlist, self._feeder, seam)

    def _finish(self) -> None:
        """All that is planned is appended; the end is only told when nothing comes behind it."""
        self._next = None
        if self._playlist.is_last(len(self._playlist.entries) - 1):
            self._feeder.end()

    async def _go_where_it_is_wanted(self) -> None:
        """Take out what is not wanted any more, make the clock long enough, move to the target."""
        if self._tainted_s is not None:
            from_s, self._tainted_s = max(self._audio.currentTime, self._tainted_s), None
            await self._feeder.remove_from(from_s)
            self._must_place = True
        self._feeder.extend(self._playlist.known_end_s)
        if self._target_s is not None:
            target_s = self._target_s
            self._feeder.extend(target_s + 1.0)
            self._audio.currentTime = target_s
            self._target_s = None
            self._must_place = True


def _first(group: BaseExceptionGroup[Any]) -> DigmError:
    """One failure of a group is enough for one listener."""
    fault: Any = group
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    assert isinstance(fault, DigmError)
    return fault
