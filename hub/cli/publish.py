"""`digm publish`: what `hub.publishing` does, on a terminal and for machines."""

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from digm.errors import CallerFault, DigmError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from hub.cli.publish_onward import Onward
    from hub.publishing.model import PublishedTrack, Report
    from hub.publishing.publish import Publisher

EXIT_FAILED = 2
EXIT_INTERRUPTED = 130
_SAID = {
    "published": "Published",
    "already_published": "Was published already:",
    "repaired": "Was published already and has been repaired:",
}
# Where a stage starts and ends on a file's bar: about what each takes of the time.
_STAGE_SPANS = {
    "reading": (0.0, 0.03),
    "encoding": (0.03, 0.8),
    "encrypting": (0.8, 0.98),
    "storing": (0.98, 1.0),
}


def publish(
    paths: Annotated[
        # Plain text: what Typer says of a path that it dislikes is no sentence and no JSON.
        list[str], typer.Argument(metavar="FILE|FOLDER...", help="Audio files; a folder is one release.")
    ],
    title: Annotated[str | None, typer.Option(help="Instead of the file's tag; for one file.")] = None,
    artist: Annotated[str | None, typer.Option(help="Instead of the files' tags.")] = None,
    album: Annotated[str | None, typer.Option(help="Instead of the files' tags.")] = None,
    preview_seconds: Annotated[
        int | None, typer.Option(help="How much anyone may hear; without it, all.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line for each track.")] = False,
    pin: Annotated[
        int | None,
        typer.Option(metavar="COPIES", help="Go all the way: on the chain, and so many copies on nodes."),
    ] = None,
    months: Annotated[int | None, typer.Option(help="With --pin: for how long; default 18.")] = None,
    duration: Annotated[
        str | None, typer.Option(help="With --pin: instead of --months, such as '90 days'.")
    ] = None,
    price: Annotated[
        str | None, typer.Option(help="With --pin: PARA for a GiB and day of one copy; default 1.")
    ] = None,
    within: Annotated[
        float | None,
        typer.Option(help="With --pin: seconds to wait for the copies, then status 1; default 600, 0: none."),
    ] = None,
    hub: Annotated[
        str | None, typer.Option(metavar="URL", help="With --pin: the hub; default: DIGM_SIGNAL_URL.")
    ] = None,
) -> None:
    """Publish audio files or folders: encrypted, signed, stored, and in the catalogue."""
    from hub.cli.publish_onward import onward_of

    onward = onward_of(pin, months, duration, price, within, hub)
    raise typer.Exit(publish_command(paths, title, artist, album, preview_seconds, as_json, onward))


