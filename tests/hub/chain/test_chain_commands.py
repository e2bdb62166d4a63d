"""`digm chain` as people use it: real processes on a real devnet with the real contracts."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from digm.errors import CallerFault, DigmError
from digm.manifest import manifest_hash
from hub.chain.deployment import KINDS, contract, load_deployment
from hub.chain.keystore import FILE_NAME, create_key
from hub.chain.opening import open_deployed
from hub.cli.chain import chain
from hub.config import Settings
from hub.storage.chunk_store import ChunkStore
from tests.hub.chain.devnet import DevnetProcess
from tests.hub.house import Published, publish_track

PASSPHRASE = "a good passphrase"  # noqa: S105 - of a test
SETTING = "DIGM_CHAIN_PASSPHRASE"


class Artist:
    """A data folder with a key and a track, and commands on it."""

    def __init__(self, data: Path, devnet: DevnetProcess) -> None:
        self.data, self._devnet = data, devnet
        self.track: Published = publish_track(data)

    def ours(self) -> dict[str, str]:
        return {"DIGM_DATA": str(self.data), "DIGM_CHAIN_PORT": str(self._devnet.port), SETTING: PASSPHRASE}

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """In a process of its own."""
        command = [sys.executable, "-m", "hub.cli", "chain", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env={**os.environ, **self.ours()}, stdout=pipe, stderr=pipe, text=True)

    def run(self, *arguments: str, refusal: str = "", **variables: str) -> str:
        """In this process, which saves two seconds each.

        Args:
            refusal: what is said on stderr, before exit status 2.
        """
        with pytest.MonkeyPatch.context() as patch, capture_logs():
            for name, value in (self.ours() | variables).items():
                patch.setenv(name, value)
            patch.setattr("hub.logs.configure_logs", lambda *_: None)
            result = CliRunner().invoke(chain, arguments)
        assert PASSPHRASE not in result.output
        if refusal:
            assert isinstance(result.exception, DigmError) and refusal in str(result.exception), result
        else:
            assert result.exit_code == 0, result.exception
        return result.stdout

    def lines(self, *arguments: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.run(*arguments, "--json").splitlines()]


@pytest.fixture(scope="module")
def artist(devnet: DevnetProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Artist]:
    """With the contracts deployed, although the first command that deployed them was killed."""
    one = Artist(tmp_path_factory.mktemp("artist"), devnet)
    # Twelve commands open it; with the work that guessers are to have, that takes five seconds.
    address = create_key(one.data / "chain" / FILE_NAME, PASSPHRASE, work=16)
    assert one.run("key").strip() == address
    with one.start("deploy") as first:
        assert first.stdout is not None
        line = first.stdout.readline()
        first.send_signal(signal.SIGKILL)
        assert line.startswith("registry"), first.communicate()
    with one.start("deploy") as again:
        said, why = again.communicate(timeout=60)
        assert again.returncode == 0, why
    parts = ["registry", "para", "digm", "xfg", "heat", "pinning", "sales", "passes"]
    assert [line.split()[0] for line in said.splitlines()] == parts
    # One transaction for each contract, although two processes deployed.
    count = devnet.ask("eth_getTransactionCount", address, "latest")["result"]
    assert int(count, 16) == len(KINDS)
    yield one


def test_a_deployment_cut_off_by_kill_9_is_finished_and_nothing_deployed_twice(artist: Artist) -> None:
    artist.run("deploy", refusal="names contracts already")
    status = artist.lines("status")[0]
    assert status["chain"] == 31_337 and set(KINDS) <= set(status)
    assert status["key"] == artist.run("key").strip()
    assert status["para held"] == "1000000000" and float(status["for gas"]) > 99


def test_a_deployment_from_before_there_were_sales_is_read_and_completed(artist: Artist) -> None:
    path = artist.data / "chain" / "deployment.json"
    whole = json.loads(path.read_text())
    old = {part: where for part, where in whole["addresses"].items() if part not in ("sales", "passes")}
    path.write_text(json.dumps({**whole, "addresses": old}))
    assert "sales" not in artist.lines("status")[0]
    with pytest.raises(CallerFault, match="digm chain deploy adds"):
        load_deployment(path).address("sales")
    artist.run("deploy")
    assert json.loads(path.read_text()) == whole


def test_a_track_is_published_once_and_everybody_who_reads_the_events_sees_it(
    artist: Artist, tmp_path: Path
) -> None:
    root, manifest = artist.track.root, artist.track.manifest
    published = artist.lines("publish", root)[0]
    assert artist.lines("publish", root)[0] == published
    assert published["gas"] < 170_000 * 1.05

    stranger = Artist(tmp_path, artist._devnet)
    (tmp_path / "chain").mkdir()
    shutil.copy(artist.data / "chain" / "deployment.json", tmp_path / "chain")
    events = [one for one in stranger.lines("events") if one["event"] == "TrackPublished"]
    assert len(events) == 1
    said = events[0]["arguments"]
    assert events[0]["transaction"] == published["transaction"]
    assert said["artist"] == artist.run("key").strip()
    assert said["track_root"] == "0x" + root and said["track"] == published["track"]
    assert said["audit_root"] == "0x" + manifest.audit_root.hex()
    assert said["manifest_hash"] == "0x" + manifest_hash(ChunkStore(artist.data).manifest(root)).hex()
    assert said["chunk_count"] == sum(one.chunk_count for one in manifest.renditions)
    sizes = [one.chunk_bytes(n) for one in manifest.renditions for n in range(one.chunk_count)]
    assert said["byte_size"] == sum(sizes)
    # Whoever says that the artist's key is an own one, without its signature, is not believed.
    thief = artist._devnet.ask("eth_accounts")["result"][1]
    registry, address = contract("registry"), artist.lines("status")[0]["registry"]
    shape = [(one.chunk_count, one.frames_per_chunk, one.last_chunk_frames) for one in manifest.renditions]
    stolen = [bytes.fromhex(said["manifest_hash"][2:]), shape, bytes(32)]
    for name, arguments in (
        ("publish", [bytes.fromhex(root), manifest.audit_root, *stolen]),
        ("bind_key", [manifest.artist_key, bytes(64)]),
    ):
        data = "0x" + registry.call_data(name, arguments).hex()
        assert "result" in artist._devnet.ask(
            "eth_sendTransaction", {"from": thief, "to": address, "data": data}
        )
    ours, theirs = stranger.lines("tracks")
    assert ours["artist"] == said["artist"] and ours["artist_key"] == manifest.artist_key.hex()
    assert ours["track_root"] == theirs["track_root"] == "0x" + root
    assert theirs["artist"].lower() == thief and theirs["artist_key"] is None
    # And again: only what is new.
    newest = stranger.lines("events")[-1]["sequence"]
    assert stranger.lines("events", "--after", str(newest)) == []
    assert f"published track {root[:8]}: 8 chunks" in stranger.run("events")


async def order_copies(artist: Artist) -> None:
    """As `digm publish --pin` will: PARA into escrow."""
    settings = Settings(data=artist.data, chain_port=artist._devnet.port, chain_passphrase=PASSPHRASE)
    async with open_deployed(settings, with_key=True) as (client, deployed):
        at = deployed.addresses
        name = await client.call(
            contract("registry"),
            at["registry"],
            "track_id",
            client.sender.address,
            bytes.fromhex(artist.track.root),
        )
        terms = (name, 3, 3_600, 10**15)
        cost, fee = await client.call(contract("pinning"), at["pinning"], "quote", *terms)
        await client.transact("approve", contract("para"), at["para"], "approve", at["pinning"], cost + fee)
        await client.transact("order", contract("pinning"), at["pinning"], "place_order", *terms)


def test_an_order_is_shown_with_what_is_in_escrow(artist: Artist) -> None:
    assert artist.lines("pins") == []
    artist.run("publish", artist.track.root)
    with capture_logs():
        asyncio.run(order_copies(artist))
    order = artist.lines("pins")[0]
    assert order["order"] == 1 and order["replicas"] == 3 and order["taken"] == 0 and not order["is_cancelled"]
    assert float(order["escrow"]) > 0
    assert "ordered 3 copies of “Noise” until" in artist.run("events")


def test_a_stake_is_put_in_raised_and_asked_back(artist: Artist) -> None:
    artist.run("stake", "999", refusal="refuses")
    assert "1000 digm" in artist.run("stake", "1000", "--class", "elder")
    assert "1000.5 digm" in artist.run("stake", "0.5")
    address = artist.run("key").strip()
    facts = artist.lines("audits", address)[0]
    assert facts["stake"] == "1000.5" and facts["node_class"] == "elder" and facts["missed"] == 0
    artist.run("stake", "1", "--token", "xfg", refusal="not in xfg")
    assert "leaving" in artist.run("unstake", "1000.5")
    assert artist.run("claim") == ""
    artist._devnet.ask("evm_increaseTime", 3_600)
    artist._devnet.ask("evm_mine")
    assert artist.run("claim") == "1000.5 stake\n"
    assert artist.lines("status")[0]["digm held"] == "1000000000"


def test_what_is_wrong_is_one_sentence(artist: Artist, tmp_path: Path) -> None:
    stranger = Artist(tmp_path, artist._devnet)
    stranger.run("events", refusal="No contracts are known here")
    (tmp_path / "chain").mkdir()
    shutil.copy(artist.data / "chain" / "deployment.json", tmp_path / "chain")
    stranger.run("publish", stranger.track.root, refusal="digm chain key makes one")
    assert stranger.run("key").startswith("0x") and stranger.run("key") == stranger.run("key")
    artist.run("publish", "12", refusal="is not a track root")
    artist.run("publish", "ab" * 32, refusal="is not here")
    artist.run("audits", "0x12", refusal="is no address")
    artist.run("fund", "nobody", refusal="is no address")
    artist.run("stake", "1e3", refusal="is no amount")
    artist.run("stake", "10", "--token", "gold", refusal="digm, xfg, heat")
    artist.run("publish", artist.track.root, refusal="does not open", **{SETTING: "something else"})
    artist.run("publish", artist.track.root, refusal="needs a passphrase", **{SETTING: ""})
    artist.run("status", refusal="digm chain devnet", DIGM_CHAIN_PORT="9")
    artist.run("status", refusal="127.0.0.1:9", DIGM_CHAIN_RPC="http://127.0.0.1:9/some-secret")


def test_a_deployment_of_another_chain_is_refused(artist: Artist, tmp_path: Path) -> None:
    stranger = Artist(tmp_path, artist._devnet)
    (tmp_path / "chain").mkdir()
    said = json.loads((artist.data / "chain" / "deployment.json").read_text())
    said["genesis"] = "0x" + "11" * 32
    (tmp_path / "chain" / "deployment.json").write_text(json.dumps(said))
    stranger.run("events", refusal="another chain")
    (tmp_path / "chain" / "deployment.json").write_text("{}")
    stranger.run("events", refusal="does not say where contracts are")
