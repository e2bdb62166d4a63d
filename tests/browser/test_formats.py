"""Every format that artists bring plays, from its first sample to its last."""

import numpy as np
import pytest

from tests.browser.conftest import Recording
from tests.browser.music import Samples
from tests.browser.player_page import PlayerPage, assert_same_sound, place_of, without_silence
from tests.browser.stack import Stack

CODECS = {"mp3": "mp3", "m4a": "aac", "opus": "opus"}


async def test_24_bits_at_96_khz_are_heard_sample_for_sample(
    stack: Stack, recordings: dict[str, Recording], capture_page: PlayerPage
) -> None:
    studio = recordings["wav"]
    await capture_page.visit(stack.url, studio.track_root)
    await capture_page.start_capture(studio.rate)
    await capture_page.play()
    await capture_page.until_time(6)
    await capture_page.run("player.pause()")
    heard = without_silence(await capture_page.take_capture(studio.bits))
    start = place_of(heard, studio.samples)
    assert_same_sound(heard, studio.samples[start:], studio.rate)
    assert len(heard) > 5 * studio.rate


@pytest.mark.parametrize("name", CODECS)
async def test_a_lossy_recording_keeps_its_beginning_and_its_length(
    name: str, stack: Stack, recordings: dict[str, Recording], capture_page: PlayerPage
) -> None:
    recording = recordings[name]
    await capture_page.visit(stack.url, recording.track_root)
    await capture_page.start_capture(recording.rate)
    await capture_page.play()
    state = await capture_page.until_time(4)
    assert state["stats"]["codec"] == CODECS[name]
    assert abs(state["duration"] - len(recording.samples) / recording.rate) < 0.06
    await capture_page.run("player.pause()")
    heard = without_silence(await capture_page.take_capture(recording.bits))
    lag = _lag(heard[: 3 * recording.rate], recording.samples[: 4 * recording.rate])
    # Nothing of the encoder's delay is heard, and nothing of the music is lost but what silence was cut here.
    assert abs(lag) <= 0.03 * recording.rate
    for second in range(3):
        here = slice(second * recording.rate, (second + 1) * recording.rate)
        there = slice(max(0, here.start + lag), max(0, here.start + lag) + recording.rate)
        assert np.corrcoef(heard[here, 0], recording.samples[there, 0])[0, 1] > 0.9


@pytest.mark.parametrize("name", ["opus", "wav"])
async def test_a_recording_ends_when_its_end_is_reached(
    name: str, stack: Stack, recordings: dict[str, Recording], player_page: PlayerPage
) -> None:
    await player_page.visit(stack.url, recordings[name].track_root)
    await player_page.play()
    await player_page.until_sound()
    await player_page.run("player.currentTime = player.duration - 1.5")
    state = await player_page.until("the end", lambda state: state["ended"])
    length_s = len(recordings[name].samples) / recordings[name].rate
    assert abs(state["currentTime"] - length_s) < 0.06
    await player_page.run("player.play()")
    await player_page.until(
        "a new beginning", lambda state: 0.2 < state["currentTime"] < 10 and not state["ended"]
    )


def _lag(heard: Samples, source: Samples) -> int:
    """At which frame of the source `heard` begins: the best match of the left channel."""
    size = 1 << (len(heard) + len(source)).bit_length()
    spectrum = np.fft.rfft(source[:, 0], size) * np.conj(np.fft.rfft(heard[:, 0], size))
    match = np.fft.irfft(spectrum, size)
    best = int(np.argmax(match))
    return best if best < size // 2 else best - size
