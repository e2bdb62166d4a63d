"""`digm verify`: check what lies in the data folder, byte by byte."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hub.storage.verification import TrackReport

EXIT_DAMAGED = 1


def verify(
    track_roots: Annotated[
        list[str] | None, typer.Argument(metavar="[TRACKROOT]...", help="Tracks; none: all of them.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, the summary last.")] = False,
) -> None:
    """Check every chunk, manifest and signature of the tracks that are published here."""
    raise typer.Exit(verify_command(track_roots or [], as_json))


def verify_command(track_roots: list[str], as_json: bool) -> int:
    """Verify and print.

    Returns:
        the exit status: 1 when something is damaged or missing.
    Raises:
        DigmError: a track root that is none or is not published here; the catalogue.
    """
    from rich.console import Console
    from rich.progress import track as with_bar

    from hub.config import load_settings
    from hub.storage.catalogue import Catalogue
    from hub.storage.chunk_store import ChunkStore
    from hub.storage.verification import choose_tracks, verify_track

    settings = load_settings()
    catalogue = Catalogue.open(settings.data, create=False)
    try:
        entries = choose_tracks(catalogue, track_roots)
    finally:
        catalogue.close()
    store = ChunkStore(settings.data)
    console = Console(stderr=True)
    shown = with_bar(
        entries, "Verifying", console=console, transient=True, disable=as_json or not console.is_terminal
    )
    reports = []
    for entry in shown:
        report = verify_track(store, entry)
        reports.append(report)
        _print_track(report, as_json)
    return _print_summary(reports, as_json)


def _print_track(report: "TrackReport", as_json: bool) -> None:
    if as_json:
        _print_json(report)
        return
    if report.is_whole:
        print(f"{report.track_root[:8]}  whole    {report.title}", flush=True)
        return
    print(f"{report.track_root[:8]}  DAMAGED  {report.title}", flush=True)
    for damage in report.damages:
        place = "" if damage.chunk is None else f" (rendition {damage.rendition}, chunk {damage.chunk})"
        print(f"          {damage.sentence}{place}", flush=True)


def _print_summary(reports: "list[TrackReport]", as_json: bool) -> int:
    damaged = [report for report in reports if not report.is_whole]
    chunks, size = sum(report.chunks for report in reports), sum(report.bytes for report in reports)
    if as_json:
        _print_json({"tracks": len(reports), "damaged": len(damaged), "chunks": chunks, "bytes": size})
    else:
        print(f"{len(reports)} tracks, {chunks} chunks, {size / 1e6:.1f} MB: {len(damaged)} damaged.")
    return EXIT_DAMAGED if damaged else 0


def _print_json(message: object) -> None:
    import msgspec

    print(msgspec.json.encode(message).decode(), flush=True)
