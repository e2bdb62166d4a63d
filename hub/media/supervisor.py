"""The trusted side: starts the confined worker, watches it, and checks every word of its answer.

Never looks inside a media file.
"""

import math
import os
import re
import selectors
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from digm.errors import CallerFault
from digm.media import AudioConfig
from digm.plain_text import clean_text
from hub.media.faults import NOTES, SENTENCES, caller_fault, note_sentence
from hub.media.model import INDEX_ENTRY, IngestedRendition, IngestedTrack, IngestLimits, Tags
from hub.media.report import (
    COVER_NAME,
    MAX_COVER_BYTES,
    MAX_LINE_BYTES,
    MAX_NOTES,
    MAX_PEAKS,
    MAX_TEXT_CHARS,
    FaultReport,
    Line,
    PictureReport,
    ProgressReport,
    RenditionReport,
    Request,
    TrackReport,
    encode,
)

_READ_BYTES = 1 << 16
_EXIT_SECONDS = 10
_INDEX_READ_BYTES = INDEX_ENTRY.size << 13
_DURATION_TOLERANCE_S = 0.001
_CODEC_NAME = re.compile(r"[a-z0-9_]{1,32}")
# One arena per thread would reserve address space without need; threads of a numerical library would take time
# from the encoders.
_ENVIRONMENT = {"LC_ALL": "C.UTF-8", "MALLOC_ARENA_MAX": "2", "OPENBLAS_NUM_THREADS": "1"}
_decode_line = msgspec.json.Decoder(Line).decode

Progress = Callable[[float], None]
Verdict = TrackReport | PictureReport


class _Refused(Exception):
    """The worker's answer does not hold."""


def ingest(
    source: Path,
    workdir: Path,
    limits: IngestLimits | None = None,
    on_progress: Progress | None = None,
    cover: Path | None = None,
) -> IngestedTrack:
    """Turn one audio file into access units, a clean cover, tags and measurements.

    Args:
        source: FLAC, WAV, AIFF, ALAC or AAC in MP4, ADTS, MP3, Opus or Vorbis in Ogg.
        workdir: where a folder of its own is made for the result; created if it does not exist.
        on_progress: called with 0 to 1 while the recording is read.
        cover: a picture for recordings that hold none, such as `cover.jpg` beside the file.
    Raises:
        CallerFault: the file cannot be published; the code is one of `hub.media.faults.SENTENCES`, the message
            names the file and says what to do. Nothing is left behind in `workdir`.
    """
    _refuse_unreadable(source)
    was_there = workdir.is_dir()
    folder: Path | None = None
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="ingest-", dir=workdir))
        request = _request(source, folder, limits or IngestLimits(), cover)
        report = _run_worker(source, request, on_progress or (lambda _: None))
        return _accept(source, folder, report)
    except BaseException as error:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        if not was_there:
            _remove_if_empty(workdir)
        if isinstance(error, OSError):
            raise caller_fault("disk_full", source) from error
        raise


def make_cover(picture: Path, folder: Path, limits: IngestLimits | None = None) -> Path:
    """Make a cover of a picture: a JPEG of the size that listeners get.

    Args:
        folder: where it is written.
    Raises:
        CallerFault: `cover_unreadable`, `cover_too_large`, and as `ingest`; the message names the file.
    """
    _refuse_unreadable(picture)
    request = _request(picture, folder, limits or IngestLimits(), None, is_picture=True)
    report = _run_worker(picture, request, lambda _: None)
    try:
        _check(isinstance(report, PictureReport), "the answer")
        if isinstance(report, PictureReport) and report.is_readable:
            return _checked_cover(folder)
    except (_Refused, OSError) as error:
        raise caller_fault("ingest_refused", picture, {"what": str(error)}) from error
    raise caller_fault("cover_unreadable", picture)


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return


