"""Writes `purchases.json`: wrapped keys and what opens them, for whoever opens them elsewhere (the page).

Run it only when the bytes themselves change, and say why in docs/decisions/: HPKE draws a key each time.

python -m tests.vectors.make_purchases
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from digm.keys import key_commitment
from digm.purchases import Suite, purchase_aad
from hub.vault.wrapping import wrap

PURCHASE_VECTORS = Path(__file__).parent / "purchases.json"
CHAIN_ID, SALES, BUYER = 31_337, bytes(range(20)), bytes(range(100, 120))


def _public(suite: Suite, private_key: bytes) -> bytes:
    if suite is Suite.X25519:
        return X25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()
    public = derive_private_key(int.from_bytes(private_key, "big"), SECP256R1()).public_key()
    point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    assert point[-1] % 2 == 0, "keys on the chain have an even y"
    return point[1:33]


def _even(seed: bytes) -> bytes:
    """A P-256 private key whose public y is even, as a page makes it: anew until it is."""
    while True:
        seed = hashlib.sha256(seed).digest()
        public = derive_private_key(int.from_bytes(seed, "big"), SECP256R1()).public_key()
        if public.public_numbers().y % 2 == 0:
            return seed


def _vector(suite: Suite, private_key: bytes, names: list[str]) -> dict[str, Any]:
    keys = [hashlib.sha256(name.encode()).digest() for name in names]
    item = hashlib.sha256(b"item of " + "/".join(names).encode()).digest()
    aad = purchase_aad(CHAIN_ID, SALES, item, BUYER)
    public_key = _public(suite, private_key)
    return {
        "suite": int(suite),
        "chain_id": CHAIN_ID,
        "sales": SALES.hex(),
        "item": item.hex(),
        "buyer": BUYER.hex(),
        "aad": aad.hex(),
        "private_key": private_key.hex(),
        "buyer_key": public_key.hex(),
        "wrapped": wrap(keys, public_key, suite, aad).encode().hex(),
        "track_keys": [key.hex() for key in keys],
        "commitments": [key_commitment(key).hex() for key in keys],
    }


def main() -> None:
    x25519 = hashlib.sha256(b"a listener").digest()
    vectors = [
        _vector(Suite.X25519, x25519, ["a track"]),
        _vector(Suite.X25519, x25519, ["first of an album", "second", "third"]),
        _vector(Suite.P256, _even(b"a listener"), ["a track"]),
    ]
    PURCHASE_VECTORS.write_text(json.dumps(vectors, indent=1) + "\n")


if __name__ == "__main__":
    main()
