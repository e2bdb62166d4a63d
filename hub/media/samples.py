"""Decoded samples as arrays."""

from typing import Any

import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame

# Whatever a frame holds: integers or floating point, one row per channel, or one row with the channels in turn.
Samples = npt.NDArray[Any]

LAYOUTS = {1: "mono", 2: "stereo"}


def silence_like(frame: AudioFrame, samples: int) -> AudioFrame:
    """That many samples of silence in the format of a frame."""
    silence = AudioFrame(frame.format.name, frame.layout.name, samples)
    silence.sample_rate = frame.sample_rate
    for plane in silence.planes:
        # Unsigned bytes are silent in the middle of their range.
        plane.update((b"\x80" if frame.format.name.startswith("u8") else b"\0") * plane.buffer_size)
    return silence


def interleaved(frame: AudioFrame) -> Samples:
    """The samples of all channels in turn, in one row."""
    values: Samples = frame.to_ndarray()
    return np.ascontiguousarray(values.T).reshape(1, -1) if frame.format.is_planar else values
