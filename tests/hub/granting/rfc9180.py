"""HPKE base mode (RFC 9180), single-shot open, from primitives: an independent reader of what the vault seals.

DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM; checked against the RFC's own vector in the tests. And the
same with DHKEM(P-256, HKDF-SHA256), for purchases.
"""

import hmac

from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDH,
    SECP256R1,
    EllipticCurvePublicKey,
    derive_private_key,
)
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

X25519_KEM, P256_KEM = 0x0020, 0x0010


def _extract(salt: bytes, key: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), key, "sha256")


def _expand(key: bytes, info: bytes, length: int) -> bytes:
    output, block = b"", b""
    for counter in range(1, 255):
        block = hmac.digest(key, block + info + bytes([counter]), "sha256")
        output += block
        if len(output) >= length:
            break
    return output[:length]


def _labeled_extract(suite: bytes, salt: bytes, label: bytes, key: bytes) -> bytes:
    return _extract(salt, b"HPKE-v1" + suite + label + key)


def _labeled_expand(suite: bytes, key: bytes, label: bytes, info: bytes, length: int) -> bytes:
    return _expand(key, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, length)


def _secret_of(kem: int, dh: bytes, context: bytes) -> bytes:
    """§4.1 ExtractAndExpand."""
    suite = b"KEM" + kem.to_bytes(2, "big")
    return _labeled_expand(suite, _labeled_extract(suite, b"", b"eae_prk", dh), b"shared_secret", context, 32)


def shared_secret(enc: bytes, private_key: bytes) -> bytes:
    """§4.1 Decap."""
    private = X25519PrivateKey.from_private_bytes(private_key)
    dh = private.exchange(X25519PublicKey.from_public_bytes(enc))
    return _secret_of(X25519_KEM, dh, enc + private.public_key().public_bytes_raw())


def p256_shared_secret(enc: bytes, private_key: bytes) -> bytes:
    """§4.1 Decap; public keys are uncompressed points (§7.1.1)."""
    private = derive_private_key(int.from_bytes(private_key, "big"), SECP256R1())
    dh = private.exchange(ECDH(), EllipticCurvePublicKey.from_encoded_point(SECP256R1(), enc))
    public = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return _secret_of(P256_KEM, dh, enc + public)


def key_schedule(
    secret: bytes, info: bytes, aead_id: int, key_bytes: int, kem: int = X25519_KEM
) -> tuple[bytes, bytes]:
    """§5.1, base mode: key and base nonce."""
    suite = b"HPKE" + b"".join(number.to_bytes(2, "big") for number in (kem, 0x0001, aead_id))
    context = (
        b"\x00"
        + _labeled_extract(suite, b"", b"psk_id_hash", b"")
        + _labeled_extract(suite, b"", b"info_hash", info)
    )
    secret = _labeled_extract(suite, secret, b"secret", b"")
    return (
        _labeled_expand(suite, secret, b"key", context, key_bytes),
        _labeled_expand(suite, secret, b"base_nonce", context, 12),
    )


def open_sealed(enc: bytes, ciphertext: bytes, private_key: bytes, info: bytes, aad: bytes) -> bytes:
    """§6.1 OpenBase with AES-256-GCM."""
    key, nonce = key_schedule(shared_secret(enc, private_key), info, 0x0002, 32)
    return AESGCM(key).decrypt(nonce, ciphertext, aad)


def p256_open_sealed(enc: bytes, ciphertext: bytes, private_key: bytes, info: bytes, aad: bytes) -> bytes:
    """The same, sealed to a P-256 key."""
    key, nonce = key_schedule(p256_shared_secret(enc, private_key), info, 0x0002, 32, P256_KEM)
    return AESGCM(key).decrypt(nonce, ciphertext, aad)
