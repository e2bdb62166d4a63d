"""The artist's vault: who the artist is, and the key of every track, in one file that only grows.

`vault.digm` has mode 600 from its first moment. With a passphrase its records are sealed (`vault_records`);
without one they are plain, and whoever can read the file can play and sign everything: the mode is all that
protects it. A record is durable when `add` returns. What kill -9 tore off at the end is ignored, and cut off
when the next record is written. Several processes may use one vault at once.

A vault gets its name only when its identity is durable in it. So a file without a whole identity is damaged,
not young, and is never written to: a new identity in its place would lose the artist for good.

A record without a track in the catalogue is harmless: publishing stopped between the two.
"""

import errno
import fcntl
import os
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from digm.errors import CallerFault, Unavailable
from digm.keys import hkdf_sha256
from hub.publishing.vault_records import HEADER_START, Fields, RecordCodec, codec_of, new_codec
from hub.storage.durable import (
    disk_fault,
    disk_faults_named,
    folder_locked,
    make_folder,
    sync_folder,
    write_all,
    write_new,
)

FILE_NAME = "vault.digm"
HOW_TO_GO_ON = "restore it from a backup, or start as a new artist with a data folder of its own (DIGM_DATA)"
_OWNER_ONLY = 0o600


class TrackSecret(msgspec.Struct, frozen=True, kw_only=True):
    """What only the artist knows of a track.

    Attributes:
        track_root, source_sha256: 64 hex digits; of the file that was published.
        track_key: 32 bytes.
        published_at: seconds since 1970.
    """

    track_root: str
    track_key: bytes
    source_sha256: str
    published_at: float

    def __repr__(self) -> str:
        return f"TrackSecret(track_root={self.track_root[:8]!r})"


class Vault:
    """An open vault; get one with `Vault.open`. Safe in threads and between processes."""

    def __init__(self, path: Path, descriptor: int, passphrase: str | None) -> None:
        self.path = path
        self._descriptor = descriptor
        self._passphrase = passphrase
        self._thread_lock = threading.Lock()
        self._codec: RecordCodec | None = None
        self._read_to = 0
        self._lines = 0
        self._identity: Ed25519PrivateKey | None = None
        self._secrets: dict[str, TrackSecret] = {}

    @classmethod
    def open(
        cls, path: Path, passphrase: str | None = None, create: bool = True, read_only: bool = False
    ) -> Self:
        """Open a vault, or make one with a new identity.

        Nothing is written before passphrase and file are known to belong together.

        Args:
            passphrase: None or empty: the vault is plain.
            create: make the vault if there is no such file. Whoever publishes or grants asks
                `hub.publishing.identity.open_vault` instead, which knows when that would lose an identity.
            read_only: the folder may be one that cannot be written; nothing is made and `add` is of no use.
        Raises:
            CallerFault: `vault_missing`, `vault_exposed` (others may read it), `vault_is_link`,
                `vault_is_no_file`, `vault_locked`, `vault_not_sealed`, `wrong_passphrase`, `vault_damaged`,
                `vault_newer`, `data_not_writable`.
            Unavailable: `disk_full`, `disk_failed`.
        """
        try:
            if create and not read_only:
                _make_file(path, passphrase or None)
            vault = cls(path, _open_file(path, read_only), passphrase or None)
        except OSError as error:
            raise disk_fault(error, path.parent) from error
        try:
            with disk_faults_named(path.parent):
                vault._begin()
        except BaseException:
            vault.close()
            raise
        return vault

    def close(self) -> None:
        """Close the file and forget the keys."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1
        self._identity = None
        self._secrets = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def artist_key(self) -> bytes:
        """The artist's Ed25519 public key, 32 bytes."""
        return self._private_key().public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """The artist's Ed25519 signature, 64 bytes."""
        return self._private_key().sign(message)

    def derive(self, info: bytes) -> bytes:
        """A further secret, 32 bytes, the same for as long as the vault is: HKDF-SHA256 of the artist's key."""
        return hkdf_sha256(self._private_key().private_bytes_raw(), info)

    def secret(self, root_hex: str) -> TrackSecret | None:
        """What is known of a track, also if another process has just added it.

        Raises:
            CallerFault: `vault_damaged`. Unavailable: `disk_failed`.
        """
        with self._thread_lock:
            self._refresh()
            return self._secrets.get(root_hex)

    def by_source(self, source_sha256: str) -> list[TrackSecret]:
        """Everything ever made from these source bytes, the newest first; not all of it need be catalogued.

        Raises:
            CallerFault: `vault_damaged`. Unavailable: `disk_failed`.
        """
        with self._thread_lock:
            self._refresh()
            found = [secret for secret in self._secrets.values() if secret.source_sha256 == source_sha256]
        return found[::-1]

    def secrets(self) -> list[TrackSecret]:
        """Everything that is known, the oldest first.

        Raises:
            CallerFault: `vault_damaged`. Unavailable: `disk_failed`.
        """
        with self._thread_lock:
            self._refresh()
            return list(self._secrets.values())

    def add(self, *secrets: TrackSecret) -> None:
        """Append records; they are durable when this returns.

        Raises:
            CallerFault: `vault_damaged`. Unavailable: `disk_full`, `disk_failed`, `vault_replaced`.
        """
        with (
            self._thread_lock,
            disk_faults_named(self.path.parent),
            _locked(self._descriptor, fcntl.LOCK_EX),
        ):
            self._read_records()
            if not _is_same_file(self.path, self._descriptor):
                raise Unavailable(
                    "vault_replaced", f"{self.path} was replaced by another file: start again to use that."
                )
            self._append([_track_fields(secret) for secret in secrets])
            self._read_records()

    def _private_key(self) -> Ed25519PrivateKey:
        if self._identity is None:
            raise CallerFault("vault_closed", f"The vault {self.path} is closed.")
        return self._identity

    def _begin(self) -> None:
        with _locked(self._descriptor, fcntl.LOCK_SH):
            self._read_records()
        if self._identity is None:
            raise self._damaged("holds no whole identity")

    def _append(self, records: list[Fields]) -> None:
        assert self._codec is not None
        lines = (self._codec.encode(number, fields) for number, fields in enumerate(records, start=self._lines))
        self._write_at_end(b"".join(lines))

    def _write_at_end(self, data: bytes) -> None:
        """Cut off what a killed process left behind the last whole line, and append."""
        os.ftruncate(self._descriptor, self._read_to)
        os.lseek(self._descriptor, self._read_to, os.SEEK_SET)
        try:
            write_all(self._descriptor, data)
            os.fsync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, self._read_to)
            raise

    def _refresh(self) -> None:
        self._private_key()
        with disk_faults_named(self.path.parent):
            if os.fstat(self._descriptor).st_size != self._read_to:
                with _locked(self._descriptor, fcntl.LOCK_SH):
                    self._read_records()

    def _read_records(self) -> None:
        """Take in the whole lines behind those that are known. The caller holds the lock."""
        size = os.fstat(self._descriptor).st_size
        if size < self._read_to:
            raise self._damaged("is shorter than it was")
        data = os.pread(self._descriptor, size - self._read_to, self._read_to)
        *lines, torn = data.split(b"\n")
        if self._codec is None and not lines:
            is_torn = torn.startswith(HEADER_START[: len(torn)])
            raise self._damaged("is empty or torn" if is_torn else "is not a key vault")
        for line in lines:
            self._read_line(line)
            self._read_to += len(line) + 1
            self._lines += 1

    def _read_line(self, line: bytes) -> None:
        if self._codec is None:
            self._codec = codec_of(line, self._passphrase, str(self.path))
            return
        try:
            fields = self._codec.decode(self._lines, line)
            if fields["type"] == "identity":
                self._identity = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(fields["private_key"]))
            elif fields["type"] == "track":
                secret = _track_secret(fields)
                self._secrets[secret.track_root] = secret
        except (ValueError, KeyError, TypeError) as error:
            if self._passphrase and self._identity is None:
                raise CallerFault(
                    "wrong_passphrase",
                    f"DIGM_VAULT_PASSPHRASE does not open {self.path}: check it; if it is right, the file is "
                    "damaged, restore it from a backup.",
                ) from error
            raise self._damaged(f"is damaged in line {self._lines + 1}") from error

    def _damaged(self, what: str) -> CallerFault:
        return CallerFault("vault_damaged", f"{self.path} {what}: {HOW_TO_GO_ON}.")


