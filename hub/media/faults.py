"""Every way in which a file can be refused: a stable code and the sentence for it.

The worker only names a code and its facts. The sentence is put together on the trusted side, so that a worker
that a file has taken over cannot speak to the artist in its own words.
"""

from collections.abc import Mapping
from pathlib import Path

from digm.errors import CallerFault
from digm.plain_text import clean_text

SENTENCES: Mapping[str, str] = {
    "no_such_file": "{file} does not exist: check the name.",
    "not_a_file": "{file} is not a regular file: give an audio file.",
    "unreadable_file": "{file} cannot be read: check its permissions.",
    "empty_file": "{file} is empty: copy or export it again.",
    "unsupported_format": "{file} is {what}, not audio that DIGM takes: give a FLAC, WAV, AIFF, ALAC, AAC, MP3,"
    " Opus or Ogg Vorbis file.",
    "unsupported_codec": "{file} holds sound as {what}, which DIGM does not take: save it as FLAC.",
    "unsupported_sample_rate": "{file} has a sample rate of {rate} Hz, outside 8000 to 192000 Hz: resample it.",
    "video_file": "{file} is a video: export its sound as FLAC and publish that.",
    "drm_protected": "{file} is protected by DRM, so it cannot be opened: publish a copy without protection.",
    "no_audio": "{file} holds no sound: give an audio file.",
    "truncated_file": "{file} is cut short ({what}): copy or export it again.",
    "damaged_file": "{file} is damaged ({what}): copy or export it again.",
    "changing_format": "{file} changes its format or its codec setup within the recording: export it again"
    " in one piece.",
    "too_long": "{file} is longer than {limit} hours: split it into several tracks.",
    "too_many_channels": "{file} has {channels} channels, and DIGM takes mono and stereo: mix it down to"
    " stereo.",
    "cover_too_large": "The cover picture of {file} is {what}, too large to be opened safely: use one of at"
    " most {limit}.",
    "cover_unreadable": "{file} is no picture that can be read: give a JPEG, PNG, WebP, GIF or BMP.",
    "disk_full": "There is no room left on the disk while {file} is prepared: free some space and publish"
    " it again.",
    "output_too_large": "{file} takes more room than one file may take: split it into several tracks.",
    "ingest_out_of_memory": "{file} needs more memory than a recording may take: export it again.",
    "ingest_timeout": "{file} took too long to read, so reading was stopped: export it again.",
    "ingest_crashed": "{file} made the media reader stop ({what}): export it again with another program.",
    "ingest_refused": "What the media reader said about {file} does not hold ({what}): this is a defect of"
    " DIGM or a hostile file.",
}
NOTES: Mapping[str, str] = {
    "first_recording": "The file holds {count} recordings: the first one is published.",
    "vorbis_as_flac": "Ogg Vorbis was decoded and is published as FLAC with 16 bits, because browsers do not"
    " play it in MP4.",
    "widened": "The samples are published as FLAC with {count} bits.",
    "rounded": "{count} samples had more than the 24 bits that browsers play and were rounded.",
    "clipped": "{count} samples were louder than full scale and were clipped.",
    "not_numbers": "{count} samples were not numbers and were made silent.",
    "length_unknown": "The header does not say how long the recording is: everything in the file was taken.",
    "cover_unreadable": "The cover picture could not be read and was left out.",
}
_MAX_FACT_CHARS = 120


class MediaFault(Exception):
    """A refusal on its way from the depth of the worker to its edge.

    Args:
        code: a key of `SENTENCES`.
        facts: what the sentence leaves open, apart from the file.
    """

    def __init__(self, code: str, **facts: str | int | float) -> None:
        super().__init__(code)
        self.code = code
        self.facts = facts


def caller_fault(code: str, source: Path, facts: Mapping[str, object] | None = None) -> CallerFault:
    """The error that the caller sees. Facts that are missing or odd never keep the sentence from being said."""
    said = {name: clean_text(str(value), _MAX_FACT_CHARS) for name, value in (facts or {}).items()}
    known = {"what": "it", "rate": "?", "channels": "too many", "limit": "?"} | said
    known["file"] = clean_text(str(source), 500)
    return CallerFault(code, SENTENCES[code].format_map(known), **(said | {"file": known["file"]}))


def note_sentence(code: str, count: int) -> str:
    """What the artist is told."""
    return NOTES[code].format(count=count)
