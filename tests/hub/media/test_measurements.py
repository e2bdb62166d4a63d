"""Loudness, true peak and waveform against references; progress; memory that does not grow with length."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from av.audio.frame import AudioFrame

from hub.media.analysis import Loudness, Waveform
from tests.hub.media.conftest import Read
from tests.hub.media.sounds import music, path_with, quantised, render, riff, write_wav

RATE = 48_000


def sine(seconds: float, level_db: float, frequency: float = 997.0, rate: int = RATE) -> np.ndarray:
    """The same sine in two channels."""
    time = np.arange(int(seconds * rate)) / rate
    wave = 10 ** (level_db / 20) * np.sin(2 * np.pi * frequency * time)
    return np.stack([wave, wave], axis=1)


def test_a_sine_of_minus_23_dbfs_in_both_channels_is_minus_23_lufs(tmp_path: Path, read: Read) -> None:
    # EBU Tech 3341, test 1: within 0.1 LU.
    path = render(tmp_path / "a.wav", sine(20, -23, 1000.0), RATE, "-c:a", "pcm_s24le")
    track = read(path)
    assert track.loudness_lufs == pytest.approx(-23.0, abs=0.1)
    assert track.true_peak_db == pytest.approx(-23.0, abs=0.2)


def test_a_peak_between_two_samples_is_found(tmp_path: Path, read: Read) -> None:
    # EBU Tech 3341, test 16: a quarter of the sample rate, 45 degrees off, so that no sample meets the top.
    time = np.arange(2 * RATE)
    wave = 0.5 * np.sin(np.pi / 2 * time + np.pi / 4) * np.minimum(1, np.sin(np.pi * time / len(time)) * 4)
    path = render(tmp_path / "a.wav", np.stack([wave, wave], axis=1), RATE, "-c:a", "pcm_s24le")
    track = read(path)
    assert track.true_peak_db == pytest.approx(-6.0, abs=0.4)
    assert max(track.peaks) == round(0.5 * 2**-0.5 * 255)


def test_a_peak_in_the_last_samples_is_found(tmp_path: Path, read: Read) -> None:
    quiet = 0.01 * music(RATE + 77)
    quiet[-3:] = 0.9
    path = render(tmp_path / "a.wav", quiet, RATE, "-c:a", "pcm_s16le")
    track = read(path)
    assert track.true_peak_db == pytest.approx(20 * np.log10(0.9), abs=1.0)
    assert track.peaks[-1] == pytest.approx(0.9 * 255, abs=1)


def test_what_is_measured_is_what_is_published(tmp_path: Path, read: Read) -> None:
    # A square wave hardly changes its level when it is clipped back from +6 dB to full scale.
    loud = 2 * np.sign(sine(5, 0, 100.0) + 1e-9)
    slow = np.sin(np.linspace(0, np.pi, len(loud)))[:, None]
    clipped = np.clip(loud * slow, -1, 1)
    measured = read(render(tmp_path / "a.wav", loud * slow, RATE, "-c:a", "pcm_f32le"))
    reference = read(render(tmp_path / "b.wav", clipped, RATE, "-c:a", "pcm_s24le"))
    assert measured.loudness_lufs == pytest.approx(reference.loudness_lufs, abs=0.05)
    assert measured.true_peak_db == pytest.approx(reference.true_peak_db, abs=0.02)
    sines = read(render(tmp_path / "c.wav", sine(2, 6), RATE, "-c:a", "pcm_f32le"))
    assert sines.true_peak_db == pytest.approx(0, abs=0.5)


def test_a_decoder_that_gives_absurd_samples_still_gives_a_level() -> None:
    loudness = Loudness(RATE, 2)
    frame = _frame(1e30 * music(RATE), "fltp")
    frame.sample_rate = RATE
    loudness.consume([frame])
    loudness.finish()
    assert loudness.true_peak_db == 100.0
    assert loudness.integrated_lufs is None or loudness.integrated_lufs <= 100.0


def test_what_is_too_quiet_for_24_bits_is_silence(tmp_path: Path, read: Read) -> None:
    track = read(render(tmp_path / "a.wav", 1e-30 * music(RATE), RATE, "-c:a", "pcm_f32le"))
    assert (track.loudness_lufs, track.true_peak_db) == (None, None)


def test_silence_has_no_loudness(tmp_path: Path, read: Read) -> None:
    track = read(path_with(tmp_path / "a.wav", riff(RATE, 2, 16, bytes(4 * RATE))))
    assert (track.loudness_lufs, track.true_peak_db, set(track.peaks)) == (None, None, {0})


def test_the_loudness_is_what_ffmpeg_says(tmp_path: Path, read: Read) -> None:
    path = render(tmp_path / "a.flac", music(5 * RATE), RATE, "-c:a", "flac")
    command = [
        "ffmpeg",
        "-hide_banner",
        "-nostats",
        "-i",
        str(path),
        "-af",
        "ebur128=peak=true",
        "-f",
        "null",
        "-",
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr.rsplit("Summary:", 1)[1]
    integrated = float(said.split("I:")[1].split()[0])
    peak = float(said.split("Peak:")[1].split()[0])
    track = read(path)
    assert track.loudness_lufs == pytest.approx(integrated, abs=0.11)
    assert track.true_peak_db == pytest.approx(peak, abs=0.2)


@pytest.mark.parametrize("samples", [1, 63, 64, 65, 128_001, 400_003, 3_000_017])
@pytest.mark.parametrize("sample_format", ["s16", "fltp", "u8"])
def test_a_waveform_of_any_length_is_short_and_loses_no_peak(samples: int, sample_format: str) -> None:
    levels = np.zeros((samples, 2))
    levels[samples // 3, 0] = -0.75
    levels[-1, 1] = 0.5
    waveform = Waveform()
    for start in range(0, samples, 50_000):
        waveform.consume([_frame(levels[start : start + 50_000], sample_format)])
    waveform.finish()
    values = waveform.values()
    assert 1 <= len(values) <= 2000
    assert samples < 100_000 or len(values) >= 1000
    assert max(values) == pytest.approx(191, abs=1)
    if samples > 1000:
        assert values[-1] == pytest.approx(128, abs=1)
        place = values.index(max(values)) / len(values)
        assert place == pytest.approx(1 / 3, abs=0.004)


def _frame(levels: np.ndarray, sample_format: str) -> AudioFrame:
    if sample_format == "fltp":
        return AudioFrame.from_ndarray(np.ascontiguousarray(levels.T, dtype=np.float32), "fltp", "stereo")
    if sample_format == "s16":
        return AudioFrame.from_ndarray((levels * 32768).astype(np.int16).reshape(1, -1), "s16", "stereo")
    return AudioFrame.from_ndarray((levels * 128 + 128).astype(np.uint8).reshape(1, -1), "u8", "stereo")


def test_progress_goes_from_zero_to_one(tmp_path: Path, read: Read) -> None:
    steps: list[float] = []
    path = write_wav(tmp_path / "a.wav", quantised(music(90 * RATE, 1), 16), RATE, 16)
    read(path, on_progress=steps.append)
    assert steps == sorted(steps)
    assert all(0 <= step <= 1 for step in steps)
    assert len(steps) >= 2


MEASURE = """
import resource, sys
from pathlib import Path
from hub.media import ingest
ingest(Path(sys.argv[1]), Path(sys.argv[2]))
# Its own ru_maxrss would still count the process that started it.
own = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, own)
"""


def test_memory_does_not_grow_with_the_recording(tmp_path: Path, workdir: Path) -> None:
    def kilobytes(seconds: int) -> int:
        path = path_with(tmp_path / f"{seconds}.wav", riff(8000, 1, 16, bytes(16_000 * seconds)))
        command = [sys.executable, "-c", MEASURE, str(path), str(workdir)]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        return int(said[0]) + int(said[1])

    short, long = kilobytes(10), kilobytes(900)
    assert long < 300 << 10
    assert long < 1.15 * short
