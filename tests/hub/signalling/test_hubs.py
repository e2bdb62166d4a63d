"""Several hubs: a swarm lives on one of them, whoever comes to another is sent there, and a hub may go away."""

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from digm import signalling as messages
from digm.errors import CallerFault
from digm.hub_choice import HubChoice
from digm.rendezvous import ranked
from digm.signalling_client import ClientSettings, SignallingClient, SignatureWanted
from hub.config import Settings
from hub.signalling.homes import MISSES_TO_BE_DEAD, Homes, signal_address
from hub.signalling.tokens import load_swarm_secret, swarm_token
from tests.ports import free_ports

A, B, C = "https://a.example", "https://b.example", "https://c.example"


def test_every_hub_names_the_same_home_and_only_the_home_keeps_the_swarm() -> None:
    hubs = (A, B, C)
    for number in range(50):
        track = f"{number:064x}"
        answers = {hub: Homes(hubs, hub).elsewhere(track) for hub in hubs}
        home = next(hub for hub, elsewhere in answers.items() if elsewhere is None)
        assert all(url == signal_address(home) for hub, url in answers.items() if hub != home)
        assert Homes(hubs, A).signal_urls(track)[0] == signal_address(home)


def test_a_hub_that_does_not_answer_twice_gives_its_swarms_to_the_next_and_gets_them_back() -> None:
    track = next(f"{n:064x}" for n in range(99) if ranked(f"{n:064x}", (A, B, C))[:2] == [B, A])
    homes = Homes((A, B, C), A)
    assert homes.elsewhere(track) == "wss://b.example/signal"
    assert [homes.heard(B, False) for _ in range(MISSES_TO_BE_DEAD)] == [False, True]
    assert homes.elsewhere(track) is None
    assert homes.signal_urls(track)[-1] == "wss://b.example/signal"
    assert homes.heard(B, True)
    assert homes.elsewhere(track) == "wss://b.example/signal"


def test_a_hub_alone_keeps_everything() -> None:
    assert Homes().elsewhere("00" * 32) is None
    assert Homes().signal_urls("00" * 32) == []


def test_a_hub_has_to_be_one_of_those_it_names(tmp_path: Path) -> None:
    with pytest.raises(CallerFault, match="DIGM_PUBLIC_URL"):
        Settings(data=tmp_path, public_url=C, hubs=(A, B))


@dataclass
class Hubs:
    """Hub processes on one data folder, as two machines with the same secret."""

    data: Path
    urls: tuple[str, ...]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    async def start(self, url: str) -> None:
        self.processes[url] = self._process(url)
        async with aiohttp.ClientSession() as http, asyncio.timeout(60):
            while True:
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    async with http.get(f"{url}/healthz"):
                        return
                await asyncio.sleep(0.05)

    def _process(self, url: str) -> subprocess.Popen[bytes]:
        port = url.rpartition(":")[2]
        return subprocess.Popen(
            [sys.executable, "-m", "hub.cli", "hub"],
            env={**os.environ, "DIGM_DATA": str(self.data), "DIGM_PORT": port, "DIGM_PUBLIC_URL": url,
                 "DIGM_HUBS": ",".join(self.urls), "DIGM_LOG_LEVEL": "warning"},
        )  # fmt: skip

    def end(self, url: str, number: signal.Signals) -> None:
        process = self.processes.pop(url)
        process.send_signal(number)
        process.wait(20)

    def token(self, track: bytes) -> str:
        return swarm_token(load_swarm_secret(self.data), track, int(time.time()) + 600)

    def track_of(self, order: tuple[str, ...]) -> bytes:
        """A track whose swarm lives on the first of these, else on the second ..."""
        while ranked((track := secrets.token_bytes(32)).hex(), self.urls) != list(order):
            pass
        return track


@pytest.fixture
async def hubs(tmp_path: Path) -> AsyncIterator[Hubs]:
    hubs = Hubs(tmp_path, tuple(f"http://127.0.0.1:{port}" for port in free_ports(4)[::2]))
    try:
        for url in hubs.urls:
            await hubs.start(url)
        yield hubs
    finally:
        for url in list(hubs.processes):
            hubs.end(url, signal.SIGKILL)


