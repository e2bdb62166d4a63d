"""Encoders and the files that access units are written to."""

from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame

from hub.media.model import INDEX_ENTRY
from hub.media.report import RenditionReport
from hub.media.samples import LAYOUTS, Samples, interleaved, silence_like

OPUS_RATE = 48_000
_OPUS_FRAME_SAMPLES = 960
_OPUS_BIT_RATES = {1: 96_000, 2: 128_000}
_PRE_SKIP_AT = 10
# Less than a packet may never leave the resampler and the encoder: silence behind it pushes it through.
_SHORT_S = Fraction(1, 20)
_FILE_BUFFER_BYTES = 1 << 18


class AccessUnitWriter:
    """Writes `{codec}.packets` and `{codec}.index` (size and duration, u32 big-endian each)."""

    def __init__(self, folder: Path, codec: str) -> None:
        self.path = folder / f"{codec}.packets"
        self.duration = self.count = self.total_bytes = 0
        self._packets: BinaryIO = self.path.open("xb", buffering=_FILE_BUFFER_BYTES)
        self._index: BinaryIO = (folder / f"{codec}.index").open("xb", buffering=_FILE_BUFFER_BYTES)

    def add(self, payload: bytes, duration: int) -> None:
        """Append one access unit."""
        self._packets.write(payload)
        self._index.write(INDEX_ENTRY.pack(len(payload), duration))
        self.duration += duration
        self.count += 1
        self.total_bytes += len(payload)

    def close(self) -> None:
        """Write everything out. An error (a full disk) is raised here at the latest."""
        self._packets.close()
        self._index.close()


class OpusEncoder:
    """Resamples to 48 kHz and encodes 20 ms packets."""

    def __init__(self, folder: Path, source_rate: int, channels: int) -> None:
        self._writer = AccessUnitWriter(folder, "opus")
        self._source_rate, self._channels = source_rate, channels
        self._taken = self._encoded = 0
        self._last: AudioFrame | None = None
        # PyAV resamples and cuts into frames whatever the encoder is given.
        self._codec: AudioCodecContext = av.CodecContext.create("libopus", "w")
        self._codec.sample_rate = OPUS_RATE
        self._codec.layout = LAYOUTS[channels]
        self._codec.format = "flt"
        self._codec.bit_rate = _OPUS_BIT_RATES[channels]
        self._codec.open()

    def consume(self, frames: list[AudioFrame]) -> None:
        """Encode decoded sound of the source's rate."""
        for frame in frames:
            self._taken += frame.samples
            self._encode(frame)
            self._last = frame

    def _encode(self, frame: AudioFrame | None) -> None:
        for packet in self._codec.encode(frame):
            self._writer.add(bytes(packet), _OPUS_FRAME_SAMPLES)
            # The last one says how much of it is sound.
            self._encoded += packet.duration or 0

    def finish(self) -> None:
        """Encode what is left."""
        if self._last is not None and self._taken < self._source_rate * _SHORT_S:
            self._encode(silence_like(self._last, int(self._source_rate * _SHORT_S)))
        self._encode(None)
        self._writer.close()

    def report(self) -> RenditionReport:
        """The finished rendition: pre-skip (RFC 7845 §4.2) as delay, the rest of the last packet as padding."""
        head = self._codec.extradata or b""
        pre_skip = int.from_bytes(head[_PRE_SKIP_AT : _PRE_SKIP_AT + 2], "little")
        # The resampler rounds up to whole samples; what it made up beyond the end is padding.
        resampled = self._encoded - pre_skip
        presented = max(1, min(resampled, round(Fraction(self._taken * OPUS_RATE, self._source_rate))))
        padding = self._writer.duration - pre_skip - presented
        return RenditionReport("opus", OPUS_RATE, self._channels, 0, OPUS_RATE, head, pre_skip, padding)


class FlacEncoder:
    """Encodes integers of 16 or 24 bits as FLAC without loss, and rounds what has more.

    Attributes:
        rounded: samples that had more than 24 bits and lost the rest.
    """

    def __init__(self, folder: Path, sample_rate: int, channels: int, bits: int) -> None:
        self._writer = AccessUnitWriter(folder, "flac")
        self._sample_rate, self._channels, self._bits = sample_rate, channels, bits
        self._layout = LAYOUTS[channels]
        self.rounded = 0
        self._stream_info = b""
        self._codec: AudioCodecContext = av.CodecContext.create("flac", "w")
        self._codec.sample_rate = sample_rate
        self._codec.layout = self._layout
        self._codec.format = "s16" if bits == 16 else "s32"
        self._codec.open()

    def consume(self, frames: list[AudioFrame]) -> None:
        """Encode decoded sound."""
        for frame in frames:
            self._encode(self._as_integers(frame))

    def _as_integers(self, frame: AudioFrame) -> AudioFrame:
        name = frame.format.name
        if name in ("u8", "u8p", "s16", "s16p"):
            return frame
        values = interleaved(frame)
        packed = self._round_to_24_bits(values) if name.startswith("s32") else self._quantise(values)
        made = AudioFrame.from_ndarray(packed, "s16" if self._bits == 16 else "s32", self._layout)
        made.sample_rate = self._sample_rate
        return made

    def _round_to_24_bits(self, values: Samples) -> Samples:
        low_bits = values & 0xFF
        lossy = int(np.count_nonzero(low_bits))
        if not lossy:
            return values
        self.rounded += lossy
        # FFmpeg's encoder drops the low byte. Half a step up first makes that rounding.
        return np.minimum(values, 0x7FFF_FF7F) + 0x80 & ~np.int32(0xFF)

    def _quantise(self, values: Samples) -> Samples:
        full_scale = float(1 << self._bits - 1)
        steps = np.rint(values.astype(np.float64) * full_scale)
        steps = np.clip(steps, -full_scale, full_scale - 1)
        return steps.astype(np.int16) if self._bits == 16 else steps.astype(np.int32) << 8

    def _encode(self, frame: AudioFrame | None) -> None:
        for packet in self._codec.encode(frame):
            if packet.size:
                self._writer.add(bytes(packet), packet.duration or 0)
            if packet.has_sidedata("new_extradata"):
                self._stream_info = bytes(packet.get_sidedata("new_extradata"))

    def finish(self) -> None:
        """Encode what is left."""
        self._encode(None)
        self._writer.close()

    def report(self) -> RenditionReport:
        """The finished rendition, with the STREAMINFO that knows length and MD5."""
        return flac_report(self._sample_rate, self._channels, self._bits, self._stream_info)


def flac_report(sample_rate: int, channels: int, bits: int, stream_info: bytes) -> RenditionReport:
    """A FLAC rendition: nothing before the first sample and nothing behind the last."""
    kept_bits = 16 if bits <= 16 else 24
    return RenditionReport("flac", sample_rate, channels, kept_bits, sample_rate, stream_info, 0, 0)
