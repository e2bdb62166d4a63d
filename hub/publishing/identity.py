"""Whose tracks lie in a data folder: the vault that belongs to its catalogue, and the keys that vault lacks.

A vault is made only where nothing is published yet. A new identity beside tracks that are listed would look as
if all were well, and nobody could ever grant those tracks again.
"""

import os
from contextlib import closing
from pathlib import Path

from digm.errors import CallerFault
from digm.ids import to_hex
from hub.config import Settings
from hub.publishing.vault import FILE_NAME, HOW_TO_GO_ON, Vault
from hub.storage.catalogue import Catalogue, TrackEntry


def open_vault(settings: Settings) -> Vault:
    """Open the vault of a data folder; make one if there is none and no track is published there.

    Raises:
        CallerFault, Unavailable: as `Vault.open` and `Catalogue.open`.
    """
    path, count = settings.data / FILE_NAME, 0
    if not os.path.lexists(path):
        count = len(_listed(settings.data))
    try:
        return Vault.open(path, settings.vault_passphrase, create=not count)
    except CallerFault as fault:
        if fault.code != "vault_missing" or not count:
            raise
        raise CallerFault(
            "vault_missing",
            f"{path} is missing, and only it can grant the tracks that are published here ({count}): "
            f"{HOW_TO_GO_ON}.",
        ) from fault


def tracks_without_key(vault: Vault, data: Path) -> list[TrackEntry]:
    """The published tracks of the vault's artist that it holds no key for: nobody can be granted them.

    Raises:
        CallerFault, Unavailable: as `Catalogue.open` and `Vault.secret`.
    """
    return [entry for entry in _listed(data) if lacks_key(vault, entry)]


def lacks_key(vault: Vault, entry: TrackEntry) -> bool:
    """Whether a track is this artist's and the vault does not have its key."""
    return entry.artist_key == to_hex(vault.artist_key) and vault.secret(entry.track_root) is None


def _listed(data: Path) -> list[TrackEntry]:
    try:
        catalogue = Catalogue.open(data, create=False)
    except CallerFault as fault:
        if fault.code == "catalogue_missing":
            return []
        raise
    with closing(catalogue):
        return catalogue.tracks()
