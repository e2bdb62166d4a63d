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
ROUNDING_S = 0.02  # browsers round times of buffered ranges


class BufferFull(Exception):
    """The browser takes no more now: play or evict first."""


class Feeder:
    """One SourceBuffer for one rendition.

    Args:
        audio: the HTMLAudioElement.
        source: its MediaSource, open or about to be.
        buffer: a SourceBuffer that the head start opened; None: there is none yet.
    """

    def __init__(self, audio: Any, source: Any, rendition: Rendition, buffer: Any = None) -> None:
        self._audio = audio
        self._source = source
        self._rendition = rendition
        self._buffer = buffer
        self._is_sequence = rendition.config.codec == "mp3"

    async def open(self) -> None:
        """Make the source buffer and give it the init segment. The duration is set before anyone can seek."""
        if self._buffer is not None:
            return
        if self._source.readyState != "open":
            await browser.next_event(self._source, "sourceopen")
        self._buffer = self._source.addSourceBuffer(self._rendition.config.mime)
        self._source.duration = self._rendition.presented_duration_s
        if self._is_sequence:
            self._buffer.mode = "sequence"
        else:
            self._buffer.timestampOffset = -self._rendition.config.delay / self._rendition.config.timescale
        self._set_window()
        if self._rendition.init:
            await self._append(JsBytes(browser.js_bytes(self._rendition.init)))

    def _set_window(self) -> None:
        config = self._rendition.config
        if config.delay or config.padding:
            self._buffer.appendWindowStart = 0
            self._buffer.appendWindowEnd = self._rendition.presented_duration_s

    async def append(self, data: JsBytes, start_units: int, *, is_contiguous: bool) -> None:
        """Append from a place where decoding may begin.

        Args:
            data: plaintext from that place to the end of its chunk.
            start_units: the time of its first sample in the rendition's timescale.
            is_contiguous: it follows what was appended last.
        Raises:
            BufferFull, Unavailable: `media_error`, the browser cannot decode it.
        """
        if not is_contiguous:
            if self._source.readyState == "open":  # what has ended opens again with the append
                self._buffer.abort()  # forget a half-read segment; it also forgets the append window
            self._set_window()
            if self._is_sequence:
                config = self._rendition.config
                self._buffer.timestampOffset = (start_units - config.delay) / config.timescale
        await self._append(data)

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

    def end(self) -> None:
        """Everything up to the end of the track is in: the audio element may say `ended`."""
        if self._source.readyState == "open" and not self._buffer.updating:
            self._source.endOfStream()
