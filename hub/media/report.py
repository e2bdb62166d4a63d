"""What worker and parent say to each other: one request in, lines of progress and one verdict out, all JSON.

The schema is strict because the worker may have been taken over by the file that it reads.
"""

import msgspec

from hub.media.model import IngestLimits

MAX_LINE_BYTES = 1 << 20
COVER_NAME = "cover.jpg"
MAX_COVER_BYTES = 512 << 10
MAX_COVER_SIDE = 1200
MAX_PEAKS = 2000
MAX_TEXT_CHARS = 500
MAX_NOTES = 8


class Request(msgspec.Struct, frozen=True):
    """What the worker is to do: paths as the file system's bytes.

    Attributes:
        is_picture: the source is a picture, and only the cover is made.
    """

    source: bytes
    folder: bytes
    cover: bytes | None
    limits: IngestLimits
    parent_pid: int
    is_picture: bool = False


class TagsReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tags as the worker read them."""

    title: str | None = None
    artist: str | None = None
    album: str | None = None
    track_number: int | None = None
    year: int | None = None
    genre: str | None = None
    isrc: str | None = None
    licence: str | None = None


class RenditionReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rendition; its files are `{codec}.packets` and `{codec}.index`."""

    codec: str
    sample_rate: int
    channels: int
    bits: int
    timescale: int
    codec_private: bytes
    delay: int
    padding: int


class NoteReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that the artist should know: a key of `hub.media.faults.NOTES`, and how many it concerns."""

    code: str
    count: int = 0


class TrackReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="track"):
    """The recording was read to its end."""

    tags: TagsReport
    has_cover: bool
    duration_s: float
    loudness_lufs: float | None
    true_peak_db: float | None
    peaks: bytes
    renditions: list[RenditionReport]
    source_codec: str
    notes: list[NoteReport]


class FaultReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="fault"):
    """The file is refused. `detail` is for the log of a developer, never for the artist."""

    code: str
    facts: dict[str, str | int | float]
    detail: str = ""


class PictureReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="picture"):
    """The cover was made of the picture; or it is none that can be read."""

    is_readable: bool


class ProgressReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="progress"):
    """A sign of life: how much of the recording was decoded, 0 to 1."""

    done: float


Line = TrackReport | PictureReport | FaultReport | ProgressReport
encode = msgspec.json.encode
