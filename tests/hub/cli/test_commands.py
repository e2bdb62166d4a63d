"""The command line: quick, helpful, and one sentence when something is wrong."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hub.storage.catalogue import Catalogue

COMMANDS = (
    "publish", "verify", "pin", "pins", "fetch", "play", "up", "hub", "gateway", "seed", "artist", "demo",
    "studio", "vault", "chain",
)  # fmt: skip
HEAVY = ("aiohttp", "av", "numpy", "sqlalchemy", "aiortc", "cryptography", "hypercorn", "msgspec")


@pytest.fixture
def catalogue_data(tmp_path: Path) -> Path:
    """A data folder without a track."""
    Catalogue.open(tmp_path).close()
    return tmp_path


def digm(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hub.cli", *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_help_names_every_command_and_loads_none_of_them() -> None:
    names = ", ".join(f"{name!r}" for name in HEAVY)
    program = (
        "import sys; sys.argv = ['digm', '--help']\nfrom hub.cli import main\n"
        f"try:\n    main()\nfinally:\n    loaded = {{{names}}} & set(sys.modules); assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for name in COMMANDS:
        assert name in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command: str) -> None:
    done = digm(command, "--help")
    assert done.returncode == 0, done.stderr
    assert command in done.stdout


def test_a_wrong_setting_is_one_sentence_and_status_2() -> None:
    for command in ("hub", "gateway", "artist", "up"):
        done = digm(command, DIGM_PORT="ninety")
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "DIGM_PORT" in done.stderr


def test_an_unknown_command_is_refused() -> None:
    assert digm("dance").returncode == 2


@pytest.mark.parametrize("arguments", [["--help"], ["verify"], ["verify", "--json"]])
def test_a_full_disk_behind_the_output_is_one_sentence(arguments: list[str], catalogue_data: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "hub.cli", *arguments],
            env={**os.environ, "DIGM_DATA": str(catalogue_data)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "no space left" in done.stderr.lower()


def test_help_is_quick() -> None:
    best = 9.0
    for _ in range(3):
        began = time.perf_counter()
        digm("--help")
        best = min(best, time.perf_counter() - began)
    assert best < 1.0  # 0.2 s on an idle machine; the rest is for a busy one


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        hub = digm("hub", DIGM_DATA=str(tmp_path), DIGM_PORT=port)
        gateway = digm("gateway", DIGM_DATA=str(tmp_path), DIGM_GATEWAY_PORT=port)
    for done in (hub, gateway):
        assert done.returncode == 2
        assert f"Port {port} is already in use" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("port, sentence", [("65532", "65531"), ("65535", "65531"), ("0", "Port 0")])
def test_up_refuses_a_port_that_cannot_work_at_once(tmp_path: Path, port: str, sentence: str) -> None:
    done = digm("up", "--port", port, "--data", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert sentence in done.stderr
