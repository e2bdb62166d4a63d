"""The vault's back-up: everything, sealed, checked before it replaces anything, and nothing lost by it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from digm.errors import CallerFault
from digm.ids import to_hex
from hub.config import Settings
from hub.granting.issue import GrantIssuer
from hub.publishing import vault_records
from hub.publishing.vault import FILE_NAME, Vault
from hub.storage.chunk_store import ChunkStore
from hub.vault.backup import make_backup, read_backup
from hub.vault.restore import restore
from tests.hub.house import publish_track

PASSPHRASE = "four words are enough"  # noqa: S105 - of nothing
PLAYER = "4c" * 32


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault_records, "SCRYPT_COST", 1 << 10)


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    """An artist with a track, an account and rules for premium listeners."""
    data = tmp_path / "here"
    publish_track(data, title="First")
    (data / "chain").mkdir()
    (data / "secrets").mkdir(mode=0o700)
    (data / "chain" / "key.json").write_text('{"address": "11"}')
    (data / "secrets" / "chain-passphrase").write_text("secret of the account")
    (data / "premium.json").write_text("{}")
    for path in (data / "chain" / "key.json", data / "secrets" / "chain-passphrase"):
        path.chmod(0o600)
    return Settings(data=data)


def settings_in(folder: Path, passphrase: str | None = None) -> Settings:
    return Settings(data=folder, vault_passphrase=passphrase)


def test_on_an_empty_machine_the_artist_is_the_same_and_grants_again(here: Settings, tmp_path: Path) -> None:
    document = make_backup(here, PASSPHRASE)
    there = settings_in(tmp_path / "there")
    done = restore(there, document, PASSPHRASE)
    assert (done.keys, done.kept, done.before) == (1, 0, ())
    for name in (FILE_NAME, "chain/key.json", "secrets/chain-passphrase", "premium.json"):
        assert (there.data / name).read_bytes() == (here.data / name).read_bytes()
        assert (there.data / name).stat().st_mode & 0o077 == 0
    with Vault.open(there.data / FILE_NAME, create=False) as vault:
        (secret,) = vault.secrets()
        grant = GrantIssuer(vault, ChunkStore(there.data), 600).issue(secret.track_root, PLAYER, 1.0)
        assert to_hex(vault.artist_key) == done.artist and grant.not_after == 601
    assert [path.name for path in (there.data / "restoring").iterdir()] == []
    assert (there.data / "secrets").stat().st_mode & 0o077 == 0


def test_nothing_of_it_can_be_read_without_the_passphrase(here: Settings) -> None:
    document = make_backup(here, PASSPHRASE)
    with Vault.open(here.data / FILE_NAME, create=False) as vault:
        (secret,) = vault.secrets()
    for known in (secret.track_key, secret.track_key.hex().encode(), secret.track_root.encode(), b"secret of"):
        assert known not in document
    with pytest.raises(CallerFault, match="does not open"):
        read_backup(document, "four words are not")
    with pytest.raises(CallerFault, match="at least 10 characters"):
        make_backup(here, "short")


def test_a_cut_changed_or_foreign_file_replaces_nothing(here: Settings, tmp_path: Path) -> None:
    document = make_backup(here, PASSPHRASE)
    there = settings_in(tmp_path / "there")
    lines = document.splitlines(keepends=True)
    wrong = [
        b"", b"{}\n", b"[" * 100_000, document[:-1], document[: len(document) // 2],
        *(b"".join(lines[:count]) for count in range(1, len(lines))),
        b"".join([*lines[:1], *lines[2:]]),
        b"".join([lines[0], lines[2], lines[1], *lines[3:]]),
        document.replace(lines[1][40:60], b"0" * 20, 1),
        document.replace(b'"version":1', b'"version":2', 1),
        document.replace(b'"n":1024', b'"n":99999999999', 1),
    ]  # fmt: skip
    for bad in wrong:
        with pytest.raises(CallerFault):
            restore(there, bad, PASSPHRASE)
        assert not (there.data / FILE_NAME).exists()


def test_a_file_of_any_other_name_is_never_written(
    here: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hub.vault import backup

    for name in ("../../.bashrc", "/etc/passwd", "manifests/../x.json", "inbox/song.wav", "manifests/x.json"):
        monkeypatch.setattr(backup, "_files", lambda _data, _vault, name=name: [(FILE_NAME, b""), (name, b"x")])
        with pytest.raises(CallerFault, match="something else"):
            make_backup(here, PASSPHRASE)


def test_an_old_backup_takes_no_key_away(here: Settings) -> None:
    document = make_backup(here, PASSPHRASE)
    later = publish_track(here.data, title="Later", seed=2)
    done = restore(here, document, PASSPHRASE)
    assert (done.keys, done.kept) == (2, 1)
    with Vault.open(here.data / FILE_NAME, create=False) as vault:
        secret = vault.secret(later.root)
        assert secret is not None and secret.track_key == later.track_key


def test_another_artists_vault_is_refused_and_put_aside_when_wanted(here: Settings, tmp_path: Path) -> None:
    document = make_backup(here, PASSPHRASE)
    there = settings_in(tmp_path / "there")
    publish_track(there.data, title="Somebody else's", seed=3)
    was = (there.data / FILE_NAME).read_bytes()
    with pytest.raises(CallerFault, match="another artist"):
        restore(there, document, PASSPHRASE)
    assert (there.data / FILE_NAME).read_bytes() == was
    done = restore(there, document, PASSPHRASE, is_replacing=True)
    assert (done.keys, done.kept) == (1, 0)
    (name,) = done.before
    assert (there.data / name).read_bytes() == was


def test_a_damaged_vault_and_another_accounts_key_are_not_lost_by_accident(here: Settings) -> None:
    document = make_backup(here, PASSPHRASE)
    (here.data / "chain" / "key.json").write_text('{"address": "22"}')
    with pytest.raises(CallerFault, match="out of reach"):
        restore(here, document, PASSPHRASE)
    (here.data / FILE_NAME).write_bytes(b"damaged")
    with pytest.raises(CallerFault, match="--replace"):
        restore(here, document, PASSPHRASE)
    assert (here.data / FILE_NAME).read_bytes() == b"damaged"
    done = restore(here, document, PASSPHRASE, is_replacing=True)
    assert sorted(name.partition(".before")[0] for name in done.before) == ["key.json", "vault.digm"]


def test_a_vault_with_a_passphrase_keeps_it(tmp_path: Path) -> None:
    sealed = settings_in(tmp_path / "sealed", "the vault's own")
    Vault.open(sealed.data / FILE_NAME, "the vault's own").close()
    document = make_backup(sealed, PASSPHRASE)
    shutil.rmtree(sealed.data)
    with pytest.raises(CallerFault, match="DIGM_VAULT_PASSPHRASE"):
        restore(settings_in(sealed.data), document, PASSPHRASE)
    assert not (sealed.data / FILE_NAME).exists()
    assert restore(sealed, document, PASSPHRASE).keys == 0
    assert b"private_key" not in (sealed.data / FILE_NAME).read_bytes()


def test_its_first_line_says_how_it_is_sealed(here: Settings) -> None:
    fields = json.loads(make_backup(here, PASSPHRASE).partition(b"\n")[0])
    assert fields["format"] == "digm backup" and fields["kdf"]["name"] == "scrypt"
    backup = read_backup(make_backup(here, PASSPHRASE), PASSPHRASE)
    assert backup.manifest_count == 1 and replace(backup, files={}).artist == backup.artist


class _KilledError(BaseException):
    """Nothing after it is done."""


def test_whoever_is_killed_while_it_is_put_in_place_does_it_again(
    here: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hub.vault import restore as restoring

    document, put = make_backup(here, PASSPHRASE), restoring._put
    names = list(read_backup(document, PASSPHRASE).files)
    for moment in range(len(names)):
        there = settings_in(tmp_path / f"there {moment}")
        done: list[Path] = []

        def killed(path: Path, content: bytes, stamp: str) -> str | None:
            if len(done) == moment:  # noqa: B023 - called in this round only
                raise _KilledError
            done.append(path)  # noqa: B023
            return put(path, content, stamp)

        monkeypatch.setattr(restoring, "_put", killed)
        with pytest.raises(_KilledError):
            restore(there, document, PASSPHRASE)
        assert not (there.data / FILE_NAME).exists(), "the vault is the last"
        monkeypatch.setattr(restoring, "_put", put)
        assert restore(there, document, PASSPHRASE).keys == 1
        for name in names:
            assert (there.data / name).read_bytes() == (here.data / name).read_bytes()
