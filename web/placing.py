"""Where to go on appending: at which byte of which chunk, and from which moment on it is to be heard."""

from dataclasses import dataclass

from web.feeder import ROUNDING_S, Feeder
from web.playlist import Playlist


@dataclass(frozen=True, slots=True)
class Place:
    """What is appended next.

    Attributes:
        entry: a track, by its place in the timeline.
        at: from this byte of the chunk's plaintext on.
        units: the time of its first sample in the rendition's timescale; None: it follows what came last.
        window_s: nothing before this moment is to be heard; what is in front of it is for the decoder.
    """

    entry: int
    chunk: int
    at: int = 0
    units: int | None = None
    window_s: float | None = None


@dataclass(frozen=True, slots=True)
class Seam:
    """A moment of the audio element's clock from which on something is missing.

    Attributes:
        is_joined: what is there reaches up to it.
        is_cut: what is there was cut off at it, inside of an access unit: a preview ends here.
    """

    moment_s: float
    is_joined: bool
    is_cut: bool = False


def find_seam(playlist: Playlist, feeder: Feeder, position_s: float) -> Seam:
    """Behind what is there without a gap from a position, or the position."""
    entry = playlist.current()
    if entry.is_ready and entry.stream.limits.preview_s is not None:
        cut_s = entry.offset_s + entry.stream.limits.preview_s
        is_here = abs(position_s - cut_s) < 2 * ROUNDING_S  # where nothing is buffered any more
        end_s = feeder.buffered_end(cut_s - 2 * ROUNDING_S if is_here else position_s)
        if end_s is not None and abs(end_s - cut_s) < ROUNDING_S:
            return Seam(cut_s, is_joined=True, is_cut=True)
    end_s = feeder.buffered_end(position_s)
    return Seam(position_s, is_joined=False) if end_s is None else Seam(end_s, is_joined=True)


def place_at(playlist: Playlist, feeder: Feeder, seam: Seam) -> Place | None:
    """Where to begin for a seam; None while its track, or a key for what is behind it, is not known yet."""
    is_behind = seam.is_joined and not seam.is_cut
    target_s = seam.moment_s + (ROUNDING_S if is_behind else 0.0)
    number = playlist.number_at(target_s)
    entry = playlist.entries[number]
    if not entry.is_ready or (seam.is_cut and entry.offset_s + entry.stream.limits.end_s() <= target_s):
        return None
    rendition = entry.stream.rendition
    needs_s = rendition.config.preroll_s
    preroll_s = 0.0 if seam.is_joined else needs_s
    chunk, (at, units) = entry.stream.line.entrance(target_s - entry.offset_s, preroll_s)
    window_s = target_s if preroll_s else None
    # What is buffered stays: another rendition goes on exactly where it ends, and so does the rest of a FLAC
    # frame. A frame of another codec is decoded together with the one before it: it is appended again whole.
    is_other = feeder.is_other_rendition(rendition, entry.offset_s)
    if seam.is_joined and (is_other or (seam.is_cut and not needs_s)):
        window_s = seam.moment_s
    return Place(number, chunk, at, units, window_s)
