"""The key that pays and signs on the chain: one encrypted file (Web3 Secret Storage v3), as wallets have it.

The key is never an argument of a command and never in a log. Importing this is cheap; eth-account is imported
when a key is made or opened.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from digm.errors import CallerFault
from hub.storage.durable import disk_fault, open_regular, sync_folder, write_new

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

FILE_NAME = "key.json"
MAX_FILE_BYTES = 1 << 16
SHORTEST_PASSPHRASE = 8
GAS_OF_NOTHING = 21_000
WORK = 1 << 17
"""scrypt's N: about a third of a second. geth's light keys have 2^12, its others 2^18."""


class Signer:
    """Signs transactions of one account."""

    def __init__(self, account: "LocalAccount") -> None:
        self._account = account
        self.address = str(account.address)

    def __repr__(self) -> str:
        return f"Signer({self.address})"

    def sign(self, transaction: Mapping[str, Any]) -> tuple[str, bytes]:
        """A transaction's hash, and the bytes that are sent."""
        signed = self._account.sign_transaction(dict(transaction))
        return "0x" + bytes(signed.hash).hex(), bytes(signed.raw_transaction)

    def sign_dearer(
        self, raw: bytes, tip_wei: int, fee_wei: int, factor: tuple[int, int], is_nothing: bool = False
    ) -> tuple[str, bytes, int]:
        """The same transaction (EIP-1559) again, at these fees or the old ones times a factor, if that is more.

        Args:
            is_nothing: one that does nothing in its place.
        Returns:
            its hash, the bytes that are sent, and the most that it pays for a unit of gas.
        """
        from eth_account.typed_transactions.typed_transaction import TypedTransaction
        from hexbytes import HexBytes

        fields = dict(TypedTransaction.from_bytes(HexBytes(raw)).as_dict())
        fields = {name: value for name, value in fields.items() if name not in ("v", "r", "s")}
        for name, wei in (("maxPriorityFeePerGas", tip_wei), ("maxFeePerGas", fee_wei)):
            fields[name] = max(wei, int(fields[name]) * factor[0] // factor[1] + 1)
        if is_nothing:
            fields |= {"to": self.address, "data": b"", "value": 0, "gas": GAS_OF_NOTHING}
        return (*self.sign(fields), int(fields["maxFeePerGas"]))


def create_key(path: Path, passphrase: str, work: int = WORK) -> str:
    """Make a key and keep it encrypted, mode 600. A file that is there is never written over.

    Returns:
        its address.
    Raises:
        CallerFault: `key_exists`, `weak_passphrase`, `data_not_writable`. Unavailable: `disk_full`,
            `disk_failed`.
    """
    from eth_account import Account

    return _keep(path, Account.create(), passphrase, work)


def import_key(path: Path, key: bytes, passphrase: str, work: int = WORK) -> str:
    """Keep a key that there is already. Returns and raises as `create_key`; CallerFault: `bad_key`."""
    from eth_account import Account
    from eth_utils.exceptions import ValidationError

    try:
        account = Account.from_key(key)
    except (ValidationError, ValueError) as error:
        raise _bad_key() from error
    return _keep(path, account, passphrase, work)


def key_bytes(text: str) -> bytes:
    """A private key as people write it: 64 hex digits. Raises CallerFault `bad_key`."""
    try:
        return bytes.fromhex(text.strip().removeprefix("0x"))
    except ValueError:
        raise _bad_key() from None  # not with its cause: that repeats what was typed


def _bad_key() -> CallerFault:
    return CallerFault("bad_key", "This is no private key: that is 32 bytes, 64 hex digits.")


def _keep(path: Path, account: "LocalAccount", passphrase: str, work: int) -> str:
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise CallerFault("weak_passphrase", f"The passphrase has fewer than {SHORTEST_PASSPHRASE} characters.")
    content = msgspec.json.encode(account.encrypt(passphrase, iterations=work))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_new(path, content, mode=0o600)
        sync_folder(path.parent)
    except FileExistsError as error:
        raise CallerFault("key_exists", f"{path} holds a key already; it is not written over.") from error
    except OSError as error:
        raise disk_fault(error, path.parent) from error
    return str(account.address)


def address_of(path: Path) -> str | None:
    """The address that the file names, without its passphrase; None where there is no key.

    Raises:
        CallerFault: `bad_key_file`.
    """
    from hub.chain.words import checksummed

    try:
        said = _read(path)
    except CallerFault as fault:
        if fault.code != "no_key":
            raise
        return None
    try:
        return checksummed(bytes.fromhex(str(said["address"]).removeprefix("0x")))
    except (KeyError, ValueError) as error:
        raise _bad_file(path) from error


def open_key(path: Path, passphrase: str) -> Signer:
    """Decrypt a key.

    Raises:
        CallerFault: `no_key`, `bad_key_file`, `wrong_passphrase`, `key_readable_by_others`.
    """
    from eth_account import Account

    said = _read(path)
    try:
        key = Account.decrypt(said, passphrase)
    except ValueError as error:
        if "MAC" in str(error).upper():
            raise CallerFault("wrong_passphrase", f"The passphrase does not open {path}.") from error
        raise _bad_file(path) from error
    except (KeyError, TypeError, NotImplementedError) as error:
        raise _bad_file(path) from error
    return Signer(Account.from_key(key))


def read_own(path: Path) -> bytes | None:
    """What is in a file that nobody else may read, at most a byte more than `MAX_FILE_BYTES`; None: no file.

    Raises:
        CallerFault: `key_readable_by_others`, `data_not_writable`. Unavailable: `disk_failed`.
    """
    try:
        descriptor = open_regular(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise disk_fault(error, path.parent) from error
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        content = file.read(MAX_FILE_BYTES + 1)
    if stat.S_IMODE(mode) & 0o077:
        raise CallerFault(
            "key_readable_by_others", f"Others can read {path}: chmod 600 it, and think of the key as known."
        )
    return content


def _read(path: Path) -> dict[str, Any]:
    content = read_own(path)
    if content is None:
        raise CallerFault("no_key", f"There is no key in {path}: digm chain key makes one.")
    try:
        said = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _bad_file(path) from error
    if not isinstance(said, dict) or len(content) > MAX_FILE_BYTES:
        raise _bad_file(path)
    return said


def _bad_file(path: Path) -> CallerFault:
    return CallerFault("bad_key_file", f"{path} is no key in Web3 Secret Storage (version 3).")
