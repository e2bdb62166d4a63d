"""Renders real files with ffmpeg, and decodes what came out of ingest, so that both can be compared."""

import json
import subprocess
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.codec.context import Flags2

from hub.media import IngestedRendition, IngestedTrack

Samples = npt.NDArray[np.float64]
_LAYOUTS = {1: "mono", 2: "stereo"}


def music(samples: int, channels: int = 2, seed: int = 7) -> Samples:
    """Something that is not the same twice: noise under a sweep, half of full scale; (samples, channels)."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 0.05, (samples, channels))
    sweep = 0.3 * np.sin(np.linspace(0, 40, samples) ** 2)[:, None]
    return np.clip(noise + sweep, -0.9, 0.9)


def quantised(samples: Samples, bits: int) -> npt.NDArray[np.int32]:
    """The nearest integers of that many bits."""
    return np.rint(samples * ((1 << bits - 1) - 1)).astype(np.int32)


def render(path: Path, samples: Samples, rate: int, *options: str) -> Path:
    """Write a file with ffmpeg, from 64-bit floating point."""
    channels = samples.shape[1]
    source = ["-f", "f64le", "-ar", str(rate), "-ac", str(channels), "-i", "pipe:"]
    command = ["ffmpeg", "-v", "error", "-y", *source, *options, str(path)]
    subprocess.run(command, input=np.ascontiguousarray(samples).tobytes(), check=True)
    return path


def write_wav(path: Path, integers: npt.NDArray[np.int32], rate: int, bits: int) -> Path:
    """Write a WAV file byte by byte, with nobody's rounding in between."""
    channels, width = integers.shape[1], bits // 8
    body = integers.astype("<i4").reshape(-1, 1).view(np.uint8).reshape(-1, 4)[:, :width]
    if bits == 8:
        body = (body.astype(np.int16) + 128).astype(np.uint8)
    return path_with(path, riff(rate, channels, bits, body.tobytes()))


def path_with(path: Path, data: bytes) -> Path:
    """Write the bytes."""
    path.write_bytes(data)
    return path


def riff(rate: int, channels: int, bits: int, body: bytes, declared: int | None = None) -> bytes:
    """A WAV file; `declared` is what it says of its length where that is not the truth."""
    size = len(body) if declared is None else declared
    block = channels * bits // 8
    form = b"".join(
        value.to_bytes(width, "little")
        for value, width in ((1, 2), (channels, 2), (rate, 4), (rate * block, 4), (block, 2), (bits, 2))
    )
    header = (
        b"WAVEfmt " + (16).to_bytes(4, "little") + form + b"data" + (size & 0xFFFFFFFF).to_bytes(4, "little")
    )
    return b"RIFF" + (len(header) + size & 0xFFFFFFFF).to_bytes(4, "little") + header + body


def ffmpeg_decodes(path: Path, sample_format: str = "s32") -> npt.NDArray[np.int64]:
    """What ffmpeg's own command makes of a file; (samples, channels)."""
    probe = [
        "ffprobe",
        "-v",
        "error",
        "-select_streams",
        "a:0",
        "-show_entries",
        "stream=channels",
        "-of",
        "json",
    ]
    answer = subprocess.run([*probe, str(path)], check=True, capture_output=True).stdout
    channels = json.loads(answer)["streams"][0]["channels"]
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-map", "0:a:0", "-f", f"{sample_format}le", "pipe:"]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    dtype = {"s16": "<i2", "s32": "<i4", "f32": "<f4"}[sample_format]
    values = np.frombuffer(raw, dtype=dtype).reshape(-1, channels)
    return values.astype(np.int64 if sample_format != "f32" else np.float64)


def played(rendition: IngestedRendition) -> Samples:
    """What a listener hears: access units decoded, delay and padding taken off; (samples, channels)."""
    config = rendition.config
    context = av.CodecContext.create({"mp3": "mp3float"}.get(config.codec, config.codec), "r")
    if config.codec_private:
        context.extradata = config.codec_private
    context.sample_rate = config.sample_rate
    context.layout = _LAYOUTS[config.channels]
    context.flags2 |= Flags2.skip_manual
    blocks, durations = [], []
    for sample in rendition.samples():
        frames = context.decode(av.Packet(sample.payload))
        durations.append(sample.duration)
        assert sum(frame.samples for frame in frames) == sample.duration
        for frame in frames:
            values = frame.to_ndarray()
            blocks.append(values.T if frame.format.is_planar else values.reshape(-1, config.channels))
    assert sum(durations) == rendition.duration
    whole = np.concatenate(blocks).astype(np.float64)
    return whole[config.delay : len(whole) - config.padding]


def integers(rendition: IngestedRendition) -> npt.NDArray[np.int64]:
    """Like `played`, for FLAC: integers of 16 or 24 bits."""
    values = played(rendition).astype(np.int64)
    return values if rendition.config.bits == 16 else values >> 8


def best(track: IngestedTrack) -> IngestedRendition:
    """The first rendition."""
    return track.renditions[0]


def lag(heard: Samples, original: Samples, reach: int = 3000) -> int:
    """By how many samples the first channel of `heard` is later than that of `original`."""
    middle = len(original) // 2
    pattern = original[middle : middle + 8192, 0]
    window = heard[middle - reach : middle + 8192 + reach, 0]
    scores = np.correlate(window, pattern, "valid")
    return int(np.argmax(scores)) - reach
