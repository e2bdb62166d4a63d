"""A node without what it needs for the contract says once what is missing, and takes it up when it comes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from digm.placement import Candidate
from hub.chain.deployment import KINDS, Deployment
from hub.chain.keystore import create_key
from hub.chain.state import ChainState
from hub.config import Settings
from hub.keeping.keeper import Keeper, Neighbours

PASSPHRASE, NOWHERE = "open sesame 7", "http://127.0.0.1:1"
DEPLOYED = Deployment(31_337, "0x" + "00" * 32, 1, dict.fromkeys(KINDS, "0x" + "ab" * 20))


class Chain:
    """What a follower knows."""

    state = ChainState(deployed=DEPLOYED)


@asynccontextmanager
async def keeping(
    data: Path, passphrase: str | None = PASSPHRASE, chain: Any = None
) -> AsyncIterator[tuple[Keeper, list[Any]]]:
    settings = Settings(data=data, chain_rpc=(NOWHERE,), chain_passphrase=passphrase)
    nobody: Any = None
    neighbours = Neighbours(nobody, nobody, Candidate(b"k" * 32, "me", "here"), dict, lambda _root: [])
    keeper = Keeper(settings, chain or Chain(), neighbours)
    with capture_logs() as logs:
        task = asyncio.create_task(keeper.run())
        try:
            yield keeper, logs
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.keeping.keeper.LOOKED_AGAIN_S", 0.02)


async def trouble(keeper: Keeper, code: str) -> None:
    async with asyncio.timeout(60):
        while keeper.trouble != code:
            await asyncio.sleep(0.01)


def make_key(data: Path) -> Path:
    path = data / "chain" / "key.json"
    create_key(path, PASSPHRASE, 1 << 4)
    return path


async def test_a_node_without_a_key_waits_for_one_and_says_so_once(tmp_path: Path) -> None:
    async with keeping(tmp_path) as (keeper, logs):
        await trouble(keeper, "no_key")
        for _ in range(5):
            await asyncio.sleep(0.05)
        assert [line["event"] for line in logs] == ["keeper_waits"]
        make_key(tmp_path)
        await trouble(keeper, "chain_unreachable")  # the key opens; there is no server in this test


@pytest.mark.parametrize(
    ("passphrase", "code"),
    [("another one", "wrong_passphrase"), (None, "no_passphrase"), (PASSPHRASE, "key_readable_by_others")],
)
async def test_a_key_that_does_not_open_is_named_and_asks_nobody(
    tmp_path: Path, passphrase: str | None, code: str
) -> None:
    path = make_key(tmp_path)
    if code == "key_readable_by_others":
        path.chmod(0o644)
    async with keeping(tmp_path, passphrase) as (keeper, logs):
        await trouble(keeper, code)
        assert keeper.account is None
        (said,) = [line for line in logs if line["event"] == "keeper_waits"]
        assert PASSPHRASE not in str(said) and "another one" not in str(said)


async def test_without_contracts_nothing_is_opened(tmp_path: Path) -> None:
    class NoChain:
        state = ChainState()

    async with keeping(tmp_path, None, NoChain()) as (keeper, logs):
        for _ in range(5):
            await asyncio.sleep(0.05)
        assert logs == [] and keeper.trouble == ""