def publish_command(
    paths: Sequence[str],
    title: str | None,
    artist: str | None,
    album: str | None,
    preview_seconds: int | None,
    as_json: bool,
    onward: "Onward | None" = None,
) -> int:
    """Publish and print. A path that cannot be published does not keep the others from it.

    Args:
        onward: how it goes on with what is published; None: not at all.
    Returns:
        the exit status: 0; 1 when copies were not there in time; 2 when something was not published, or could
        not be told on stdout; 130 after Ctrl-C or SIGTERM.
    """
    from hub.config import load_settings
    from hub.publishing.model import PublishOptions

    printer = _Printer(as_json)
    try:
        options = PublishOptions(title=title, artist=artist, album=album, preview_seconds=preview_seconds)
        if title is not None and len(paths) > 1:
            raise CallerFault("bad_option", "--title names one track: give one file with it.", option="title")
        settings = load_settings()
        if onward is not None:
            onward.check_ready(settings)
        with _signals_interrupt():
            with _display(as_json) as display:
                from hub.publishing.publish import Publisher

                with Publisher(settings, options, display.show) as publisher:
                    for path in paths:
                        _publish_path(publisher, path, printer)
            if onward is not None and printer.tracks:
                printer.exit_status = max(printer.exit_status, onward.go(printer.tracks, as_json))
    except KeyboardInterrupt:
        rest = "" if onward is None else " The same command goes on with the rest."
        print(f"Stopped: nothing of what was not listed above was published.{rest}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except DigmError as fault:  # settings, options, vault, catalogue: nothing at all can be published here
        printer.failed(paths[0], fault, is_about_path=False)
    return printer.exit_status


def _publish_path(publisher: "Publisher", path: str, printer: "_Printer") -> None:
    from hub.publishing.sources import find_release

    try:
        tracks = publisher.publish(find_release(path))
    except DigmError as fault:
        printer.failed(path, fault)
        return
    for track in tracks:
        printer.published(track)


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP stop like Ctrl-C; a second signal does not disturb the clearing up."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, interrupt) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Printer:
    """Results on stdout, one line a track; failures as sentences on stderr.

    Attributes:
        exit_status: what it comes to so far.
        tracks: what was published.
    """

    def __init__(self, as_json: bool) -> None:
        self.exit_status = 0
        self.tracks: list[PublishedTrack] = []
        self._as_json = as_json
        self._lost_stdout: OSError | None = None

    def published(self, track: "PublishedTrack") -> None:
        self.tracks.append(track)
        said = _SAID[track.status]
        minutes, seconds = divmod(round(track.duration_s), 60)
        by = f" by {track.artist}" if track.artist else ""
        line = f"{said} {track.title}{by} ({minutes}:{seconds:02d})  {track.track_root}"
        if not self._print(_json_line(track) if self._as_json else line):
            assert self._lost_stdout is not None
            reason = os.strerror(self._lost_stdout.errno or 0)
            print(f"{line}, but that cannot be written to stdout: {reason}.", file=sys.stderr, flush=True)

    def failed(self, path: str, fault: DigmError, is_about_path: bool = True) -> None:
        """Say why something was not published.

        Args:
            path: as it was given.
            is_about_path: False: it is the first of all, none of which can be published.
        """
        from hub.publishing.sources import printable

        self.exit_status = EXIT_FAILED
        name, sentence = printable(path), printable(fault.message)
        names = (name, Path(path).name, str(fault.data.get("file", "")))
        if name and is_about_path and not any(known in sentence for known in names if known):
            sentence = f"{name} was not published: {sentence}"
        print(sentence, file=sys.stderr, flush=True)
        if self._as_json:
            error = {"code": fault.code, "message": sentence}
            self._print(_json_line({"file": name, "status": "failed", "error": error}))

    def _print(self, line: str) -> bool:
        """Whether the line could be written."""
        if self._lost_stdout is None:
            try:
                print(line, flush=True)
            except OSError as error:
                self._lost_stdout = error
                _forget_stdout()
        if self._lost_stdout is not None:
            self.exit_status = EXIT_FAILED
        return self._lost_stdout is None


def _json_line(message: object) -> str:
    import msgspec

    return msgspec.json.encode(message).decode()


def _forget_stdout() -> None:
    # What is left in its buffer would fail once more, with a traceback, when Python ends (docs: SIGPIPE).
    with suppress(OSError), Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


class _Display:
    """Shows progress: bars on a terminal, otherwise only notes."""

    def __init__(self, progress: "Progress | None") -> None:
        self._progress = progress
        self._tasks: dict[Path, TaskID] = {}
        self._lock = threading.Lock()

    def show(self, event: "Report") -> None:
        from hub.publishing.model import Note
        from hub.publishing.sources import printable

        if isinstance(event, Note):
            self._say(f"{printable(event.file)}: {event.sentence}")
            return
        if self._progress is None:
            return
        with self._lock:
            if event.file not in self._tasks:
                name = printable(Path(event.file.name))
                self._tasks[event.file] = self._progress.add_task(name, total=1.0, stage="")
            start, end = _STAGE_SPANS[event.stage]
            completed = start + (end - start) * min(1.0, max(0.0, event.done))
            self._progress.update(self._tasks[event.file], completed=completed, stage=event.stage)

    def _say(self, line: str) -> None:
        if self._progress is None:
            print(line, file=sys.stderr, flush=True)
        else:
            self._progress.console.print(line, markup=False, highlight=False)


@contextmanager
def _display(as_json: bool) -> Iterator[_Display]:
    if as_json or not sys.stderr.isatty():
        yield _Display(None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class FileName(ProgressColumn):
        """The name as it is: brackets in it are not markup."""

        def render(self, task: "Task") -> Text:
            return Text(task.description)

    columns = (FileName(), BarColumn(), TextColumn("{task.fields[stage]}"), TimeRemainingColumn())
    # Bars go to stderr; results stay on stdout even when only that is redirected.
    to_terminal = sys.stdout.isatty()
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=to_terminal) as progress:
        yield _Display(progress)
