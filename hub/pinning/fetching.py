"""Takes a whole track off the network into the store, each part checked: manifest, chunks, cover."""

import asyncio
import contextlib
from collections.abc import Callable, Collection
from typing import Protocol

import structlog

from digm.backbone_messages import MANIFEST
from digm.errors import CallerFault, DigmError, PeerFault, Unavailable
from digm.ids import from_hex, short, to_hex
from digm.manifest import MAX_MANIFEST_BYTES, Manifest, parse_manifest
from hub.pinning.covers import fetch_cover
from hub.pinning.network import Missing, Network, Store

log = structlog.get_logger()
PARALLEL_CHUNKS = 4
COVER_WITHIN_S = 30.0


class Wanted(Protocol):
    """What is to be held: a track, in the edition of a pin order or of the chain."""

    @property
    def track_root(self) -> bytes: ...
    def check_manifest(self, document: bytes, manifest: Manifest) -> None:
        """Raises PeerFault: it is not the one that is wanted."""


class TrackFetcher:
    """One track for one order.

    Args:
        claimants: peer ids of those that claim the track now; asked before the DHT's providers.
    """

    def __init__(
        self, network: Network, store: Store, order: Wanted, claimants: Callable[[], Collection[str]]
    ) -> None:
        self._network, self._store, self._order, self._claimants = network, store, order, claimants
        self._root = to_hex(order.track_root)
        self._banned: set[str] = set()
        self._providers: list[str] | None = None

    async def hold_manifest(self) -> None:
        """Have the manifest that the order is for, from the store or from somebody who holds the track.

        Raises:
            PeerFault: as `Wanted.check_manifest`.
            Unavailable: `no_source`, `quota_full`, `disk_full`, ...
        """
        try:
            document = await asyncio.to_thread(self._store.chunks.manifest, self._root)
        except Unavailable:
            document = await self._fetch_manifest()
        self._order.check_manifest(document, parse_manifest(document))
        await asyncio.to_thread(self._store.add_track, document)

    async def hold_chunks(self) -> None:
        """Have every chunk of every rendition, fsynced.

        Raises:
            Unavailable: `no_source`: nobody gave a good copy of some chunk; `quota_full`, `disk_full`, ...
        """
        waiting = [place for place in await self.missing() if place.rendition is not None]
        waiting.reverse()

        async def work() -> None:
            while waiting:
                await self._hold_chunk(waiting.pop())

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(PARALLEL_CHUNKS):
                    group.create_task(work(), name=f"pin-{short(self._root)}")
        except ExceptionGroup as failed:
            faults, others = failed.split(DigmError)
            if others is not None or faults is None:
                raise
            raise faults.exceptions[0] from failed

    async def hold_cover(self) -> None:
        """Have the picture, if there is one and somebody gives it: a copy is worth keeping without."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(COVER_WITHIN_S):
                for place in await asyncio.to_thread(self._store.missing, self._root):
                    if place.rendition is None:
                        await self._hold_cover(place)

    async def _hold_cover(self, place: Missing) -> None:
        for peer in await self._sources():
            try:
                picture = await fetch_cover(self._network, peer, self._order.track_root, from_hex(place.hash))
                await asyncio.to_thread(self._store.put, place.hash, picture)
                return
            except DigmError as fault:
                log.debug("cover_not_fetched", peer=peer[-8:], code=fault.code)

    async def missing(self) -> list[Missing]:
        """The chunks that are still to come."""
        places = await asyncio.to_thread(self._store.missing, self._root)
        return [place for place in places if place.rendition is not None]

    async def _hold_chunk(self, place: Missing) -> None:
        assert place.rendition is not None
        for peer in await self._sources():
            try:
                data = await self._network.fetch_chunk(
                    peer, self._order.track_root, place.rendition, place.chunk, place.size
                )
                await asyncio.to_thread(self._store.put, place.hash, data)
                return
            except PeerFault as fault:
                log.warning("source_banned", peer=peer[-8:], track_root=short(self._root), code=fault.code)
                self._banned.add(peer)
            except Unavailable as fault:
                if fault.code in ("quota_full", "disk_full", "disk_failed"):
                    raise
                log.debug("chunk_not_fetched", peer=peer[-8:], code=fault.code)
        raise Unavailable(
            "no_source", f"Nobody gives chunk {place.rendition}/{place.chunk} of {short(self._root)}."
        )

    async def _fetch_manifest(self) -> bytes:
        for peer in await self._sources():
            try:
                document = await self._network.request(
                    peer,
                    MANIFEST.name,
                    self._order.track_root,
                    timeout_s=MANIFEST.timeout_s,
                    most_bytes=MAX_MANIFEST_BYTES,
                )
                # Anybody can hand out anything: only the edition that the order names is of use.
                self._order.check_manifest(document, parse_manifest(document))
                return document
            except (PeerFault, CallerFault, Unavailable) as fault:
                log.debug("manifest_not_fetched", peer=peer[-8:], code=fault.code)
        raise Unavailable("no_source", f"Nobody gives the manifest of {short(self._root)}.")

    async def _sources(self) -> list[str]:
        claimants = [peer for peer in self._claimants() if peer != self._network.peer_id]
        if self._providers is None:
            try:
                found = await self._network.find_providers(self._order.track_root)
            except Unavailable:
                found = []
            self._providers = [item.peer_id for item in found]
        return [peer for peer in dict.fromkeys([*claimants, *self._providers]) if peer not in self._banned]
