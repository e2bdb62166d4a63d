"""Putting a back-up in place: everything is opened and compared first, and nothing that was there is lost.

What is replaced stays beside it (`vault.digm.before-1790000000`). Keys that the vault here has and the back-up
lacks are kept: an old back-up takes nothing away. What is put in place is durable, the vault last, so that a
restore that is killed can be done again.
"""

import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from digm.errors import CallerFault, DigmError
from digm.ids import to_hex
from hub.config import Settings
from hub.publishing.vault import FILE_NAME, TrackSecret, Vault
from hub.storage.durable import (
    disk_faults_named,
    folder_locked,
    make_folder,
    open_regular,
    sync_folder,
    write_new,
)
from hub.vault.backup import MANIFESTS, Backup, read_backup

_STAGED = "restoring"
_OWNER_ONLY = 0o600
_HERE = "here.digm"


@dataclass(frozen=True)
class Restored:
    """What a restore came to.

    Attributes:
        keys: tracks that can be granted now.
        kept: keys that the vault here had and the back-up lacked.
        before: what was there, under its new names.
    """

    artist: str
    made_at: float
    keys: int
    kept: int
    before: tuple[str, ...]


def restore(settings: Settings, document: bytes, passphrase: str, is_replacing: bool = False) -> Restored:
    """Put a back-up in place. Processes that have the old vault open have to be started again. Blocks.

    Args:
        is_replacing: another artist's vault, or one that cannot be opened, and another account's key, may be
            put aside.
    Raises:
        CallerFault: as `read_backup`, `Vault.open`; `other_artist`, `other_account`, `vault_unreadable`:
            nothing was changed. Unavailable: `disk_full`, `disk_failed`.
    """
    backup, data = read_backup(document, passphrase), settings.data
    staged = data / _STAGED / secrets.token_hex(8)
    with disk_faults_named(data):
        make_folder(data)
        (data / _STAGED).mkdir(mode=0o700, exist_ok=True)
        try:
            with folder_locked(data / _STAGED):
                staged.mkdir(mode=0o700)
                with _held(data / FILE_NAME, staged / _HERE):
                    return _restore(settings, backup, staged, is_replacing)
        finally:
            shutil.rmtree(staged, ignore_errors=True)


def _restore(settings: Settings, backup: Backup, staged: Path, is_replacing: bool) -> Restored:
    data = settings.data
    write_new(staged / FILE_NAME, backup.files[FILE_NAME], _OWNER_ONLY)
    lacking = _lacking(settings, staged / _HERE, backup, is_replacing)
    _check_account(data, backup.files, is_replacing)
    with Vault.open(staged / FILE_NAME, settings.vault_passphrase, create=False) as vault:
        if to_hex(vault.artist_key) != backup.artist:
            raise CallerFault("backup_damaged", "The vault in the back-up is another artist's: it is damaged.")
        kept = [secret for secret in lacking if vault.secret(secret.track_root) is None]
        vault.add(*kept)
        keys = len(vault.secrets())
    stamp, before = str(int(time.time())), []
    # The vault goes last: until then the old one is in use, and everything else is as good for it.
    for name in sorted(backup.files, key=lambda name: (name == FILE_NAME, name)):
        content = (staged / FILE_NAME).read_bytes() if name == FILE_NAME else backup.files[name]
        if (put_aside := _put(data / name, content, stamp)) is not None:
            before.append(put_aside)
    return Restored(backup.artist, backup.made_at, keys, len(kept), tuple(before))


@contextmanager
def _held(path: Path, copy: Path) -> Iterator[None]:
    """Nobody adds a key to the vault here, of which a copy is made, until the block ends."""
    try:
        descriptor = open_regular(path)
    except FileNotFoundError:
        yield
        return
    with os.fdopen(descriptor, "rb") as file:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        write_new(copy, file.read(), _OWNER_ONLY)
        yield


def _lacking(settings: Settings, path: Path, backup: Backup, is_replacing: bool) -> list[TrackSecret]:
    """The keys that the vault here has, of the same artist.

    Args:
        path: of a copy of it.
    Raises:
        CallerFault: `other_artist`, `vault_unreadable`.
    """
    try:
        with Vault.open(path, settings.vault_passphrase, create=False, read_only=True) as vault:
            if to_hex(vault.artist_key) == backup.artist:
                return vault.secrets()
    except DigmError as fault:
        if fault.code == "vault_missing" or is_replacing:
            return []
        raise CallerFault(
            "vault_unreadable",
            f"There is a vault here that cannot be opened, so nothing was changed. {fault.message} "
            "To put it aside: --replace.",
        ) from fault
    if is_replacing:
        return []
    raise CallerFault(
        "other_artist",
        f"{settings.data / FILE_NAME} is another artist's vault: restore into a data folder of its "
        "own (DIGM_DATA), or put this one aside with --replace.",
    )


def _check_account(data: Path, files: Mapping[str, bytes], is_replacing: bool) -> None:
    name = "chain/key.json"
    if name not in files or is_replacing or not (data / name).exists():
        return
    if (data / name).read_bytes() != files[name]:
        raise CallerFault(
            "other_account",
            f"{data / name} holds another key than the back-up: its money would be out of reach. "
            "Keep that file, or put it aside with --replace.",
        )


def _put(path: Path, content: bytes, stamp: str) -> str | None:
    """Put one file in place.

    Returns:
        the new name of what was there, if that was something else.
    """
    before = None
    is_manifest = path.parent.name == MANIFESTS
    if not path.parent.exists():
        make_folder(path.parent)
        if not is_manifest:
            path.parent.chmod(0o700)
    if path.exists():
        if path.read_bytes() == content or is_manifest:  # what is here may be a newer edition
            return None
        before = path.with_name(f"{path.name}.before-{stamp}")
        before.hardlink_to(path)  # so that there is never none
    temporary = path.with_name(f"{path.name}.restored")
    temporary.unlink(missing_ok=True)
    write_new(temporary, content, 0o644 if is_manifest else _OWNER_ONLY)
    temporary.rename(path)
    sync_folder(path.parent)
    return None if before is None else before.name
