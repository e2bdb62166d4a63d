"""Track keys for a second vault: sealed to its key, signed by the artist, in one file that can travel anyhow.

    {"digm": 1, "artist_key": hex, "for": address, "to_key": hex, "count": n, "enc": hex, "sealed": base64,
     "signature": hex}

Sealed (HPKE as in `hub.vault.wrapping`, with an `info` of its own) is `root || key` for each track, 64 bytes. A
vault never forgets a key, so `count` tells which of two files is the later one.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.bindings._rust import openssl as rust_openssl
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from digm.errors import CallerFault, PeerFault
from digm.ids import from_hex, is_hex_id, to_hex
from digm.keys import KEY_BYTES
from hub.granting.issue import ENC_BYTES, SUITE
from hub.publishing.vault import Vault
from hub.signatures import verify

INFO = b"digm/1 second vault"
MAX_FILE_BYTES = 64 << 20
_PAIR_BYTES = 2 * KEY_BYTES
_INVITATION = re.compile(r"digm-vault:(0x[0-9a-fA-F]{40}):([0-9a-f]{64})")


@dataclass(frozen=True)
class Invitation:
    """What a second vault says of itself to the artist: nothing of it is secret.

    Attributes:
        address: of its account, with checksum.
        key: X25519; what track keys are sealed to.
    """

    address: str
    key: bytes

    def __str__(self) -> str:
        return f"digm-vault:{self.address}:{self.key.hex()}"

    @classmethod
    def parse(cls, text: str) -> "Invitation":
        """Read one that was typed or pasted. Raises CallerFault `bad_invitation`, `bad_address`."""
        from hub.chain.opening import checked_address

        found = _INVITATION.fullmatch(text.strip())
        if found is None:
            raise CallerFault(
                "bad_invitation",
                "That is no second vault: whoever runs it gets the line with digm vault accept; it begins with "
                "digm-vault:0x.",
            )
        return cls(checked_address(found[1]), from_hex(found[2]))


@dataclass(frozen=True)
class SharedKeys:
    """What was opened. `keys`: track root -> track key."""

    artist_key: bytes
    keys: Mapping[bytes, bytes]


class _File(msgspec.Struct, frozen=True, rename={"recipient": "for"}):
    artist_key: str
    recipient: str
    to_key: str
    count: int
    enc: str
    sealed: str
    signature: str
    digm: int = 1


def listening_secret(vault: Vault) -> X25519PrivateKey:
    """What opens keys that were sealed to this vault as somebody's second one."""
    return X25519PrivateKey.from_private_bytes(vault.derive(INFO))


def seal_keys(vault: Vault, to: Invitation) -> bytes:
    """All track keys of a vault, for another one. Blocks.

    Raises:
        CallerFault: `bad_invitation`: nothing can be sealed to its key; as `Vault.secrets`.
    """
    pairs = [bytes.fromhex(one.track_root) + one.track_key for one in vault.secrets()]
    aad = vault.artist_key + to.address.encode()
    try:
        public = X25519PublicKey.from_public_bytes(to.key)
        sealed = rust_openssl.hpke._encrypt_with_aad(SUITE, b"".join(pairs), public, info=INFO, aad=aad)
    except ValueError as error:
        raise CallerFault("bad_invitation", "Nothing can be sealed to the second vault's key.") from error
    enc, sealed = sealed[:ENC_BYTES], sealed[ENC_BYTES:]
    signature = vault.sign(_signed(vault.artist_key, to.address, to.key, len(pairs), enc + sealed))
    return msgspec.json.encode(
        _File(
            to_hex(vault.artist_key), to.address, to.key.hex(), len(pairs), enc.hex(),
            base64.b64encode(sealed).decode(), signature.hex(),
        )
    )  # fmt: skip


def count_of(document: bytes, to: Invitation) -> int:
    """How many keys an own file for a vault has; -1: it is for another key, or none."""
    try:
        found = msgspec.json.decode(document, type=_File)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return -1
    return found.count if (found.recipient, found.to_key) == (to.address, to.key.hex()) else -1


def open_keys(document: bytes, secret: X25519PrivateKey, address: str) -> SharedKeys:
    """Check and open what an artist sealed to this vault. Blocks.

    Raises:
        PeerFault: `bad_shared_keys`, `shared_keys_for_another`, `shared_keys_forged`.
    """
    try:
        if len(document) > MAX_FILE_BYTES:
            raise _bad()
        found = msgspec.json.decode(document, type=_File)
        enc, signature = bytes.fromhex(found.enc), bytes.fromhex(found.signature)
        sealed, to_key = base64.b64decode(found.sealed, validate=True), bytes.fromhex(found.to_key)
        if not is_hex_id(found.artist_key) or len(enc) != ENC_BYTES or found.digm != 1:
            raise _bad()
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, binascii.Error) as error:
        raise _bad() from error
    artist_key = from_hex(found.artist_key)
    if (found.recipient, to_key) != (address, secret.public_key().public_bytes_raw()):
        raise PeerFault("shared_keys_for_another", "These keys were sealed to another vault than this one.")
    if not verify(artist_key, signature, _signed(artist_key, address, to_key, found.count, enc + sealed)):
        raise PeerFault("shared_keys_forged", "These keys were not sealed by the artist that they name.")
    try:
        opened = rust_openssl.hpke._decrypt_with_aad(
            SUITE, enc + sealed, secret, info=INFO, aad=artist_key + address.encode()
        )
    except (InvalidTag, ValueError) as error:
        raise PeerFault("shared_keys_forged", "These keys do not open with this vault's key.") from error
    if len(opened) != found.count * _PAIR_BYTES:
        raise _bad()
    pairs = [opened[at : at + _PAIR_BYTES] for at in range(0, len(opened), _PAIR_BYTES)]
    return SharedKeys(artist_key, {pair[:KEY_BYTES]: pair[KEY_BYTES:] for pair in pairs})


def _signed(artist_key: bytes, address: str, to_key: bytes, count: int, content: bytes) -> bytes:
    digest = hashlib.sha256(content).digest()
    return INFO + artist_key + address.encode() + to_key + count.to_bytes(8, "big") + digest


def _bad() -> PeerFault:
    return PeerFault(
        "bad_shared_keys", "This is no file of keys for a second vault: digm vault appoint makes one."
    )
