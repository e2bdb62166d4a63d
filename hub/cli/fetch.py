"""`digm fetch`: a track from the network into a file, by hand and for machines."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from digm.errors import CallerFault, DigmError

if TYPE_CHECKING:
    from hub.fetching.check import CheckReport
    from hub.fetching.fetch import FetchJob, FetchReport, Watch
    from hub.fetching.ledger import SourceReport
    from hub.fetching.targets import Target

EXIT_NOWHERE, EXIT_FAILED, EXIT_INTERRUPTED = 1, 2, 130
KINDS = ("http", "libp2p", "webrtc")

Track = Annotated[
    str,
    typer.Argument(metavar="TRACKROOT|URL", help="A track root, or the address of a track's page or manifest."),
]
Key = Annotated[
    str | None,
    typer.Option(metavar="HEX|FILE", help="The track's key, or a file with it; without it the hub's grant."),
]
Hubs = Annotated[list[str] | None, typer.Option("--hub", metavar="URL", help="A hub that knows the track.")]
Gateways = Annotated[
    list[str] | None, typer.Option("--gateway", metavar="URL", help="A gateway that may hold the track.")
]
Bootstrap = Annotated[
    list[str] | None,
    typer.Option(metavar="MULTIADDR", help="A node of the backbone (/.../p2p/ID) to find others through."),
]
Rendition = Annotated[
    str | None, typer.Option(metavar="N|CODEC", help="Which encoding: a number, or flac, opus, aac, mp3.")
]
Artist = Annotated[str | None, typer.Option(metavar="HEX", help="Take the track from this artist only.")]
Via = Annotated[
    list[str] | None, typer.Option(metavar="KIND", help="Only these kinds of sources: http, libp2p, webrtc.")
]
AsJson = Annotated[bool, typer.Option("--json", help="A report as one JSON object on standard output.")]


def fetch(
    track: Track,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The file: .flac, .opus, .m4a or .mp3, as the track comes."),
    ] = None,
    raw: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Keep the encrypted chunks instead; `digm gateway` serves them."),
    ] = None,
    key: Key = None,
    hub: Hubs = None,
    gateway: Gateways = None,
    bootstrap: Bootstrap = None,
    rendition: Rendition = None,
    artist: Artist = None,
    via: Via = None,
    patience: Annotated[
        float, typer.Option(metavar="SECONDS", help="Give up when nothing came for so long.")
    ] = 30,
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing: ask every source for every chunk, and say who has what."),
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Write over the file if it is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fetch a track from whoever has it: gateways, nodes and peers at once, every byte checked."""
    from hub.fetching.fetch import FetchJob
    from hub.fetching.unlocking import read_key

    if [out is not None, raw is not None, check].count(True) != 1:
        raise CallerFault(
            "bad_option",
            "Say one of --out FILE, --raw FOLDER (the encrypted chunks) and --check (only look who has it).",
        )
    job = FetchJob(
        target=read_places(track, hub, gateway, bootstrap),
        out=out.absolute() if out else None,
        raw=raw.absolute() if raw else None,
        track_key=read_key(key) if key else None,
        rendition=rendition,
        artist=_checked_artist(artist),
        via=read_kinds(via),
        patience_s=patience,
        may_replace=replace,
    )
    raise typer.Exit(check_command(job, as_json) if check else fetch_command(job, as_json))


def fetch_command(job: "FetchJob", as_json: bool) -> int:
    """Fetch and print.

    Returns:
        the exit status: 0; 2 when the track is not there, which is in the report too.
    """
    import asyncio

    from hub.fetching.fetch import Fetch

    quiet_logs()
    with _display(as_json) as watch:
        fetching = Fetch(job, watch)
        try:
            report = asyncio.run(fetching.run())
        except DigmError as fault:
            if not as_json:
                _print_sources(fetching.report().sources, sys.stderr)
                raise
            report = fetching.report(fault)
        except KeyboardInterrupt:
            print("Stopped. The same command goes on from here.", file=sys.stderr)
            return EXIT_INTERRUPTED
    if as_json:
        import msgspec

        print(msgspec.json.encode(report).decode(), flush=True)
    else:
        _print_report(report)
    return EXIT_FAILED if report.error else 0


