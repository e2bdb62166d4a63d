import contextlib
import os

import pytest

from digm.errors import CallerFault
from hub.publishing.identity import open_vault, tracks_without_key
from hub.publishing.publish import publish

FILES_OF_A_VAULT_THAT_IS_GONE = {
    "missing": (lambda path: path.unlink(), "vault_missing"),
    "empty": (lambda path: os.truncate(path, 0), "vault_damaged"),
    "torn header": (lambda path: os.truncate(path, 20), "vault_damaged"),
    "no identity": (lambda path: path.write_bytes(path.read_bytes().split(b"\n")[0] + b"\n"), "vault_damaged"),
    "torn identity": (
        lambda path: path.write_bytes(b"\n".join(path.read_bytes().split(b"\n")[:2])[:-9]),
        "vault_damaged",
    ),
}


@pytest.mark.parametrize(
    ("harm", "code"), FILES_OF_A_VAULT_THAT_IS_GONE.values(), ids=[*FILES_OF_A_VAULT_THAT_IS_GONE]
)
def test_no_new_artist_is_made_beside_tracks_that_are_published(data, stand_in, record, harm, code):
    publish([record("1.flac")], data.settings)
    vault = data.path / "vault.digm"
    harm(vault)
    before = vault.read_bytes() if vault.exists() else None
    for attempt in (
        lambda: publish([record("2.flac")], data.settings),
        lambda: open_vault(data.settings),
    ):
        with pytest.raises(CallerFault, match="restore it from a backup") as caught:
            attempt()
        assert caught.value.code == code
    assert (vault.read_bytes() if vault.exists() else None) == before
    assert len(data.tracks()) == 1


def test_a_vault_is_made_where_nothing_is_published(data):
    open_vault(data.settings).close()
    with contextlib.closing(open_vault(data.settings)) as vault:
        assert tracks_without_key(vault, data.path) == []


def test_a_key_that_was_torn_off_the_vaults_end_is_missed(data, stand_in, record):
    publish([record("1.flac")], data.settings)
    [lost] = publish([record("2.flac")], data.settings)
    vault_path = data.path / "vault.digm"
    os.truncate(vault_path, vault_path.stat().st_size - 5)
    with open_vault(data.settings) as vault:
        assert [entry.track_root for entry in tracks_without_key(vault, data.path)] == [lost.track_root]
