"""`digm publish --pin`: from a file to ordered copies, killed anywhere, and gone on with."""

import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import typer
from structlog.testing import capture_logs
from typer.testing import CliRunner

from hub.chain.amounts import UNIT, read_amount
from hub.chain.deployment import FILE_NAME as DEPLOYMENT_FILE
from hub.chain.deployment import contract, load_deployment
from hub.chain.devnet.demo import put_contracts
from hub.chain.keystore import FILE_NAME, create_key
from hub.chain.ordering import state_now
from hub.cli.publish import publish
from hub.config import Settings
from hub.storage.catalogue import Catalogue
from tests.hub.chain.devnet import DevnetProcess

PASSPHRASE = "a good passphrase"  # noqa: S105 - of a test
WITHIN_S = 60
APP = typer.Typer()
APP.command()(publish)
NOT_WAITING = ("--within", "0", "--json")
# After which line it is killed; None: some time after its start. There are most between two transactions.
KILLED_AFTER = (
    None,
    None,
    "stored",
    "stored",
    "stored",
    "stored",
    "on_chain",
    "on_chain",
    "on_chain",
    "ordered",
)


class Artist:
    """A data folder with a key, play money if wanted, and the contracts known."""

    def __init__(self, data: Path, devnet: DevnetProcess, deployment: Path, para: bool = True) -> None:
        self.data, self.devnet = data, devnet
        self.address = create_key(data / "chain" / FILE_NAME, PASSPHRASE, work=16)
        shutil.copy(deployment, data / "chain" / DEPLOYMENT_FILE)
        self.deployed = load_deployment(deployment)
        rich = devnet.ask("eth_accounts")["result"][0]
        gift = {"from": rich, "to": self.address, "value": hex(10**19)}
        assert "result" in devnet.ask("eth_sendTransaction", gift)
        if para:
            data_ = "0x" + contract("para").call_data("transfer", [self.address, 1_000 * UNIT]).hex()
            sent = {"from": rich, "to": self.deployed.addresses["para"], "data": data_}
            assert "result" in devnet.ask("eth_sendTransaction", sent)

    @property
    def settings(self) -> Settings:
        return Settings(data=self.data, chain_port=self.devnet.port)

    def _environment(self) -> dict[str, str]:
        return {
            "DIGM_DATA": str(self.data),
            "DIGM_CHAIN_PORT": str(self.devnet.port),
            "DIGM_CHAIN_PASSPHRASE": PASSPHRASE,
            "DIGM_SIGNAL_URL": "http://127.0.0.1:9",
        }

    def start(self, *arguments: str, **variables: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "hub.cli", "publish", *arguments],
            env={**os.environ, **self._environment(), **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def refused(self, *arguments: str, **variables: str) -> str:
        """In this process, which saves two seconds each."""
        with pytest.MonkeyPatch.context() as patch, capture_logs():
            for name, value in (self._environment() | variables).items():
                patch.setenv(name, value)
            patch.setattr("hub.logs.configure_logs", lambda *_: None)
            result = CliRunner().invoke(APP, arguments)
        assert result.exit_code != 0, result.output
        return str(result.exception) + result.stderr

    def sent(self) -> int:
        """How many transactions are in the chain."""
        return int(self.devnet.ask("eth_getTransactionCount", self.address, "latest")["result"], 16)

    def para(self) -> int:
        data = "0x" + contract("para").call_data("balanceOf", [self.address]).hex()
        call = {"to": self.deployed.addresses["para"], "data": data}
        return int(self.devnet.ask("eth_call", call, "latest")["result"], 16)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DevnetProcess, Path]]:
    """A devnet, and where its contracts are said to be."""
    folder = tmp_path_factory.mktemp("devnet")
    devnet = DevnetProcess(folder)
    asyncio.run(put_contracts(devnet.url, folder / "chain"))
    yield devnet, folder / "chain" / DEPLOYMENT_FILE
    devnet.kill()


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("music") / "song.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 44_100, 0, "NONE", ""))
        file.writeframes(np.random.default_rng(5).integers(-2_000, 2_000, 44_100, np.int16).tobytes())
    return path


