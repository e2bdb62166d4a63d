"""How the lines of a vault file are written and read: plain JSON, or sealed with a key from a passphrase.

The first line says which. In a sealed vault every other line is AES-256-GCM under a scrypt key (RFC 7914),
bound to the header and to its place in the file, so that lines can be neither swapped nor left out in the
middle. Cutting whole lines off at the end cannot be noticed. The file, its locks and its mode are for `vault`.
"""

import hashlib
import json
import secrets
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from digm.errors import CallerFault

FORMAT = "digm vault"
VERSION = 1
# What a file that is younger than its header may start with.
HEADER_START = f'{{"format":"{FORMAT}",'.encode()
# OWASP's minimum for scrypt (Password Storage Cheat Sheet, 2023): 128 MiB and about a third of a second.
SCRYPT_COST = 1 << 17
SCRYPT_BLOCK_SIZE = 8
# What a header may ask of this machine: 1 GiB.
_MAX_SCRYPT_COST = 1 << 20
_MIN_SCRYPT_COST = 1 << 10
_NONCE_BYTES = 12
_SALT_BYTES = 16

Fields = dict[str, Any]


class RecordCodec:
    """Writes and reads the records of one vault.

    Args:
        header: the first line, without its line end.
        cipher: None for a plain vault.
    """

    def __init__(self, header: bytes, cipher: AESGCM | None) -> None:
        self.header = header
        self._cipher = cipher
        self._header_hash = hashlib.sha256(header).digest()

    def encode(self, number: int, fields: Fields) -> bytes:
        """One line, with its end.

        Args:
            number: its place in the file; the header is line 0.
        """
        data = json.dumps(fields, separators=(",", ":"), sort_keys=True).encode()
        if self._cipher:
            nonce = secrets.token_bytes(_NONCE_BYTES)
            sealed = self._cipher.encrypt(nonce, data, self._place(number))
            data = json.dumps({"nonce": nonce.hex(), "sealed": sealed.hex()}, separators=(",", ":")).encode()
        return data + b"\n"

    def decode(self, number: int, line: bytes) -> Fields:
        """The fields of one line.

        Raises:
            ValueError: not a record of this vault, or not at this place; with the right cipher: damage.
        """
        fields = json.loads(line)
        if not isinstance(fields, dict):
            raise ValueError("not an object")
        if self._cipher is None:
            return fields
        try:
            nonce, sealed = bytes.fromhex(fields["nonce"]), bytes.fromhex(fields["sealed"])
            opened: Fields = json.loads(self._cipher.decrypt(nonce, sealed, self._place(number)))
        except (KeyError, TypeError, InvalidTag) as error:
            raise ValueError("not a sealed record of this vault") from error
        return opened

    def _place(self, number: int) -> bytes:
        return b"digm/1 vault" + self._header_hash + number.to_bytes(4, "big")


def new_codec(passphrase: str | None) -> RecordCodec:
    """The header of a new vault and what writes its records."""
    fields: Fields = {"format": FORMAT, "version": VERSION, "kdf": None}
    if passphrase:
        fields["kdf"] = new_kdf()
    header = json.dumps(fields, separators=(",", ":")).encode()
    return RecordCodec(header, cipher_of(fields["kdf"], passphrase) if passphrase else None)


def new_kdf() -> Fields:
    """How a new passphrase becomes a key."""
    salt = secrets.token_bytes(_SALT_BYTES).hex()
    return {"name": "scrypt", "n": SCRYPT_COST, "r": SCRYPT_BLOCK_SIZE, "p": 1, "salt": salt}


def codec_of(header: bytes, passphrase: str | None, name: str) -> RecordCodec:
    """Read a header.

    Args:
        name: of the file, for sentences.
    Raises:
        CallerFault: `vault_damaged`, `vault_newer`, `vault_locked`, `vault_not_sealed`.
    """
    try:
        fields = json.loads(header)
        version, kdf = fields["version"], fields["kdf"]
        if fields["format"] != FORMAT or not isinstance(version, int):
            raise ValueError(FORMAT)
    except (ValueError, KeyError, TypeError) as error:
        raise CallerFault("vault_damaged", f"{name} is not a key vault or is damaged: restore it.") from error
    if version != VERSION:
        raise CallerFault("vault_newer", f"{name} was written by a newer version of DIGM: update DIGM.")
    if kdf is None and passphrase:
        raise CallerFault(
            "vault_not_sealed",
            f"DIGM_VAULT_PASSPHRASE is set, but {name} was made without a passphrase: unset the variable, or "
            "keep that file elsewhere and start a new vault.",
        )
    if kdf is not None and not passphrase:
        raise CallerFault(
            "vault_locked", f"{name} is sealed with a passphrase: set DIGM_VAULT_PASSPHRASE to it."
        )
    try:
        return RecordCodec(header, cipher_of(kdf, passphrase) if passphrase else None)
    except (ValueError, KeyError, TypeError) as error:
        raise CallerFault("vault_damaged", f"The first line of {name} is damaged: restore it.") from error


def cipher_of(kdf: Fields, passphrase: str) -> AESGCM:
    """What a passphrase opens; takes a third of a second. Raises ValueError, KeyError, TypeError: bad `kdf`."""
    cost, block_size = int(kdf["n"]), int(kdf["r"])
    if (
        kdf["name"] != "scrypt"
        or not _MIN_SCRYPT_COST <= cost <= _MAX_SCRYPT_COST
        or block_size != SCRYPT_BLOCK_SIZE
    ):
        raise ValueError("unknown key derivation")
    key = hashlib.scrypt(
        passphrase.encode(),
        salt=bytes.fromhex(kdf["salt"]),
        n=cost,
        r=block_size,
        p=1,
        maxmem=2 * 128 * cost * block_size,
        dklen=32,
    )
    return AESGCM(key)
