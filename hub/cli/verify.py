"""`digm verify`: check what lies in the data folder, byte by byte."""

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from digm.errors import DigmError

if TYPE_CHECKING:
    from hub.config import Settings
    from hub.publishing.vault import Vault
    from hub.storage.catalogue import TrackEntry
    from hub.storage.verification import TrackReport

EXIT_DAMAGED = 1
_LOST_VAULT = ("vault_damaged", "vault_is_no_file")


def verify(
    track_roots: Annotated[
        list[str] | None, typer.Argument(metavar="[TRACKROOT]...", help="Tracks; none: all of them.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, the summary last.")] = False,
) -> None:
    """Check every chunk, manifest, signature and key of the tracks that are published here."""
    raise typer.Exit(verify_command(track_roots or [], as_json))


def verify_command(track_roots: list[str], as_json: bool) -> int:
    """Verify and print.

    Returns:
        the exit status: 1 when something is damaged or missing, the vault included.
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
    with Catalogue.open_for_reading(settings.data) as catalogue:
        entries = choose_tracks(catalogue, track_roots)
    store = ChunkStore(settings.data)
    console = Console(stderr=True)
    shown = with_bar(
        entries, "Verifying", console=console, transient=True, disable=as_json or not console.is_terminal
    )
    reports = []
    with ExitStack() as stack:
        vault, vault_fault = _open_vault(settings)
        if vault:
            stack.enter_context(vault)
        for entry in shown:
            report = _with_key_checked(verify_track(store, entry), entry, vault)
            reports.append(report)
            _print_track(report, as_json)
    return _print_summary(reports, vault_fault, as_json)


def _open_vault(settings: "Settings") -> "tuple[Vault | None, DigmError | None]":
    """The vault, if it lies here: the keys may well be kept on another machine, or the passphrase may."""
    from hub.publishing.vault import FILE_NAME, Vault

    try:
        return Vault.open(settings.data / FILE_NAME, settings.vault_passphrase, read_only=True), None
    except DigmError as fault:
        return None, fault


def _with_key_checked(report: "TrackReport", entry: "TrackEntry", vault: "Vault | None") -> "TrackReport":
    import msgspec

    from hub.publishing.identity import lacks_key
    from hub.storage.verification import Damage

    if vault is None or not lacks_key(vault, entry):
        return report
    sentence = "There is no key for it in the vault: restore vault.digm from a backup, or publish it again."
    return msgspec.structs.replace(report, damages=[*report.damages, Damage("key", "no_key", sentence)])


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


def _print_summary(reports: "list[TrackReport]", vault_fault: DigmError | None, as_json: bool) -> int:
    damaged = [report for report in reports if not report.is_whole]
    chunks, size = sum(report.chunks for report in reports), sum(report.bytes for report in reports)
    if as_json:
        vault = "whole" if vault_fault is None else vault_fault.code
        summary = {"tracks": len(reports), "damaged": len(damaged), "chunks": chunks, "bytes": size}
        _print_json({**summary, "vault": vault})
    else:
        print(f"{len(reports)} tracks, {chunks} chunks, {size / 1e6:.1f} MB: {len(damaged)} damaged.")
    if vault_fault is not None:
        is_missing = vault_fault.code == "vault_missing"
        reason = "There is no vault here." if is_missing else vault_fault.message
        print(f"{reason} Whether there is a key for every track was not checked.", file=sys.stderr)
    is_vault_lost = vault_fault is not None and vault_fault.code in _LOST_VAULT
    return EXIT_DAMAGED if damaged or is_vault_lost else 0


def _print_json(message: object) -> None:
    import msgspec

    print(msgspec.json.encode(message).decode(), flush=True)
