"""Keys wrapped for buyers, opened by an HPKE that was written from the RFC and by our own."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from digm.errors import PeerFault
from digm.purchases import PURCHASE_INFO, Suite, WrappedKey, key_at, purchase_aad
from hub.vault.wrapping import PrivateKey, unwrap, wrap
from tests.hub.granting.rfc9180 import open_sealed, p256_open_sealed

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "purchases.json").read_text())
BY_SUITE = pytest.mark.parametrize("vector", VECTORS, ids=["x25519", "album", "p256"])
OPEN = {Suite.X25519: open_sealed, Suite.P256: p256_open_sealed}


def private_key(vector: dict[str, Any]) -> PrivateKey:
    raw = bytes.fromhex(vector["private_key"])
    if vector["suite"] == Suite.X25519:
        return X25519PrivateKey.from_private_bytes(raw)
    return derive_private_key(int.from_bytes(raw, "big"), SECP256R1())


@BY_SUITE
def test_what_is_wrapped_opens_by_the_rfc_alone(vector: dict[str, Any]) -> None:
    keys = [bytes.fromhex(key) for key in vector["track_keys"]]
    aad, raw = bytes.fromhex(vector["aad"]), bytes.fromhex(vector["private_key"])
    suite = Suite(vector["suite"])
    fresh = wrap(keys, bytes.fromhex(vector["buyer_key"]), suite, aad)
    for wrapped in (fresh, WrappedKey.decode(bytes.fromhex(vector["wrapped"]))):
        assert OPEN[suite](wrapped.enc, wrapped.sealed, raw, PURCHASE_INFO, aad) == b"".join(keys)
        opened = unwrap(wrapped, private_key(vector), aad)
        assert [key_at(opened, place) for place in range(wrapped.key_count)] == keys


@BY_SUITE
def test_a_key_for_another_buyer_item_contract_or_chain_does_not_open(vector: dict[str, Any]) -> None:
    wrapped = WrappedKey.decode(bytes.fromhex(vector["wrapped"]))
    sales, item, buyer = (bytes.fromhex(vector[name]) for name in ("sales", "item", "buyer"))
    for aad in (
        purchase_aad(vector["chain_id"] + 1, sales, item, buyer),
        purchase_aad(vector["chain_id"], buyer, item, buyer),
        purchase_aad(vector["chain_id"], sales, item[::-1], buyer),
        purchase_aad(vector["chain_id"], sales, item, sales),
    ):
        with pytest.raises(PeerFault) as refused:
            unwrap(wrapped, private_key(vector), aad)
        assert refused.value.code == "wrapped_key_wrong"


@BY_SUITE
def test_a_changed_or_swapped_key_does_not_open(vector: dict[str, Any]) -> None:
    data, aad = bytes.fromhex(vector["wrapped"]), bytes.fromhex(vector["aad"])
    for place in (1, 20, len(data) // 2, len(data) - 1):
        changed = bytearray(data)
        changed[place] ^= 1
        with pytest.raises(PeerFault):
            unwrap(WrappedKey.decode(bytes(changed)), private_key(vector), aad)
    other = next(one for one in VECTORS if one["suite"] != vector["suite"])
    with pytest.raises(PeerFault):
        unwrap(WrappedKey.decode(bytes.fromhex(other["wrapped"])), private_key(vector), aad)
    stranger = X25519PrivateKey.generate()
    with pytest.raises((PeerFault, InvalidTag)):
        unwrap(WrappedKey.decode(data), stranger, aad)


@pytest.mark.parametrize(
    ("suite", "buyer_key"),
    [(Suite.X25519, bytes(32)), (Suite.X25519, b"\x01" + bytes(31)), (Suite.X25519, b"x"),
     (Suite.P256, bytes(31) + b"\x04"), (Suite.P256, b"\xff" * 32), (Suite.P256, b"")],
    ids=["zero", "small order", "short", "not on the curve", "beyond the field", "none"],
)  # fmt: skip
def test_nothing_is_sealed_to_a_key_that_is_none(suite: Suite, buyer_key: bytes) -> None:
    with pytest.raises(PeerFault) as refused:
        wrap([bytes(32)], buyer_key, suite, bytes(80))
    assert refused.value.code == "bad_buyer_key"
