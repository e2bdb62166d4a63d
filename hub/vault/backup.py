"""A back-up of what only the artist has, in one file sealed with a passphrase of its own.

In it is all that makes somebody the same artist on another machine: the vault (identity and track keys, as it
is, so with its own passphrase where it has one), the chain's key with its passphrase, what was decided about
premium listeners and second vaults, and the manifests that grants are made from. Chunks are not: nodes have
them, and nobody can read them.

The first line says how it is sealed; every other one is a file, sealed and bound to its place by the vault's
codec (`hub.publishing.vault_records`); the last one says how many there are, so that a cut file is known.
"""

import base64
import binascii
import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from digm.errors import CallerFault
from digm.ids import is_hex_id, to_hex
from hub.config import Settings
from hub.publishing.identity import open_vault
from hub.publishing.vault import FILE_NAME, Vault
from hub.publishing.vault_records import RecordCodec, cipher_of, new_kdf
from hub.storage.chunk_store import ChunkStore
from hub.storage.durable import disk_faults_named, open_regular

FORMAT, VERSION = "digm backup", 1
SHORTEST_PASSPHRASE = 10
MAX_BYTES = 256 << 20
# Beside the vault; what is not there is left out.
PARTS = ("premium.json", "vaults.json", "chain/key.json", "chain/deployment.json", "secrets/chain-passphrase")
MANIFESTS = "manifests"
# What other artists gave to this vault as their second one, and from where.
HELD = "vaults/held"
_HELD_NAME = re.compile(rf"{HELD}/[0-9A-Za-z]{{1,80}}\.[a-z]{{1,8}}", re.ASCII)


@dataclass(frozen=True)
class Backup:
    """What is in one.

    Attributes:
        artist: the Ed25519 key of the vault, 64 hex digits.
        made_at: seconds since 1970.
        files: name below the data folder -> content.
    """

    artist: str
    made_at: float
    files: Mapping[str, bytes]

    @property
    def manifest_count(self) -> int:
        """How many tracks can be granted with it at once."""
        return sum(name.startswith(MANIFESTS) for name in self.files)


def check_passphrase(passphrase: str) -> None:
    """Raises CallerFault `weak_passphrase`."""
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise CallerFault(
            "weak_passphrase",
            f"The back-up's passphrase has at least {SHORTEST_PASSPHRASE} characters: whoever has the file can "
            "try as often as they like.",
        )


def make_backup(settings: Settings, passphrase: str) -> bytes:
    """Everything, sealed; it was opened again and compared when this returns. Blocks, about a second.

    Raises:
        CallerFault: `weak_passphrase`; as `open_vault`. Unavailable: `disk_failed`.
    """
    check_passphrase(passphrase)
    with open_vault(settings) as vault:
        artist, files = to_hex(vault.artist_key), dict(_files(settings.data, vault))
    kdf = new_kdf()
    header = json.dumps({"format": FORMAT, "version": VERSION, "kdf": kdf}, separators=(",", ":")).encode()
    codec = RecordCodec(header, cipher_of(kdf, passphrase))
    lines = [header + b"\n"]
    for number, (name, content) in enumerate(files.items(), start=1):
        lines.append(codec.encode(number, {"name": name, "content": base64.b64encode(content).decode()}))
    end = {"artist": artist, "made_at": time.time(), "files": len(files)}
    lines.append(codec.encode(len(lines), {"end": end}))
    document = b"".join(lines)
    if read_backup(document, passphrase).files != files:  # a back-up that cannot be read is none
        raise CallerFault("backup_damaged", "The back-up is not what it was made of: make it again.")
    return document


def _files(data: Path, vault: Vault) -> Iterator[tuple[str, bytes]]:
    with disk_faults_named(data):
        yield FILE_NAME, _read_locked(data / FILE_NAME)
        for name in PARTS:
            if (content := _read(data / name)) is not None:
                yield name, content
        for path in sorted((data / HELD).glob("*")):
            if _is_part(name := f"{HELD}/{path.name}") and (content := _read(path)) is not None:
                yield name, content
        store = ChunkStore(data)
        for secret in vault.secrets():
            if (content := _read(store.manifest_path(secret.track_root))) is not None:
                yield f"{MANIFESTS}/{secret.track_root}.json", content


def _read_locked(path: Path) -> bytes:
    """Nobody appends to the vault meanwhile."""
    descriptor = open_regular(path)
    with os.fdopen(descriptor, "rb") as file:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return file.read()


def _read(path: Path) -> bytes | None:
    try:
        descriptor = open_regular(path)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read(MAX_BYTES)


def read_backup(document: bytes, passphrase: str) -> Backup:
    """Open a back-up. Blocks, about a third of a second.

    Raises:
        CallerFault: `no_backup`, `backup_newer`, `wrong_passphrase`, `backup_damaged`.
    """
    header, codec = _codec(document, passphrase)
    lines = document[len(header) + 1 :].split(b"\n")
    if len(lines) < 2 or lines.pop() != b"":
        raise _damaged("is cut short")
    files: dict[str, bytes] = {}
    try:
        *records, last = (codec.decode(number, line) for number, line in enumerate(lines, start=1))
    except ValueError as error:
        raise CallerFault(
            "wrong_passphrase", "This passphrase does not open the back-up, or the file is damaged."
        ) from error
    try:
        for record in records:
            name, content = record["name"], base64.b64decode(record["content"], validate=True)
            if not _is_part(name) or name in files:
                raise _damaged("holds something else")
            files[name] = content
        end = last["end"]
        if end["files"] != len(files) or FILE_NAME not in files:
            raise _damaged("is not complete")
        return Backup(str(end["artist"]), float(end["made_at"]), files)
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise _damaged("is not complete") from error


def _codec(document: bytes, passphrase: str) -> tuple[bytes, RecordCodec]:
    header, newline, _ = document.partition(b"\n")
    try:
        fields = json.loads(header) if newline and len(document) <= MAX_BYTES else None
        if not isinstance(fields, dict) or fields["format"] != FORMAT:
            raise ValueError(FORMAT)
        if fields["version"] != VERSION:
            raise CallerFault("backup_newer", "This back-up was made by a newer version of DIGM: update DIGM.")
        return header, RecordCodec(header, cipher_of(fields["kdf"], passphrase))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CallerFault("no_backup", "This file is no back-up of a vault.") from error


def _is_part(name: object) -> bool:
    """Nothing else is ever written, wherever the file came from."""
    if not isinstance(name, str):
        return False
    folder, _, rest = name.partition("/")
    is_manifest = folder == MANIFESTS and rest.endswith(".json") and is_hex_id(rest.removesuffix(".json"))
    return name in (FILE_NAME, *PARTS) or is_manifest or _HELD_NAME.fullmatch(name) is not None


def _damaged(what: str) -> CallerFault:
    return CallerFault("backup_damaged", f"The back-up {what}: take another copy of it.")


def digest_of(document: bytes) -> str:
    """What a copy can be compared by: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(document).hexdigest()[:16]
