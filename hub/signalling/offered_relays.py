"""TURN servers that elder nodes offer to others: asked again and again whether they live, nearest first.

Whoever relays sees addresses, so only nodes that the operator named (DIGM_ELDER_NODES) are listened to.
"""

import asyncio
import re
from dataclasses import dataclass, field

import structlog

from digm.ids import short
from digm.signalling import IceServer
from hub.relay.credentials import turn_credentials
from hub.relay.probe import stun_round_trip_s

log = structlog.get_logger()
PROBE_S = 20.0  # a third of a minute with a dead relay costs a listener one ICE check
HANDED_OUT = 2  # to one session: with more, browsers warn that discovery gets slow
_UDP_URL = re.compile(r"turn:(\[[0-9A-Fa-f:.]+\]|[0-9.]+)(?::(\d{1,5}))?(?:\?transport=udp)?")
_TURN_PORT = 3478


@dataclass(eq=False)
class _Offered:
    peer: str
    urls: tuple[str, ...]
    secret: bytes
    round_trip_s: float | None = None  # None: it did not answer


@dataclass
class OfferedRelays:
    """The relays of one hub's elder nodes.

    Args:
        elders: peer ids of the nodes that may offer one.
        own_secret: the hub's relay secret, for nodes that share it.
    """

    elders: frozenset[str]
    own_secret: bytes
    _offered: dict[str, _Offered] = field(default_factory=dict)
    _new: asyncio.Event = field(default_factory=asyncio.Event)

    def offer(self, peer: str, urls: tuple[str, ...], secret: str | None) -> bool:
        """A node offers its relay. False when nobody asked it to."""
        if peer not in self.elders:
            return False
        self._offered[peer] = _Offered(peer, urls, bytes.fromhex(secret) if secret else self.own_secret)
        self._new.set()
        return True

    def gone(self, peer: str) -> None:
        """The node's session ended."""
        self._offered.pop(peer, None)

    def nearest(self, session: str, unix_now: float) -> list[IceServer]:
        """Those that answer, nearest first, each with credentials for this session."""
        alive = sorted(
            (relay.round_trip_s, relay.peer)
            for relay in self._offered.values()
            if relay.round_trip_s is not None
        )
        found = []
        for _, peer in alive[:HANDED_OUT]:
            relay = self._offered[peer]
            found.append(IceServer(relay.urls, *turn_credentials(relay.secret, session, unix_now)))
        return found

    def urls_of(self, peer: str) -> tuple[str, ...]:
        """Where a node's relay is, if it offers one that answers."""
        relay = self._offered.get(peer)
        return relay.urls if relay is not None and relay.round_trip_s is not None else ()

    async def watch(self) -> None:
        """Ask every relay whether it lives, for as long as the hub runs."""
        while True:
            self._new.clear()
            async with asyncio.TaskGroup() as tasks:
                for relay in list(self._offered.values()):
                    tasks.create_task(self._probe(relay), name="relay-probe")
            try:
                async with asyncio.timeout(PROBE_S):
                    await self._new.wait()
            except TimeoutError:
                continue

    async def _probe(self, relay: _Offered) -> None:
        was_alive = relay.round_trip_s is not None
        place = next(filter(None, map(_UDP_URL.fullmatch, relay.urls)), None)
        if place is None:
            return  # without an address over UDP there is nothing to ask
        port = int(place[2] or _TURN_PORT)
        relay.round_trip_s = await stun_round_trip_s(place[1].strip("[]"), port) if port <= 65_535 else None
        if was_alive != (relay.round_trip_s is not None):
            log.info("relay_lost" if was_alive else "relay_found", peer_id=short(relay.peer))
