"""A second vault, of a label or a friend: two real processes, two accounts, one devnet."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from digm.chain_tracks import binding_message
from digm.errors import CallerFault, PeerFault
from digm.keys import key_commitment
from hub.publishing.vault import FILE_NAME, Vault
from hub.vault.appointed import file_for
from hub.vault.held import HeldKeys
from hub.vault.sharing import Invitation, count_of, listening_secret, open_keys, seal_keys
from tests.hub.house import publish_track
from tests.hub.vault.market import PRICE, ArtistProcess, Buyer, Market, digm, until


@dataclass
class Two:
    """The artist's vault and the label's, with their processes; neither runs."""

    market: Market
    artist: ArtistProcess
    label: ArtistProcess
    account: str


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    market, folder = Market(tmp_path_factory.mktemp("chain")), tmp_path_factory.mktemp("two")
    processes = []
    for number, name in ((1, "artist"), (2, "label")):
        (folder / name).mkdir()
        market.settle_in(folder / name, number)
        settings = market.environment(DIGM_VAULT_STAND_IN_SECONDS="0")
        processes.append(ArtistProcess(folder / name, settings))
    with Vault.open(folder / "artist" / FILE_NAME) as vault:
        key = vault.artist_key
        registry, who = (
            bytes.fromhex(one[2:]) for one in (market.deployed.addresses["registry"], market.artist)
        )
        signature = vault.sign(binding_message(market.deployed.chain_id, registry, who))
    market.tell(market.artist, "registry", "bind_key", key, signature)
    yield Two(market, *processes, account=market.accounts[2])
    for process in processes:
        process.kill()
    market.close()


def appointed(two: Two) -> Path:
    """The whole way, by commands. Returns the file of keys."""
    invitation = digm(two.market, two.label.data, "vault", "accept").strip()
    said = digm(two.market, two.artist.data, "vault", "appoint", invitation, "--name", "label")
    path = file_for(two.artist.data, two.account)
    assert str(path) in said
    assert "label" in digm(two.market, two.artist.data, "vault", "appoint")
    digm(two.market, two.label.data, "vault", "accept", str(path))
    return path


def test_a_second_vault_delivers_while_the_artists_is_away_and_new_tracks_as_well_until_it_is_dismissed(
    two: Two,
) -> None:
    market, buyer = two.market, Buyer(two.market.accounts[4])
    first = market.sell(two.artist.data)
    path = appointed(two)
    two.label.start()
    market.buy(buyer, first.item)
    assert key_commitment(market.opened(first.item, buyer)) == first.published.manifest.key_commitment
    assert market.credit(market.artist) == PRICE and market.credit(two.account) == 0

    later = market.sell(two.artist.data, seed=2)
    two.artist.start()
    until(lambda: two.artist.said("keys_shared"))
    two.artist.kill()
    market.buy(buyer, later.item)
    assert key_commitment(market.opened(later.item, buyer)) == later.published.manifest.key_commitment

    assert digm(market, two.artist.data, "vault", "dismiss", two.account) and not path.exists()
    other, known = Buyer(market.accounts[5]), market.sent_by(two.account)
    market.buy(other, first.item)
    two.artist.start()
    market.opened(first.item, other)
    assert market.sent_by(two.account) == known


def test_two_vaults_that_race_deliver_each_key_once(two: Two) -> None:
    market = two.market
    sold = [market.sell(two.artist.data, seed=seed) for seed in (3, 4)]
    appointed(two)
    buyers = [Buyer(market.accounts[number]) for number in (4, 5, 6)]
    credit = market.credit(market.artist)
    two.artist.start()
    two.label.start()
    for one in sold:
        for buyer in buyers:
            market.buy(buyer, one.item)
    for one in sold:
        for buyer in buyers:
            assert key_commitment(market.opened(one.item, buyer)) == one.published.manifest.key_commitment
            assert len(market.delivered(one.item, buyer)) == 1
    assert market.credit(market.artist) == credit + len(sold) * len(buyers) * PRICE


def test_keys_for_another_vault_forged_older_or_of_another_artist_are_not_taken(tmp_path: Path) -> None:
    artist, label, thief = (tmp_path / name for name in ("artist", "label", "thief"))
    track = publish_track(artist)
    address = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
    with (
        Vault.open(artist / FILE_NAME) as own,
        Vault.open(label / FILE_NAME) as second,
        Vault.open(thief / FILE_NAME) as other,
    ):
        secret = listening_secret(second)
        to = Invitation(address, secret.public_key().public_bytes_raw())
        assert Invitation.parse(f" {to} \n") == to
        document = seal_keys(own, to)
        root, artist_key = track.manifest.track_root, own.artist_key
        assert open_keys(document, secret, address).keys == {root: track.track_key}
        assert track.track_key.hex() not in document.decode() and count_of(document, to) == 1
        others_key = listening_secret(other).public_key().public_bytes_raw()
        for wrong, code in [
            (seal_keys(own, Invitation(address, others_key)), "other"),
            (seal_keys(own, Invitation("0x90F79bf6EB2c4f870365E785982E1f101E93b906", to.key)), "other"),
            (changed(document, artist_key=other.artist_key.hex()), "forged"),
            (changed(document, count=2), "forged"),
            (changed(document, sealed=json.loads(seal_keys(other, to))["sealed"]), "forged"),
            (b"{}", "bad"),
            (b"\xff" * 100, "bad"),
        ]:
            with pytest.raises(PeerFault) as refused:
                open_keys(wrong, secret, address)
            assert refused.value.code == {
                "other": "shared_keys_for_another", "forged": "shared_keys_forged", "bad": "bad_shared_keys"
            }[code]  # fmt: skip

        (label / "chain").mkdir()
        (label / "chain" / "key.json").write_text(json.dumps({"address": address[2:].lower()}))
        (label / "chain" / "key.json").chmod(0o600)
        held, file = HeldKeys(second, label), tmp_path / "sent.keys"
        file.write_bytes(document)
        held.accept(file)
        assert held.key(root, artist_key) == track.track_key
        assert held.key(root, other.artist_key) is None and held.key(root, None) is None
        newer = publish_track(artist, seed=2)
        file.write_bytes(seal_keys(own, to))  # where the first came from: taken by itself
        assert held.key(newer.manifest.track_root, artist_key) == newer.track_key
        file.write_bytes(document)
        with pytest.raises(CallerFault, match="older"):
            held.accept(file)
        assert held.key(newer.manifest.track_root, artist_key) == newer.track_key


def changed(document: bytes, **fields: object) -> bytes:
    return json.dumps({**json.loads(document), **fields}).encode()
