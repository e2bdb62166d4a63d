"""The second vaults that an artist appointed, and files of keys for them, made anew when there are new tracks.

`DATA/vaults.json` says who; `DATA/vaults/ADDRESS.keys` is what each of them is given, by whatever way: a folder
that is synchronised, or by hand. Only they can open it.
"""

import asyncio
from pathlib import Path

import msgspec
import structlog

from digm.errors import CallerFault, DigmError
from digm.ids import from_hex
from hub.publishing.vault import Vault
from hub.storage.durable import disk_fault, disk_faults_named, write_durably
from hub.vault.sharing import MAX_FILE_BYTES, Invitation, count_of, seal_keys

log = structlog.get_logger()
FILE_NAME, FOLDER = "vaults.json", "vaults"
LOOKED_AGAIN_S = 2.0
MOST = 16


class Appointed(msgspec.Struct, frozen=True):
    """One of them. `key`: 64 hex digits; `name`: what the artist calls it."""

    address: str
    key: str
    name: str = ""

    @property
    def invitation(self) -> Invitation:
        return Invitation(self.address, from_hex(self.key))


class _Document(msgspec.Struct, frozen=True):
    vaults: tuple[Appointed, ...] = ()


def load_appointed(data: Path) -> tuple[Appointed, ...]:
    """Those of a data folder. Blocks. Raises CallerFault `bad_vaults`; as `disk_fault`."""
    path = data / FILE_NAME
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_Document).vaults
        for one in found:
            from_hex(one.key)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise disk_fault(error, data) from error
    except (msgspec.MsgspecError, UnicodeDecodeError, CallerFault) as error:
        raise CallerFault(
            "bad_vaults", f"{path} does not name vaults: digm vault appoint writes it."
        ) from error
    return found


def keep_appointed(data: Path, vaults: tuple[Appointed, ...]) -> None:
    """Write down who they are. Raises CallerFault `too_many_vaults`; as `disk_fault`."""
    if len(vaults) > MOST:
        raise CallerFault("too_many_vaults", f"More than {MOST} second vaults are not needed: dismiss one.")
    with disk_faults_named(data):
        content = msgspec.json.format(msgspec.json.encode(_Document(vaults)))
        write_durably(data / FILE_NAME, content, data / "incoming")


def file_for(data: Path, address: str) -> Path:
    """What the vault of this account is given."""
    return data / FOLDER / f"{address}.keys"


def write_for(vault: Vault, data: Path, one: Appointed) -> Path:
    """Make a vault's file, durably. Blocks. Raises as `seal_keys`, `disk_fault`."""
    path = file_for(data, one.address)
    with disk_faults_named(data):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durably(path, seal_keys(vault, one.invitation), data / "incoming")
    return path


class Sharing:
    """Keeps the files up to date. Run it as a task of the artist process."""

    def __init__(self, vault: Vault, data: Path) -> None:
        self._vault, self._data = vault, data
        self._trouble = ""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                for address in await asyncio.to_thread(self.catch_up):
                    log.info("keys_shared", vault=address, file=str(file_for(self._data, address)))
                self._trouble = ""
            except DigmError as fault:
                if fault.code != self._trouble:
                    self._trouble = fault.code
                    log.warning("keys_not_shared", code=fault.code, reason=fault.message)
            await asyncio.sleep(LOOKED_AGAIN_S)

    def catch_up(self) -> list[str]:
        """Make anew what lacks tracks. Blocks. Returns whose; raises as `write_for`."""
        made = []
        for one in load_appointed(self._data):
            path = file_for(self._data, one.address)
            held = path.read_bytes()[:MAX_FILE_BYTES] if path.exists() else b""
            if count_of(held, one.invitation) != len(self._vault.secrets()):
                write_for(self._vault, self._data, one)
                made.append(one.address)
        return made
