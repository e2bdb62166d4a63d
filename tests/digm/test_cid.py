"""CIDs of chunks."""

import hashlib

import pytest

from digm.cid import chunk_hash_of, cid_of
from digm.errors import CallerFault

# What every IPFS tool calls the raw block of no bytes under SHA-256.
EMPTY = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"


def test_a_chunk_has_the_cid_that_ipfs_gives_it() -> None:
    name = hashlib.sha256(b"").digest()
    assert cid_of(name) == EMPTY
    for spelled in (EMPTY, EMPTY.upper(), "f01551220" + name.hex(), "F01551220" + name.hex().upper()):
        assert chunk_hash_of(spelled) == name


def test_the_block_of_no_bytes_by_which_gateways_are_tried_has_no_hash() -> None:
    assert chunk_hash_of("bafkqaaa") == b""


@pytest.mark.parametrize(
    "text",
    [
        "", "b", "f", "fx", "b1", "bé", EMPTY[:-1], EMPTY + "a", EMPTY + "=", EMPTY + "\n", "b" + "a" * 10_000,
        "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG", "f01701220" + "00" * 32, "f01551120" + "00" * 32,
        "f00551220" + "00" * 32, "f0155122000", "../../etc/passwd", "b/../x",
    ],
)  # fmt: skip
def test_what_names_no_chunk_is_refused(text: str) -> None:
    with pytest.raises(CallerFault) as refused:
        chunk_hash_of(text)
    assert refused.value.code == "bad_cid"