def check_command(job: "FetchJob", as_json: bool) -> int:
    """Check all sources and print.

    Returns:
        the exit status: 1 when some chunk is nowhere.
    """
    import asyncio

    import msgspec

    from hub.fetching.check import check_track
    from hub.fetching.ledger import Ledger

    quiet_logs()
    with _display(as_json) as watch:
        report = asyncio.run(check_track(job, Ledger(), watch))
    if as_json:
        print(msgspec.json.encode(report).decode(), flush=True)
    else:
        _print_check(report)
    return EXIT_NOWHERE if report.nowhere else 0


def read_places(
    track: str, hubs: list[str] | None, gateways: list[str] | None, bootstrap: list[str] | None
) -> "Target":
    """The track and whom to ask: what was named, or else this machine's hub and what the settings name.

    Raises:
        CallerFault: `bad_track`, `bad_option`, `bad_setting`.
    """
    from hub.config import load_settings
    from hub.fetching.targets import checked_url, read_target

    target = read_target(track).with_places(
        tuple(checked_url(url, "--hub") for url in hubs or ()),
        tuple(checked_url(url, "--gateway") for url in gateways or ()),
        tuple(bootstrap or ()),
    )
    if target.has_places:
        return target
    settings = load_settings()
    return target.with_places((settings.signal_url,), settings.gateways, settings.backbone_bootstrap)


def read_kinds(via: list[str] | None) -> frozenset[str]:
    """The kinds of sources that may be used. Raises CallerFault `bad_option`."""
    for kind in via or ():
        if kind not in KINDS:
            raise CallerFault("bad_option", f"--via takes {', '.join(KINDS)}, not {kind!r:.20}.")
    return frozenset(via or KINDS)


def quiet_logs() -> None:
    """Only what needs somebody's attention goes to the terminal, unless more is asked for."""
    from hub.config import load_settings
    from hub.logs import configure_logs

    level = load_settings().log_level
    configure_logs("fetch", "error" if level == "info" else level)


def _checked_artist(artist: str | None) -> str | None:
    from digm.ids import is_hex_id

    if artist is not None and not is_hex_id(artist):
        raise CallerFault("bad_option", "--artist takes the artist's key: 64 lower-case hex digits.")
    return artist


@contextmanager
def _display(as_json: bool) -> "Iterator[Watch]":
    """A bar on a terminal, otherwise nothing."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(
        *columns, console=console, transient=True, disable=as_json or not console.is_terminal
    ) as progress:
        bar = progress.add_task("", total=None)

        def watch(done: int, of: int, title: str) -> None:
            # A title is a stranger's text: no markup of its own.
            progress.update(bar, description=title.replace("[", "(")[:40], completed=done, total=of or None)

        yield watch


def _print_report(report: "FetchReport") -> None:
    size = report.file_bytes if report.file_bytes is not None else report.bytes
    print(f"{report.out}: {report.title}, {size / 1e6:.1f} MB in {report.seconds:.1f} s")
    if report.is_preview:
        print("Only the beginning: that is what its artist lets anyone hear.")
    if report.chunks_before:
        print(f"  {report.chunks_before} of {report.chunks} chunks were here already")
    _print_sources(report.sources, sys.stdout)


def _print_sources(sources: "list[SourceReport]", file: TextIO) -> None:
    for source in sources:
        said = f"  {source.kind:7} {source.name}: {source.chunks} chunks, {source.bytes / 1e6:.1f} MB"
        if source.bytes_per_s:
            said += f", {source.bytes_per_s / 1e6:.1f} MB/s"
        if source.errors:
            said += "; " + ", ".join(f"{count} x {code}" for code, count in source.errors.items())
        print(said, file=file)


def _print_check(report: "CheckReport") -> None:
    print(f"{report.title}: {report.chunks} chunks, {report.bytes / 1e6:.1f} MB")
    rows = [("kind", "source", "right", "missing", "wrong", "no answer", "first", "speed")]
    for it in report.sources:
        rows.append(
            (
                it.kind, it.name, f"{it.right}/{report.chunks}", _places(it.missing), _places(it.wrong),
                _places(it.failed), f"{it.first_ms:.0f} ms" if it.first_ms is not None else "-",
                f"{it.bytes_per_s / 1e6:.1f} MB/s" if it.bytes_per_s else "-",
            )
        )  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for problem in report.problems:
        print(f"{problem.where}: {problem.message}")
    print(f"{report.whole_copies} whole copies; of the rarest chunk {report.least_copies}.")
    if report.nowhere:
        print(f"NOWHERE: {_places(report.nowhere, 20)}")


def _places(places: list[str], most: int = 3) -> str:
    more = f" +{len(places) - most}" if len(places) > most else ""
    return " ".join(places[:most]) + more if places else "-"
