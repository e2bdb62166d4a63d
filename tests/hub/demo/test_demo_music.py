"""The demo music: the right notes, and sound that is worth listening to."""

import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from mutagen.flac import FLAC
from PIL import Image

from hub.demo.gymnopedie import gymnopedie_1
from hub.demo.minuet import minuet_in_g
from hub.demo.prelude import prelude_in_c
from hub.demo.release import draw_cover, write_release
from hub.demo.score import Piece, pitch
from hub.demo.synth import SAMPLE_RATE, render


def sounding(piece: Piece, beat: float) -> set[int]:
    return {note.pitch for note in piece.notes if note.start <= beat < note.start + note.length}


def names(text: str) -> list[int]:
    return [pitch(name) for name in text.split()]


def test_note_names_are_midi_numbers() -> None:
    assert names("C4 A4 F#2 Bb3 Eb4 B1") == [60, 69, 42, 58, 63, 35]


def test_the_prelude_is_whole() -> None:
    piece = prelude_in_c()
    assert max(note.start // 4 for note in piece.notes) == 34  # 35 bars
    for bar in range(32):
        in_bar = sorted(note for note in piece.notes if 4 * bar <= note.start < 4 * bar + 4)
        assert [note.start - 4 * bar for note in in_bar] == [0.25 * step for step in range(16)]
        pitches = [note.pitch for note in in_bar]
        assert pitches[:8] == pitches[8:]
        assert pitches[2:5] == pitches[5:8]
        assert pitches[:5] == sorted(pitches[:5])
    assert [note.pitch for note in piece.notes[:5]] == names("C4 E4 G4 C5 E5")
    assert {note.pitch for note in piece.notes[-5:]} == set(names("C2 C3 E4 G4 C5"))


def test_the_harmony_of_the_prelude_is_bachs() -> None:
    """Roman numerals of the textbooks, as pitch classes of whole bars."""
    piece = prelude_in_c()
    expected = {
        1: "C E G", 2: "C D F A", 3: "B D F G", 6: "C D F# A", 12: "G Bb E C#", 14: "F Ab D B", 18: "G D B F",
        22: "F# C A Eb", 23: "Ab F B C D", 24: "G F B D", 28: "G Eb A C F#", 32: "C G Bb E",
    }  # fmt: skip
    for bar, letters in expected.items():
        heard = {note.pitch % 12 for note in piece.notes if 4 * (bar - 1) <= note.start < 4 * bar}
        assert heard == {pitch(letter + "4") % 12 for letter in letters.split()}, bar


def test_the_gymnopedie_is_whole() -> None:
    piece = gymnopedie_1()
    assert max(note.start // 3 for note in piece.notes) == 77  # 78 bars
    for bar in range(78):
        in_bar = [note for note in piece.notes if note.start == 3 * bar]
        assert in_bar, f"bar {bar + 1} has no first beat"
    melody = [note for note in piece.notes if note.force == 0.66]
    assert [note.pitch for note in melody[:9]] == names("F#5 A5 G5 F#5 C#5 B4 C#5 D5 A4")
    assert melody[0].start == 3 * 4 + 1
    # Each voice of the melody ends where the next begins: no bar was counted wrong.
    for one, following in pairwise(melody):
        assert one.start + one.length <= following.start
    assert sounding(piece, 3 * 38) == set(names("D2 A2 D3 D4 F#4 A4 D5"))
    assert sounding(piece, 3 * 77) == set(names("D2 A2 D3 D4 F4 A4 D5"))
    assert sounding(piece, 3 * 21 + 1) == set(names("A1 A3 C4 E4 B4"))


def test_the_minuet_is_whole() -> None:
    piece = minuet_in_g()
    assert max(note.start // 3 for note in piece.notes) == 63  # 32 bars, each half twice
    for hand in (0.6, 0.42):
        for force in (hand, hand * 0.88):
            beats = [note for note in piece.notes if note.force == force]
            assert len({note.start // 3 for note in beats}) == 32
            assert all(note.start % 3 + note.length <= 3 for note in beats), "a bar was counted wrong"
    melody = [note for note in piece.notes if note.force == 0.6]
    assert [note.pitch for note in melody[:8]] == names("D5 G4 A4 B4 C5 D5 G4 G4")
    assert [note.pitch for note in melody[-3:]] == names("B3 D4 G4")
    assert sum(note.length for note in melody[:-2]) == 96  # no beat without the tune


@pytest.fixture(scope="module")
def bach() -> np.ndarray:
    return render(prelude_in_c())


def test_it_sounds_long_and_loud_enough_and_never_clips(bach: np.ndarray) -> None:
    assert bach.dtype == np.int16
    assert bach.shape[1] == 2
    assert len(bach) > 120 * SAMPLE_RATE
    level = np.abs(bach.astype(np.float64)) / 32_768
    assert 0.85 < level.max() < 0.9  # -1 dBFS
    assert -23 < 20 * np.log10(np.sqrt(np.mean(bach.astype(np.float64) ** 2)) / 32_768) < -15
    assert level[: SAMPLE_RATE // 4].max() < 0.001
    assert level[-SAMPLE_RATE // 100 :].max() < 0.001
    assert abs(bach.astype(np.float64).mean()) < 20


def test_it_plays_the_notes_that_are_written(bach: np.ndarray) -> None:
    """The strongest partials of the first bar are C, E and G, at concert pitch."""
    first_bar = bach[int(1.2 * SAMPLE_RATE) : int(3.4 * SAMPLE_RATE)].sum(axis=1) * np.hanning(
        int(2.2 * SAMPLE_RATE)
    )
    spectrum = np.abs(np.fft.rfft(first_bar))
    hertz = np.fft.rfftfreq(len(first_bar), 1 / SAMPLE_RATE)
    loudest = hertz[np.argsort(spectrum)[::-1][:12]]
    for frequency in loudest:
        steps = 69 + 12 * np.log2(frequency / 440)
        assert abs(steps - round(steps)) < 0.25
        assert round(steps) % 12 in {0, 4, 7}


def test_the_same_score_gives_the_same_samples() -> None:
    piece = prelude_in_c()
    short = piece._replace(notes=piece.notes[:24], slows_from=0)
    assert np.array_equal(render(short), render(short))


def test_the_release_has_tags_and_covers(tmp_path: Path) -> None:
    files = write_release(tmp_path)
    tags = [FLAC(path) for path in files]
    assert [(tag["title"], tag["artist"]) for tag in tags] == [
        (["Prelude in C major, BWV 846"], ["Johann Sebastian Bach"]),
        (["Gymnopédie No. 1"], ["Erik Satie"]),
    ]
    assert {tag["album"][0] for tag in tags} == {"First Listen"}
    for tag in tags:
        assert tag.info.length > 120
        assert (tag.info.sample_rate, tag.info.channels, tag.info.bits_per_sample) == (44_100, 2, 16)
        assert Image.open(io.BytesIO(tag.pictures[0].data)).size == (1000, 1000)


def test_the_piece_for_sale_is_a_release_of_its_own(tmp_path: Path) -> None:
    (path,) = write_release(tmp_path, is_for_sale=True)
    tag = FLAC(path)
    assert (tag["artist"], tag["album"]) == (["Christian Petzold"], ["First Sale"])
    assert 80 < tag.info.length < 110


def test_covers_differ() -> None:
    assert draw_cover(prelude_in_c()) != draw_cover(gymnopedie_1())
