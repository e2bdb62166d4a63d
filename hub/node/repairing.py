"""Where the scrubber gets a lost chunk from: any other node that claims it, over libp2p."""

import hashlib
import random
import time
from collections.abc import AsyncIterator, Callable

import structlog

from digm.announcements import Announcement, AnnouncementLedger
from digm.errors import DigmError, Unavailable
from digm.ids import from_hex, short
from digm.node_ids import peer_id
from hub.node.index import Place
from hub.pinning.covers import fetch_cover
from hub.pinning.network import Network

log = structlog.get_logger()


class Repairer:
    """Asks one node after the other until somebody gives the right bytes.

    Args:
        ledger: who claims what; what the DHT says comes after it.
        is_jailed: whether a node sits in the jail of the chain's contract: it is asked last.
    """

    def __init__(
        self,
        network: Network,
        ledger: AnnouncementLedger,
        now: Callable[[], float] = time.time,
        is_jailed: Callable[[Announcement], bool] = lambda _said: False,
    ) -> None:
        self._network, self._ledger, self._now, self._is_jailed = network, ledger, now, is_jailed

    async def fetch(self, place: Place) -> bytes:
        """The bytes of a chunk (`hub.node.scrubber.Repair`).

        Raises:
            Unavailable: `no_source`; `backbone_down`, ...
        """
        async for peer in self._sources(place):
            try:
                data = await self._ask(peer, place)
            except DigmError as error:
                log.debug("repair_not_given", peer=peer[-8:], code=error.code)
                continue
            if hashlib.sha256(data).hexdigest() == place.hash:
                return data
            log.warning("repair_was_wrong", peer=peer[-8:], hash=short(place.hash))
        raise Unavailable("no_source", f"Nobody gives the chunk {short(place.hash)}.")

    async def _ask(self, peer: str, place: Place) -> bytes:
        root = from_hex(place.track_root)
        if place.rendition is None:
            return await fetch_cover(self._network, peer, root, from_hex(place.hash))
        return await self._network.fetch_chunk(peer, root, place.rendition, place.chunk, place.size)

    async def _sources(self, place: Place) -> AsyncIterator[str]:
        root = from_hex(place.track_root)
        claims = [
            claim
            for claim in self._ledger.of_track(root, self._now())
            if place.rendition is None or place.chunk in claim.held.get(place.rendition, ())
        ]
        random.shuffle(claims)  # not everybody's repairs to the same node
        claims.sort(key=self._is_jailed)
        asked = {self._network.peer_id}
        for peer in (peer_id(claim.node) for claim in claims):
            if peer not in asked:
                asked.add(peer)
                yield peer
        for item in await self._network.find_providers(root):
            if item.peer_id not in asked:
                yield item.peer_id
