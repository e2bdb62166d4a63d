"""The passphrase of the chain's key: a setting, a file that the owner alone can read, or asked for.

A file beside the key protects it against nothing but a copy of the key file alone. It is made by itself on the
devnet only, where nothing is worth anything; anywhere else it is the operator's decision, as for a node that
has to start unattended.
"""

import getpass
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

from digm.errors import CallerFault
from hub.chain.keystore import MAX_FILE_BYTES, read_own
from hub.config import Settings
from hub.storage.durable import disk_fault, sync_folder
from hub.storage.secret_files import create_once

FILE_NAME = "chain-passphrase"
RANDOM_BYTES = 24


def passphrase_file(data: Path) -> Path:
    """Where it is looked for."""
    return data / "secrets" / FILE_NAME


def ask_passphrase(
    settings: Settings, is_new: bool = False, ask: Callable[[str], str] = getpass.getpass
) -> str:
    """The passphrase: the setting's, else the file's, else asked for on a terminal.

    Raises:
        CallerFault: `no_passphrase`: it is nowhere; `weak_passphrase`: a new one was not typed twice alike;
            as `read_own`.
    """
    if settings.chain_passphrase:
        return settings.chain_passphrase
    path = passphrase_file(settings.data)
    written = read_own(path)
    if written is not None:
        return _checked(written, path)
    if not sys.stdin.isatty():
        raise CallerFault(
            "no_passphrase",
            f"The chain's key needs a passphrase: set DIGM_CHAIN_PASSPHRASE, or write it into {path}.",
        )
    typed = ask("Passphrase of the chain's key: ")
    if is_new and ask("Once more: ") != typed:
        raise CallerFault("weak_passphrase", "That was not the same twice.")
    return typed


def make_passphrase(data: Path) -> None:
    """Write a random one into the file, if there is none.

    Raises:
        CallerFault: `data_not_writable`. Unavailable: `disk_full`, `disk_failed`.
    """
    path = passphrase_file(data)
    if path.exists():
        return
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        create_once(path, secrets.token_hex(RANDOM_BYTES).encode())
        sync_folder(path.parent)
    except OSError as error:
        raise disk_fault(error, path.parent) from error


def _checked(written: bytes, path: Path) -> str:
    try:
        passphrase = written.decode().strip("\r\n")
    except UnicodeDecodeError:
        passphrase = ""
    if not passphrase or len(written) > MAX_FILE_BYTES:
        raise CallerFault("no_passphrase", f"{path} holds no passphrase: that is one line of text.")
    return passphrase
