"""A small felt piano: additive strings with inharmonicity and two-stage decay, pedal by bar, a made-up room.

The same score always gives the same samples: the only random numbers are seeded. Needs numpy and nothing else.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hub.demo.score import Note, Piece

SAMPLE_RATE = 44_100
A4_HZ = 440.0
A4_PITCH = 69
LEAD_IN_S = 0.4
TAIL_S = 4.0
FADE_OUT_S = 2.5
PEAK = 10 ** (-1.0 / 20)  # -1 dBFS
SLOWEST = 1.9  # how much longer the last beat is
DAMPER_S = 0.09
Samples = NDArray[np.float32]


def render(piece: Piece, seed: int = 846) -> NDArray[np.int16]:
    """Play a piece.

    Returns:
        n x 2 samples, 44.1 kHz.
    """
    random = np.random.default_rng(seed)
    last_beat = max(note.start + note.length for note in piece.notes)
    total = int((LEAD_IN_S + _seconds(piece, last_beat) + TAIL_S) * SAMPLE_RATE)
    dry = np.zeros((2, total), np.float32)
    for note in piece.notes:
        _strike(dry, piece, note, random)
    mix = 0.8 * dry + 0.26 * _in_a_room(dry, random)
    # Rounds off the few loudest chords, so that the rest comes to an ordinary listening level, about -16 LUFS.
    mix = np.tanh(1.15 * mix / np.abs(mix).max())
    mix *= PEAK / np.abs(mix).max()
    fade = int(FADE_OUT_S * SAMPLE_RATE)
    mix[:, -fade:] *= np.cos(np.linspace(0, np.pi / 2, fade, dtype=np.float32)) ** 2
    dither = random.triangular(-1, 0, 1, (2, total)).astype(np.float32)
    return np.ascontiguousarray(np.round(mix * 32_767 + dither).clip(-32_768, 32_767).astype(np.int16).T)


def _seconds(piece: Piece, beat: float) -> float:
    """When a beat comes. From `slows_from` on each beat takes a little longer, linearly."""
    beat_s = 60 / piece.tempo
    late = max(0.0, beat - piece.slows_from)
    span = max(note.start for note in piece.notes) - piece.slows_from
    reached = min(late, span)
    slowing = (SLOWEST - 1) * (reached * reached / (2 * span) + max(0.0, late - span)) if span > 0 else 0.0
    return beat_s * (beat + slowing)


def _strike(dry: Samples, piece: Piece, note: Note, random: np.random.Generator) -> None:
    """Add one note to the mix, with a player's small inexactness."""
    bar_end = (note.start // piece.beats_per_bar + 1) * piece.beats_per_bar
    released_s = _seconds(piece, max(note.start + note.length, bar_end))
    start_s = LEAD_IN_S + _seconds(piece, note.start) + float(np.clip(random.normal(0, 0.006), -0.012, 0.012))
    breath = 1 + 0.12 * np.sin(2 * np.pi * note.start / (8 * piece.beats_per_bar))  # phrases of eight bars
    force = float(np.clip(note.force * breath * random.normal(1, 0.04), 0.05, 1))
    body, edge = _string(note.pitch)
    held = int((LEAD_IN_S + released_s - start_s) * SAMPLE_RATE)
    release = np.arange(int(5 * DAMPER_S * SAMPLE_RATE), dtype=np.float32) / (DAMPER_S * SAMPLE_RATE)
    length = min(held + len(release), body.shape[1])
    tone = force**1.4 * (body[:, :length] + 1.5 * force * edge[:, :length])
    if length > held:
        tone[:, held:] *= np.exp(-release[: length - held])
    at = int(start_s * SAMPLE_RATE)
    length = min(length, dry.shape[1] - at)
    # Low strings to the left, high ones to the right, as at the keyboard.
    side = float(np.clip((note.pitch - 60) / 60, -0.4, 0.4))
    dry[0, at : at + length] += (1 - side) * tone[0, :length]
    dry[1, at : at + length] += (1 + side) * tone[1, :length]


@lru_cache(maxsize=128)
def _string(pitch: int) -> tuple[Samples, Samples]:
    """A struck string in two layers, `body` and `edge` (what a harder blow adds), each left and right.

    Partials lie at n f sqrt(1 + B n^2) (Fletcher 1964). Two strings a fraction of a hertz apart give the slow
    beating of a real unison; one is heard more on the left, the other on the right.
    """
    fundamental = A4_HZ * 2 ** ((pitch - A4_PITCH) / 12)
    ring_s = float(np.clip(9.0 * 2 ** (-(pitch - 36) / 18), 1.6, 8.0))
    time = (np.arange(int(min(ring_s * 1.6, 7.0) * SAMPLE_RATE)) / SAMPLE_RATE).astype(np.float32)
    stiffness = 0.00025 * 2 ** ((pitch - 48) / 10)
    layers = np.zeros((2, 2, len(time)), np.float32)
    partials = int(min(16, 9_000 / fundamental))
    for n in range(1, partials + 1):
        frequency = n * fundamental * np.sqrt(1 + stiffness * n * n)
        # A hammer at an eighth of the string leaves out every eighth partial; soft felt weakens the high ones.
        strength = abs(np.sin(np.pi * n / 8.1)) / n * np.exp(-frequency / 2600)
        decay_s = ring_s / (1 + 0.42 * (n - 1))
        envelope = strength * (0.7 * np.exp(-time / (0.22 * decay_s)) + 0.3 * np.exp(-time / (0.6 * decay_s)))
        layer = 0 if n <= 4 else 1
        for string, detune in enumerate((-0.11, 0.13) if n <= 8 else (0.02,)):
            wave = envelope * np.sin(
                (2 * np.pi * (frequency + detune * n**0.5)) * time + 0.7 * n + 1.9 * string
            )
            layers[layer, string] += 0.68 * wave
            layers[layer, 1 - string] += 0.42 * wave
    attack = np.minimum(time / (0.0035 + 0.25 / fundamental), 1)
    layers *= attack * attack * (3 - 2 * attack)
    _add_hammer(layers[0], time, pitch)
    loudness = 2.4 * 2 ** (-(pitch - 60) / 60)
    return layers[0] * loudness, layers[1] * loudness


def _add_hammer(layer: Samples, time: Samples, pitch: int) -> None:
    """The soft knock of felt and key bed."""
    length = int(0.06 * SAMPLE_RATE)
    noise = np.random.default_rng(pitch).normal(0, 1, length).astype(np.float32)
    spectrum = np.fft.rfft(noise)
    hertz = np.fft.rfftfreq(length, 1 / SAMPLE_RATE)
    knock = np.fft.irfft(spectrum * np.exp(-(((hertz - 180) / 220) ** 2)), length)
    layer[:, :length] += 0.035 * (knock * np.exp(-time[:length] / 0.012)).astype(np.float32)


def _in_a_room(dry: Samples, random: np.random.Generator) -> Samples:
    """Convolve with a made-up room: exponentially decaying noise whose treble dies first."""
    length = int(2.4 * SAMPLE_RATE)
    time = np.arange(length, dtype=np.float32) / SAMPLE_RATE
    pre_delay = int(0.021 * SAMPLE_RATE)
    hertz = np.fft.rfftfreq(length, 1 / SAMPLE_RATE)
    wet = np.zeros_like(dry)
    for side in range(2):
        room = np.zeros(length, np.float32)
        for low, high, reverberation_s in ((90, 700, 2.1), (700, 2500, 1.5), (2500, 7000, 0.8)):
            noise = np.fft.rfft(random.normal(0, 1, length).astype(np.float32))
            band = np.fft.irfft(noise * ((hertz >= low) & (hertz < high)), length)
            room += (band * 10 ** (-3 * time / reverberation_s)).astype(np.float32)
        room = np.concatenate([np.zeros(pre_delay, np.float32), room / np.sqrt(np.sum(room**2))])
        wet[side] = _convolve(0.7 * dry[side] + 0.3 * dry[1 - side], room)
    return wet


def _convolve(signal: Samples, response: Samples, block: int = 1 << 18) -> Samples:
    """Overlap-add FFT convolution, cut to the signal's length."""
    step = block - len(response) + 1
    spectrum = np.fft.rfft(response, block)
    result = np.zeros(len(signal) + block, np.float32)
    for at in range(0, len(signal), step):
        piece = np.fft.rfft(signal[at : at + step], block)
        result[at : at + block] += np.fft.irfft(piece * spectrum, block)
    return result[: len(signal)]
