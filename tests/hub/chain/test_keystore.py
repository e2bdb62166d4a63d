"""The chain's key: one encrypted file that wallets understand, never written over, never shown."""

import json
from pathlib import Path

import pytest
from eth_account import Account

from digm.errors import CallerFault
from hub.chain.keystore import address_of, create_key, import_key, open_key
from hub.chain.passphrase import ask_passphrase, make_passphrase, passphrase_file
from hub.config import Settings

SECRET = "a good passphrase"  # noqa: S105 - of a test
WORK = 1 << 4


def test_a_key_is_made_opened_and_understood_by_other_tools(tmp_path: Path) -> None:
    path = tmp_path / "chain" / "key.json"
    address = create_key(path, SECRET, WORK)
    assert address_of(path) == address == open_key(path, SECRET).address
    assert Account.from_key(Account.decrypt(json.loads(path.read_text()), SECRET)).address == address
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_key_from_elsewhere_is_taken_in_and_signs_as_itself(tmp_path: Path) -> None:
    account = Account.create()
    path = tmp_path / "key.json"
    assert import_key(path, bytes(account.key), SECRET, WORK) == account.address
    fields = {
        "type": 2, "chainId": 5, "nonce": 3, "to": account.address, "value": 1, "gas": 21_000, "data": b"",
        "maxFeePerGas": 100, "maxPriorityFeePerGas": 8,
    }  # fmt: skip
    signer = open_key(path, SECRET)
    name, raw = signer.sign(fields)
    assert raw == bytes(account.sign_transaction(fields).raw_transaction)
    dearer_name, dearer, fee = signer.sign_dearer(raw, 1, 1, (9, 8))
    assert fee == 113 and dearer_name != name
    assert Account.recover_transaction(dearer) == account.address
    assert str(account.key.hex()) not in repr(signer)


def test_a_key_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    create_key(path, SECRET, WORK)
    before = path.read_bytes()
    with pytest.raises(CallerFault) as caught:
        create_key(path, SECRET, WORK)
    assert caught.value.code == "key_exists" and path.read_bytes() == before


def test_what_is_wrong_with_a_key_has_a_name(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    for code, passphrase, content in (
        ("no_key", SECRET, None),
        ("bad_key_file", SECRET, b"no JSON"),
        ("bad_key_file", SECRET, b"[]"),
        ("bad_key_file", SECRET, b'{"version": 3}'),
        ("bad_key_file", SECRET, b'{"version": 9, "address": "00", "crypto": {}}'),
    ):
        if content is not None:
            path.write_bytes(content)
            path.chmod(0o600)
        with pytest.raises(CallerFault) as caught:
            open_key(path, passphrase)
        assert caught.value.code == code, content
    path.unlink()
    assert address_of(path) is None
    create_key(path, SECRET, WORK)
    with pytest.raises(CallerFault) as caught:
        open_key(path, "another passphrase")
    assert caught.value.code == "wrong_passphrase"
    path.chmod(0o644)
    with pytest.raises(CallerFault) as caught:
        open_key(path, SECRET)
    assert caught.value.code == "key_readable_by_others"
    with pytest.raises(CallerFault) as caught:
        create_key(tmp_path / "other.json", "short", WORK)
    assert caught.value.code == "weak_passphrase"
    with pytest.raises(CallerFault) as caught:
        import_key(tmp_path / "other.json", b"\x00" * 32, SECRET, WORK)
    assert caught.value.code == "bad_key"


def test_the_passphrase_is_a_setting_or_in_a_file_or_asked_for_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    settings = Settings(data=tmp_path)
    with pytest.raises(CallerFault) as caught:
        ask_passphrase(settings)
    assert caught.value.code == "no_passphrase"
    make_passphrase(tmp_path)
    made = ask_passphrase(settings)
    make_passphrase(tmp_path)
    assert len(made) >= 32 and ask_passphrase(settings) == made
    assert ask_passphrase(Settings(data=tmp_path, chain_passphrase=SECRET)) == SECRET

    path = passphrase_file(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("typed by hand \n")
    assert ask_passphrase(settings) == "typed by hand "
    for content in (b"", b"\n", b"\xff\xfe", b"a" * (1 << 17)):
        path.write_bytes(content)
        with pytest.raises(CallerFault) as caught:
            ask_passphrase(settings)
        assert caught.value.code == "no_passphrase", content[:10]
    path.chmod(0o640)
    with pytest.raises(CallerFault) as caught:
        ask_passphrase(settings)
    assert caught.value.code == "key_readable_by_others"
    path.unlink()
