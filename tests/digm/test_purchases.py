"""The bytes of a purchase: what a wrapped key is bound to, and what is taken for one."""

import json
from pathlib import Path

import pytest

from digm.errors import CallerFault, PeerFault
from digm.manifest import Manifest, parse_manifest
from digm.purchases import (
    MAX_WRAPPED_BYTES,
    MOST_TRACKS,
    Suite,
    WrappedKey,
    check_track_key,
    join_keys,
    key_at,
    purchase_aad,
)

VECTORS = Path(__file__).parents[1] / "vectors"
SALES, ITEM, BUYER = bytes(range(20)), bytes(range(32)), bytes(range(50, 70))


def manifest_and_key() -> tuple[Manifest, bytes]:
    track = json.loads((VECTORS / "format.json").read_text())["tracks"][0]
    return parse_manifest(track["manifest"].encode()), bytes.fromhex(track["track_key"])


def test_what_a_key_is_bound_to_differs_by_chain_contract_item_and_buyer() -> None:
    bound = purchase_aad(31_337, SALES, ITEM, BUYER)
    assert bound == (31_337).to_bytes(8, "big") + SALES + ITEM + BUYER
    others = {
        purchase_aad(1, SALES, ITEM, BUYER),
        purchase_aad(31_337, BUYER, ITEM, BUYER),
        purchase_aad(31_337, SALES, ITEM[::-1], BUYER),
        purchase_aad(31_337, SALES, ITEM, SALES),
    }
    assert len(others) == 4 and bound not in others


@pytest.mark.parametrize(
    ("chain_id", "sales", "item", "buyer"),
    [(0, SALES, ITEM, BUYER), (1 << 64, SALES, ITEM, BUYER), (1, ITEM, ITEM, BUYER), (1, SALES, BUYER, BUYER),
     (1, SALES, ITEM, b"")],
)  # fmt: skip
def test_nothing_is_bound_to_what_cannot_be(chain_id: int, sales: bytes, item: bytes, buyer: bytes) -> None:
    with pytest.raises(CallerFault) as refused:
        purchase_aad(chain_id, sales, item, buyer)
    assert refused.value.code == "bad_purchase"


def test_wrapped_keys_are_read_back_as_they_were_written() -> None:
    for vector in json.loads((VECTORS / "purchases.json").read_text()):
        data = bytes.fromhex(vector["wrapped"])
        wrapped = WrappedKey.decode(data)
        assert wrapped.encode() == data
        assert (wrapped.suite, wrapped.key_count) == (vector["suite"], len(vector["track_keys"]))
        assert purchase_aad(
            vector["chain_id"], *(bytes.fromhex(vector[name]) for name in ("sales", "item", "buyer"))
        ).hex() == vector["aad"]  # fmt: skip


@pytest.mark.parametrize(
    "data",
    [b"", b"\x01", b"\x00" * 81, b"\x03" + bytes(80), b"\x01" + bytes(32 + 31 + 16), b"\x01" + bytes(32 + 16),
     b"\x02" + bytes(32 + 32 + 16), b"\x01" + bytes(32 + 65 * 32 + 16), bytes([2]) + bytes(MAX_WRAPPED_BYTES)],
)  # fmt: skip
def test_what_is_no_wrapped_key_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(PeerFault) as refused:
        WrappedKey.decode(data)
    assert refused.value.code == "bad_wrapped_key"


def test_a_key_is_used_only_if_the_manifest_commits_to_it() -> None:
    manifest, key = manifest_and_key()
    check_track_key(key, manifest)
    for wrong in (key[::-1], key[:31], b""):
        with pytest.raises(PeerFault) as refused:
            check_track_key(wrong, manifest)
        assert refused.value.code == "wrong_track_key"


def test_an_albums_keys_are_found_by_their_place() -> None:
    keys = [bytes([number]) * 32 for number in range(MOST_TRACKS)]
    assert [key_at(join_keys(keys), place) for place in range(MOST_TRACKS)] == keys
    for opened, place in [(join_keys(keys), MOST_TRACKS), (join_keys(keys), -1), (keys[0] + b"x", 0), (b"", 0)]:
        with pytest.raises(PeerFault, match="no key for this track"):
            key_at(opened, place)
    for many in ([], [*keys, keys[0]], [keys[0][:31]]):
        with pytest.raises(CallerFault):
            join_keys(many)
    assert (
        WrappedKey(Suite.P256, bytes(65), join_keys(keys) + bytes(16)).encode().__len__() == MAX_WRAPPED_BYTES
    )