def _refuse_unreadable(source: Path) -> None:
    try:
        # Without O_NONBLOCK a named pipe would wait for a writer for ever.
        opened = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise caller_fault("no_such_file", source) from error
    except (OSError, ValueError) as error:
        is_special = isinstance(error, OSError) and source.exists() and not source.is_file()
        raise caller_fault("not_a_file" if is_special else "unreadable_file", source) from error
    try:
        status = os.fstat(opened)
    finally:
        os.close(opened)
    if not stat.S_ISREG(status.st_mode):
        raise caller_fault("not_a_file", source)
    if status.st_size == 0:
        raise caller_fault("empty_file", source)


def _request(
    source: Path, folder: Path, limits: IngestLimits, cover: Path | None, is_picture: bool = False
) -> Request:
    return Request(
        source=os.fsencode(source.absolute()),
        folder=os.fsencode(folder.absolute()),
        cover=None if cover is None else os.fsencode(cover.absolute()),
        limits=limits,
        parent_pid=os.getpid(),
        is_picture=is_picture,
    )


def _run_worker(source: Path, request: Request, on_progress: Progress) -> Verdict:
    worker = subprocess.Popen(
        [sys.executable, "-I", "-B", "-m", "hub.media.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=_ENVIRONMENT,
        umask=0o077,
        start_new_session=True,
    )
    try:
        return _converse(worker, request, source, on_progress)
    finally:
        worker.kill()
        worker.wait()
        for pipe in (worker.stdin, worker.stdout):
            if pipe is not None:
                pipe.close()


def _converse(
    worker: "subprocess.Popen[bytes]", request: Request, source: Path, on_progress: Progress
) -> Verdict:
    assert worker.stdin is not None
    try:
        worker.stdin.write(encode(request))
        worker.stdin.close()
    except BrokenPipeError:
        # It has ended already; its exit status below tells why.
        worker.stdin = None
    for line in _lines(worker, request.limits, source):
        try:
            report = _decode_line(line)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise caller_fault("ingest_refused", source, {"what": "its answer is malformed"}) from error
        if isinstance(report, TrackReport | PictureReport):
            return report
        if isinstance(report, FaultReport):
            raise _fault(source, report)
        if isinstance(report, ProgressReport) and math.isfinite(report.done):
            on_progress(min(max(report.done, 0.0), 1.0))
    raise _ended_silently(worker, source)


def _fault(source: Path, report: FaultReport) -> CallerFault:
    if report.code not in SENTENCES:
        return caller_fault("ingest_refused", source, {"what": "it names an unknown fault"})
    fault = caller_fault(report.code, source, report.facts)
    if report.detail:
        fault.add_note(clean_text(report.detail, 4000))
    return fault


def _lines(worker: "subprocess.Popen[bytes]", limits: IngestLimits, source: Path) -> Iterator[bytes]:
    """What the worker says, line by line, as long as it says something in time."""
    assert worker.stdout is not None
    deadline = time.monotonic() + limits.wall_s
    held = b""
    with selectors.DefaultSelector() as selector:
        selector.register(worker.stdout, selectors.EVENT_READ)
        while True:
            left = min(deadline - time.monotonic(), limits.stall_s)
            if left <= 0 or not selector.select(left):
                raise caller_fault("ingest_timeout", source)
            data = os.read(worker.stdout.fileno(), _READ_BYTES)
            if not data:
                return
            *whole, held = (held + data).split(b"\n")
            if len(held) > MAX_LINE_BYTES:
                raise caller_fault("ingest_refused", source, {"what": "its answer does not end"})
            yield from whole


def _ended_silently(worker: "subprocess.Popen[bytes]", source: Path) -> CallerFault:
    try:
        status = worker.wait(_EXIT_SECONDS)
    except subprocess.TimeoutExpired:
        return caller_fault("ingest_timeout", source)
    if status == -signal.SIGXCPU:
        return caller_fault("ingest_timeout", source)
    what = f"signal {-status}" if status < 0 else f"exit status {status}"
    return caller_fault("ingest_crashed", source, {"what": what})


# --- Checking the answer


def _check(holds: bool, what: str) -> None:
    if not holds:
        raise _Refused(what)


def _accept(source: Path, folder: Path, report: Verdict) -> IngestedTrack:
    try:
        if not isinstance(report, TrackReport):
            raise _Refused("the answer")
        return _checked_track(folder, report)
    except (_Refused, CallerFault, OSError) as error:
        raise caller_fault("ingest_refused", source, {"what": str(error)}) from error


def _checked_track(folder: Path, report: TrackReport) -> IngestedTrack:
    _check(math.isfinite(report.duration_s) and report.duration_s > 0, "the duration")
    _check(1 <= len(report.peaks) <= MAX_PEAKS, "the waveform")
    _check(bool(_CODEC_NAME.fullmatch(report.source_codec)), "the name of the codec")
    for level in (report.loudness_lufs, report.true_peak_db):
        _check(level is None or -200 <= level <= 200, "a level")
    _check(len(report.notes) <= MAX_NOTES, "the notes")
    _check(all(note.code in NOTES for note in report.notes), "a note")
    codecs = [rendition.codec for rendition in report.renditions]
    is_pair = len(codecs) == 2 and codecs[0] in ("flac", "aac", "mp3") and codecs[1] == "opus"
    _check(is_pair or codecs == ["opus"], "the renditions")
    return IngestedTrack(
        tags=_checked_tags(report),
        cover=_checked_cover(folder) if report.has_cover else None,
        duration_s=report.duration_s,
        loudness_lufs=report.loudness_lufs,
        true_peak_db=report.true_peak_db,
        peaks=report.peaks,
        renditions=[_checked_rendition(folder, item, report.duration_s) for item in report.renditions],
        source_codec=report.source_codec,
        notes=[note_sentence(note.code, note.count) for note in report.notes],
    )


def _checked_tags(report: TrackReport) -> Tags:
    tags = report.tags
    texts = (tags.title, tags.artist, tags.album, tags.genre, tags.isrc, tags.licence)
    _check(all(text is None or clean_text(text, MAX_TEXT_CHARS) == text != "" for text in texts), "a tag")
    _check(all(number is None or 1 <= number <= 9999 for number in (tags.track_number, tags.year)), "a number")
    return Tags(**msgspec.structs.asdict(tags))


def _regular_file_size(path: Path) -> int:
    status = path.lstat()
    _check(stat.S_ISREG(status.st_mode), f"the file {path.name}")
    return status.st_size


def _checked_cover(folder: Path) -> Path:
    path = folder / COVER_NAME
    _check(4 <= _regular_file_size(path) <= MAX_COVER_BYTES, "the size of the cover")
    with path.open("rb") as file:
        _check(file.read(3) == b"\xff\xd8\xff", "the cover")
    return path


def _checked_rendition(folder: Path, report: RenditionReport, duration_s: float) -> IngestedRendition:
    config = AudioConfig(**msgspec.structs.asdict(report))
    packets, index = folder / f"{report.codec}.packets", folder / f"{report.codec}.index"
    packet_bytes, index_bytes = _regular_file_size(packets), _regular_file_size(index)
    _check(index_bytes > 0 and index_bytes % INDEX_ENTRY.size == 0, "the size of an index")
    total = duration = largest = 0
    with index.open("rb") as file:
        while block := file.read(_INDEX_READ_BYTES):
            sizes, durations = zip(*INDEX_ENTRY.iter_unpack(block), strict=True)
            _check(min(sizes) > 0 and min(durations) > 0, "an access unit")
            total, duration = total + sum(sizes), duration + sum(durations)
            largest = max(largest, *sizes)
    _check(total == packet_bytes, "the sum of the access units")
    _check(duration > config.delay + config.padding, "the delay and the padding of a rendition")
    presented_s = (duration - config.delay - config.padding) / config.timescale
    _check(abs(presented_s - duration_s) <= _DURATION_TOLERANCE_S, "the duration of a rendition")
    return IngestedRendition(config, packets, index, total, duration, largest)
