"""What is measured while the recording is decoded: loudness, true peak, waveform, checksum of the samples."""

import hashlib
import math

import av
import numpy as np
from av.audio.frame import AudioFrame

from hub.media.report import MAX_PEAKS
from hub.media.samples import LAYOUTS, Samples, interleaved

_SILENCE_LUFS = -70.0
# Below the last of 24 bits, and beyond what anything but a made-up file says.
_SILENT_PEAK = 2.0**-24
_LOUDEST_DB = 100.0
_WINDOWS_PER_SECOND = 10


class Loudness:
    """EBU R 128 integrated loudness and true peak (ITU-R BS.1770), by FFmpeg's ebur128 filter."""

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._sample_rate, self._layout = sample_rate, LAYOUTS[channels]
        self._graph: av.filter.Graph | None = None
        self._last: AudioFrame | None = None
        self._format = ""
        self.integrated_lufs: float | None = None
        self.true_peak_db: float | None = None

    def _open(self, sample_format: str) -> av.filter.Graph:
        self._format = sample_format
        graph = av.filter.Graph()
        source = graph.add(
            "abuffer",
            sample_rate=str(self._sample_rate),
            sample_fmt=sample_format,
            channel_layout=self._layout,
            time_base=f"1/{self._sample_rate}",
        )
        meter = graph.add("ebur128", "metadata=1:peak=true:framelog=quiet")
        sink = graph.add("abuffersink")
        source.link_to(meter)
        meter.link_to(sink)
        graph.configure()
        return graph

    def consume(self, frames: list[AudioFrame]) -> None:
        """Measure decoded sound."""
        if self._graph is None and frames:
            self._graph = self._open(frames[0].format.name)
        for frame in frames:
            self._push(frame)

    def _push(self, frame: AudioFrame) -> None:
        assert self._graph is not None
        self._graph.push(frame)
        while True:
            try:
                pulled = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            assert isinstance(pulled, AudioFrame)
            self._last = pulled

    def _reading(self, key: str) -> float:
        metadata = self._last.metadata if self._last is not None else {}
        return float(metadata.get(f"lavfi.r128.{key}", "nan"))

    def finish(self) -> None:
        """Read the meters."""
        if self._graph is None:
            return
        integrated = self._reading("I")
        # The meters only move at whole windows of 100 ms: silence pushes the last samples through, after the
        # integrated loudness was read, which it would change.
        silence = AudioFrame(self._format, self._layout, self._sample_rate * 2 // _WINDOWS_PER_SECOND)
        silence.sample_rate = self._sample_rate
        for plane in silence.planes:
            plane.update(bytes(b"\x80" if self._format.startswith("u8") else b"\0") * plane.buffer_size)
        self._push(silence)
        peak = self._reading("true_peak")
        self._graph = None
        if math.isfinite(integrated) and integrated > _SILENCE_LUFS:
            self.integrated_lufs = min(integrated, _LOUDEST_DB)
        if math.isfinite(peak) and peak > _SILENT_PEAK:
            self.true_peak_db = min(round(20 * math.log10(peak), 2), _LOUDEST_DB)


_BLOCK_SAMPLES = 64
_U8_SILENCE = 128.0
_FULL_SCALE = {"u8": 128.0, "s16": 32768.0, "s32": 2147483648.0, "flt": 1.0, "dbl": 1.0}


class Waveform:
    """The largest sample of each of at most 2000 equal stretches, whatever the length.

    Starts with short stretches and joins them in pairs whenever there are too many.
    """

    def __init__(self) -> None:
        # Samples that do not fill a block of 64 yet: one row per channel, or one row with the channels in turn.
        self._rest: Samples | None = None
        self._format = ""
        self._blocks_per_stretch = 1
        self._blocks = np.zeros(0, dtype=np.float32)
        self._maxima = np.zeros(0, dtype=np.float32)

    def consume(self, frames: list[AudioFrame]) -> None:
        """Look at decoded sound."""
        rows: list[Samples] = [frame.to_ndarray() for frame in frames]
        if self._rest is not None:
            rows.insert(0, self._rest)
        samples = np.concatenate(rows, axis=1)
        width = _BLOCK_SAMPLES * (1 if frames[0].format.is_planar else frames[0].layout.nb_channels)
        whole = samples.shape[1] // width * width
        self._rest = samples[:, whole:]
        self._format = frames[0].format.name
        self._add(_block_levels(samples[:, :whole], width, self._format))

    def _add(self, blocks: Samples) -> None:
        blocks = np.concatenate([self._blocks, blocks])
        whole = len(blocks) // self._blocks_per_stretch * self._blocks_per_stretch
        self._blocks = blocks[whole:]
        stretches = blocks[:whole].reshape(-1, self._blocks_per_stretch).max(axis=1)
        self._maxima = np.concatenate([self._maxima, stretches])
        while len(self._maxima) > 2 * MAX_PEAKS:
            self._join_pairs()

    def _join_pairs(self) -> None:
        even = len(self._maxima) // 2 * 2
        odd_one = self._maxima[even:]
        self._maxima = self._maxima[:even].reshape(-1, 2).max(axis=1)
        # The odd one is half of a stretch now: it waits for its other half.
        self._blocks = np.concatenate([np.repeat(odd_one, self._blocks_per_stretch), self._blocks])
        self._blocks_per_stretch *= 2

    def finish(self) -> None:
        """Take the last stretch, which need not be whole."""
        if self._rest is not None and self._rest.size:
            self._add(_block_levels(self._rest, self._rest.shape[1], self._format))
        if len(self._blocks):
            self._maxima = np.append(self._maxima, self._blocks.max())
        if len(self._maxima) > MAX_PEAKS:
            even = np.pad(self._maxima, (0, len(self._maxima) % 2))
            self._maxima = even.reshape(-1, 2).max(axis=1)

    def values(self) -> bytes:
        """One byte per stretch, 255 = full scale; at least one."""
        levels = self._maxima if len(self._maxima) else np.zeros(1)
        return bytes(np.clip(np.rint(levels * 255), 0, 255).astype(np.uint8))


def _block_levels(samples: Samples, width: int, sample_format: str) -> Samples:
    """The largest magnitude in each block of all channels, 1.0 = full scale."""
    blocks = samples.reshape(samples.shape[0], -1, width)
    # The magnitude of the most negative integer has no place in its own type.
    high = blocks.max(axis=(0, 2)).astype(np.float64)
    low = blocks.min(axis=(0, 2)).astype(np.float64)
    name = sample_format.rstrip("p")
    if name == "u8":
        high, low = high - _U8_SILENCE, low - _U8_SILENCE
    return np.asarray(np.maximum(high, -low) / _FULL_SCALE[name], dtype=np.float32)


class FlacChecksum:
    """The MD5 in STREAMINFO: over the samples, interleaved, little-endian, in as few bytes as they need."""

    def __init__(self, bits: int) -> None:
        self._bits = bits
        # RFC 9639 §8.2. Not a matter of security: it finds damage.
        self._md5 = hashlib.md5(usedforsecurity=False)

    def consume(self, frames: list[AudioFrame]) -> None:
        """Add decoded sound."""
        for frame in frames:
            values = interleaved(frame)
            container_bits = values.dtype.itemsize * 8
            if self._bits < container_bits:
                values = values >> (container_bits - self._bits)
            kept_bytes = -(-self._bits // 8)
            by_byte = values.reshape(-1, 1).view(np.uint8)
            self._md5.update(np.ascontiguousarray(by_byte[:, :kept_bytes]).data)

    def finish(self) -> None:
        """Nothing is left to do."""

    def digest(self) -> bytes:
        """16 bytes."""
        return self._md5.digest()
