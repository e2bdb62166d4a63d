"""A node's key: made once, kept, and the same node under libp2p's name."""

import stat
from pathlib import Path

import pytest
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID

from digm.errors import CallerFault
from hub.backbone.identity import NodeIdentity, node_key_of, peer_id_of
from hub.backbone.settings import BackboneSettings


def test_a_node_is_the_same_after_a_restart_and_its_key_is_for_it_alone(tmp_path: Path) -> None:
    first = NodeIdentity.load(tmp_path)
    assert NodeIdentity.load(tmp_path) == first
    assert stat.S_IMODE((tmp_path / "secrets" / "node-key").stat().st_mode) == 0o600


def test_the_peer_id_is_the_one_that_libp2p_makes_of_the_key(tmp_path: Path) -> None:
    identity = NodeIdentity.load(tmp_path)
    pair = create_new_key_pair(identity.secret)
    assert identity.peer_id == str(ID.from_pubkey(pair.public_key))
    assert pair.public_key.verify(b"hello", identity.sign(b"hello"))


def test_the_node_key_is_read_back_from_the_peer_id_and_nonsense_is_not() -> None:
    key = bytes(range(32))
    assert node_key_of(peer_id_of(key)) == key
    for nonsense in ("", "12D3KooW", "Qm" + "1" * 44, "0" * 52, peer_id_of(key) + "1", "1" * 64):
        assert node_key_of(nonsense) is None


def test_a_key_is_not_printed(tmp_path: Path) -> None:
    identity = NodeIdentity.load(tmp_path)
    assert identity.secret.hex() not in repr(identity) and str(identity.secret) not in repr(identity)


def test_addresses_that_are_none_are_refused_with_a_sentence() -> None:
    with pytest.raises(CallerFault, match="multiaddr"):
        BackboneSettings(listen=("127.0.0.1:4001",))
    with pytest.raises(CallerFault, match="/p2p/"):
        BackboneSettings(bootstrap=("/ip4/127.0.0.1/tcp/4001",))
