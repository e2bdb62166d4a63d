"""Puts decrypted audio into the browser's media source, so that exactly what the artist encoded is heard.

Encoder delay is taken away with the timestamp offset, delay and padding with the append window; FLAC has
neither and is continuous sample for sample. MP3 has no times of its own: it runs in sequence mode, and the
offset says where a piece begins. What to append is the player's decision.
"""

from typing import Any

from digm.errors import Unavailable
from digm.manifest import Rendition
from web import browser
from web.browser import JsBytes

KEEP_BEHIND_S = 30.0  # a listener who steps back a little does not decrypt again
EVICT_SLACK_S = 10.0  # do not remove a crumb at every step
END_SLACK_S = 0.5  # a source that has ended is as long as what is in it, which is a little less
ROUNDING_S = 0.02  # browsers round times of buffered ranges


class BufferFull(Exception):
    """The browser takes no more now: play or evict first."""


class Feeder:
    """One SourceBuffer; what goes into it may change its rendition and its place on the timeline.

    Args:
        audio: the HTMLAudioElement.
        source: its MediaSource, open or about to be.
        rendition: what is played first, at 0 s.
        buffer: a SourceBuffer that the head start opened for it; None: there is none yet.
    """

    def __init__(self, audio: Any, source: Any, rendition: Rendition, buffer: Any = None) -> None:
        self._audio = audio
        self._source = source
        self._rendition = rendition
        self._offset_s = 0.0
        self._until_s = float("inf")
        self._is_end_set = buffer is None  # the head start may have set one
        self._buffer = buffer

    async def open(self) -> None:
        """Make the source buffer and give it the init segment. The duration is set before anyone can seek."""
        if self._buffer is not None:
            return
        if self._source.readyState != "open":
            await browser.next_event(self._source, "sourceopen")
        self._buffer = self._source.addSourceBuffer(self._rendition.config.mime)
        self._source.duration = self._rendition.presented_duration_s
        await self._configure()

    async def append(
        self,
        rendition: Rendition,
        offset_s: float,
        data: JsBytes,
        start_units: int | None,
        *,
        window_s: float | None = None,
        until_s: float = float("inf"),
    ) -> None:
        """Append what follows what was appended last, or begin at another place where decoding may begin.

        Args:
            offset_s: where the rendition's first sample is heard on the audio element's clock.
            start_units: the time of its first sample in the rendition's timescale; None: it follows what was
                appended last. At the beginning of a rendition it need not be given.
            window_s: what is in front of this moment is only for the decoder.
            until_s: what is behind this moment is not to be heard.
        Raises:
            BufferFull, Unavailable: `media_error`, the browser cannot decode it.
        """
        is_other = rendition is not self._rendition or offset_s != self._offset_s
        is_next = start_units is None and not is_other
        self._until_s, before_s = until_s, self._until_s
        if not is_next and self._source.readyState == "open":  # what has ended opens again with the append
            self._buffer.abort()  # forget a half-read segment; it also forgets the append window
        if is_other:
            before, self._rendition, self._offset_s = self._rendition, rendition, offset_s
            await self._configure(before)
        if not is_next:
            self._set_window(window_s)
        elif until_s != before_s or not self._is_end_set:
            self._set_end()
        if rendition.config.codec == "mp3" and not is_next:
            units = (start_units or 0) - rendition.config.delay
            self._buffer.timestampOffset = offset_s + units / rendition.config.timescale
        await self._append(data)

    def is_other_rendition(self, rendition: Rendition, offset_s: float) -> bool:
        """Whether what is appended now is another rendition of the same track."""
        return offset_s == self._offset_s and rendition is not self._rendition

    async def _configure(self, before: Rendition | None = None) -> None:
        """Make the buffer ready for another rendition, or the same at another place."""
        config = self._rendition.config
        if before is not None and before.config.mime != config.mime:
            self._buffer.changeType(config.mime)
        if config.codec == "mp3":
            self._buffer.mode = "sequence"
        else:
            self._buffer.mode = "segments"
            self._buffer.timestampOffset = self._offset_s - config.delay / config.timescale
        self._set_window()
        if self._rendition.init and (before is None or before.init != self._rendition.init):
            await self._append(JsBytes(browser.js_bytes(self._rendition.init)))

    def _set_window(self, start_s: float | None = None) -> None:
        """Cut off what the encoder added in front and behind, and what is in front of `start_s`."""
        self._buffer.appendWindowStart = 0  # an end in front of the old start is refused
        self._set_end()
        first_s = 0.0 if self._is_exact() else self._offset_s
        self._buffer.appendWindowStart = first_s if start_s is None else max(first_s, start_s)

    def _set_end(self) -> None:
        self._is_end_set = True
        end_s = self._offset_s + self._rendition.presented_duration_s
        self._buffer.appendWindowEnd = min(float("inf") if self._is_exact() else end_s, self._until_s)

    def _is_exact(self) -> bool:
        """Whether the encoder added nothing."""
        config = self._rendition.config
        return not config.delay and not config.padding

    async def _append(self, data: JsBytes) -> None:
        try:
            self._buffer.appendBuffer(data.view)
        except browser.BrowserError as fault:
            if browser.promise_error(fault) == "QuotaExceededError":
                raise BufferFull from fault
            raise self._refused() from fault
        await self._updated()
        if self._audio.error:
            raise self._refused()

    async def _updated(self) -> None:
        if self._buffer.updating:
            await browser.next_event(self._buffer, "updateend")

    def _refused(self) -> Unavailable:
        return Unavailable(
            "media_error", "The browser could not decode this track. Reload the page to try again."
        )

    def buffered(self) -> list[tuple[float, float]]:
        """(start, end) in seconds; empty while the source is not open."""
        return browser.ranges(self._audio.buffered)

    def buffered_end(self, position_s: float) -> float | None:
        """Up to where sound is there without a gap from a position; None where nothing is."""
        for start, end in self.buffered():
            if start - ROUNDING_S <= position_s < end - ROUNDING_S / 2:
                return end
        return None

    async def evict(self, position_s: float, *, all_played: bool = False) -> bool:
        """Take out what was played long ago. True when something was taken out."""
        until_s = position_s - (1.0 if all_played else KEEP_BEHIND_S)
        ranges = self.buffered()
        if not ranges or ranges[0][0] + (0.0 if all_played else EVICT_SLACK_S) >= until_s:
            return False
        self._buffer.remove(0, until_s)
        await self._updated()
        return True

    async def remove_from(self, from_s: float) -> None:
        """Take out everything behind a moment."""
        if self._source.readyState == "open":
            self._buffer.abort()  # what is half read belongs to it
        self._buffer.remove(from_s, float("inf"))
        await self._updated()

    def extend(self, end_s: float) -> None:
        """Let the clock reach a moment, so that one may go there before anything is there."""
        if self._source.duration >= end_s - END_SLACK_S:
            return
        if self._source.readyState == "ended":
            self._buffer.timestampOffset = self._buffer.timestampOffset  # opens it again (MSE §3.5)
        self._source.duration = end_s

    def end(self) -> None:
        """Everything up to the end of the track is in: the audio element may say `ended`."""
        if self._source.readyState == "open" and not self._buffer.updating:
            self._source.endOfStream()
