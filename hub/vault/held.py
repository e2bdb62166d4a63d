"""Keys of other artists' tracks, of whom this vault is the second one.

What was accepted is kept as it came, sealed, in `DATA/vaults/held/`, with the place that it came from: a later
file there, such as in a folder that the artist's machine writes to, is taken as soon as a key is missing.
"""

import threading
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from digm.errors import CallerFault, DigmError
from digm.ids import short, to_hex
from hub.chain.handing_on import FOLDER as CHAIN
from hub.chain.keystore import FILE_NAME as KEY_FILE
from hub.chain.keystore import address_of
from hub.publishing.vault import Vault
from hub.storage.durable import disk_fault, disk_faults_named, write_durably
from hub.vault.sharing import MAX_FILE_BYTES, Invitation, SharedKeys, listening_secret, open_keys

log = structlog.get_logger()
FOLDER = Path("vaults") / "held"
SOURCES = "sources.json"


@dataclass(frozen=True)
class _Seen:
    """A file as it was when it was read."""

    changed_ns: int
    size: int


class HeldKeys:
    """Of one vault. Safe in threads; blocking calls."""

    def __init__(self, vault: Vault, data: Path) -> None:
        self._vault, self._data = vault, data
        self._lock = threading.Lock()
        self._opened: dict[str, tuple[_Seen, SharedKeys]] = {}
        self._looked: dict[str, _Seen] = {}

    def invitation(self) -> Invitation:
        """What to tell an artist. Raises CallerFault `no_key`: there is no account here."""
        address = address_of(self._data / CHAIN / KEY_FILE)
        if address is None:
            raise CallerFault("no_key", "A second vault needs an account for gas: digm chain key makes one.")
        return Invitation(address, listening_secret(self._vault).public_key().public_bytes_raw())

    def accept(self, source: Path) -> SharedKeys:
        """Take a file of keys, and remember where it came from.

        Raises:
            CallerFault: `file_missing`, `no_key`, `older_keys`: there are more here already. PeerFault: as
                `open_keys`.
        """
        with self._lock:
            keys = self._take(source)
            sources = self._sources() | {to_hex(keys.artist_key): str(source.resolve())}
            with disk_faults_named(self._data):
                write_durably(
                    self._data / FOLDER / SOURCES, msgspec.json.encode(sources), self._data / "incoming"
                )
            return keys

    def key(self, root: bytes, artist_key: bytes | None) -> bytes | None:
        """The key of a track of this artist's, if it was given. What an artist gives counts for nobody else."""
        if artist_key is None:
            return None
        artist = to_hex(artist_key)
        with self._lock:
            found = self._held(artist)
            if found is None or root not in found.keys:
                self._look_at_source(artist)
                found = self._held(artist)
            return found.keys.get(root) if found is not None else None

    def _held(self, artist: str) -> SharedKeys | None:
        path = self._data / FOLDER / f"{artist}.keys"
        seen = _seen(path)
        if seen is None:
            return None
        known = self._opened.get(artist)
        if known is None or known[0] != seen:
            known = self._opened[artist] = seen, self._open(path)
        return known[1]

    def _open(self, path: Path) -> SharedKeys:
        try:
            with path.open("rb") as file:
                document = file.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError as error:
            raise CallerFault("file_missing", f"There is no {path}.") from error
        except OSError as error:
            raise disk_fault(error, path.parent) from error
        return open_keys(document, listening_secret(self._vault), self.invitation().address)

    def _take(self, source: Path) -> SharedKeys:
        keys = self._open(source)
        artist = to_hex(keys.artist_key)
        known = self._held(artist)
        if known is not None and len(known.keys) > len(keys.keys):
            raise CallerFault(
                "older_keys",
                f"{source} has {len(keys.keys)} keys, and {len(known.keys)} of this artist are here already: "
                "it is an older one.",
            )
        path = self._data / FOLDER / f"{artist}.keys"
        with disk_faults_named(self._data):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_durably(path, source.read_bytes(), self._data / "incoming")
        return keys

    def _look_at_source(self, artist: str) -> None:
        """Take what lies there, if it is not what was looked at before."""
        place = self._sources().get(artist)
        seen = _seen(Path(place)) if place else None
        if place is None or seen is None or self._looked.get(artist) == seen:
            return
        self._looked[artist] = seen
        try:
            count = len(self._take(Path(place)).keys)
            log.info("keys_taken", artist=short(artist), tracks=count)
        except DigmError as fault:
            log.warning("keys_not_taken", artist=short(artist), code=fault.code, reason=fault.message)

    def _sources(self) -> dict[str, str]:
        try:
            return msgspec.json.decode((self._data / FOLDER / SOURCES).read_bytes(), type=dict[str, str])
        except (FileNotFoundError, msgspec.MsgspecError, UnicodeDecodeError):
            return {}


def _seen(path: Path) -> _Seen | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return _Seen(facts.st_mtime_ns, facts.st_size)