class Listener:
    """A page, as far as signalling goes: the client's session, the choice of the hub, and a socket."""

    def __init__(self, hubs: Hubs, track: bytes, urls: list[str]) -> None:
        key = Ed25519PrivateKey.generate()
        self.id = key.public_key().public_bytes_raw().hex()
        self._key = key
        self._client = SignallingClient(
            self.id, random=secrets.SystemRandom().random, settings=ClientSettings(reconnect_most_s=1.0)
        )
        self._choice = HubChoice(urls)
        self._client.join(track.hex(), hubs.token(track), 0.0, time.monotonic())
        self.seen: asyncio.Queue[object] = asyncio.Queue()
        self.visited: list[str] = []

    async def run(self) -> None:
        async with aiohttp.ClientSession() as http:
            while True:
                url = self._choice.url
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    async with http.ws_connect(url, protocols=[messages.SUBPROTOCOL]) as socket:
                        self.visited.append(url)
                        if await self._talk(socket):
                            continue
                self._choice.failed()
                now = time.monotonic()
                await asyncio.sleep(min(1.0, self._client.disconnected(now) - now))

    async def _talk(self, socket: aiohttp.ClientWebSocketResponse) -> bool:
        self._client.connected(time.monotonic())
        while True:
            now = time.monotonic()
            deadline = self._client.next_deadline() or now + 5
            try:
                frame = await socket.receive(max(0.01, deadline - now))
            except TimeoutError:
                self._client.tick(time.monotonic())
            else:
                if frame.type is not aiohttp.WSMsgType.TEXT:
                    return False
                if self._hear(frame.data):
                    return True
            for text in self._client.to_send():
                await socket.send_str(text)

    def _hear(self, text: str) -> bool:
        """Take a message. True: connect to another hub now."""
        for event in self._client.receive(text, time.monotonic()):
            if isinstance(event, SignatureWanted):
                self._client.signed(self._key.sign(event.message))
            if isinstance(event, messages.Redirect) and self._choice.redirected(event.url):
                return True
            if isinstance(event, messages.Peers):
                self._choice.settled()
            self.seen.put_nowait(event)
        return False

    async def until(self, kind: type, seconds: float = 60) -> object:
        async with asyncio.timeout(seconds):
            while not isinstance(event := await self.seen.get(), kind):
                pass
        return event


@contextlib.asynccontextmanager
async def listening(*listeners: Listener) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(listener.run()) for listener in listeners]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_whoever_comes_to_the_wrong_hub_ends_at_the_right_one(hubs: Hubs) -> None:
    home, other = hubs.urls
    track = hubs.track_of((home, other))
    right = Listener(hubs, track, [signal_address(home)])
    wrong = Listener(hubs, track, [signal_address(other)])
    async with listening(right):
        assert await right.until(messages.Peers) == messages.Peers(track.hex(), (), 1)
        async with listening(wrong):
            found = await wrong.until(messages.Peers)
            assert isinstance(found, messages.Peers)
            assert [peer.peer for peer in found.peers] == [right.id]
            assert wrong.visited == [signal_address(other), signal_address(home)]


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
async def test_a_swarm_whose_hub_goes_away_meets_again_on_the_next_and_returns(
    hubs: Hubs, end: signal.Signals
) -> None:
    home, other = hubs.urls
    track = hubs.track_of((home, other))
    urls = [signal_address(home), signal_address(other)]
    listeners = [Listener(hubs, track, urls) for _ in range(3)]
    async with listening(*listeners):
        for listener in listeners:
            await listener.until(messages.Peers)
        hubs.end(home, end)
        together = [await listener.until(messages.Peers) for listener in listeners]
        assert max(peers.listeners for peers in together if isinstance(peers, messages.Peers)) == 3
        assert {listener.visited[-1] for listener in listeners} == {signal_address(other)}
        await hubs.start(home)
        while {listener.visited[-1] for listener in listeners} != {signal_address(home)}:
            for listener in listeners:
                if listener.visited[-1] != signal_address(home):
                    await listener.until(messages.Peers)