def killed(process: "subprocess.Popen[str]", after: str | None, dice: random.Random) -> list[str]:
    """Kill it a moment after it has taken a step, or wait for its end where that was before.

    Returns:
        the steps that it told.
    """
    assert process.stdout is not None
    steps: list[str] = []
    if after is None:
        time.sleep(dice.uniform(0.4, 1.6))
    while after is not None and (line := process.stdout.readline()):
        steps.append(json.loads(line).get("step", "published"))
        if steps[-1] == after:
            time.sleep(dice.uniform(0, 0.25))
            break
    process.kill()
    process.communicate()
    return steps


def test_killed_at_any_moment_it_goes_on_and_does_nothing_twice(
    chain: tuple[DevnetProcess, Path], song: Path, tmp_path: Path
) -> None:
    artist, dice = Artist(tmp_path, *chain), random.Random(11)
    command = ("--pin", "2", "--months", "18", *NOT_WAITING, str(song))
    for after in KILLED_AFTER:
        killed(artist.start(*command), after, dice)
    with artist.start(*command) as process:
        said, why = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0, why
    lines = [json.loads(line) for line in said.splitlines()]
    assert [line.get("step") for line in lines] == [None, "stored", "on_chain", "ordered", "not_told"]

    with Catalogue.open_for_reading(tmp_path) as catalogue:
        (track,) = catalogue.tracks()
    state = asyncio.run(state_now(artist.settings))
    assert [one.said.track_root.hex() for one in state.tracks if one.said.artist == artist.address] == [
        track.track_root
    ]
    (order,) = [one for one in state.pins.orders.values() if one.owner == artist.address]
    assert (order.order_id, order.replicas) == (lines[3]["order"], 2)
    # The key bound, the track published, the tokens allowed, the order placed: each once.
    assert artist.sent() == 4
    paid = 1_000 * UNIT - artist.para()
    assert paid == order.paid_in + order.paid_in // 100 and order.paid_in == read_amount(lines[3]["escrow"])


def test_what_is_missing_is_said_before_anything_is_done(
    chain: tuple[DevnetProcess, Path], song: Path, tmp_path: Path
) -> None:
    poor = Artist(tmp_path / "poor", *chain, para=False)
    for arguments, variables, reason in (
        (("--months", "3"), {}, "go with --pin"),
        (("--pin", "101"), {}, "1 to 100 copies"),
        (("--pin", "2", "--price", "0"), {}, "takes prices from"),
        (("--pin", "2", "--duration", "5 seconds"), {}, "takes orders from"),
        (("--pin", "2"), {"DIGM_CHAIN_PASSPHRASE": "another one"}, "does not open"),
        (("--pin", "2"), {"DIGM_CHAIN_PORT": "9"}, "digm chain devnet"),
        (("--pin", "2"), {"DIGM_DATA": str(tmp_path / "nothing")}, "digm chain deploy"),
    ):
        assert reason in poor.refused(*arguments, str(song), **variables)
    assert not (poor.data / "chunks").exists()

    with poor.start("--pin", "2", *NOT_WAITING, str(song)) as process:
        said, why = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 2 and "nothing was sent" in why
    assert [json.loads(line).get("step") for line in said.splitlines()][:2] == [None, "stored"]
    assert poor.sent() == 0


def test_nobody_who_takes_a_place_in_time_is_told_and_the_order_stands(
    chain: tuple[DevnetProcess, Path], song: Path, tmp_path: Path
) -> None:
    artist = Artist(tmp_path, *chain)
    (tmp_path / "chain" / DEPLOYMENT_FILE).unlink()
    contracts = {"DIGM_CHAIN_DEPLOYMENT": str(chain[1])}  # as somebody handed them on
    with artist.start("--pin", "1", "--within", "1", str(song), **contracts) as process:
        said, why = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 1 and "the orders stand" in why
    assert "  accepted: 0 of 1\n" in said and "PARA in escrow" in said
