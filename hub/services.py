"""What the hub's handlers work with, made once at start and handed to them through one application key."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
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
from hub.storage.listed import Listed

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
    listed: Listed = field(default_factory=Listed)

    async def own_tracks(self) -> list[TrackEntry]:
        """What is published here, newest first, including what another process published a moment ago."""
        return await off_loop(self.catalogue.tracks)

    async def tracks(self) -> list[TrackEntry]:
        """The same and what the chain lists, without what was withdrawn on it."""
        return self.listed.merged(await self.own_tracks())

    async def track(self, track_root: str) -> TrackEntry:
        """One track that is published here, or that the chain lists.

        Raises:
            Unavailable: `track_not_found`, `track_withdrawn`; `manifest_not_found`: the chain names it, and
                nobody gives its manifest just now.
        """
        own = await off_loop(self.catalogue.track, track_root)
        entry = self.listed.shown(track_root, own)
        if entry is None and track_root in self.listed.expected:
            await self.listed.look_for(track_root)
            entry = self.listed.shown(track_root, None)
            if entry is None:
                raise Unavailable(
                    "manifest_not_found",
                    "This track is on the chain, but nobody gives its manifest just now: try again later.",
                    track_root=track_root,
                )
        if entry is None:
            raise Unavailable("track_not_found", "There is no such track here.", track_root=track_root)
        return entry

    async def known(self, roots: Iterable[str]) -> dict[str, TrackEntry]:
        """Those of some tracks that are or were shown here, the withdrawn among them: for their titles."""

        def own(wanted: list[str]) -> dict[str, TrackEntry]:
            found = ((root, self.catalogue.track(root)) for root in wanted)
            return {root: entry for root, entry in found if entry is not None}

        wanted = list(roots)
        if not wanted:
            return {}
        listed = {root: one.entry for root in wanted if (one := self.listed.get(root)) is not None}
        return listed | await off_loop(own, wanted)

    async def releases(self, release_ids: Iterable[str]) -> list[ReleaseEntry]:
        """Some releases, those of them that there are, in the order given."""
        own = {entry.release_id: entry for entry in await off_loop(self.catalogue.releases)}
        found = (own.get(name) or self.listed.release(name) for name in release_ids)
        return [entry for entry in found if entry is not None]

    async def uses_cover(self, hash_hex: str) -> bool:
        """Whether a track or a release shows this picture."""
        return bool(self.listed.tracks_with_cover(hash_hex, 1)) or await off_loop(
            self.catalogue.uses_cover, hash_hex
        )

    async def release(self, release_id: str) -> tuple[ReleaseEntry, list[TrackEntry]]:
        """One release and its tracks, in order.

        Raises:
            Unavailable: `release_not_found`.
        """
        if not is_hex_id(release_id):
            raise _no_release()
        entry = await off_loop(self.catalogue.release, release_id)
        if entry is None:
            entry, tracks = self.listed.release(release_id), self.listed.tracks_of(release_id)
        else:
            tracks = self.listed.merged_release(await off_loop(self.catalogue.tracks_of, release_id))
        if entry is None or not tracks:
            raise _no_release()
        return entry, tracks


def _no_release() -> Unavailable:
    return Unavailable("release_not_found", "There is no such release here.")


async def off_loop(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a blocking call in a thread so that signalling never waits for a disk."""
    return await asyncio.to_thread(function, *args, **kwargs)


SERVICES: web.AppKey[Services] = web.AppKey("services", Services)
