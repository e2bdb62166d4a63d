"""Where the keys end: the listener is stopped there, told so, and goes on from there when more keys come."""

from typing import Any

from web.limits import PAST_END_S
from web.playlist import Entry
from web.track import TrackStream
from web.view import View

HAVE_FUTURE_DATA = 3
SAME_PLACE_S = 0.05


class Ending:
    """Holds one audio element back.

    Args:
        audio: the HTMLAudioElement.
    """

    def __init__(self, audio: Any, view: View) -> None:
        self._audio = audio
        self._view = view
        self._held: tuple[TrackStream, float] | None = None

    def look(self, entry: Entry) -> None:
        """Stop who is where nothing opens any more. What is appended ends at the exact sample by itself."""
        limits, position_s = entry.stream.limits, self._audio.currentTime - entry.offset_s
        is_dry = self._audio.readyState < HAVE_FUTURE_DATA
        if limits.is_beyond(position_s, is_dry=is_dry):
            self._stop(entry, position_s)
        elif self._held is not None and not self._is_held_at(position_s):
            self._held = None
        self.tell(entry)

    def _stop(self, entry: Entry, position_s: float) -> None:
        limits = entry.stream.limits
        if not self._audio.paused:
            self._held = entry.stream, position_s
        self._audio.pause()
        self._view.notice(*limits.reason())
        if position_s > limits.end_s() + PAST_END_S:
            rest_s = limits.rest_position_s()
            self._held = entry.stream, rest_s
            self._audio.currentTime = entry.offset_s + rest_s

    def _is_held_at(self, position_s: float) -> bool:
        return self._audio.paused and self._held is not None and abs(position_s - self._held[1]) < SAME_PLACE_S

    def release(self, entry: Entry) -> bool:
        """More can be opened. True when the listener was waiting for it: sound goes on."""
        self._view.notice_over("preview_ended", "grant_expired")
        was_held = self._held is not None and self._held[0] is entry.stream
        self._held = None
        self.tell(entry)
        return was_held

    def tell(self, entry: Entry) -> None:
        """What a listener should know of the track that is heard."""
        if not entry.is_ready:
            self._view.preview(entry.index, None, None, has_ended=False, is_owned=False)
            return
        limits = entry.stream.limits
        end_s = limits.end_s()
        is_limited = end_s < entry.stream.duration_s
        self._view.preview(
            entry.index,
            limits.preview_s if is_limited else None,
            entry.offset_s + end_s if is_limited else None,
            has_ended=is_limited and self._held is not None and not limits.is_expired(),
            is_owned=entry.stream.is_owned,
        )
