"""Who a node is: an Ed25519 key that stays the same as long as its data folder does."""

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hub.storage.secret_files import load_secret

FILE_NAME = "node-key"
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
# An identity multihash of 36 bytes: a protobuf PublicKey, type Ed25519, 32 bytes (libp2p specs, peer-ids).
_PEER_ID_OPENS = bytes.fromhex("0024080112 20")


@dataclass(frozen=True)
class NodeIdentity:
    """A node's key.

    Attributes:
        secret: the 32-byte Ed25519 seed; never shown.
    """

    secret: bytes

    @classmethod
    def load(cls, data: Path) -> "NodeIdentity":
        """DATA/secrets/node-key: made once, mode 600, on disk before it is used.

        Raises:
            CallerFault: `bad_secret`, `data_not_writable`.
        """
        return cls(load_secret(data, FILE_NAME))

    @property
    def node_key(self) -> bytes:
        """The public key, 32 bytes: what announcements are signed with."""
        return self._key().public_key().public_bytes_raw()

    @property
    def peer_id(self) -> str:
        """libp2p's name for the same key."""
        return peer_id_of(self.node_key)

    def sign(self, message: bytes) -> bytes:
        """An Ed25519 signature, 64 bytes."""
        return self._key().sign(message)

    def _key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.secret)

    def __repr__(self) -> str:
        return f"NodeIdentity({self.peer_id})"


def peer_id_of(node_key: bytes) -> str:
    """The peer id (base58, `12D3Koo...`) of a 32-byte Ed25519 public key."""
    number, digits = int.from_bytes(_PEER_ID_OPENS + node_key, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        digits = _BASE58[digit] + digits
    return "1" + digits  # one leading zero byte


def node_key_of(peer_id: str) -> bytes | None:
    """The Ed25519 public key in a peer id; None when it holds none (another kind of key, or nonsense)."""
    number = 0
    for digit in peer_id[:64]:
        place = _BASE58.find(digit)
        if place < 0:
            return None
        number = number * 58 + place
    raw = number.to_bytes(48, "big")[-38:]
    is_one = raw.startswith(_PEER_ID_OPENS) and peer_id_of(raw[6:]) == peer_id
    return raw[6:] if is_one else None
