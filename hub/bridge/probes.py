"""Asks the gateways of the directory, one after the other, whether they serve what they claim to."""

import asyncio
import time
from collections.abc import Callable

import aiohttp
import structlog
from yarl import URL

from hub.bridge.directory import Directory
from hub.bridge.health import DEAD_AFTER, Health
from hub.bridge.reachable import CheckedResolver
from hub.relay.forbidden import PeerRules

log = structlog.get_logger()
OWN = "own gateway"  # its name in the directory's health
EVERY_S = 2.0  # between two rounds
ASKED_AGAIN_S = 15.0  # one gateway that answers
DOUBTED_S, DEAD_S, LONGEST_DEAD_S = 2.0, 5.0, 300.0  # one that did not; one that is dead, with growing pauses
AT_ONCE = 8  # in one round
ANSWER_WITHIN_S = 3.0


class Probes:
    """Asks for `HEAD {url}/{track root}/manifest.json`; nothing but headers is read.

    Args:
        any_track: the root of a track that is published here, for gateways that the operator named; or empty.
        own_gateway: this machine's, asked under another name than listeners know it by; or empty.
    """

    def __init__(
        self, directory: Directory, rules: PeerRules, any_track: Callable[[], str], own_gateway: str = ""
    ) -> None:
        self._directory, self._any_track, self._own = directory, any_track, own_gateway
        self._resolver = CheckedResolver(rules)

    async def run(self) -> None:
        """Ask until cancelled."""
        connector = aiohttp.TCPConnector(resolver=self._resolver, limit=AT_ONCE + 1, use_dns_cache=False)
        timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            while True:
                await self.round(session)
                await asyncio.sleep(EVERY_S)

    async def round(self, session: aiohttp.ClientSession) -> None:
        """Ask those that were not asked for longest."""
        now, targets = time.time(), self._directory.all_gateways(time.time())
        due = [name for name in targets if _next_at(self._directory.health(name)) <= now]
        due.sort(key=lambda name: self._directory.health(name).checked_at)
        async with asyncio.TaskGroup() as tasks:
            for url in due[:AT_ONCE]:
                tasks.create_task(self._ask(session, url, targets[url] or self._any_track()), name="probe")
            if self._own:
                tasks.create_task(self._ask_own(session), name="probe own")

    async def _ask(self, session: aiohttp.ClientSession, url: str, track_root: str) -> None:
        place = f"/{track_root}/manifest.json" if track_root else "/healthz"
        if self._resolver.is_literal_refused(URL(url).host):
            self._directory.not_reached(url, time.time())
            return
        await self._head(session, url, url + place)

    async def _ask_own(self, session: aiohttp.ClientSession) -> None:
        await self._head(session, OWN, self._own + "/healthz")

    async def _head(self, session: aiohttp.ClientSession, name: str, address: str) -> None:
        began = time.perf_counter()
        was_dead = self._directory.health(name).is_dead
        try:
            # Its certificate is for listeners, whose browsers check it.
            async with session.head(address, allow_redirects=False, ssl=False) as answer:
                is_good = answer.status == 200
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError):
            is_good = False
        if is_good:
            self._directory.reached(name, time.perf_counter() - began, time.time())
        else:
            self._directory.not_reached(name, time.time())
        if self._directory.health(name).is_dead != was_dead:
            log.info("gateway_found_again" if is_good else "gateway_lost", own=name == OWN)


def _next_at(health: Health) -> float:
    if not health.is_dead:
        return health.checked_at + (DOUBTED_S if health.failures else ASKED_AGAIN_S)
    doublings = min(health.failures - DEAD_AFTER, 10)
    return health.checked_at + min(LONGEST_DEAD_S, DEAD_S * (1 << doublings))
