"""The seeding peer as a process of its own, with the real hub as another, and a listener over real WebRTC."""

import asyncio
import contextlib
import hashlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from digm.manifest import Manifest
from digm.peer_events import RequestRejected
from digm.wire import Reason
from hub.seeding.ice import offer_loopback
from hub.signalling.tokens import load_swarm_secret, swarm_token
from hub.storage.chunk_store import ChunkStore
from tests.hub.seeding.listener import Listener, listening
from tests.hub.seeding.noise_track import publish_noise
from tests.ports import free_port


@contextlib.asynccontextmanager
async def process(
    command: str, environ: dict[str, str], ready_url: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A `digm` process, from `/healthz` answering to SIGTERM."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "hub.cli", command, env={**os.environ, **environ}
    )
    try:
        await answered(ready_url)
        yield child
    finally:
        if child.returncode is None:
            child.send_signal(signal.SIGTERM)
        async with asyncio.timeout(15):
            await child.wait()


async def answered(url: str) -> None:
    """Wait until a URL answers 200."""
    async with asyncio.timeout(30), aiohttp.ClientSession() as http:
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with http.get(url) as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.05)


class House:
    """A hub and a seeding peer over one data folder."""

    def __init__(self, data: Path, port: int, seed_port: int, seed: asyncio.subprocess.Process) -> None:
        self.data = data
        self.url = f"http://127.0.0.1:{port}"
        self.seed_url = f"http://127.0.0.1:{seed_port}"
        self.seed = seed

    def token(self, manifest: Manifest) -> str:
        return swarm_token(load_swarm_secret(self.data), manifest.track_root, int(time.time()) + 60)

    async def seed_of(self, listener: Listener, manifest: Manifest) -> str:
        """Join, again and again, until the seeding peer is in the swarm."""
        async with asyncio.timeout(15):
            while not (peers := await listener.join(self.token(manifest))):
                await asyncio.sleep(0.1)
        return peers[0]


@contextlib.asynccontextmanager
async def house_over(data: Path, **seed_settings: str) -> AsyncIterator[House]:
    port, seed_port = free_port(), free_port()
    environ = {"DIGM_DATA": str(data), "DIGM_PORT": str(port), "DIGM_SEED_PORT": str(seed_port)}
    hub_up = process("hub", environ, f"http://127.0.0.1:{port}/healthz")
    seed_up = process("seed", environ | seed_settings, f"http://127.0.0.1:{seed_port}/readyz")
    async with hub_up, seed_up as seed:
        yield House(data, port, seed_port, seed)


@pytest.fixture(autouse=True)
def loopback():
    offer_loopback(True)
    yield
    offer_loopback(False)


async def test_a_listener_gets_every_chunk_and_each_has_its_hash(tmp_path: Path) -> None:
    manifest = publish_noise(tmp_path)
    async with house_over(tmp_path) as house, listening(house.url, manifest) as listener:
        session = await listener.connect(await house.seed_of(listener, manifest))
        for number, expected in enumerate(manifest.renditions[0].chunk_hashes):
            chunk = await session.fetch(0, number)
            assert isinstance(chunk, bytes)
            assert hashlib.sha256(chunk).digest() == expected


async def test_a_track_published_while_it_runs_is_seeded_within_seconds(tmp_path: Path) -> None:
    publish_noise(tmp_path)
    async with house_over(tmp_path) as house:
        newer = publish_noise(tmp_path, chunk_count=1, seed=2)
        async with listening(house.url, newer) as listener:
            session = await listener.connect(await house.seed_of(listener, newer))
            assert isinstance(await session.fetch(0, 0), bytes)


async def test_a_damaged_chunk_is_refused_and_the_others_are_given(tmp_path: Path) -> None:
    manifest = publish_noise(tmp_path)
    path = ChunkStore(tmp_path).path(manifest.renditions[0].chunk_hashes[1].hex())
    damaged = bytearray(path.read_bytes())
    damaged[70_000] ^= 1
    path.write_bytes(damaged)
    async with house_over(tmp_path) as house, listening(house.url, manifest) as listener:
        session = await listener.connect(await house.seed_of(listener, manifest))
        refused = await session.fetch(0, 1)
        assert isinstance(refused, RequestRejected)
        assert refused.reason is Reason.NOT_HELD
        assert 1 not in session.session.availability[0], "it took back that it has it"
        assert isinstance(await session.fetch(0, 2), bytes)


async def test_the_upload_cap_holds(tmp_path: Path) -> None:
    manifest = publish_noise(tmp_path, chunk_count=2, last_frames=8)
    cap = 400_000
    async with (
        house_over(tmp_path, DIGM_UPLOAD_BYTES_PER_S=str(cap)) as house,
        listening(house.url, manifest) as listener,
    ):
        session = await listener.connect(await house.seed_of(listener, manifest))
        before = time.monotonic()
        chunk = await session.fetch(0, 0)
        assert isinstance(chunk, bytes)
        burst = 100_000
        assert time.monotonic() - before > (len(chunk) - burst) / cap * 0.9


async def test_sigterm_ends_the_process_and_says_goodbye(tmp_path: Path) -> None:
    manifest = publish_noise(tmp_path)
    async with house_over(tmp_path) as house, listening(house.url, manifest) as listener:
        session = await listener.connect(await house.seed_of(listener, manifest))
        assert isinstance(await session.fetch(0, 0), bytes)
        house.seed.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await house.seed.wait() == 0
            while session.channel.readyState != "closed":
                await asyncio.sleep(0.02)


async def test_the_identity_of_the_seeding_peer_survives_a_restart(tmp_path: Path) -> None:
    manifest = publish_noise(tmp_path)
    names = []
    for _ in range(2):
        async with house_over(tmp_path) as house, listening(house.url, manifest) as listener:
            names.append(await house.seed_of(listener, manifest))
    assert names[0] == names[1]
    assert (tmp_path / "secrets" / "seed").stat().st_mode & 0o777 == 0o600
