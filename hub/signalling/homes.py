"""Where a swarm lives: on one hub of DIGM_HUBS, the first living one in the order of rendezvous hashing.

Every hub knows all names and asks the others whether they live; so all come to the same answer without a
directory, and when a hub goes away only its own swarms move, each to the next in its order. They return when it
is back.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import aiohttp
import structlog

from digm.rendezvous import ranked
from hub.signalling.metrics import HUBS_ALIVE

log = structlog.get_logger()
MISSES_TO_BE_DEAD = 2


class Homes:
    """The hubs as one of them sees them.

    Args:
        hubs: http(s) URLs without a trailing slash; empty: this hub is alone.
        own: which of them we are.
    """

    def __init__(self, hubs: tuple[str, ...] = (), own: str = "") -> None:
        self._hubs = hubs
        self._own = own
        self._misses: dict[str, int] = {hub: 0 for hub in hubs if hub != own}
        HUBS_ALIVE.set(len(hubs) or 1)

    def elsewhere(self, track: str) -> str | None:
        """The `/signal` address of the hub where a swarm lives; None: it lives here."""
        if not self._misses:
            return None
        home = next(hub for hub in ranked(track, self._hubs) if self._is_alive(hub))
        return None if home == self._own else signal_address(home)

    def signal_urls(self, track: str) -> list[str]:
        """All `/signal` addresses in the order in which a player should try them; empty: there is one hub."""
        order = ranked(track, self._hubs)
        return [signal_address(hub) for hub in sorted(order, key=lambda hub: not self._is_alive(hub))]

    def heard(self, hub: str, is_alive: bool) -> bool:
        """Note whether a hub answered. True when that changes where swarms live."""
        before = self._is_alive(hub)
        self._misses[hub] = 0 if is_alive else min(self._misses[hub] + 1, MISSES_TO_BE_DEAD)
        HUBS_ALIVE.set(len(self._hubs) - sum(n >= MISSES_TO_BE_DEAD for n in self._misses.values()))
        return self._is_alive(hub) != before

    @contextlib.asynccontextmanager
    async def watching(self, probe_s: float, on_change: Callable[[], None]) -> AsyncIterator[None]:
        """Ask the other hubs every `probe_s` whether they live."""
        if not self._misses:
            yield
            return
        timeout = aiohttp.ClientTimeout(total=probe_s)
        async with aiohttp.ClientSession(timeout=timeout) as http, asyncio.TaskGroup() as tasks:
            watches = [
                tasks.create_task(self._watch(http, hub, probe_s, on_change), name="hub-watch")
                for hub in self._misses
            ]
            yield
            for watch in watches:
                watch.cancel()

    async def _watch(
        self, http: aiohttp.ClientSession, hub: str, probe_s: float, on_change: Callable[[], None]
    ) -> None:
        while True:
            try:
                async with http.get(f"{hub}/healthz") as answer:
                    is_alive = answer.status == 200
            except (aiohttp.ClientError, OSError, TimeoutError):
                is_alive = False
            if self.heard(hub, is_alive):
                log.info("hub_came" if is_alive else "hub_went", hub=urlsplit(hub).netloc)
                on_change()
            await asyncio.sleep(probe_s)

    def _is_alive(self, hub: str) -> bool:
        return self._misses.get(hub, 0) < MISSES_TO_BE_DEAD


def signal_address(hub: str) -> str:
    """The WebSocket address of a hub's signalling."""
    return f"ws{hub.removeprefix('http')}/signal"
