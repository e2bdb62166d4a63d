"""An elder node's two names: its Ed25519 key, and the libp2p peer id that is made of it.

A peer id of an Ed25519 key is base58btc of the identity multihash over the key's protobuf (libp2p specs,
peer-ids): `00 24 08 01 12 20` and the 32 bytes. So each can be computed from the other, and nothing has to be
looked up to check who signed what.
"""

from digm.errors import CallerFault
from digm.ids import ID_BYTES

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_PREFIX = bytes.fromhex("002408011220")
_LENGTH = 52
"""Characters of every such peer id: they all begin with 12D3KooW."""


def peer_id(node: bytes) -> str:
    """The libp2p peer id of an Ed25519 public key.

    Raises:
        CallerFault: `bad_id`, not 32 bytes.
    """
    if len(node) != ID_BYTES:
        raise CallerFault("bad_id", f"An Ed25519 key is {ID_BYTES} bytes, not {len(node)}.")
    number, digits = int.from_bytes(_PREFIX + node, "big"), ""
    while number:
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return "1" + digits  # the multihash begins with one zero byte


def node_of(peer: str) -> bytes:
    """The Ed25519 public key inside a libp2p peer id.

    Raises:
        CallerFault: `bad_peer_id`, also for ids of other kinds of keys, which elder nodes do not have.
    """
    number = 0
    for character in peer if len(peer) == _LENGTH else "":
        digit = _ALPHABET.find(character)
        if digit < 0:
            break
        number = number * len(_ALPHABET) + digit
    size = len(_PREFIX) + ID_BYTES
    data = number.to_bytes(size, "big") if number.bit_length() <= size * 8 else b""
    if not data.startswith(_PREFIX) or peer_id(data[len(_PREFIX) :]) != peer:
        raise CallerFault("bad_peer_id", "An elder node's peer id is that of an Ed25519 key: 12D3KooW...")
    return data[len(_PREFIX) :]
