"""`digm vault`: the artist's vault, its back-up, bringing that back, and second vaults."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from hub.cli.vault_seconds import accept, appoint, dismiss

vault = typer.Typer(
    name="vault",
    help="The artist's vault: back it up, bring it back, appoint a second one.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
PassphraseFile = Annotated[
    Path | None,
    typer.Option("--passphrase-file", help="One line, that only you can read; otherwise it is asked for."),
]


for _command in (appoint, accept, dismiss):
    vault.command(_command.__name__)(_command)


@vault.command("backup")
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; it must not be there yet.")],
    passphrase_file: PassphraseFile = None,
) -> None:
    """Write all that only you have into one file, sealed with a passphrase of its own."""
    from digm.errors import CallerFault
    from hub.config import load_settings
    from hub.storage.durable import disk_faults_named, sync_folder, write_new
    from hub.vault.backup import digest_of, make_backup, read_backup

    settings = load_settings()
    if file.exists():
        raise CallerFault("file_exists", f"{file} is there already: choose another name.")
    passphrase = _passphrase(passphrase_file, is_new=True)
    document = make_backup(settings, passphrase)
    with disk_faults_named(file.parent):
        write_new(file, document, 0o600)
        sync_folder(file.parent)
    found = read_backup(file.read_bytes(), passphrase)
    print(f"Backed up: {file}, {len(document) / 1e6:.1f} MB, {digest_of(document)}")
    print(f"  artist {found.artist}, {found.manifest_count} tracks with their manifests")
    print("It was read back and opened. Keep it on another machine, and its passphrase somewhere else.")


@vault.command("restore")
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Of digm vault backup.")],
    passphrase_file: PassphraseFile = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put another artist's vault, or a damaged one, aside.")
    ] = False,
) -> None:
    """Bring a back-up into the data folder. Nothing that is there is lost; keys that it lacks are kept."""
    import time

    from hub.config import load_settings
    from hub.storage.durable import disk_faults_named
    from hub.vault.restore import restore as put_in_place

    settings = load_settings()
    with disk_faults_named(file.parent):
        document = file.read_bytes()
    done = put_in_place(settings, document, _passphrase(passphrase_file), replace)
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(done.made_at))
    print(f"Restored: the artist {done.artist} with the keys of {done.keys} tracks, backed up {made}")
    if done.kept:
        print(f"  {done.kept} of them were here and not in the back-up: make a new one")
    for name in done.before:
        print(f"  what was there is now {name}")
    print("Start digm up (or digm artist) again: what runs has still the vault from before open.")


def _passphrase(file: Path | None, is_new: bool = False) -> str:
    """Raises CallerFault `no_passphrase`, `weak_passphrase`; as `read_own`."""
    import getpass

    from digm.errors import CallerFault
    from hub.chain.keystore import read_own
    from hub.vault.backup import check_passphrase

    if file is not None:
        written = read_own(file)
        text = (written or b"").decode(errors="replace").strip("\r\n")
        if not text:
            raise CallerFault("no_passphrase", f"{file} holds no passphrase: that is one line of text.")
    elif not sys.stdin.isatty():
        raise CallerFault("no_passphrase", "The back-up has a passphrase: give --passphrase-file FILE.")
    else:
        text = getpass.getpass("Passphrase of the back-up: ")
        if is_new and getpass.getpass("Once more: ") != text:
            raise CallerFault("weak_passphrase", "That was not the same twice.")
    if is_new:
        check_passphrase(text)
    return text
