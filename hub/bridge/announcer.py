"""Tells the network what this machine holds: a track's announcement by gossip, its provider record to the DHT.

Announced again before it expires, when something changed, and soon after a new neighbour came, who has not
heard it; taken back when nothing is held any more.
"""

import asyncio
import math
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import structlog

from digm.announcements import Announcement, encode_announcement
from digm.bitfield import Bitfield
from digm.errors import CallerFault, DigmError, Unavailable
from digm.ids import from_hex, short
from hub.backbone.model import PeerInfo

log = structlog.get_logger()
LIFETIME_S = 3600
AGAIN_S = 1200.0  # two more chances before it expires
LOOKED_AT_S = 1.0
NEIGHBOURS_EVERY_S = 15.0  # not for each one of a crowd
SETTLED_S = 3.0  # three heartbeats of GossipSub
PAUSE_S = 0.2  # five messages a second: what a py-libp2p neighbour takes (findings)


@dataclass(frozen=True)
class Held:
    """What is held of one track."""

    track_root: str
    manifest_hash: str
    held: Mapping[int, Bitfield]
    _summary: dict[int, bytes] = field(init=False, repr=False, compare=False)

    @property
    def summary(self) -> dict[int, bytes]:
        """The same for the same chunks, also when the bitfields change later."""
        return self._summary

    def __post_init__(self) -> None:
        summary = {rendition: held.encode() for rendition, held in self.held.items()}
        object.__setattr__(self, "_summary", summary)


class Network(Protocol):
    """What is needed of `hub.backbone.backbone.Backbone`."""

    @property
    def multiaddrs(self) -> list[str]: ...

    async def publish(self, topic_payload: bytes) -> None: ...

    async def provide(self, key: bytes) -> bool: ...

    def peers(self) -> Sequence[PeerInfo]: ...


class Announcer:
    """Announces for one node.

    Args:
        node: its Ed25519 key.
        look: what is held now; it blocks.
        gateway_url: where others reach its gateway; None: nowhere.
        operator, network_name: as announcements carry them; not empty.
    """

    def __init__(
        self,
        network: Network,
        node: bytes,
        sign: Callable[[bytes], bytes],
        look: Callable[[], list[Held]],
        *,
        gateway_url: str | None = None,
        operator: str = "unnamed",
        network_name: str = "unnamed",
    ) -> None:
        self._network, self._node, self._sign, self._look = network, node, sign, look
        self._gateway_url, self._operator, self._network_name = gateway_url, operator, network_name
        self._instance = secrets.token_bytes(16)
        self._sequence = 0
        self._said: dict[str, tuple[float, Held]] = {}
        self._neighbours: frozenset[str] = frozenset()
        self._again_at, self._last_again = math.inf, -math.inf

    async def run(self) -> None:
        """Announce until cancelled."""
        while True:
            await self.announce_due(time.monotonic())
            await asyncio.sleep(LOOKED_AT_S)

    async def announce_due(self, now: float) -> None:
        """Announce what is new, changed or soon over, take back what is gone; all after somebody new came."""
        try:
            held = {item.track_root: item for item in await asyncio.to_thread(self._look)}
        except DigmError as error:  # a busy catalogue; it is looked at again in a moment
            log.info("holdings_not_read", code=error.code)
            return
        self._meet(now)
        for root, (_, before) in list(self._said.items()):
            if root not in held:
                await self._announce(replace(before, held={}), now)
                del self._said[root]
        for root, item in held.items():
            said_at, last = self._said.get(root, (now - AGAIN_S, item))
            if last.summary != item.summary or now - said_at >= AGAIN_S:
                await self._announce(item, now)

    def _meet(self, now: float) -> None:
        here = frozenset(peer.peer_id for peer in self._network.peers())
        if here - self._neighbours:
            # What is said before the newcomer is in the mesh of the topic does not reach it.
            self._again_at = min(self._again_at, max(now + SETTLED_S, self._last_again + NEIGHBOURS_EVERY_S))
        self._neighbours = here
        if now >= self._again_at:
            self._again_at, self._last_again = math.inf, now
            self._said = {root: (now - AGAIN_S, before) for root, (_, before) in self._said.items()}

    async def _announce(self, item: Held, now: float) -> None:
        try:
            await self._network.publish(encode_announcement(self._write(item), self._sign))
            if item.track_root not in self._said:
                await self._network.provide(from_hex(item.track_root))
        except Unavailable as error:  # libp2p is being started again: next time
            log.info("not_announced", track_root=short(item.track_root), code=error.code)
            return
        except CallerFault as error:
            log.warning("not_announced", track_root=short(item.track_root), code=error.code)
        self._said[item.track_root] = (now, item)
        await asyncio.sleep(PAUSE_S)

    def _write(self, item: Held) -> Announcement:
        now = int(time.time())
        # Behind everything that was said before a restart, as long as the clock goes on.
        self._sequence = max(self._sequence + 1, time.time_ns() // 1_000_000)
        return Announcement(
            node=self._node,
            instance=self._instance,
            track_root=from_hex(item.track_root),
            manifest_hash=from_hex(item.manifest_hash),
            held=item.held,
            operator=self._operator,
            network=self._network_name,
            sequence=self._sequence,
            issued_at=now,
            valid_until=now + LIFETIME_S,
            gateway_url=self._gateway_url,
            multiaddrs=tuple(self._network.multiaddrs[:8]),
        )
