"""HPKE base mode (RFC 9180), single-shot open, from primitives: an independent reader of what the vault seals.

DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. Checked against the RFC's own vector in the tests.
"""

import hmac

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEM_SUITE = b"KEM" + (0x0020).to_bytes(2, "big")


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


def shared_secret(enc: bytes, private_key: bytes) -> bytes:
    """§4.1 Decap."""
    private = X25519PrivateKey.from_private_bytes(private_key)
    dh = private.exchange(X25519PublicKey.from_public_bytes(enc))
    context = enc + private.public_key().public_bytes_raw()
    return _labeled_expand(
        KEM_SUITE, _labeled_extract(KEM_SUITE, b"", b"eae_prk", dh), b"shared_secret", context, 32
    )


def key_schedule(secret: bytes, info: bytes, aead_id: int, key_bytes: int) -> tuple[bytes, bytes]:
    """§5.1, base mode: key and base nonce."""
    suite = b"HPKE" + b"".join(number.to_bytes(2, "big") for number in (0x0020, 0x0001, aead_id))
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
