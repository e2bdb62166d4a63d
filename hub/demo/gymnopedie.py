"""Erik Satie: Gymnopédie No. 1 (1888), "lent et douloureux". Public domain.

Its 78 bars: bars 1 to 31 twice, each time with its own ending of 8 bars.
"""

from hub.demo.score import Note, Piece, pitch

# One bar each: the bass on the first beat, the chord on the second.
SHARED_BARS = """
G2 B3 D4 F#4 | D2 A3 C#4 F#4 | G2 B3 D4 F#4 | D2 A3 C#4 F#4 | G2 B3 D4 F#4 | D2 A3 C#4 F#4
G2 B3 D4 F#4 | D2 A3 C#4 F#4 | G2 B3 D4 F#4 | D2 A3 C#4 F#4 | G2 B3 D4 F#4 | D2 A3 C#4 F#4
G2 B3 D4 F#4 | D2 A3 C#4 F#4 | G2 B3 D4 F#4 | D2 A3 C#4 F#4 | F#2 A3 C#4 F#4 | B1 B3 D4 F#4
E2 G3 B3 | E2 B3 D4 G4 | D2 F3 A3 D4 | A1 A3 C4 E4 | D2 G3 B3 E4 | D2 D3 G3 B3 E4
D2 C3 E3 A3 D4 | D2 C3 F#3 A3 D4 | D2 A3 C4 F4 | D2 A3 C4 E4 | D2 D3 G3 B3 E4 | D2 C3 E3 A3 D4
D2 C3 F#3 A3 D4
"""
FIRST_ENDING = "E2 B3 E4 G4 | F#2 A3 C#4 F#4 | B1 B3 D4 F#4 | E2 C#4 E4 A4 | E2 A3 C#4 F#4 A4"
SECOND_ENDING = "E2 B3 E4 G4 | E2 A3 D4 F4 A4 | E2 A3 C4 F4 | E2 C4 E4 A4 | E2 A3 C4 F4 A4"
# The melody: bar (from 1), then note/beats; a dot is a beat of rest.
SHARED_MELODY = """
5: . F#5/1 A5/1 G5/1 F#5/1 C#5/1 B4/1 C#5/1 D5/1 A4/3 F#4/12
13: . F#5/1 A5/1 G5/1 F#5/1 C#5/1 B4/1 C#5/1 D5/1 A4/3 C#5/3 F#5/3 E4/9
22: A4/1 B4/1 C5/1 E5/1 D5/1 B4/1 D5/1 C5/1 B4/1 D5/5 D5/1
27: E5/1 F5/1 G5/1 A5/1 C5/1 D5/1 E5/1 D5/1 B4/1 D5/5 D5/1
"""
FIRST_MELODY = "32: G5/3 F#5/3 B4/1 A4/1 B4/1 C#5/1 D5/1 E5/1 C#5/1 D5/1 E5/1 F#4/3"
SECOND_MELODY = "32: G5/3 F5/3 B4/1 C5/1 F5/1 E5/1 D5/1 C5/1 E5/1 D5/1 C5/1 F4/3"
# Bars 37 to 39 of both endings: beat within them, beats, notes.
CADENCE = ((0, 3, "E2"), (1, 1, "B2 A3 D4"), (2, 1, "E3 B3 D4 G4"), (3, 3, "A2 G3 C4 E4 A4 C5"))
FIRST_LAST_CHORD, SECOND_LAST_CHORD = "D2 A2 D3 D4 F#4 A4 D5", "D2 A2 D3 D4 F4 A4 D5"
BEATS_PER_BAR = 3
BARS_PER_TIME = 39
SHARED_BAR_COUNT = 31


def gymnopedie_1() -> Piece:
    """The whole piece."""
    notes = _time_through(0, FIRST_ENDING, FIRST_MELODY, FIRST_LAST_CHORD, 3)
    notes += _time_through(BARS_PER_TIME, SECOND_ENDING, SECOND_MELODY, SECOND_LAST_CHORD, 7)
    return Piece(
        title="Gymnopédie No. 1",
        artist="Erik Satie",
        year=1888,
        tempo=72,
        beats_per_bar=BEATS_PER_BAR,
        slows_from=BEATS_PER_BAR * (2 * BARS_PER_TIME - 4),
        notes=tuple(sorted(notes)),
    )


def _time_through(first_bar: int, ending: str, melody: str, last_chord: str, last_beats: float) -> list[Note]:
    """Bars 1 to 31 and one ending; `first_bar` counts from 0."""
    offset = BEATS_PER_BAR * first_bar
    bars = [bar.split() for line in (*SHARED_BARS.strip().splitlines(), ending) for bar in line.split("|")]
    notes: list[Note] = []
    for bar, (bass, *chord) in enumerate(bars):
        start = offset + BEATS_PER_BAR * bar
        notes.append(Note(start, 3, pitch(bass), 0.46))
        notes += [Note(start + 1, 2, pitch(name), 0.3) for name in chord]
    for line in (*SHARED_MELODY.strip().splitlines(), melody):
        notes += _melody(offset, line)
    cadence = offset + BEATS_PER_BAR * (SHARED_BAR_COUNT + 5)
    for beat, beats, names in CADENCE:
        notes += [Note(cadence + beat, beats, pitch(name), 0.36) for name in names.split()]
    notes += [Note(cadence + 6, last_beats, pitch(name), 0.34) for name in last_chord.split()]
    return notes


def _melody(offset: float, line: str) -> list[Note]:
    bar, _, words = line.partition(":")
    beat = offset + BEATS_PER_BAR * (int(bar) - 1)
    notes = []
    for word in words.split():
        name, _, beats = word.partition("/")
        if name != ".":
            notes.append(Note(beat, float(beats), pitch(name), 0.66))
        beat += float(beats or 1)
    return notes
