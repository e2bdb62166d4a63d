"""Settings: read from variables and a file, checked, with errors that name the variable."""

from pathlib import Path

import msgspec
import pytest

from digm.errors import CallerFault
from hub.config import Settings, load_settings, variable_of

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "settings.md"


def test_ports_follow_the_hubs_port() -> None:
    settings = load_settings({"DIGM_PORT": "9000"})
    assert (settings.gateway_port, settings.seed_port, settings.artist_port) == (9001, 9002, 9003)
    assert settings.relay_port == 9004
    assert settings.signal_url == "http://127.0.0.1:9000"
    assert load_settings({"DIGM_PORT": "9000", "DIGM_GATEWAY_PORT": "7"}).gateway_port == 7


def test_the_hubs_port_leaves_room_for_those_that_follow_it() -> None:
    assert load_settings({"DIGM_PORT": "65531"}).relay_port == 65_535
    for port in ("65532", "65535"):
        with pytest.raises(CallerFault, match="65531 is the highest"):
            load_settings({"DIGM_PORT": port})
    own = {"DIGM_GATEWAY_PORT": "1", "DIGM_SEED_PORT": "2", "DIGM_ARTIST_PORT": "3", "DIGM_RELAY_PORT": "4"}
    assert load_settings({"DIGM_PORT": "65535", **own}).port == 65_535


def test_the_data_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/somewhere")
    assert load_settings({}).data == Path("/somewhere/digm")
    monkeypatch.delenv("XDG_DATA_HOME")
    assert load_settings({}).data == Path.home() / ".local" / "share" / "digm"


def test_variables_win_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "digm.toml"
    file.write_text('port = 9000\nstun_urls = ["stun:a.example"]\nice_loopback = false\n')
    settings = load_settings({"DIGM_CONFIG": str(file), "DIGM_PORT": "9100", "DIGM_HOST": ""})
    assert (settings.port, settings.stun_urls, settings.ice_loopback) == (9100, ("stun:a.example",), False)
    assert settings.host == "127.0.0.1"


def test_lists_are_written_with_commas() -> None:
    settings = load_settings({"DIGM_TRUSTED_PROXIES": "10.0.0.0/8, 192.0.2.1,"})
    assert settings.trusted_proxies == ("10.0.0.0/8", "192.0.2.1")


@pytest.mark.parametrize(
    "variable, value",
    [
        ("DIGM_PORT", "abc"),
        ("DIGM_PORT", "70000"),
        ("DIGM_PORT", "-1"),
        ("DIGM_ICE_LOOPBACK", "perhaps"),
        ("DIGM_GRANT_SECONDS", "0"),
        ("DIGM_LOG_LEVEL", "loud"),
        ("DIGM_GATEWAY_URL", "gateway.example"),
        ("DIGM_GATEWAY_CERT", "/cert.pem"),
        ("DIGM_TURN_URLS", "turn.example:3478"),
        ("DIGM_TURN_ENGINE", "another"),
        ("DIGM_TURN_ALLOW", "203.0.113.7/24"),
        ("DIGM_TURN_HOST", "localhost"),
        ("DIGM_TURN_EXTERNAL_IP", "here"),
        ("DIGM_TURN_MIN_PORT", "65000"),
        ("DIGM_TURN_CERT", "/cert.pem"),
        ("DIGM_STUN_URLS", "turn:turn.example:3478"),
        ("DIGM_OPERATOR", "x" * 65),
        ("DIGM_NETWORK", "AS1\x1b[2J"),
        ("DIGM_CONFIG", "/nowhere/digm.toml"),
    ],
)
def test_a_wrong_value_is_refused_with_the_name_of_its_variable(variable: str, value: str) -> None:
    with pytest.raises(CallerFault) as failure:
        load_settings({variable: value})
    assert failure.value.code == "bad_setting"
    assert variable in str(failure.value)


def test_an_unknown_name_in_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "digm.toml").write_text("prot = 9000\n")
    with pytest.raises(CallerFault, match="prot"):
        load_settings({"DIGM_CONFIG": str(tmp_path / "digm.toml")})


def test_the_passphrase_is_in_no_representation() -> None:
    assert "hush" not in repr(load_settings({"DIGM_VAULT_PASSPHRASE": "hush"}))


def test_every_setting_is_documented() -> None:
    document = DOCUMENT.read_text("utf-8")
    missing = [variable_of(field.name) for field in msgspec.structs.fields(Settings)]
    assert [variable for variable in missing if f"`{variable}`" not in document] == []
