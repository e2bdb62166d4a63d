"""What a purchase brings: the track key, wrapped to one buyer, for one item, on one chain.

    wrapped = u8 suite || enc || HPKE ciphertext of K       an album: of its tracks' keys, one after the other

HPKE (RFC 9180) in base mode, single shot, with HKDF-SHA256 and AES-256-GCM; `info` is `PURCHASE_INFO`, `aad` is
`purchase_aad`: moved to another chain, contract, item or buyer, it does not open. It lies on the chain, where
everybody may look at it. Anybody could wrap anything, so what opens is compared with the manifest's commitment
(`check_track_key`) before it is used. Wrapping and opening belong to the rooms around this one
(`hub/vault/wrapping.py`, `web/`); here are the bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from digm.errors import CallerFault, PeerFault
from digm.ids import ID_BYTES
from digm.keys import KEY_BYTES, key_commitment
from digm.manifest import Manifest

PURCHASE_INFO = b"digm/1 purchase"
"""The `info` of the HPKE context."""

MOST_TRACKS = 64
"""So many tracks an album has that is sold as one: their keys have to fit into one event."""

ADDRESS_BYTES = 20
_TAG_BYTES = 16
_MOST_CHAIN_ID = (1 << 64) - 1


class Suite(IntEnum):
    """The KEM of a wrapped key; everything else of HPKE is the same in both.

    A P-256 key is on the chain as its 32 bytes of x, and y is the even one of the two: whoever makes one makes
    it anew until that is so. In `enc` it is the 65 bytes of an uncompressed point, as RFC 9180 has it.
    """

    X25519 = 1
    P256 = 2


ENC_BYTES = {Suite.X25519: 32, Suite.P256: 65}
MAX_WRAPPED_BYTES = 1 + 65 + MOST_TRACKS * KEY_BYTES + _TAG_BYTES


@dataclass(frozen=True)
class WrappedKey:
    """A key on its way to its buyer.

    Attributes:
        enc: the encapsulated HPKE key.
        sealed: the ciphertext of 1 to `MOST_TRACKS` keys of 32 bytes, and its tag.
    """

    suite: Suite
    enc: bytes
    sealed: bytes

    @property
    def key_count(self) -> int:
        """For how many tracks it has keys."""
        return (len(self.sealed) - _TAG_BYTES) // KEY_BYTES

    def encode(self) -> bytes:
        """The bytes on the chain."""
        return bytes([self.suite]) + self.enc + self.sealed

    @classmethod
    def decode(cls, data: bytes) -> "WrappedKey":
        """Read what was delivered; its length is looked at first.

        Raises:
            PeerFault: `bad_wrapped_key`.
        """
        if not 1 < len(data) <= MAX_WRAPPED_BYTES or data[0] not in ENC_BYTES:
            raise _bad(f"{len(data)} bytes of suite {data[:1].hex() or 'none'}")
        suite = Suite(data[0])
        enc_end = 1 + ENC_BYTES[suite]
        wrapped = cls(suite, bytes(data[1:enc_end]), bytes(data[enc_end:]))
        keys_bytes = len(wrapped.sealed) - _TAG_BYTES
        if keys_bytes % KEY_BYTES or not 1 <= wrapped.key_count <= MOST_TRACKS:
            raise _bad("it holds no whole keys")
        return wrapped


def purchase_aad(chain_id: int, sales: bytes, item: bytes, buyer: bytes) -> bytes:
    """What a wrapped key is bound to: `u64 chain id || sales || item || buyer`, 80 bytes.

    Args:
        sales, buyer: addresses of 20 bytes: the contract's and the account's that paid, or was given it.
        item: 32 bytes, the track's or the album's id on the chain.
    Raises:
        CallerFault: `bad_purchase`.
    """
    if not 0 < chain_id <= _MOST_CHAIN_ID:
        raise CallerFault("bad_purchase", f"A chain's id is a number of at most 64 bits, not {chain_id}.")
    if (len(sales), len(item), len(buyer)) != (ADDRESS_BYTES, ID_BYTES, ADDRESS_BYTES):
        raise CallerFault("bad_purchase", "A purchase is of a contract (20 bytes), an item (32), a buyer (20).")
    return chain_id.to_bytes(8, "big") + sales + item + buyer


def join_keys(track_keys: Sequence[bytes]) -> bytes:
    """What is sealed: the keys of an item's tracks in the item's order.

    Raises:
        CallerFault: `bad_key`.
    """
    if not 1 <= len(track_keys) <= MOST_TRACKS or any(len(key) != KEY_BYTES for key in track_keys):
        raise CallerFault("bad_key", f"1 to {MOST_TRACKS} keys of {KEY_BYTES} bytes are wrapped together.")
    return b"".join(track_keys)


def key_at(opened: bytes, place: int) -> bytes:
    """The key of one of an item's tracks, out of what was sealed.

    Args:
        place: the track's in the album; 0 for a track that was bought alone.
    Raises:
        PeerFault: `wrong_track_key`: there is none at this place.
    """
    key = opened[place * KEY_BYTES : (place + 1) * KEY_BYTES]
    if place < 0 or len(opened) % KEY_BYTES or len(key) != KEY_BYTES:
        raise PeerFault(
            "wrong_track_key", "What the artist's vault delivered has no key for this track; ask the artist."
        )
    return key


def check_track_key(key: bytes, manifest: Manifest) -> None:
    """Compare a key with the commitment in the manifest, before anything is opened with it.

    Raises:
        PeerFault: `wrong_track_key`.
    """
    if len(key) != KEY_BYTES or key_commitment(key) != manifest.key_commitment:
        raise PeerFault(
            "wrong_track_key", "The key that came is not the key of this track; nothing is opened with it."
        )


def _bad(what: str) -> PeerFault:
    return PeerFault("bad_wrapped_key", f"What was delivered is no wrapped key ({what}); ask the artist.")