def _make_file(path: Path, passphrase: str | None) -> None:
    """Make a vault with a new identity, unless there is something of that name."""
    if os.path.lexists(path):
        return
    make_folder(path.parent)
    unnamed = path.with_name(path.name + ".new")
    with folder_locked(path.parent):
        if os.path.lexists(path):
            return
        unnamed.unlink(missing_ok=True)
        codec = new_codec(passphrase)
        private_key = Ed25519PrivateKey.generate().private_bytes_raw().hex()
        record: Fields = {"type": "identity", "private_key": private_key, "made_at": time.time()}
        write_new(unnamed, codec.header + b"\n" + codec.encode(1, record), _OWNER_ONLY)
        unnamed.chmod(_OWNER_ONLY)  # the umask may have taken from it
        unnamed.rename(path)
        sync_folder(path.parent)


def _open_file(path: Path, read_only: bool) -> int:
    # O_NONBLOCK: opening a pipe must not hang.
    flags = (os.O_RDONLY if read_only else os.O_RDWR) | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError as error:
        raise CallerFault("vault_missing", f"There is no {path}: publish a track first.") from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise CallerFault("vault_is_link", f"{path} is a link: put the vault itself there.") from error
        if error.errno in (errno.EISDIR, errno.ENXIO):
            raise _is_no_file(path) from error
        raise
    facts = os.fstat(descriptor)
    mode = stat.S_IMODE(facts.st_mode)
    if not stat.S_ISREG(facts.st_mode) or mode & 0o077:
        os.close(descriptor)
    if not stat.S_ISREG(facts.st_mode):
        raise _is_no_file(path)
    if mode & 0o077:
        raise CallerFault(
            "vault_exposed", f"{path} can be read by others (mode {mode:o}): run chmod 600 on it."
        )
    return descriptor


def _is_no_file(path: Path) -> CallerFault:
    return CallerFault(
        "vault_is_no_file", f"{path} is a folder or a device, where the key vault belongs: {HOW_TO_GO_ON}."
    )


@contextmanager
def _locked(descriptor: int, kind: int) -> Iterator[None]:
    fcntl.flock(descriptor, kind)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _is_same_file(path: Path, descriptor: int) -> bool:
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(named, os.fstat(descriptor))


def _track_fields(secret: TrackSecret) -> Fields:
    fields: Fields = msgspec.structs.asdict(secret)
    return {"type": "track", **fields, "track_key": secret.track_key.hex()}


def _track_secret(fields: Fields) -> TrackSecret:
    return TrackSecret(
        track_root=str(fields["track_root"]),
        track_key=bytes.fromhex(fields["track_key"]),
        source_sha256=str(fields["source_sha256"]),
        published_at=float(fields["published_at"]),
    )
