"""The catalogue from the chain: which tracks a hub lists that others published, with manifests off the network.

The chain says which manifest is whose; the nodes that hold the track give it. Nothing of it is shown before its
hash, its roots and the artist's signature are right (`hub.bridge.listing`). What nobody gives costs a question
now and then; manifests are asked for a few at a time, everybody's first track before anybody's second.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import structlog

from digm.errors import DigmError, PeerFault
from digm.ids import short, to_hex
from digm.token_bucket import TokenBucket
from hub.bridge.bridge import Bridge
from hub.bridge.listing import checked
from hub.bridge.manifests import Manifests
from hub.chain.claims import Claims, claims_of
from hub.chain.follower import ChainFollower
from hub.chain.state import ChainState, FoundTrack
from hub.services import Services, off_loop
from hub.storage.catalogue import TrackEntry
from hub.storage.listed import Listed, ListedFile, ListedTrack

log = structlog.get_logger()
TICK_S = 0.5
AT_ONCE, LOOKUPS_AT_ONCE = 4, 2
LOOKED_THROUGH = 2_000  # wishes a tick, 9 us each: twenty thousand take five seconds
# A lookup in the DHT is 40 ms of processor time, and most of a flood's are in vain. Gossip names holders too.
LOOKUPS_PER_S, LOOKUPS_IN_A_ROW = 2.0, 20.0
STEP = 200
AGAIN_FIRST_S, AGAIN_MOST_S = 5.0, 3600.0
FOUND_WITHIN_S = 4.0
ASKED_AGAIN_S = 30.0
MOST_REFUSED, MOST_TRIES_COUNTED = 100_000, 16


@dataclass
class _Wish:
    """A manifest that is to be fetched.

    Attributes:
        claims: on one root; any one's will do.
        ready_at: not before.
        is_urgent: somebody waits for it.
        tried: set after the next attempt.
    """

    claims: tuple[FoundTrack, ...]
    tries: int = 0
    ready_at: float = 0.0
    is_busy: bool = False
    is_urgent: bool = False
    tried: asyncio.Event = field(default_factory=asyncio.Event)


class ChainCatalogue:
    """Keeps `services.listed` as the chain and the network say."""

    def __init__(self, services: Services, bridge: Bridge, follower: ChainFollower) -> None:
        self._services, self._follower = services, follower
        self._manifests = Manifests(services, bridge)
        self._listed: Listed = services.listed
        self._listed.look_for = self.look_for
        self._claims: Claims = {}
        self._own: dict[str, TrackEntry] = {}
        self._wishes: dict[str, _Wish] = {}
        self._round: deque[str] = deque()
        self._refused: set[tuple[bytes, bytes]] = set()
        self._busy = {False: 0, True: 0}  # by whether it needs a lookup
        self._lookups = TokenBucket(LOOKUPS_PER_S, LOOKUPS_IN_A_ROW, time.monotonic())
        self._stir = asyncio.Event()
        self._file: ListedFile | None = None
        self._writing = asyncio.Lock()

    async def run(self) -> None:
        """Until cancelled. Waits for a chain that names tracks before it does anything."""
        version = await self._follower.changed()
        self._file = await off_loop(ListedFile, self._services.settings.data)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow(version), name="listed tracks")
                tasks.create_task(self._fetch_due(tasks), name="manifests")
        finally:
            async with self._writing:
                self._file.close()

    async def look_for(self, root: str) -> None:
        """Somebody asks for a track that is not listed yet: it is fetched before others, and waited for."""
        wish = self._wishes.get(root)
        if wish is None:
            return
        tried = wish.tried
        if not wish.is_busy:
            if wish.tries and wish.ready_at - time.monotonic() > ASKED_AGAIN_S:
                return  # it was asked for just now, and nobody had it
            wish.ready_at, wish.is_urgent = 0.0, True
            self._round.appendleft(root)
            self._stir.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FOUND_WITHIN_S):
                await tried.wait()

    # -- what the chain says

    async def _follow(self, version: int) -> None:
        seen: ChainState | None = None
        while True:
            state = self._follower.state
            if seen is None or (state.tracks, state.withdrawn, state.is_current) != (
                seen.tracks, seen.withdrawn, seen.is_current
            ):  # fmt: skip
                await self._compare(state)
                seen = state
            version = await self._follower.changed(version)

    async def _compare(self, state: ChainState) -> None:
        try:
            self._own = {entry.track_root: entry for entry in await self._services.own_tracks()}
        except DigmError as fault:
            log.warning("catalogue_not_compared", code=fault.code)
        self._claims = await off_loop(claims_of, state.tracks)
        await self._set_withdrawn(state)
        if state.is_current:  # before that, tracks that are not there may only not have been read yet
            await self._remove([one for one in self._listed.all() if not self._is_claimed(one)])
        for root in self._wishes.keys() - self._claims.keys():
            self._wishes.pop(root).tried.set()
        for number, root in enumerate(list(self._claims)):
            self._wish(root)
            if number % STEP == 0:  # twenty thousand at once would keep listeners waiting
                await asyncio.sleep(0)
        self._note_expected()
        self._stir.set()

    def _is_claimed(self, one: ListedTrack) -> bool:
        names = {to_hex(found.said.track) for found in self._claims.get(one.entry.track_root, ())}
        own = self._own.get(one.entry.track_root)
        return one.name in names and (own is None or own.manifest_hash != one.entry.manifest_hash)

    def _wish(self, root: str) -> None:
        """Have the manifest fetched that is wanted for a root now, if one is."""
        known, claims = self._wishes.get(root), self._wanted(root)
        if not claims:
            if known is not None:
                self._wishes.pop(root).tried.set()
        elif known is None:
            self._wishes[root] = _Wish(claims)
            self._round.append(root)
        elif set(map(_edition, known.claims)) != set(map(_edition, claims)):
            if not set(map(_edition, claims)) <= set(map(_edition, known.claims)):
                known.ready_at = 0.0  # another edition may be given where the one before was not
            known.claims = claims

    def _wanted(self, root: str) -> tuple[FoundTrack, ...]:
        """The claims on a root of which one is to be fetched; empty: there is nothing to fetch.

        What is published here goes before all claims but its own artist's. Who was listed first stays: a claim
        that comes to light later, with a manifest that nobody gave before, does not take a track's place.
        """
        claims = tuple(found for found in self._claims.get(root, ()) if _edition(found) not in self._refused)
        own, listed = self._own.get(root), self._listed.get(root)
        if own is not None:
            claims = tuple(found for found in claims if to_hex(found.artist_key or b"") == own.artist_key)
        if listed is not None:
            claims = tuple(found for found in claims if to_hex(found.said.track) == listed.name)
        shown = listed.entry if listed is not None else own
        if shown is not None and shown.manifest_hash in {to_hex(one.said.manifest_hash) for one in claims}:
            return ()
        return claims

    def _note_expected(self) -> None:
        self._listed.expected = frozenset(
            root for root in self._wishes if self._listed.get(root) is None and root not in self._own
        )

    async def _set_withdrawn(self, state: ChainState) -> None:
        standing = {(found.said.track_root, found.artist_key) for found in state.tracks}
        gone = {(found.said.track_root, found.artist_key) for found in state.withdrawn} - standing
        pairs = frozenset((to_hex(root), to_hex(key)) for root, key in gone if key is not None)
        if pairs != self._listed.withdrawn:
            self._listed.set_withdrawn(pairs)
            await self._keep(lambda file: file.set_withdrawn(pairs))

    async def _remove(self, gone: list[ListedTrack]) -> None:
        for one in gone:
            log.info("track_unlisted", track_root=short(one.entry.track_root))
            self._listed.remove(one.entry.track_root)
        if gone:
            await self._keep(lambda file: file.remove([one.name for one in gone]))

    # -- what the network gives

    async def _fetch_due(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._stir.wait()
            self._stir.clear()
            for root, wish, looks_up in self._due(time.monotonic()):
                wish.is_busy = True
                self._busy[looks_up] += 1
                tasks.create_task(self._attempt(root, wish, looks_up), name=f"manifest-{root[:8]}")

    def _due(self, now: float) -> Iterator[tuple[str, _Wish, bool]]:
        """What to fetch now: with whom to ask known, or to be looked up in the DHT, which takes longer."""
        for _ in range(min(len(self._round), LOOKED_THROUGH)):
            if self._busy[False] >= AT_ONCE and self._busy[True] >= LOOKUPS_AT_ONCE:
                return
            root = self._round.popleft()
            wish = self._wishes.get(root)
            if wish is None:
                continue
            self._round.append(root)
            if wish.is_busy or wish.ready_at > now:
                continue
            looks_up = not self._manifests.is_given(root)
            if self._busy[looks_up] >= (LOOKUPS_AT_ONCE if looks_up else AT_ONCE):
                continue
            if not looks_up or wish.is_urgent or self._lookups.take(1, now):
                yield root, wish, looks_up

    async def _attempt(self, root: str, wish: _Wish, looks_up: bool) -> None:
        try:
            document, claims = await self._manifests.fetch(wish.claims, looks_up)
            for found in claims:  # several may name the same bytes; they are one artist's
                if await self._try(document, found):
                    break
        except DigmError as fault:
            log.debug("manifest_not_given", track_root=short(root), code=fault.code)
        finally:
            self._busy[looks_up] -= 1
            wish.is_busy = wish.is_urgent = False
            wish.ready_at = time.monotonic() + min(AGAIN_FIRST_S * 2**wish.tries, AGAIN_MOST_S)
            wish.tries = min(wish.tries + 1, MOST_TRIES_COUNTED)
            tried, wish.tried = wish.tried, asyncio.Event()
            self._wish(root)
            tried.set()
            self._stir.set()

    async def _try(self, document: bytes, found: FoundTrack) -> bool:
        """List it, if it is right. Otherwise it is never fetched again."""
        try:
            track = await off_loop(checked, document, found, self._follower.state.time_of(found.said.block))
        except PeerFault as fault:
            log.warning("track_not_listed", track_root=short(to_hex(found.said.track_root)), code=fault.code)
            if len(self._refused) < MOST_REFUSED:
                self._refused.add(_edition(found))
            return False
        await self._list(track)
        return True

    async def _list(self, track: ListedTrack) -> None:
        root = track.entry.track_root
        if track.name not in {to_hex(found.said.track) for found in self._claims.get(root, ())}:
            return  # withdrawn while it was fetched
        before = self._listed.get(root)
        self._listed.put(track)
        self._listed.expected -= {root}
        log.info("track_listed", track_root=short(root), artist_key=short(track.entry.artist_key))

        def put(file: ListedFile) -> None:
            if before is not None and before.name != track.name:
                file.remove([before.name])
            file.put(track)

        await self._keep(put)

    async def _keep(self, change: Callable[[ListedFile], None]) -> None:
        """On the disk too, so that a restart shows it at once; what fails there is found again."""
        assert self._file is not None
        async with self._writing:
            try:
                await off_loop(change, self._file)
            except DigmError as fault:
                log.warning("listed_not_kept", code=fault.code)


def _edition(found: FoundTrack) -> tuple[bytes, bytes]:
    return found.said.track, found.said.manifest_hash
