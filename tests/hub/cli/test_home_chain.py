"""Which devnet `digm up` brings, and where it listens."""

import socket
from pathlib import Path

import pytest

from hub.config import Settings
from hub.home_chain import HomeChain, lines_of
from tests.ports import free_port


def test_where_a_chain_is_named_or_none_is_wanted_no_devnet_runs(tmp_path: Path) -> None:
    for settings in (
        Settings(data=tmp_path, chain_rpc=("http://127.0.0.1:1",)),
        Settings(data=tmp_path, devnet=False),
    ):
        home = HomeChain(settings, {})
        assert not home.is_wanted and home.environment() == {}


def test_a_taken_port_is_said_and_another_chosen_which_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    settings = Settings(data=tmp_path, chain_port=port)
    assert HomeChain(settings, {}).environment() == {"DIGM_CHAIN_PORT": str(port)}
    assert capsys.readouterr().out == ""
    told = tmp_path / "chain" / "devnet-port"
    told.parent.mkdir(exist_ok=True)
    told.write_text("1")
    with socket.create_server(("127.0.0.1", port)):
        other = HomeChain(settings, {}).port
        assert capsys.readouterr().out == f"Port {port} is taken: the devnet will listen on {other}\n"
        assert other not in (0, port) and HomeChain(settings, {}).port == other
    assert not told.exists()  # of the one before


def test_the_addresses_are_said_with_their_owners() -> None:
    said = {"rpc": "http://127.0.0.1:8545", "registry": "0xR", "pinning": "0xP", "artist": "0xA"}
    lines = lines_of(said | {"nodes": ["0x1", "0x2"]}, ("Allegro", "Andante", "Adagio"))
    assert lines[0].endswith("http://127.0.0.1:8545")
    assert [line.split() for line in lines[1:]] == [
        ["registry", "0xR"],
        ["pinning", "0xP"],
        ["artist", "0xA"],
        ["Allegro", "0x1"],
        ["Andante", "0x2"],
    ]
