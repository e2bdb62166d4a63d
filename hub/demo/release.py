"""The demo release: FLAC files with tags and covers, what `digm publish` is given on a fresh start."""

import io
from pathlib import Path
from typing import Any

import av
import numpy as np
from mutagen.flac import FLAC, Picture
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from hub.demo.gymnopedie import gymnopedie_1
from hub.demo.minuet import minuet_in_g
from hub.demo.prelude import prelude_in_c
from hub.demo.score import Piece
from hub.demo.synth import SAMPLE_RATE, render

ALBUM, ALBUM_FOR_SALE = "First Listen", "First Sale"
LICENCE = "CC0-1.0"
COVER_SIZE = 1000
COVER_SUPERSAMPLING = 2
PAPERS = ((29, 53, 72), (72, 58, 78))
INK, ACCENT = (232, 222, 204), (240, 150, 96)
FRONT_COVER = 3  # ID3v2 APIC picture type, used by FLAC too


def write_release(folder: Path, *, is_for_sale: bool = False) -> list[Path]:
    """Render the demo music.

    Args:
        folder: made if it is missing.
        is_for_sale: the piece that a fresh start asks money for, instead of the free ones.
    Returns:
        the FLAC files, in order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pieces = (minuet_in_g(),) if is_for_sale else (prelude_in_c(), gymnopedie_1())
    album = ALBUM_FOR_SALE if is_for_sale else ALBUM
    return [_write_piece(folder, album, number, piece) for number, piece in enumerate(pieces, start=1)]


def _write_piece(folder: Path, album: str, number: int, piece: Piece) -> Path:
    path = folder / f"{number:02} {piece.title.replace('/', '-')}.flac"
    path.write_bytes(_encode_flac(render(piece)))
    tags: Any = FLAC(path)  # type: ignore[no-untyped-call]
    tags.update(
        {
            "title": piece.title,
            "artist": piece.artist,
            "album": album,
            "tracknumber": str(number),
            "date": str(piece.year),
            "genre": "Classical",
            "license": LICENCE,
        }
    )
    picture: Any = Picture()  # type: ignore[no-untyped-call]
    picture.type, picture.mime, picture.width, picture.height = (
        FRONT_COVER,
        "image/jpeg",
        COVER_SIZE,
        COVER_SIZE,
    )
    picture.depth, picture.data = 24, draw_cover(piece)
    tags.add_picture(picture)
    tags.save()
    return path


def _encode_flac(samples: NDArray[np.int16]) -> bytes:
    """Lossless, 44.1 kHz, 16 bit, stereo."""
    target = io.BytesIO()
    with av.open(target, "w", format="flac") as container:
        stream = container.add_stream(
            "flac", rate=SAMPLE_RATE, layout="stereo", options={"compression_level": "5"}
        )
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate = SAMPLE_RATE
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return target.getvalue()


def draw_cover(piece: Piece) -> bytes:
    """A JPEG of the piece itself: every note where it lies in time and pitch, the tune in another colour."""
    size = COVER_SIZE * COVER_SUPERSAMPLING
    image = Image.new("RGB", (size, size), PAPERS[piece.beats_per_bar % len(PAPERS)])
    draw = ImageDraw.Draw(image)
    rows, margin = 6, size // 10
    beats = max(note.start for note in piece.notes) + 1
    low, high = min(note.pitch for note in piece.notes), max(note.pitch for note in piece.notes)
    row_beats = piece.beats_per_bar * -(-beats // (piece.beats_per_bar * rows))  # whole bars
    row_height = (size - 2 * margin) / rows
    for note in piece.notes:
        row, within = divmod(note.start, row_beats)
        x = margin + within / row_beats * (size - 2 * margin)
        y = margin + row_height * (row + 0.88 - 0.76 * (note.pitch - low) / (high - low))
        length = min(note.length, row_beats - within) / row_beats * (size - 2 * margin)
        thickness = size / 150 * (0.7 + note.force)
        draw.rounded_rectangle(
            (x, y - thickness / 2, x + max(0.9 * length, thickness), y + thickness / 2),
            radius=thickness / 2,
            fill=ACCENT if note.force > 0.55 else INK,
        )
    image = image.resize((COVER_SIZE, COVER_SIZE), Image.Resampling.LANCZOS)
    target = io.BytesIO()
    image.save(target, "JPEG", quality=88)
    return target.getvalue()
