"""The confined process: `python -I -m hub.media.worker`, one request on stdin, its answer on stdout.

Holds no key and no secret, inherits nothing, and gives up its rights before it looks at the file.
"""

import errno
import os
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import av
import msgspec

from hub.media import cover, tags
from hub.media.analysis import Loudness, Waveform
from hub.media.confinement import confine_files, die_with_parent, limit_resources
from hub.media.decoding import Uniform, batches
from hub.media.fanout import Consumer, Fanout
from hub.media.faults import MediaFault
from hub.media.lossy_copy import copy_units
from hub.media.model import IngestLimits
from hub.media.recordings import FlacCopy, LossyCopy, Recording, Transcode, flac_bits
from hub.media.renditions import OpusEncoder
from hub.media.report import (
    FaultReport,
    Line,
    NoteReport,
    PictureReport,
    ProgressReport,
    Request,
    TagsReport,
    TrackReport,
    encode,
)
from hub.media.source import Source, open_source, refuse_too_long

_PROGRESS_EVERY_S = 0.2
_MAX_COVER_FILE_BYTES = (64 << 20) + 1
_MAX_FLAC_BITS = 24
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class Answers:
    """The way back to the parent."""

    def __init__(self) -> None:
        # Nothing that a library prints may end up between the answers.
        self._out = os.dup(1)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
        self._last = 0.0

    def send(self, report: Line) -> None:
        """Write one line."""
        line = encode(report) + b"\n"
        while line:
            line = line[os.write(self._out, line) :]

    def progress(self, samples: int, expected: int | None) -> None:
        """Say now and then how far the recording was read, or only that this process is alive."""
        now = time.monotonic()
        if now - self._last >= _PROGRESS_EVERY_S:
            self._last = now
            self.send(ProgressReport(min(samples / expected, 1.0) if expected else 0.0))


@dataclass
class _Reading:
    """A source on its way through decoder, encoders and meters."""

    source: Source
    recording: Recording
    opus: OpusEncoder | None
    loudness: Loudness
    waveform: Waveform
    uniform: Uniform

    @classmethod
    def open(cls, source: Source, folder: Path, limits: IngestLimits) -> "_Reading":
        recording = _open_recording(source, folder, limits)
        rate, channels = recording.sample_rate, recording.channels
        opus = None if recording.is_opus else OpusEncoder(folder, rate, channels)
        uniform = Uniform(rate, channels, recording.is_clipped)
        return cls(source, recording, opus, Loudness(rate, channels), Waveform(), uniform)

    def run(self, limits: IngestLimits, answers: Answers) -> None:
        """Decode to the end."""
        groups: list[Sequence[Consumer]] = [[self.loudness], [self.waveform, *self.recording.consumers]]
        if self.opus:
            groups.append([self.opus])
        with Fanout(groups) as fanout:
            for batch in batches(self.uniform.frames(self.recording.frames())):
                refuse_too_long(self.uniform.samples, self.recording.sample_rate, limits)
                fanout.put(batch)
                answers.progress(self.uniform.samples, self.recording.expected_samples)
        if self.uniform.samples == 0:
            raise MediaFault("no_audio")

    def report(self, tags_report: TagsReport, has_cover: bool) -> TrackReport:
        """Close the renditions and say what came out."""
        samples = self.uniform.samples
        renditions = [self.recording.finish(samples)]
        if self.opus:
            renditions.append(self.opus.report())
        notes = [*self.source.notes, *self.recording.notes()]
        if self.uniform.clipped:
            notes.append(NoteReport("clipped", self.uniform.clipped))
        if self.uniform.made_silent:
            notes.append(NoteReport("not_numbers", self.uniform.made_silent))
        return TrackReport(
            tags=tags_report,
            has_cover=has_cover,
            duration_s=samples / self.recording.sample_rate,
            loudness_lufs=self.loudness.integrated_lufs,
            true_peak_db=self.loudness.true_peak_db,
            peaks=self.waveform.values(),
            renditions=renditions,
            source_codec=self.source.codec,
            notes=notes,
        )


def _open_recording(source: Source, folder: Path, limits: IngestLimits) -> Recording:
    if source.codec in ("aac", "mp3", "opus"):
        return LossyCopy(copy_units(source, folder, limits))
    # In MP4 an edit list may cut FLAC anywhere, which its frames cannot express.
    is_copied = source.codec == "flac" and source.mp4 is None
    if is_copied and flac_bits(source.stream.codec_context.extradata or b"") <= _MAX_FLAC_BITS:
        return FlacCopy(source, folder)
    return Transcode(source, folder)


def _read_cover_file(path: bytes | None) -> bytes | None:
    if path is None:
        return None
    try:
        with Path(os.fsdecode(path)).open("rb") as file:
            return file.read(_MAX_COVER_FILE_BYTES)
    except OSError:
        return None


def _read_track(file: BinaryIO, request: Request, cover_file: bytes | None, answers: Answers) -> TrackReport:
    folder, limits = Path(os.fsdecode(request.folder)), request.limits
    source = open_source(file, limits)
    read = tags.read_file(file, source.demuxer)
    title = Path(os.fsdecode(request.source)).stem
    ape = tags.read_ape(file, source.demuxer)
    tags_report = tags.clean_tags(read, ape, source.container.metadata, title)
    has_cover = False
    for picture in (tags.embedded_cover(read), tags.ape_cover(ape), cover_file):
        if picture and not has_cover:
            has_cover = cover.write_cover(picture, folder, limits.max_cover_pixels)
            if not has_cover:
                source.notes.append(NoteReport("cover_unreadable"))
    reading = _Reading.open(source, folder, limits)
    reading.run(limits, answers)
    return reading.report(tags_report, has_cover)


def _make_cover(file: BinaryIO, request: Request) -> PictureReport:
    data, folder = file.read(_MAX_COVER_FILE_BYTES), Path(os.fsdecode(request.folder))
    return PictureReport(cover.write_cover(data, folder, request.limits.max_cover_pixels))


def _fault_of(error: BaseException) -> FaultReport:
    """Whose fault an exception is, by what it says of itself."""
    detail = "".join(traceback.format_exception(error))[-4000:]
    if isinstance(error, MediaFault):
        return FaultReport(error.code, error.facts)
    if isinstance(error, MemoryError) or "can't start new thread" in str(error):
        return FaultReport("ingest_out_of_memory", {}, detail)
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return FaultReport("disk_full", {}, detail)
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return FaultReport("output_too_large", {}, detail)
    if isinstance(error, av.error.FFmpegError):
        return FaultReport("damaged_file", {"what": f"FFmpeg says: {error.strerror}"}, detail)
    return FaultReport("ingest_crashed", {"what": type(error).__name__}, detail)


def main() -> int:
    """Answer one request."""
    answers = Answers()
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
    try:
        die_with_parent(request.parent_pid)
        limit_resources(request.limits)
        cover.load_codecs()
        cover_file = _read_cover_file(request.cover)
        source = Path(os.fsdecode(request.source))
        try:
            file = source.open("rb")
        except OSError:
            answers.send(FaultReport("unreadable_file", {}))
            return 1
        with file:
            confine_files([source], Path(os.fsdecode(request.folder)))
            if request.is_picture:
                answers.send(_make_cover(file, request))
            else:
                answers.send(_read_track(file, request, cover_file, answers))
    except BaseException as error:
        answers.send(_fault_of(error))
        return 1
    return 0


if __name__ == "__main__":
    # Open containers and encoders need no tidy end: the process is the tidy end.
    status = main()
    os._exit(status)
