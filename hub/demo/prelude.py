"""Johann Sebastian Bach: Prelude in C major, BWV 846 (The Well-Tempered Clavier I, 1722). Public domain.

All 35 bars, as in the autograph: without the bar that Schwencke added in 1783.
"""

from hub.demo.score import Note, Piece, pitch

# Bars 1 to 32: five notes each, from low to high. Every bar plays the same figure twice.
CHORDS = """
C4 E4 G4 C5 E5 | C4 D4 A4 D5 F5 | B3 D4 G4 D5 F5 | C4 E4 G4 C5 E5
C4 E4 A4 E5 A5 | C4 D4 F#4 A4 D5 | B3 D4 G4 D5 G5 | B3 C4 E4 G4 C5
A3 C4 E4 G4 C5 | D3 A3 D4 F#4 C5 | G3 B3 D4 G4 B4 | G3 Bb3 E4 G4 C#5
F3 A3 D4 A4 D5 | F3 Ab3 D4 F4 B4 | E3 G3 C4 G4 C5 | E3 F3 A3 C4 F4
D3 F3 A3 C4 F4 | G2 D3 G3 B3 F4 | C3 E3 G3 C4 E4 | C3 G3 Bb3 C4 E4
F2 F3 A3 C4 E4 | F#2 C3 A3 C4 Eb4 | Ab2 F3 B3 C4 D4 | G2 F3 G3 B3 D4
G2 E3 G3 C4 E4 | G2 D3 G3 C4 F4 | G2 D3 G3 B3 F4 | G2 Eb3 A3 C4 F#4
G2 E3 G3 C4 G4 | G2 D3 G3 C4 F4 | G2 D3 G3 B3 F4 | C2 C3 G3 Bb3 E4
"""
# Bars 33 and 34: a bass, a tenor from the second sixteenth on, and one line from the third.
RUNS = (
    ("C2", "C3", "F3 A3 C4 F4 C4 A3 C4 A3 F3 A3 F3 D3 F3 D3"),
    ("C2", "B2", "G4 B4 D5 F5 D5 B4 D5 B4 G4 B4 D4 F4 E4 D4"),
)
LAST_CHORD = "C2 C3 E4 G4 C5"
BEATS_PER_BAR = 4


def prelude_in_c() -> Piece:
    """The whole prelude."""
    chords = [bar.split() for line in CHORDS.strip().splitlines() for bar in line.split("|")]
    notes: list[Note] = []
    for bar, names in enumerate(chords):
        for half_bar in (0, 2):
            notes += _figure(BEATS_PER_BAR * bar + half_bar, [pitch(name) for name in names])
    for bar, (bass, tenor, line) in enumerate(RUNS, start=len(chords)):
        start = BEATS_PER_BAR * bar
        notes += [Note(start, 4, pitch(bass), 0.62), Note(start + 0.25, 3.75, pitch(tenor), 0.5)]
        for step, name in enumerate(line.split(), start=2):
            notes.append(Note(start + 0.25 * step, 0.5, pitch(name), 0.52 - 0.006 * step))
    end = BEATS_PER_BAR * (len(chords) + len(RUNS))
    # Spread from below, as the arpeggio sign asks.
    notes += [Note(end + 0.1 * i, 8 - 0.1 * i, pitch(name), 0.5) for i, name in enumerate(LAST_CHORD.split())]
    return Piece(
        title="Prelude in C major, BWV 846",
        artist="Johann Sebastian Bach",
        year=1722,
        tempo=66,
        beats_per_bar=BEATS_PER_BAR,
        slows_from=end - 7,
        notes=tuple(notes),
    )


def _figure(start: float, pitches: list[int]) -> list[Note]:
    """Two notes of the left hand, held, then the three of the right hand, twice."""
    bass, tenor, *upper = pitches
    notes = [Note(start, 2, bass, 0.6), Note(start + 0.25, 1.75, tenor, 0.46)]
    for step in range(6):
        force = (0.43, 0.46, 0.54)[step % 3] * (1 if step < 3 else 0.93)
        notes.append(Note(start + 0.5 + 0.25 * step, 0.5, upper[step % 3], force))
    return notes
