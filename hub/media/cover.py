"""Makes a cover picture anew: nothing of the original file, its metadata and its tricks, gets to a listener."""

import io
import math
from pathlib import Path

from PIL import Image, ImageOps

from hub.media.faults import MediaFault
from hub.media.report import COVER_NAME, MAX_COVER_BYTES, MAX_COVER_SIDE

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
_MAX_SOURCE_BYTES = 64 << 20
_QUALITIES = (88, 80, 70, 55, 40)
_PAPER = "white"

# The limit is ours and known before a pixel is decoded; Pillow's own would first warn, then raise.
Image.MAX_IMAGE_PIXELS = None


def load_codecs() -> None:
    """Import what opening a picture needs, while files can still be read."""
    Image.init()


def write_cover(data: bytes, folder: Path, max_pixels: int) -> bool:
    """Write the picture as `cover.jpg`, at most 1200 pixels wide and high and 512 KiB.

    Returns:
        False if it is not a picture that can be read.
    Raises:
        MediaFault: `cover_too_large`, before it is decoded.
    """
    if len(data) > _MAX_SOURCE_BYTES:
        limit = f"{_MAX_SOURCE_BYTES >> 20} MiB"
        raise MediaFault("cover_too_large", what=f"more than {limit}", limit=limit)
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
            if picture.width * picture.height > max_pixels:
                side = math.isqrt(max_pixels)
                raise MediaFault(
                    "cover_too_large",
                    what=f"{picture.width} by {picture.height} pixels",
                    limit=f"{side} by {side} pixels",
                )
            clean = _flat(picture)
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError):
        return False
    for quality in _QUALITIES:
        encoded = io.BytesIO()
        clean.save(encoded, "JPEG", quality=quality, optimize=True)
        if encoded.tell() <= MAX_COVER_BYTES:
            break
    (folder / COVER_NAME).write_bytes(encoded.getvalue())
    return True


def _flat(picture: Image.Image) -> Image.Image:
    # A JPEG can be decoded at a half, a quarter or an eighth of its size.
    picture.draft("RGB", (MAX_COVER_SIDE, MAX_COVER_SIDE))
    picture.thumbnail((MAX_COVER_SIDE, MAX_COVER_SIDE))
    upright = ImageOps.exif_transpose(picture)
    if "A" in upright.getbands() or "transparency" in upright.info:
        behind = Image.new("RGBA", upright.size, _PAPER)
        upright = Image.alpha_composite(behind, upright.convert("RGBA"))
    flat = upright.convert("RGB")
    # JPEG writes what it finds here.
    flat.info.clear()
    return flat
