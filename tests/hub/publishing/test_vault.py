import errno
import fcntl
import hashlib
import os
import stat
import subprocess
import sys
import threading

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from digm.errors import CallerFault, Unavailable
from hub.publishing import vault_records
from hub.publishing.vault import TrackSecret, Vault

SOURCE = hashlib.sha256(b"a recording").hexdigest()
PASSPHRASE = "correct horse battery staple"  # noqa: S105


def a_secret(digit="1", source=SOURCE):
    return TrackSecret(
        track_root=digit * 64, track_key=digit.encode() * 32, source_sha256=source, published_at=1000.5
    )


@pytest.fixture(autouse=True)
def cheap_key_derivation(monkeypatch):
    monkeypatch.setattr(vault_records, "SCRYPT_COST", 1 << 10)


@pytest.fixture(params=[None, PASSPHRASE], ids=["plain", "sealed"])
def passphrase(request):
    return request.param


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "vault.digm"


def test_what_is_added_is_there_after_opening_again(path, passphrase):
    with Vault.open(path, passphrase) as vault:
        key = vault.artist_key
        vault.add(a_secret("1"), a_secret("2", "f" * 64))
    with Vault.open(path, passphrase) as vault:
        assert vault.artist_key == key
        assert vault.secret("1" * 64) == a_secret("1")
        assert vault.secret("2" * 64) == a_secret("2", "f" * 64)
        assert vault.secret("3" * 64) is None


def test_a_source_gives_all_its_tracks_the_newest_first(path, passphrase):
    with Vault.open(path, passphrase) as vault:
        vault.add(a_secret("1"), a_secret("2", "f" * 64), a_secret("3"))
        assert [secret.track_root[0] for secret in vault.by_source(SOURCE)] == ["3", "1"]
        assert vault.by_source("e" * 64) == []


def test_the_identity_signs_and_stays_the_same(path, passphrase):
    with Vault.open(path, passphrase) as vault:
        Ed25519PublicKey.from_public_bytes(vault.artist_key).verify(vault.sign(b"hello"), b"hello")
        with Vault.open(path, passphrase) as other:
            assert other.artist_key == vault.artist_key


