import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digm import merkle
from digm.errors import CallerFault

# The reference leaves and roots of the Certificate Transparency project (RFC 6962).
CT_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
CT_ROOT_OF_8 = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


def rfc_6962_root(leaves):
    """The recursive definition of RFC 6962 §2.1, word for word."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + rfc_6962_root(leaves[:k]) + rfc_6962_root(leaves[k:])).digest()


def test_the_root_of_the_certificate_transparency_leaves_is_the_published_one():
    assert merkle.tree_root(CT_LEAVES).hex() == CT_ROOT_OF_8


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=70))
def test_the_root_is_the_recursive_one_of_rfc_6962(leaves):
    assert merkle.tree_root(leaves) == rfc_6962_root(leaves)


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=40), st.data())
def test_a_proof_leads_to_the_root_and_nothing_else_does(leaves, data):
    index = data.draw(st.integers(0, len(leaves) - 1))
    root, proof = merkle.tree_root(leaves), merkle.inclusion_proof(leaves, index)
    assert merkle.root_from_proof(leaves[index], index, len(leaves), proof) == root
    assert merkle.root_from_proof(leaves[index] + b"!", index, len(leaves), proof) != root
    for altered in ([*proof, root], proof[:-1]) if proof else ([*proof, root],):
        with pytest.raises(CallerFault) as fault:
            merkle.root_from_proof(leaves[index], index, len(leaves), altered)
        assert fault.value.code == "bad_proof"


def test_doubling_the_last_leaf_changes_the_root():
    """CVE-2012-2459: two lists must not share a root."""
    leaves = [b"a", b"b", b"c"]
    assert merkle.tree_root(leaves) != merkle.tree_root([*leaves, b"c"])


def test_an_empty_list_has_no_root():
    with pytest.raises(CallerFault) as fault:
        merkle.tree_root([])
    assert fault.value.code == "empty_tree"


def test_a_track_root_takes_only_whole_hashes():
    with pytest.raises(CallerFault) as fault:
        merkle.track_root([bytes(32), bytes(31)])
    assert fault.value.code == "bad_id"


def test_a_chunk_of_512_kib_has_2048_audit_leaves():
    chunk = bytes(524_288)
    assert len(merkle.audit_leaves(chunk)) == 2_048
    assert merkle.chunk_audit_root(chunk) == merkle.tree_root(merkle.audit_leaves(chunk))
