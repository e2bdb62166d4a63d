"""Wraps track keys to a buyer's listening key, and opens what was wrapped (`digm.purchases` has the bytes)."""

from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.bindings._rust import openssl as rust_openssl
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from digm.errors import PeerFault
from digm.purchases import ENC_BYTES, PURCHASE_INFO, Suite, WrappedKey, join_keys

_HPKE = {
    Suite.X25519: hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM),
    Suite.P256: hpke.Suite(hpke.KEM.P256, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM),
}
_EVEN_Y = b"\x02"  # SEC 1 §2.3.3
PrivateKey = X25519PrivateKey | EllipticCurvePrivateKey


def wrap(track_keys: Sequence[bytes], buyer_key: bytes, suite: Suite, aad: bytes) -> WrappedKey:
    """Seal an item's keys to who bought it.

    Args:
        track_keys: in the item's order, 32 bytes each.
        buyer_key: as the buyer named it on the chain, 32 bytes: an X25519 key, or the x of a P-256 key.
        aad: `purchase_aad`.
    Raises:
        CallerFault: `bad_key`. PeerFault: `bad_buyer_key`: nothing can be sealed to it.
    """
    # cryptography 50 takes an `aad` only here (as in hub.granting.issue); the tests open what comes out with an
    # RFC 9180 written from primitives.
    try:
        sealed = rust_openssl.hpke._encrypt_with_aad(
            _HPKE[suite], join_keys(track_keys), _public_key(buyer_key, suite), info=PURCHASE_INFO, aad=aad
        )
    except ValueError as error:
        raise PeerFault(
            "bad_buyer_key", "The buyer named a key that nothing can be sealed to; the money goes back in time."
        ) from error
    return WrappedKey(suite, sealed[: ENC_BYTES[suite]], sealed[ENC_BYTES[suite] :])


def unwrap(wrapped: WrappedKey, private_key: PrivateKey, aad: bytes) -> bytes:
    """Open what was delivered; the keys of the item's tracks, one after the other.

    Raises:
        PeerFault: `wrapped_key_wrong`: it was made for another buyer, item, contract or chain, or changed.
    """
    try:
        opened: bytes = rust_openssl.hpke._decrypt_with_aad(
            _HPKE[wrapped.suite], wrapped.enc + wrapped.sealed, private_key, info=PURCHASE_INFO, aad=aad
        )
    except (InvalidTag, ValueError, TypeError) as error:
        raise PeerFault(
            "wrapped_key_wrong", "The key that came was not made for this purchase: it does not open."
        ) from error
    return opened


def _public_key(buyer_key: bytes, suite: Suite) -> X25519PublicKey | EllipticCurvePublicKey:
    if suite is Suite.X25519:
        return X25519PublicKey.from_public_bytes(buyer_key)
    return EllipticCurvePublicKey.from_encoded_point(SECP256R1(), _EVEN_Y + buyer_key)
