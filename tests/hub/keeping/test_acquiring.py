"""What a node makes sure of before it takes a place, and the proofs that it makes of its own bytes."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from digm.chain_tracks import ChainTrack
from digm.errors import DigmError, PeerFault, Unavailable
from digm.manifest import encode_manifest, manifest_hash, parse_manifest
from digm.merkle import root_from_proof
from hub.chain.state import FoundTrack
from hub.keeping.acquiring import Acquirer, is_ready, order_name
from hub.keeping.proofs import AuditTrees, renditions_of
from hub.node.storage import NodeStore
from hub.publishing.vault import FILE_NAME, Vault
from tests.hub.node.music import Elsewhere, rot

NAME = order_name(31_337, "0x" + "ab" * 20, 1)


class Alone:
    """A backbone on which nobody is."""

    peer_id = "me"

    async def find_providers(self, _key: bytes) -> list[Any]:
        return []


class House:
    """A node that has all of a track, and what a chain may say of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.music = folder, Elsewhere(folder / "artist", chunk_count=3)
        self.store = NodeStore(folder / "node", 1 << 30)
        self.trees = AuditTrees(folder / "node" / "chain", self.store)
        self.manifest = parse_manifest(self.music.document)
        self.renditions = renditions_of(self.manifest)

    def said(self, document: bytes | None = None, **lies: Any) -> FoundTrack:
        manifest = parse_manifest(document or self.music.document)
        plain = ChainTrack(
            b"t" * 32, "0xartist", "0xartist", manifest.track_root, manifest.audit_root,
            manifest_hash(document or self.music.document), 6, 6 << 16,
        )  # fmt: skip
        return FoundTrack(replace(plain, **lies), self.manifest.artist_key)

    async def acquire(self, found: FoundTrack) -> None:
        async def renditions(_track: bytes) -> Any:
            return self.renditions

        acquirer = Acquirer(Alone(), self.store, self.trees, lambda _root: [], renditions)  # type: ignore[arg-type]
        await acquirer.acquire(found, NAME, 2_000_000_000)

    def signed(self, **changes: Any) -> bytes:
        """Another manifest of the same artist."""
        with Vault.open(self.folder / "artist" / FILE_NAME) as vault:
            return encode_manifest(replace(self.manifest, **changes), vault.sign)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.store.close()


async def test_bytes_that_are_what_the_chain_says_are_kept_and_ready(house: House) -> None:
    house.music.give(house.store)
    await house.acquire(house.said())
    assert [pin.pinned_by for pin in house.store.pins()] == [NAME]
    assert is_ready(house.store, house.trees, house.said().said)
    house.store.take_out(house.music.hashes[0])
    assert not is_ready(house.store, house.trees, house.said().said)


async def test_another_edition_will_do_if_it_is_by_the_artist_whom_the_chain_names(house: House) -> None:
    house.music.give(house.store)
    await house.acquire(house.said(manifest_hash=b"other" + bytes(27)))
    for key in (None, b"k" * 32):
        with pytest.raises(PeerFault) as refused:
            await house.acquire(replace(house.said(manifest_hash=b"other" + bytes(27)), artist_key=key))
        assert refused.value.code == "chain_mismatch"


@pytest.mark.parametrize("lie", ["audit root", "shape", "audit root of manifest and chain"])
async def test_what_could_not_be_proven_is_refused(house: House, lie: str) -> None:
    found, document = house.said(), house.music.document
    if lie == "audit root":
        found = house.said(audit_root=b"x" * 32)
    elif lie == "shape":
        house.renditions = [{**one, "chunks": one["chunks"] + 1} for one in house.renditions]
    else:
        document = house.signed(audit_root=b"x" * 32)
        found = house.said(document)
    house.store.add_track(document)
    for name in house.music.hashes:
        house.store.put(name, house.music.store.read(name))
    with pytest.raises(PeerFault) as refused:
        await house.acquire(found)
    assert refused.value.code == "chain_mismatch"
    assert not is_ready(house.store, house.trees, found.said)


async def test_bytes_that_nobody_gives_are_waited_for(house: House) -> None:
    house.music.give(house.store, count=2)
    with pytest.raises(Unavailable) as waiting:
        await house.acquire(house.said())
    assert waiting.value.code == "no_source"


def test_every_chunk_is_proven_from_the_store_also_when_the_kept_roots_are_gone(house: House) -> None:
    house.music.give(house.store)
    root, audit_root = house.music.root, house.manifest.audit_root
    assert house.trees.compute(root) == audit_root == house.trees.known(root)
    kept = house.folder / "node" / "chain" / "audit-roots" / root
    for chunk, damage in enumerate([None, b"", b"short", None, None, None]):
        if damage is not None:
            kept.write_bytes(damage)
        proof = house.trees.proof(root, asked(house, chunk=chunk, leaf=255 - chunk))
        middle = root_from_proof(proof.leaf, 255 - chunk, 256, proof.chunk_path)
        assert root_from_proof(middle, chunk, 6, proof.track_path) == audit_root


@pytest.mark.parametrize(
    ("lie", "code"),
    [({"audit_root": b"x" * 32}, "audit_root_wrong"), ({"chunks": 7}, "audit_root_wrong"),
     ({"leaves": 512}, "audit_root_wrong")],
)  # fmt: skip
def test_a_challenge_about_other_bytes_is_not_answered_with_these(
    house: House, lie: dict[str, Any], code: str
) -> None:
    house.music.give(house.store)
    with pytest.raises(DigmError) as refused:
        house.trees.proof(house.music.root, {**asked(house), **lie})
    assert refused.value.code == code


def test_a_chunk_that_is_rotten_or_gone_is_not_proven_and_known_as_lost(house: House) -> None:
    house.music.give(house.store)
    house.trees.compute(house.music.root)
    first, second, *_ = house.music.hashes
    rot(house.store, first)
    house.store.chunks.path(second).unlink()
    for chunk, code in ((0, "chunk_damaged"), (1, "chunk_not_held")):
        with pytest.raises(Unavailable) as refused:
            house.trees.proof(house.music.root, asked(house, chunk=chunk))
        assert refused.value.code == code
    assert {place.hash for place in house.store.lost()} == {first, second}


def asked(house: House, chunk: int = 0, leaf: int = 0) -> dict[str, Any]:
    return {
        "audit_root": house.manifest.audit_root, "chunk": chunk, "chunks": 6, "leaf": leaf, "leaves": 256,
    }  # fmt: skip
