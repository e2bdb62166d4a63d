"""A piece of music as data: notes by beat and pitch. How they sound is the synthesiser's business."""

from typing import NamedTuple

_STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_ACCIDENTALS = {"": 0, "#": 1, "b": -1}


class Note(NamedTuple):
    """One note. `start` and `length` are in quarter notes, `pitch` is a MIDI number, `force` is 0 to 1."""

    start: float
    length: float
    pitch: int
    force: float


class Piece(NamedTuple):
    """A piece with what the tags of its file say.

    Attributes:
        tempo: quarter notes a minute.
        beats_per_bar: the pedal is changed at every bar line.
        slows_from: the beat from which it slows down towards its end.
    """

    title: str
    artist: str
    year: int
    tempo: float
    beats_per_bar: int
    slows_from: float
    notes: tuple[Note, ...]


def pitch(name: str) -> int:
    """The MIDI number of a note's name: C4 (middle C) is 60, F#3 is 54, Bb3 is 58."""
    return 12 * (int(name[-1]) + 1) + _STEPS[name[0]] + _ACCIDENTALS[name[1:-1]]
