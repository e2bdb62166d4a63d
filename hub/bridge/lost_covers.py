"""Pictures that the catalogue names and the hub's store lacks, taken from nodes that hold the track."""

import asyncio
import contextlib
import time
from collections import OrderedDict

import structlog

from digm.errors import DigmError, Unavailable
from digm.ids import from_hex, short
from hub.backbone.model import PeerAddress
from hub.bridge.directory import Directory, NodeSource
from hub.bridge.health import Bounded
from hub.bridge.member import Member
from hub.pinning.covers import fetch_cover
from hub.services import Services, off_loop

log = structlog.get_logger()
AT_ONCE = 4  # a page of the catalogue asks for many
WITHIN_S = 5.0
MISSED_FOR_S = 60.0  # one that nobody gave
MOST_MISSED = 1024
KEPT_BYTES = 32 * 1024 * 1024  # of tracks that others published
MOST_TRACKS = 4  # with the same picture: those of an album


class LostCovers:
    """Asks for each picture once, and puts it back into the store."""

    def __init__(self, services: Services, directory: Directory, member: Member) -> None:
        self._services, self._directory, self._member = services, directory, member
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._missed: Bounded[str, float] = Bounded(MOST_MISSED)
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    async def fetch(self, hash_hex: str) -> bytes:
        """A picture by its hash, verified.

        Raises:
            Unavailable: `cover_not_found`: nobody gave it just now.
        """
        async with self._turns:
            if (picture := self._kept.get(hash_hex)) is not None:
                self._kept.move_to_end(hash_hex)
                return picture
            with contextlib.suppress(Unavailable):  # somebody else may have asked for it meanwhile
                return await off_loop(self._services.store.read_verified, hash_hex)
            if time.monotonic() >= self._missed.get(hash_hex, 0.0):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(WITHIN_S):
                        if (picture := await self._from_anybody(hash_hex)) is not None:
                            return picture
                self._missed[hash_hex] = time.monotonic() + MISSED_FOR_S
        raise Unavailable("cover_not_found", "There is no such picture here, and no node gives it just now.")

    async def _from_anybody(self, hash_hex: str) -> bytes | None:
        own = await off_loop(self._services.catalogue.tracks_with_cover, hash_hex, MOST_TRACKS)
        for root in own or self._services.listed.tracks_with_cover(hash_hex, MOST_TRACKS):
            if (picture := await self._from_nodes(root, hash_hex)) is not None:
                if own:
                    await self._put_back(picture)
                else:
                    self._keep(hash_hex, picture)
                return picture
        return None

    def _keep(self, hash_hex: str, picture: bytes) -> None:
        """In memory: whoever lists tracks on the chain would else fill our disk with pictures."""
        self._kept[hash_hex] = picture
        while sum(map(len, self._kept.values())) > KEPT_BYTES:
            self._kept.popitem(last=False)

    async def _from_nodes(self, root: str, hash_hex: str) -> bytes | None:
        """From those who are known, then from those whom the DHT names."""
        asked: set[str] = set()
        for may_look_up in (False, True):
            if may_look_up:
                await self._member.looked_up(root, WITHIN_S)
            for node in self._directory.nodes_of(root, time.time()):
                if node.peer_id not in asked:
                    asked.add(node.peer_id)
                    if (picture := await self._from_node(node, root, hash_hex)) is not None:
                        return picture
        return None

    async def _from_node(self, node: NodeSource, root: str, hash_hex: str) -> bytes | None:
        backbone = self._member.backbone
        if backbone is None or node.peer_id == backbone.peer_id:
            return None
        try:
            await backbone.introduce(PeerAddress(node.peer_id, node.multiaddrs))
            return await fetch_cover(backbone, node.peer_id, from_hex(root), from_hex(hash_hex))
        except DigmError as error:
            log.info("cover_not_given", peer=node.peer_id[-8:], hash=short(hash_hex), code=error.code)
        return None

    async def _put_back(self, picture: bytes) -> None:
        try:
            await off_loop(self._services.store.put, picture)
        except DigmError as error:  # it can be shown all the same
            log.warning("cover_not_kept", code=error.code)
