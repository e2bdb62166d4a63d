"""Christian Petzold: Minuet in G major, BWV Anh. 114 (Notebook for Anna Magdalena Bach, 1725). Public domain.

Both halves of 16 bars, each played twice, as written; without ornaments.
"""

from hub.demo.score import Note, Piece, pitch

# One bar each, all three beats: note/beats; a plus joins notes that sound together.
RIGHT_HAND = """
D5/1 G4/.5 A4/.5 B4/.5 C5/.5 | D5/1 G4/1 G4/1 | E5/1 C5/.5 D5/.5 E5/.5 F#5/.5 | G5/1 G4/1 G4/1
C5/1 D5/.5 C5/.5 B4/.5 A4/.5 | B4/1 C5/.5 B4/.5 A4/.5 G4/.5 | F#4/1 G4/.5 A4/.5 B4/.5 G4/.5 | A4/3
D5/1 G4/.5 A4/.5 B4/.5 C5/.5 | D5/1 G4/1 G4/1 | E5/1 C5/.5 D5/.5 E5/.5 F#5/.5 | G5/1 G4/1 G4/1
C5/1 D5/.5 C5/.5 B4/.5 A4/.5 | B4/1 C5/.5 B4/.5 A4/.5 G4/.5 | A4/1 B4/.5 A4/.5 G4/.5 F#4/.5 | G4/3
B5/1 G5/.5 A5/.5 B5/.5 G5/.5 | A5/1 D5/.5 E5/.5 F#5/.5 D5/.5 | G5/1 E5/.5 F#5/.5 G5/.5 D5/.5
C#5/1 B4/.5 C#5/.5 A4/1 | A4/.5 B4/.5 C#5/.5 D5/.5 E5/.5 F#5/.5 | G5/1 F#5/1 E5/1 | F#5/1 A4/1 C#5/1 | D5/3
D5/1 G4/.5 F#4/.5 G4/1 | E5/1 G4/.5 F#4/.5 G4/1 | D5/1 C5/1 B4/1 | A4/.5 G4/.5 F#4/.5 G4/.5 A4/1
D4/.5 E4/.5 F#4/.5 G4/.5 A4/.5 B4/.5 | C5/1 B4/1 A4/1 | B4/.5 D5/.5 G4/1 F#4/1 | B3+D4+G4/3
"""
LEFT_HAND = """
G3+B3+D4/2 A3/1 | B3/3 | C4/3 | B3/3
A3/3 | G3/3 | D4/1 B3/1 G3/1 | D4/1 D3/.5 C4/.5 B3/.5 A3/.5
B3/2 A3/1 | G3/1 B3/1 G3/1 | C4/3 | B3/1 C4/.5 B3/.5 A3/.5 G3/.5
A3/2 F#3/1 | G3/2 B3/1 | C4/1 D4/1 D3/1 | G3/2 G2/1
G3/3 | F#3/3 | E3/1 G3/1 E3/1 | A3/2 A2/1
A3/3 | B3/1 D4/1 C#4/1 | D4/1 F#3/1 A3/1 | D4/1 D3/1 C4/1
B3/3 | C4/3 | B3/1 A3/1 G3/1 | D4/3
D3/3 | E3/1 G3/1 F#3/1 | G3/1 B2/1 D3/1 | G3/1 D3/1 G2/1
"""
BEATS_PER_BAR = 3
HALF_BARS = 16
RIGHT_FORCE, LEFT_FORCE, AGAIN = 0.6, 0.42, 0.88  # the second time through is softer


def minuet_in_g() -> Piece:
    """The whole piece."""
    right, left = _bars(RIGHT_HAND), _bars(LEFT_HAND)
    notes: list[Note] = []
    played = 0
    for half in (0, HALF_BARS):
        for force in (1.0, AGAIN):
            for bar in range(half, half + HALF_BARS):
                start = BEATS_PER_BAR * played
                notes += _hand(start, right[bar], RIGHT_FORCE * force)
                notes += _hand(start, left[bar], LEFT_FORCE * force)
                played += 1
    return Piece(
        title="Minuet in G major, BWV Anh. 114",
        artist="Christian Petzold",
        year=1725,
        tempo=126,
        beats_per_bar=BEATS_PER_BAR,
        slows_from=BEATS_PER_BAR * (played - 2),
        notes=tuple(sorted(notes)),
    )


def _bars(hand: str) -> list[list[str]]:
    return [bar.split() for line in hand.strip().splitlines() for bar in line.split("|")]


def _hand(start: float, words: list[str], force: float) -> list[Note]:
    """One bar of one hand."""
    notes: list[Note] = []
    for word in words:
        names, _, beats = word.partition("/")
        notes += [Note(start, float(beats), pitch(name), force) for name in names.split("+")]
        start += float(beats)
    return notes
