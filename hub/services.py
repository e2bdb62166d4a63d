"""What the hub's handlers work with, made once at start and handed to them through one application key."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from aiohttp import web

from digm.errors import Unavailable
from digm.ids import is_hex_id
from hub.config import Settings
from hub.granting.links import VaultLinks
from hub.granting.rate import RateLimit
from hub.pages.static import StaticFiles
from hub.storage.catalogue import Catalogue, ReleaseEntry, TrackEntry
from hub.storage.chunk_store import ChunkStore

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Services:
    """The hub's parts. Calls into the catalogue and the store block, so they go through `off_loop`."""

    settings: Settings
    catalogue: Catalogue
    store: ChunkStore
    vaults: VaultLinks
    static: StaticFiles
    grant_rate: RateLimit
    swarm_secret: bytes

    async def tracks(self) -> list[TrackEntry]:
        """All published tracks, newest first, including those that another process published a moment ago."""
        return await off_loop(self.catalogue.tracks)

    async def track(self, track_root: str) -> TrackEntry:
        """One published track.

        Raises:
            Unavailable: `track_not_found`.
        """
        entry = await off_loop(self.catalogue.track, track_root)
        if entry is None:
            raise Unavailable("track_not_found", "There is no such track here.", track_root=track_root)
        return entry

    async def releases(self) -> list[ReleaseEntry]:
        """All releases, newest first; a track that was published alone is one too."""
        return await off_loop(self.catalogue.releases)

    async def release(self, release_id: str) -> tuple[ReleaseEntry, list[TrackEntry]]:
        """One release and its tracks, in order.

        Raises:
            Unavailable: `release_not_found`.
        """
        entry = await off_loop(self.catalogue.release, release_id) if is_hex_id(release_id) else None
        if entry is None:
            raise Unavailable("release_not_found", "There is no such release here.")
        return entry, await off_loop(self.catalogue.tracks_of, release_id)


async def off_loop(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a blocking call in a thread so that signalling never waits for a disk."""
    return await asyncio.to_thread(function, *args, **kwargs)


SERVICES: web.AppKey[Services] = web.AppKey("services", Services)
