"""Where the sound starts and ends in what the decoder gives: encoder delay and padding, exact to the sample."""

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from av.audio.frame import AudioFrame

from hub.media.mp4_boxes import Mp4Header, Mp4Track
from hub.media.samples import Samples

_ITUNES_GAPS = re.compile(r"\s*[0-9A-Fa-f]{8} ([0-9A-Fa-f]{8}) ([0-9A-Fa-f]{8}) ([0-9A-Fa-f]{16})\b")


class Gaps(NamedTuple):
    """Samples before the first and behind the last that are to be heard."""

    delay: int
    padding: int

    def within(self, total: int) -> "Gaps":
        """These gaps, or none if they would leave nothing of `total` samples."""
        leaves_something = min(self) >= 0 and sum(self) < total
        return self if leaves_something else Gaps(0, 0)


def _edit(header: Mp4Header, track: Mp4Track, media_ticks: int) -> tuple[int, int]:
    """Start and end of what is presented, in the track's timescale (ISO/IEC 14496-12 §8.6.6)."""
    edits = [(duration, start) for duration, start in track.edits if start >= 0]
    if len(edits) != 1:
        return 0, media_ticks
    duration, start = edits[0]
    if duration == 0 or header.timescale == 0:
        return start, media_ticks
    tick = Fraction(track.timescale, header.timescale)
    end = start + round(duration * tick)
    # The movie's timescale is often a thousand: an end that is off by less than its tick means the very end.
    return start, media_ticks if end > media_ticks - tick else end


def mp4_gaps(
    header: Mp4Header, track: Mp4Track, media_ticks: int, total: int, sample_rate: int, itunes: str
) -> Gaps:
    """Gaps of a track in an MP4 file.

    Args:
        media_ticks: the sum of its durations in its timescale.
        total: samples that its access units decode to.
        itunes: the iTunSMPB tag or "": what iTunes wrote before it wrote edit lists.
    """
    start, end = _edit(header, track, media_ticks)
    if start == 0 and (found := _ITUNES_GAPS.match(itunes)):
        priming, _, presented = (int(group, 16) for group in found.groups())
        if 0 < presented <= total - priming:
            return Gaps(priming, total - priming - presented)
    scale = Fraction(sample_rate, track.timescale or sample_rate)
    first, last = round(start * scale), min(round(end * scale), total)
    return Gaps(first, total - last).within(total)


def cut(frames: Iterator[AudioFrame], gaps: Gaps, total: int) -> Iterator[AudioFrame]:
    """Leave the gaps out.

    Args:
        total: the samples that `frames` hold together.
    """
    at, end = 0, total - gaps.padding
    for frame in frames:
        first, last = max(gaps.delay - at, 0), min(end - at, frame.samples)
        at += frame.samples
        if first == 0 and last == frame.samples:
            yield frame
        elif first < last:
            yield _slice(frame, first, last)


def _slice(frame: AudioFrame, first: int, last: int) -> AudioFrame:
    values: Samples = frame.to_ndarray()
    if frame.format.is_planar:
        kept = values[:, first:last].copy()
    else:
        channels = frame.layout.nb_channels
        kept = values[:, first * channels : last * channels]
    made = AudioFrame.from_ndarray(kept, frame.format.name, frame.layout.name)
    made.sample_rate = frame.sample_rate
    return made
