"""Decoded samples as arrays."""

from typing import Any

import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame

# Whatever a frame holds: integers or floating point, one row per channel, or one row with the channels in turn.
Samples = npt.NDArray[Any]

LAYOUTS = {1: "mono", 2: "stereo"}


def interleaved(frame: AudioFrame) -> Samples:
    """The samples of all channels in turn, in one row."""
    values: Samples = frame.to_ndarray()
    return np.ascontiguousarray(values.T).reshape(1, -1) if frame.format.is_planar else values
