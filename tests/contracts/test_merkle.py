"""Roots and proofs are the same in Python and on the chain: the vectors, and trees of every small size."""

import json

import pytest

from digm.manifest import parse_manifest
from digm.merkle import audit_leaves, audit_root, chunk_audit_root, inclusion_proof, root_from_proof, tree_root
from tests.contracts.house import for_tests
from tests.contracts.machine import Contract
from tests.vectors import generate

EMPTY = bytes(32)


@pytest.fixture(scope="module")
def merkle(py_evm_house):
    machine = py_evm_house.machine
    return Contract.deploy(machine, for_tests()["MerkleCheck"], machine.accounts[0])


def test_the_vectors_proofs_lead_to_the_vectors_roots(merkle):
    trees = json.loads(generate.FORMAT_VECTORS.read_text(encoding="utf-8"))["trees"]
    assert len(trees) >= 8
    for tree in trees:
        leaves = [bytes.fromhex(leaf) for leaf in tree["leaves"]]
        if any(len(leaf) != 32 for leaf in leaves):
            continue
        for index, (leaf, proof) in enumerate(zip(leaves, tree["proofs"], strict=True)):
            path = [bytes.fromhex(one) for one in proof]
            assert merkle.ask("track_root", leaf, index, len(leaves), path).hex() == tree["root"]


def test_the_vectors_audits_are_what_the_registry_draws_and_their_proofs_lead_to_the_audit_root(merkle, house):
    tracks = json.loads(generate.FORMAT_VECTORS.read_text(encoding="utf-8"))["tracks"]
    assert tracks
    for track in tracks:
        told = parse_manifest(track["manifest"].encode())
        renditions = [
            (len(one.chunk_hashes), one.frames_per_chunk, one.last_chunk_frames) for one in told.renditions
        ]
        terms = (told.track_root, told.audit_root, bytes.fromhex(track["manifest_hash"]), renditions, EMPTY)
        house.registry.send(house.artist, "publish", *terms)
        name = house.registry.ask("track_id", house.artist, told.track_root)
        for audit in track["audits"]:
            place = house.registry.ask("audit_place", name, int(audit["draw"]))
            expected = {"audit_root": told.audit_root} | {
                key: audit[key] for key in ("chunk", "chunks", "leaf", "leaves")
            }
            assert place == expected
            leaf = bytes.fromhex(audit["bytes"])
            chunk_path, track_path = (
                [bytes.fromhex(one) for one in audit[key]] for key in ("chunk_path", "track_path")
            )
            chunk_root = merkle.ask("chunk_root", leaf, place["leaf"], place["leaves"], chunk_path)
            root = merkle.ask("track_root", chunk_root, place["chunk"], place["chunks"], track_path)
            assert root == told.audit_root


def test_a_range_of_a_chunk_leads_to_the_tracks_audit_root(merkle):
    chunks = [bytes([n]) * 65_536 * frames for n, frames in ((1, 1), (2, 2), (3, 1))]
    roots = [chunk_audit_root(chunk) for chunk in chunks]
    for chunk, index in ((0, 0), (1, 511), (2, 100)):
        leaves = audit_leaves(chunks[chunk])
        path = inclusion_proof(leaves, index)
        found = merkle.ask("chunk_root", leaves[index], index, len(leaves), path)
        assert found == roots[chunk]
        path = inclusion_proof(roots, chunk)
        assert merkle.ask("track_root", found, chunk, len(chunks), path) == audit_root(roots)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 8, 11])
def test_a_wrong_place_length_or_sibling_never_leads_to_the_root(merkle, count):
    leaves = [bytes([n]) * 32 for n in range(count)]
    root = tree_root(leaves)
    for index in range(count):
        path = inclusion_proof(leaves, index)
        assert merkle.ask("track_root", leaves[index], index, count, path) == root
        assert root_from_proof(leaves[index], index, count, path) == root
        assert merkle.ask("track_root", leaves[index], index, count, [*path, EMPTY]) == EMPTY
        assert merkle.ask("track_root", leaves[index], count, count, path) == EMPTY
        assert merkle.ask("track_root", leaves[index], 2**256 - 1, count, path) == EMPTY
        assert merkle.ask("track_root", b"?" * 32, index, count, path) != root
        if path:
            assert merkle.ask("track_root", leaves[index], index, count, path[:-1]) == EMPTY
            assert merkle.ask("track_root", leaves[index], index, count, [b"?" * 32, *path[1:]]) != root
            assert merkle.ask("track_root", leaves[index], (index + 1) % count, count, path) != root


def test_a_node_cannot_pass_for_a_leaf_nor_a_leaf_for_a_range(merkle):
    leaves = [b"a" * 32, b"b" * 32]
    root = tree_root(leaves)
    assert merkle.ask("track_root", root, 0, 1, []) != root
    assert merkle.ask("chunk_root", leaves[0], 0, 2, inclusion_proof(leaves, 0)) == root  # bytes are bytes:
    # so the contract takes ranges of exactly 256 bytes only (see `prove`).
