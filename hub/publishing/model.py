"""What goes into publishing and what comes out of it."""

from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from digm.errors import CallerFault
from digm.json_reader import MAX_TEXT

Stage = Literal["reading", "encoding", "encrypting", "storing"]
STAGES: tuple[Stage, ...] = ("reading", "encoding", "encrypting", "storing")


class PublishOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the artist says instead of the files' tags.

    Attributes:
        title: for one file only.
        preview_seconds: how much anyone may hear; None: all of it.
    Raises:
        CallerFault: `bad_option`.
    """

    title: str | None = None
    artist: str | None = None
    album: str | None = None
    preview_seconds: int | None = None

    def __post_init__(self) -> None:
        for name in ("title", "artist", "album"):
            text = getattr(self, name)
            if text is not None and not (0 < len(text.strip()) <= MAX_TEXT and text.isprintable()):
                raise CallerFault(
                    "bad_option", f"--{name} takes 1 to {MAX_TEXT} printable characters.", option=name
                )
        if self.preview_seconds is not None and self.preview_seconds < 1:
            raise CallerFault(
                "bad_option",
                "--preview-seconds takes 1 or more; leave it out to let everyone hear all of it.",
                option="preview_seconds",
            )


class ProgressEvent(NamedTuple):
    """How far a file is: `done` of `stage`, 0 to 1."""

    file: Path
    stage: Stage
    done: float


class Note(NamedTuple):
    """A sentence for the artist about a file that can be published nevertheless."""

    file: Path
    sentence: str


Report = ProgressEvent | Note


class PublishedTrack(msgspec.Struct, frozen=True, kw_only=True):
    """A track that is in the catalogue now: one JSON line of `digm publish --json`.

    Attributes:
        status: `repaired`: it was published already, and what was damaged of it has been put back.
    """

    track_root: str
    title: str
    artist: str | None
    album: str | None
    duration_s: float
    status: Literal["published", "already_published", "repaired"]
    file: str