def test_two_vaults_are_two_artists(tmp_path):
    with Vault.open(tmp_path / "a") as one, Vault.open(tmp_path / "b") as other:
        assert one.artist_key != other.artist_key


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_the_file_is_for_its_owner_alone_whatever_the_umask(path, umask):
    path.parent.mkdir()
    before = os.umask(umask)
    try:
        Vault.open(path).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_it_is_for_its_owner_alone_before_a_secret_is_in_it(path, monkeypatch):
    modes, real_write = [], os.write

    def write(descriptor, data):
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return real_write(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    Vault.open(path, PASSPHRASE).close()
    assert modes
    assert set(modes) == {0o600}


def test_a_vault_that_others_can_read_is_refused(path):
    Vault.open(path).close()
    path.chmod(0o640)
    with pytest.raises(CallerFault, match="chmod 600") as caught:
        Vault.open(path)
    assert caught.value.code == "vault_exposed"


def test_no_secret_can_be_read_in_a_sealed_file(path):
    with Vault.open(path, PASSPHRASE) as vault:
        vault.add(a_secret())
        secret_key = vault._identity.private_bytes_raw()
    written = path.read_bytes()
    for word in (secret_key.hex(), ("1" * 64), b"1".hex() * 32, SOURCE, "track", "identity", PASSPHRASE):
        assert word.encode() not in written


def test_a_wrong_passphrase_is_said_and_changes_nothing(path):
    with Vault.open(path, PASSPHRASE) as vault:
        vault.add(a_secret())
    before = path.read_bytes()
    for wrong, code in (("Correct horse", "wrong_passphrase"), (None, "vault_locked"), ("", "vault_locked")):
        with pytest.raises(CallerFault, match="DIGM_VAULT_PASSPHRASE") as caught:
            Vault.open(path, wrong)
        assert caught.value.code == code
    assert path.read_bytes() == before


def test_a_passphrase_for_a_plain_vault_is_refused(path):
    Vault.open(path).close()
    with pytest.raises(CallerFault, match="made without a passphrase") as caught:
        Vault.open(path, PASSPHRASE)
    assert caught.value.code == "vault_not_sealed"


def test_an_open_vault_sees_what_others_add(path, passphrase):
    with Vault.open(path, passphrase) as reader, Vault.open(path, passphrase) as writer:
        for digit in "123":
            writer.add(a_secret(digit))
            assert reader.secret(digit * 64) == a_secret(digit)


def test_every_torn_end_is_ignored_and_cut_off_by_the_next_record(path, passphrase):
    with Vault.open(path, passphrase) as vault:
        vault.add(a_secret("1"))
        whole = path.read_bytes()
        vault.add(a_secret("2"))
    record = path.read_bytes()[len(whole) :]
    for length in range(len(record)):
        path.write_bytes(whole + record[:length])
        with Vault.open(path, passphrase) as vault:
            assert vault.secret("1" * 64) == a_secret("1")
            assert vault.secret("2" * 64) is None
            if length % 50 == 1:
                vault.add(a_secret("3"))
                assert vault.secret("3" * 64) == a_secret("3")
                assert path.read_bytes().startswith(whole)
                assert Vault.open(path, passphrase).by_source(SOURCE) == [a_secret("3"), a_secret("1")]


def test_a_torn_end_that_is_longer_than_the_next_record_is_cut_off_whole(path, passphrase):
    """After a power cut, a block of zeros may be there in place of what was not written yet."""
    with Vault.open(path, passphrase) as vault:
        vault.add(a_secret("1"))
        path.write_bytes(path.read_bytes() + bytes(8192))
        vault.add(a_secret("2"))
    with Vault.open(path, passphrase) as vault:
        assert vault.by_source(SOURCE) == [a_secret("2"), a_secret("1")]
    assert b"\0" not in path.read_bytes()


def test_a_vault_without_a_whole_identity_is_refused_and_left_as_it_is(path, passphrase):
    Vault.open(path, passphrase).close()
    made = path.read_bytes()
    for length in (*range(0, len(made), 7), len(made) - 1):
        path.write_bytes(made[:length])
        with pytest.raises(CallerFault, match="restore it from a backup") as caught:
            Vault.open(path, passphrase)
        assert caught.value.code == "vault_damaged"
        assert path.read_bytes() == made[:length]


def test_a_vault_has_no_name_before_its_identity_is_durable(path, passphrase, monkeypatch):
    def fail(_descriptor):
        assert not path.exists()
        raise OSError(errno.ENOSPC, "full")

    path.parent.mkdir()
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(Unavailable) as caught:
        Vault.open(path, passphrase)
    assert caught.value.code == "disk_full"
    assert list(path.parent.iterdir()) == []


def test_what_a_killed_maker_left_behind_is_not_the_vault(path):
    path.parent.mkdir()
    path.with_name("vault.digm.new").write_bytes(b"torn")
    Vault.open(path).close()
    assert [entry.name for entry in path.parent.iterdir()] == ["vault.digm"]


@pytest.mark.parametrize("make", [lambda path: path.mkdir(parents=True), os.mkfifo])
@pytest.mark.parametrize("read_only", [True, False])
def test_what_is_no_file_is_said_to_be_none(path, make, read_only):
    path.parent.mkdir()
    make(path)
    with pytest.raises(CallerFault, match="is a folder or a device") as caught:
        Vault.open(path, read_only=read_only)
    assert caught.value.code == "vault_is_no_file"


def test_a_file_that_is_no_vault_is_refused_and_left_as_it_is(path):
    path.parent.mkdir()
    for content in (
        b"hello\n",
        b"no line end",
        b'{"format":"something else"}\n',
        b"\0" * 100,
        b"[1]\n",
        b"7\n",
    ):
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(CallerFault) as caught:
            Vault.open(path)
        assert caught.value.code == "vault_damaged"
        assert path.read_bytes() == content


def test_damage_in_the_middle_is_named_with_its_line(path, passphrase):
    with Vault.open(path, passphrase) as vault:
        vault.add(a_secret("1"), a_secret("2"))
    lines = path.read_bytes().split(b"\n")
    lines[2] = lines[2][:30] + b"??" + lines[2][32:]
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(CallerFault, match="line 3") as caught:
        Vault.open(path, passphrase)
    assert caught.value.code == "vault_damaged"


def test_sealed_lines_cannot_change_places(path):
    with Vault.open(path, PASSPHRASE) as vault:
        vault.add(a_secret("1"), a_secret("2"))
    lines = path.read_bytes().split(b"\n")
    lines[2], lines[3] = lines[3], lines[2]
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(CallerFault, match="damaged"):
        Vault.open(path, PASSPHRASE)


def test_a_header_cannot_ask_for_all_the_memory_there_is(path):
    Vault.open(path, PASSPHRASE).close()
    path.write_bytes(path.read_bytes().replace(b'"n":1024', b'"n":1099511627776'))
    with pytest.raises(CallerFault, match="first line"):
        Vault.open(path, PASSPHRASE)


def test_a_vault_of_a_newer_version_is_refused(path):
    Vault.open(path).close()
    path.write_bytes(path.read_bytes().replace(b'"version":1', b'"version":2'))
    with pytest.raises(CallerFault) as caught:
        Vault.open(path)
    assert caught.value.code == "vault_newer"


def test_a_link_is_not_followed(path, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    Vault.open(elsewhere).close()
    path.parent.mkdir()
    path.symlink_to(elsewhere)
    with pytest.raises(CallerFault) as caught:
        Vault.open(path)
    assert caught.value.code == "vault_is_link"


def test_a_missing_vault_is_not_made_by_those_who_only_read(path):
    with pytest.raises(CallerFault) as caught:
        Vault.open(path, create=False)
    assert caught.value.code == "vault_missing"
    assert not path.parent.exists()


def test_a_key_is_not_written_into_a_file_that_was_replaced(path):
    with Vault.open(path) as vault:
        path.unlink()
        with pytest.raises(Unavailable) as caught:
            vault.add(a_secret())
        assert caught.value.code == "vault_replaced"


def test_a_closed_vault_knows_nothing(path):
    vault = Vault.open(path)
    vault.close()
    for ask in (lambda: vault.secret("1" * 64), lambda: vault.sign(b""), lambda: vault.artist_key):
        with pytest.raises(CallerFault) as caught:
            ask()
        assert caught.value.code == "vault_closed"


def test_a_full_disk_leaves_the_vault_as_it_was(path, passphrase, monkeypatch):
    with Vault.open(path, passphrase) as vault:
        vault.add(a_secret("1"))
        before = path.read_bytes()
        real_write = os.write

        def write_a_little(descriptor, data):
            if len(data) <= 40:
                raise OSError(errno.ENOSPC, "full")
            return real_write(descriptor, data[:10])

        monkeypatch.setattr(os, "write", write_a_little)
        with pytest.raises(Unavailable) as caught:
            vault.add(a_secret("2"))
        monkeypatch.undo()
        assert caught.value.code == "disk_full"
        assert path.read_bytes() == before
        vault.add(a_secret("3"))
        assert vault.secret("3" * 64) == a_secret("3")


def test_neither_repr_nor_str_tells_a_key():
    secret = a_secret("k")
    assert "kkkkkkkkk" not in repr(secret)
    assert str(secret.track_key) not in f"{secret}"


def test_processes_and_threads_append_side_by_side(path, passphrase):
    Vault.open(path, passphrase).close()
    code = (
        "import sys, threading; from pathlib import Path; from hub.publishing.vault import *;"
        "vault = Vault.open(Path(sys.argv[1]), sys.argv[2] or None);"
        "add = lambda n: vault.add(TrackSecret(track_root=f'{sys.argv[3]}{n:063x}', track_key=bytes(32),"
        " source_sha256='e' * 64, published_at=1.0));"
        "threads = [threading.Thread(target=add, args=(n,)) for n in range(10)];"
        "[t.start() for t in threads]; [t.join() for t in threads]"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, path, passphrase or "", str(number)])
        for number in range(4)
    ]
    assert [process.wait(60) for process in started] == [0, 0, 0, 0]
    with Vault.open(path, passphrase) as vault:
        assert len(vault.by_source("e" * 64)) == 40


def test_many_may_make_one_vault_at_once_and_share_its_identity(path, passphrase):
    keys, faults = [], []

    def open_vault():
        try:
            with Vault.open(path, passphrase) as vault:
                keys.append(vault.artist_key)
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=open_vault) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert len(keys) == 12
    assert len(set(keys)) == 1


def test_readers_wait_for_a_writer_to_finish_its_line(path, passphrase):
    with Vault.open(path, passphrase) as vault, Vault.open(path, passphrase) as other:
        other.add(a_secret("1"))
        line = path.read_bytes()
        descriptor = os.open(path, os.O_RDWR)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        found = []
        reader = threading.Thread(target=lambda: found.append(vault.secret("1" * 64)))
        reader.start()
        reader.join(0.2)
        assert found == []
        assert path.read_bytes() == line
        os.close(descriptor)
        reader.join()
        assert found == [a_secret("1")]
