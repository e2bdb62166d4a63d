"""The vectors are the format: what CPython, the page and (roots and proofs) the contract must agree on."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from digm.manifest import parse_manifest
from tests.vectors import check, generate


@pytest.fixture(scope="module")
def vectors():
    return json.loads(generate.FORMAT_VECTORS.read_text(encoding="utf-8"))


async def seal(key, nonce, additional_data, plaintext):
    return AESGCM(key).encrypt(nonce, plaintext, additional_data)


def test_every_tree_of_the_vectors_has_its_root_and_its_proofs(vectors):
    assert check.check_trees(vectors) == 1 + 2 + 3 + 4 + 5 + 6 + 7 + 8 + 11


async def test_every_chunk_of_the_vectors_comes_out_byte_for_byte_and_its_audits_lead_to_the_root(vectors):
    chunks = sum(len(rows) for track in vectors["tracks"] for rows in track["chunks"])
    audits = sum(len(track["audits"]) for track in vectors["tracks"])
    assert chunks >= 5 and audits >= 12
    assert await check.check_tracks(vectors, seal) == chunks + audits


def test_manifests_of_the_vectors_carry_a_valid_signature(vectors):
    for track in vectors["tracks"]:
        manifest = parse_manifest(track["manifest"].encode())
        Ed25519PublicKey.from_public_bytes(manifest.artist_key).verify(manifest.signature, manifest.signed_part)


def test_the_file_of_vectors_is_what_the_format_makes_today():
    written = generate.FORMAT_VECTORS.read_text(encoding="utf-8")
    # zlib's output may differ between builds, so the documents are compared through what they mean.
    today, stored = generate.vectors(), json.loads(written)
    for content in (today, stored):
        for track in content["tracks"]:
            for row in (row for rows in track["chunks"] for row in rows):
                del row["plaintext_zlib"]
    assert json.loads(generate.written(today)) == stored
