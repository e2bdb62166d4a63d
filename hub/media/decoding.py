"""Decoders that take what FFmpeg gives without its own trimming, and frames that all look the same."""

import math
from collections.abc import Iterator

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.codec.context import Flags2
from av.packet import Packet

from hub.media.faults import MediaFault
from hub.media.samples import LAYOUTS, Samples

_BATCH_SAMPLES = 1 << 15


def decoder(codec: str, codec_private: bytes, sample_rate: int, channels: int) -> AudioCodecContext:
    """A decoder for access units that come without a container."""
    context = av.CodecContext.create(codec, "r")
    assert isinstance(context, AudioCodecContext)
    if codec_private:
        context.extradata = codec_private
    context.sample_rate = sample_rate
    context.layout = LAYOUTS[channels]
    # Delay and padding are taken off by us, the same way for every codec.
    context.flags2 |= Flags2.skip_manual
    return context


def access_unit(payload: bytes) -> "Packet[AudioStream]":
    """A packet for `decode`."""
    return Packet(payload)  # type: ignore[return-value]


def damaged_at(samples: int, sample_rate: int) -> MediaFault:
    """`damaged_file` with the place."""
    seconds = samples // sample_rate
    return MediaFault("damaged_file", what=f"it cannot be decoded at {seconds // 60}:{seconds % 60:02}")


def decode(context: AudioCodecContext, packet: "Packet[AudioStream] | None") -> list[AudioFrame]:
    """Decode one packet; None gives what the decoder still holds.

    Raises:
        ValueError: the packet is damaged.
    """
    try:
        return context.decode(packet)
    except av.error.EOFError:
        return []


class Uniform:
    """Lets frames pass that are like the first, and repairs small oddities of their description.

    Args:
        is_clipped: nothing beyond full scale will be published, so nothing beyond it is passed on.

    Attributes:
        samples: how many passed.
        made_silent: samples of floating point that were not numbers.
        clipped: samples of floating point beyond full scale.
    """

    def __init__(self, sample_rate: int, channels: int, is_clipped: bool) -> None:
        self.sample_rate, self.channels = sample_rate, channels
        self.samples = self.made_silent = self.clipped = 0
        self._is_clipped = is_clipped
        self._format: str | None = None

    def frames(self, frames: Iterator[AudioFrame]) -> Iterator[AudioFrame]:
        """The same frames, or a MediaFault `changing_format`."""
        for frame in frames:
            self._format = self._format or frame.format.name
            alike = (frame.sample_rate, frame.layout.nb_channels, frame.format.name)
            if alike != (self.sample_rate, self.channels, self._format):
                raise MediaFault("changing_format")
            self.samples += frame.samples
            yield self._repaired(frame)

    def _repaired(self, frame: AudioFrame) -> AudioFrame:
        layout = LAYOUTS[self.channels]
        if frame.format.name.startswith(("flt", "dbl")):
            values: Samples = frame.to_ndarray()
            # What is not a number comes out of both as it is.
            highest, lowest = float(values.max()), float(values.min())
            if not (math.isfinite(highest) and math.isfinite(lowest)):
                self.made_silent += int(np.count_nonzero(~np.isfinite(values)))
                values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
                frame = self._made(values, frame)
                highest, lowest = float(values.max()), float(values.min())
            if self._is_clipped and (highest > 1.0 or lowest < -1.0):
                self.clipped += int(np.count_nonzero(np.abs(values) > 1.0))
                frame = self._made(np.clip(values, -1.0, 1.0), frame)
        if frame.layout.name != layout:
            return self._made(frame.to_ndarray(), frame)
        # Time is counted in samples; the file's own timestamps would only confuse filters.
        frame.pts = None
        return frame

    def _made(self, values: Samples, like: AudioFrame) -> AudioFrame:
        made = AudioFrame.from_ndarray(values, like.format.name, LAYOUTS[self.channels])
        made.sample_rate = self.sample_rate
        return made


def batches(frames: Iterator[AudioFrame]) -> Iterator[list[AudioFrame]]:
    """Lists of frames of about two thirds of a second: handing over costs more than decoding a small frame."""
    batch: list[AudioFrame] = []
    held = 0
    for frame in frames:
        batch.append(frame)
        held += frame.samples
        if held >= _BATCH_SAMPLES:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch
