"""Ed25519 signatures of others, checked in one place."""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def verify(key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether a key made a signature (`digm.signed_document.Verify`).

    Args:
        key: 32 bytes; signature: 64 bytes. Of any other length, or no key at all: no.
    """
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
