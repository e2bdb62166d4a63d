"""Following a real devnet: where its contracts are, what comes, what is taken back, servers that are away."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from hub.chain.deployment import FILE_NAME, Deployment
from hub.chain.follower import ChainFollower
from hub.config import Settings
from tests.hub.chain.devnet import DevnetProcess
from tests.hub.chain.publisher import contracts_on, publisher
from tests.hub.house import publish_track

PATIENCE_S = 60


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevnetProcess]:
    process = DevnetProcess(tmp_path_factory.mktemp("chain"), with_contracts=True)
    contracts_on(process)
    yield process
    process.kill()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.chain.following.DEVNET_POLL_S", 0.05)
    monkeypatch.setattr("hub.chain.following.TROUBLE_POLL_S", 0.05)
    monkeypatch.setattr("hub.chain.follower.LOOKED_AT_S", 0.05)
    monkeypatch.setattr("hub.chain.finding.ASKED_AGAIN_S", 0.05)


@contextlib.asynccontextmanager
async def following(
    data: Path, url: str = "", settings: Settings | None = None, **options: Any
) -> AsyncIterator[ChainFollower]:
    settings = settings or Settings(data=data, chain_rpc=(url,) if url else ())
    follower = ChainFollower(settings, **options)
    task = asyncio.create_task(follower.run())
    try:
        yield follower
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(follower: ChainFollower, is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        version = -1
        while not is_so():
            version = await follower.changed(version)


def roots(follower: ChainFollower) -> list[str]:
    return [found.said.track_root.hex() for found in follower.tracks if found.artist_key]


async def test_whoever_knows_only_the_devnets_url_finds_contracts_and_tracks_and_what_comes_later(
    chain: DevnetProcess, tmp_path: Path
) -> None:
    one, other = (publish_track(tmp_path / "artist", seed=seed) for seed in (1, 2))
    async with publisher(chain, tmp_path / "artist") as artist:
        await artist.bind()
        track = await artist.publish(one.root)
        async with following(tmp_path / "new", chain.url) as follower:
            await until(follower, lambda: follower.is_current and one.root in roots(follower))
            assert follower.deployed == contracts_on(chain)
            (found,) = [found for found in follower.tracks if found.said.track == track]
            assert found.artist_key == one.manifest.artist_key and found.said.block <= follower.head
            await artist.publish(other.root)
            await until(follower, lambda: other.root in roots(follower))
            assert follower.state.recent[-1][1].name == "TrackPublished"
            await artist.withdraw(track)
            await until(follower, lambda: one.root not in roots(follower))
            assert track in [found.said.track for found in follower.state.withdrawn]
            # Whose key takes its word back has no tracks, and they have nobody's.
            await artist.tell("unbind", "bind_key", bytes(32), b"")
            await until(follower, lambda: other.root not in roots(follower))
            assert other.root in [found.said.track_root.hex() for found in follower.tracks]
    # What was read is known at once by the next process, although no server answers any more.
    async with following(tmp_path / "new", "http://127.0.0.1:1") as follower:
        await until(follower, lambda: follower.state.trouble == "chain_unreachable")
        assert other.root in [found.said.track_root.hex() for found in follower.tracks]
        assert not follower.is_current


async def test_what_the_chain_takes_back_is_taken_back_here(tmp_path: Path) -> None:
    process = DevnetProcess(tmp_path, with_contracts=True)
    try:
        one, other = (publish_track(tmp_path / "artist", seed=seed) for seed in (3, 4))
        async with publisher(process, tmp_path / "artist") as artist:
            await artist.bind()
            await artist.publish(one.root)
            async with following(tmp_path / "new", process.url) as follower:
                await until(follower, lambda: roots(follower) == [one.root])
                await artist.publish(other.root)
                await until(follower, lambda: roots(follower) == [one.root, other.root])
                process.ask("anvil_rollback", 1)
                process.ask("anvil_mine", "0x3")
                await until(follower, lambda: roots(follower) == [one.root])
                told = [one for one in follower.state.told if one.event == "TrackPublished"]
                assert [one.is_undone for one in told] == [False, False, True]
                assert told[1].sentence == told[2].sentence
                assert follower.state.rules["miss_points"] == 200 and follower.state.epoch == 1
                # A server that dies and comes back is noticed, and nothing is forgotten meanwhile.
                process.kill()
                await until(follower, lambda: follower.state.trouble == "chain_unreachable")
                assert roots(follower) == [one.root] and not follower.is_current
                process.start()
                await until(follower, lambda: follower.is_current)
                assert roots(follower) == [one.root]
    finally:
        process.kill()


async def test_without_a_chain_it_says_so_once_and_takes_contracts_up_when_they_appear(
    chain: DevnetProcess, tmp_path: Path
) -> None:
    with capture_logs() as logs:
        async with following(tmp_path) as follower:
            async with asyncio.timeout(PATIENCE_S):
                while not logs:
                    await asyncio.sleep(0.02)
            for _ in range(5):
                await asyncio.sleep(0.05)
            assert [line["event"] for line in logs] == ["no_chain_followed"]
            assert follower.deployed is None and follower.version == 0
            (tmp_path / "chain").mkdir(exist_ok=True)
            (tmp_path / "chain" / FILE_NAME).write_bytes(msgspec.json.encode(contracts_on(chain)))
            await until(follower, lambda: follower.deployed is not None)


@pytest.mark.parametrize(
    "lie", ["nonsense", "another chain", "no contract there", "other contracts", "disputed"]
)
async def test_contracts_that_others_name_are_compared_with_the_chain(
    chain: DevnetProcess, tmp_path: Path, lie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.chain.finding.METHOD", "not_of_this_server")
    right = contracts_on(chain)
    document = msgspec.json.encode(right)
    asked: list[bytes] = []

    async def others(genesis: bytes) -> Sequence[bytes]:
        asked.append(genesis)
        if lie == "disputed" and len(asked) < 3:
            return [document, msgspec.json.encode(replace(right, first_block=right.first_block + 1))]
        return [_wrong(lie, right), document] if len(asked) > 2 else [_wrong(lie, right)]

    with capture_logs() as logs:
        async with following(tmp_path, chain.url, ask_others=others) as follower:
            await until(follower, lambda: follower.is_current)
            assert follower.deployed == right and asked[0].hex() == right.genesis[2:]
            assert len(asked) >= 3
    if lie != "disputed":
        assert "chain_contracts_refused" in [line["event"] for line in logs]


def _wrong(lie: str, right: Deployment) -> bytes:
    swapped = {**right.addresses, "registry": right.addresses["para"], "para": right.addresses["registry"]}
    documents = {
        "nonsense": b"[" * 100_000,
        "another chain": msgspec.json.encode(replace(right, genesis="0x" + "1" * 64)),
        "no contract there": msgspec.json.encode(
            replace(right, addresses={**right.addresses, "heat": "0x" + "11" * 20})
        ),
        "other contracts": msgspec.json.encode(replace(right, addresses=swapped)),
        "disputed": b"{}",
    }
    return documents[lie]
