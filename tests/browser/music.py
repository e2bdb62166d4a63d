"""Music to publish: plucked strings over a little noise, so that every moment of it is like no other.

The exact samples are known, so what comes out of a browser can be compared with what the artist put in.
"""

import wave
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.int32]
NOTES_HZ = (110.0, 146.83, 164.81, 196.0, 220.0, 246.94, 293.66, 329.63)
NOTE_S = 0.4


def plucked(seconds: float, rate: int, bits: int, seed: int) -> Samples:
    """A stereo piece of random notes (Karplus-Strong strings).

    Returns:
        frames x 2, full scale = 2 ** (bits - 1).
    """
    chance = np.random.default_rng(seed)
    frames = int(seconds * rate)
    sound = chance.normal(0, 0.003, (frames, 2))
    step = int(NOTE_S * rate)
    for start in range(0, frames, step):
        pan = chance.uniform(0.2, 0.8)
        note = _string(chance, float(chance.choice(NOTES_HZ)), min(3 * step, frames - start), rate)
        sound[start : start + len(note)] += note[:, None] * [pan, 1 - pan]
    sound *= 0.8 / np.abs(sound).max()
    whole: Samples = np.round(sound * (2 ** (bits - 1) - 1)).astype(np.int32)
    return whole


def _string(chance: np.random.Generator, hz: float, frames: int, rate: int) -> npt.NDArray[np.float64]:
    period = int(rate / hz)
    turns = frames // period + 1
    shape = chance.uniform(-1, 1, period)
    out = np.empty((turns, period))
    for turn in range(turns):
        out[turn] = shape
        shape = 0.498 * (shape + np.roll(shape, 1))
    return out.ravel()[:frames]


def write_wav(path: Path, samples: Samples, rate: int, bits: int) -> Path:
    """PCM, 16 or 24 bit."""
    width = bits // 8
    raw = samples.astype("<i4").tobytes()
    little = np.frombuffer(raw, dtype=np.uint8).reshape(-1, 4)[:, :width].tobytes()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(little)
    return path


def encode(source: Path, target: Path, codec: str, bit_rate: int = 0) -> Path:
    """Encode a WAV with FFmpeg's encoder; the container follows from the file's name."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        given = reader.streams.audio[0]
        stream = writer.add_stream(codec, rate=given.rate)
        stream.layout = "stereo"
        if bit_rate:
            stream.bit_rate = bit_rate
        formats = [item.name for item in stream.codec.audio_formats]
        stream.format = next((name for name in ("s16", "s16p") if name in formats), formats[0])
        resampler = av.AudioResampler(format=stream.format, layout="stereo", rate=given.rate)
        for frame in reader.decode(given):
            for piece in resampler.resample(frame):
                writer.mux(stream.encode(piece))
        for piece in resampler.resample(None):
            writer.mux(stream.encode(piece))
        writer.mux(stream.encode(None))
    return target
