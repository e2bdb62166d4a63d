"""A running gateway over a published track."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from hub.config import Settings
from hub.gateway.server import serve
from hub.gateway.sockets import bind
from tests.hub.house import Published, publish_track


@dataclass(frozen=True)
class RunningGateway:
    """A gateway on a free port."""

    url: str
    port: int
    data: Path
    track: Published
    stop: asyncio.Event


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    track = publish_track(tmp_path)
    listening, stop = bind("127.0.0.1", 0), asyncio.Event()
    port = listening.getsockname()[1]
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(Settings(data=tmp_path, gateway_cache_bytes=3 * 65_536), stop, listening))
        yield RunningGateway(f"http://127.0.0.1:{port}", port, tmp_path, track, stop)
        stop.set()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session
