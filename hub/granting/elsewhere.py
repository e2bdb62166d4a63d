"""Grants from vaults that are linked to other hubs: found in the DHT, asked over libp2p, checked, passed on.

Anybody may say that a vault is linked to him. So several are asked, one a moment after the other, and the first
answer that the artist signed for this very page counts; who gives another one is left alone for a while.
"""

import asyncio
import random
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from digm.backbone_messages import GRANT
from digm.carried_grants import CarriedGrant, CarriedRequest, vault_record
from digm.errors import DigmError, PeerFault, Unavailable
from digm.ids import from_hex, short, to_hex
from hub.bridge.health import Bounded
from hub.granting.links import artist_busy, artist_offline, grant_refused
from hub.granting.messages import Granted, Proof
from hub.granting.refusals import WORDS
from hub.pauses import Pauses
from hub.pinning.network import Found
from hub.signatures import verify

log = structlog.get_logger()
ANSWER_WITHIN_S = 9.0  # for the listener, lookup and all
NEXT_AFTER_S = 0.4  # so long a carrier has the word alone
LOOK_EVERY_S = 0.05
BUSY_AGAIN_S = (0.5, 1.5)  # at random, so that those who were sent away do not come back together
BUSY = "artist_busy"
MOST_CARRIERS = 24  # of one artist
MOST_HOLDERS = 20
MOST_ARTISTS = 4_096
MOST_ASKING = 512  # listeners at once
MOST_OF_ONE = 16  # questions that one carrier has from us at a time; it bears 64 streams of all
MOST_RESETS = 3  # a carrier with too many streams resets the next one
LOOKUPS_AT_ONCE, MOST_LOOKUPS = 4, 64
LOOKED_UP_AGAIN_S = 5.0  # for an artist of whom nobody gave a grant
EXPECTED_AGAIN_S = 15.0  # the same where nobody asks yet: whoever reads all pages must not make us look all day
LOOKED_UP_NEVERTHELESS_S = 600.0
LEFT_ALONE_S, LEFT_ALONE_LONGEST_S = 60.0, 3600.0  # who gave what the artist did not make
NOT_AGAIN_S, NOT_AGAIN_LONGEST_S = 1.0, 30.0  # a holder of tracks who has no grant of an artist


class Asking(Protocol):
    """What is needed of the backbone."""

    def peers(self) -> Sequence[Found]: ...
    async def find_providers(
        self, key: bytes, most: int = ..., on_found: Callable[[Found], object] = ...
    ) -> Sequence[Found]: ...
    async def request(
        self, peer: str, protocol: str, payload: bytes, *, timeout_s: float, most_bytes: int
    ) -> bytes: ...


@dataclass
class _Artist:
    """Who says that a vault is linked to him.

    Attributes:
        carriers: peer ids, whom to ask first at the beginning.
        is_wanted: a lookup waits or goes on.
    """

    carriers: dict[str, None] = field(default_factory=dict)
    looked_up_at: float = float("-inf")
    is_wanted: bool = False

    def came(self, peer: str) -> None:
        """Somebody was found. Those who gave a grant are never pushed out by those who only say they could."""
        if len(self.carriers) < MOST_CARRIERS:
            self.carriers.setdefault(peer)

    def gave(self, peer: str) -> None:
        """Somebody gave a grant: he is asked first from now on."""
        self.carriers.pop(peer, None)
        self.carriers = {peer: None, **self.carriers}


class VaultsElsewhere:
    """Asks for one hub's pages. Works while `run` runs.

    Args:
        clock: seconds, never going back; `now`: since 1970.
    """

    def __init__(
        self,
        network: Asking,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._network, self._clock, self._now = network, clock, now
        self._artists: Bounded[str, _Artist] = Bounded(MOST_ARTISTS)
        self._wanted: asyncio.Queue[tuple[str, _Artist]] = asyncio.Queue(MOST_LOOKUPS)
        self._liars = Pauses[str](LEFT_ALONE_S, LEFT_ALONE_LONGEST_S, clock)
        self._have_none = Pauses[tuple[str, bytes]](NOT_AGAIN_S, NOT_AGAIN_LONGEST_S, clock)
        self._places: Bounded[str, asyncio.Semaphore] = Bounded(MOST_ARTISTS)
        self._asking = 0

    def knows(self, artist_key: str) -> bool:
        """Whether somebody says that he could ask an artist's vault."""
        known = self._artists.get(artist_key)
        return known is not None and bool(known.carriers)

    def look_up(self, artist_key: str) -> None:
        """Look for an artist's vault soon, if that was not done lately: somebody may ask for a grant."""
        if self._network.peers():  # a hub that has just started would find nothing, and rest for that
            self._look_up_soon(artist_key, EXPECTED_AGAIN_S)

    def _look_up_soon(self, artist_key: str, unknown_again_s: float) -> None:
        artist = self._artists.get(artist_key) or _Artist()
        self._artists[artist_key] = artist
        again_s = LOOKED_UP_NEVERTHELESS_S if artist.carriers else unknown_again_s
        if artist.is_wanted or self._clock() - artist.looked_up_at < again_s or self._wanted.full():
            return
        artist.is_wanted = True
        self._wanted.put_nowait((artist_key, artist))

    async def run(self) -> None:
        """Look up what is wanted, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(LOOKUPS_AT_ONCE):
                tasks.create_task(self._look_up_wanted(), name="vault lookups")

    async def ask(
        self,
        artist_key: str,
        track_root: str,
        player_key: str,
        holders: Sequence[str] = (),
        proof: Proof | None = None,
    ) -> Granted:
        """A grant from an artist's vault, wherever it is linked.

        Args:
            holders: peer ids of nodes that hold the track, the best first: an artist publishes at the hub that
                has her link, so it is one of them. They are asked when the DHT names nobody who gives it.
        Raises:
            Unavailable: `artist_offline`, `artist_busy`, `grant_refused`; what is wrong with the proof.
        """
        if self._asking >= MOST_ASKING:
            raise artist_busy()
        ids = from_hex(artist_key), from_hex(track_root), from_hex(player_key)
        request = CarriedRequest(*ids, proof.encode() if proof else b"")
        self._asking += 1
        try:
            self._look_up_soon(artist_key, LOOKED_UP_AGAIN_S)
            carried = await self._ask_around(request, self._artists[artist_key], holders[:MOST_HOLDERS])
        finally:
            self._asking -= 1
        grant = carried.grant
        return Granted(0, grant.enc.hex(), grant.sealed.hex(), grant.signature.hex(), carried.not_after)

    async def _ask_around(
        self, request: CarriedRequest, artist: _Artist, holders: Sequence[str]
    ) -> CarriedGrant:
        """One carrier after the other, each a moment after the one before or when that one has failed."""
        asked: set[str] = set()
        refusals: set[str] = set()
        given: list[CarriedGrant] = []
        holders = [name for name in holders if not self._have_none.left_s((name, request.artist_key))]
        until = self._clock() + ANSWER_WITHIN_S

        async def ask(peer: str) -> None:
            try:
                given.append(await self._ask_patiently(peer, request, until, refusals))
                artist.gave(peer)
                self._have_none.forget((peer, request.artist_key))
            except DigmError as error:
                refusals.add(str(error.data.get("reason", error.code)))
                if self._clock() < until:  # else it may be us who gave it no time
                    self._failed(artist, peer, request.artist_key, error)

        async with asyncio.TaskGroup() as tasks:
            waiting: list[asyncio.Task[None]] = []
            next_at = self._clock()
            while not given and self._clock() < until:
                peer = next((name for name in (*artist.carriers, *holders) if self._is_new(name, asked)), None)
                if peer is not None and (not waiting or self._clock() >= next_at):
                    asked.add(peer)
                    waiting.append(tasks.create_task(ask(peer), name="carried grant"))
                    next_at = self._clock() + NEXT_AFTER_S
                elif peer is None and not waiting and not self._is_looking(request, artist):
                    break
                await _moment(waiting)
                waiting = [task for task in waiting if not task.done()]
            for task in waiting:
                task.cancel()
        if given:
            return given[0]
        raise _refusal(refusals)

    def _is_new(self, peer: str, asked: Collection[str]) -> bool:
        return peer not in asked and not self._liars.left_s(peer)

    def _is_looking(self, request: CarriedRequest, artist: _Artist) -> bool:
        """Whether there may be more carriers soon. Those that we knew have failed: then they are looked up."""
        self._look_up_soon(to_hex(request.artist_key), LOOKED_UP_AGAIN_S)
        return artist.is_wanted

    async def _ask_patiently(
        self, peer: str, request: CarriedRequest, until: float, refusals: set[str]
    ) -> CarriedGrant:
        """Ask one who is busy again, as long as the listener may wait; that he is goes into `refusals`."""
        places = self._places.get(peer) or asyncio.Semaphore(MOST_OF_ONE)
        self._places[peer] = places
        resets = 0
        while True:
            try:
                async with places:
                    return await self._ask(peer, request, until - self._clock())
            except Unavailable as error:
                again_s = random.uniform(*BUSY_AGAIN_S)
                resets += error.code == "stream_ended"
                is_busy = error.data.get("status") == "busy" or 0 < resets <= MOST_RESETS
                if not is_busy or self._clock() + again_s >= until:
                    raise
                refusals.add(BUSY)
                await asyncio.sleep(again_s)

    async def _ask(self, peer: str, request: CarriedRequest, within_s: float) -> CarriedGrant:
        body = await self._network.request(
            peer, GRANT.name, request.encode(), timeout_s=min(GRANT.timeout_s, within_s),
            most_bytes=GRANT.most_answer_bytes - 1,
        )  # fmt: skip
        carried = CarriedGrant.decode(body)
        carried.check(request, self._now(), verify)
        return carried

    def _failed(self, artist: _Artist, peer: str, artist_key: bytes, error: DigmError) -> None:
        if error.data.get("reason") in WORDS:
            return  # he asked the vault: it is the listener's account that is refused
        if error.data.get("status") != "busy":
            artist.carriers.pop(peer, None)  # the DHT names it again, if it still says so
            self._have_none.failed((peer, artist_key))
        if isinstance(error, PeerFault):
            self._liars.failed(peer)
            log.info("carrier_left_alone", peer_id=peer[-8:], code=error.code)

    async def _look_up_wanted(self) -> None:
        while True:
            artist_key, artist = await self._wanted.get()
            try:
                await self._look_up(artist_key, artist)
            except DigmError as error:
                log.info("vault_lookup_failed", artist=short(artist_key), code=error.code)
            finally:
                artist.looked_up_at, artist.is_wanted = self._clock(), False

    async def _look_up(self, artist_key: str, artist: _Artist) -> None:
        def found(provider: Found) -> None:
            if self._is_new(provider.peer_id, ()):
                artist.came(provider.peer_id)

        await self._network.find_providers(vault_record(from_hex(artist_key)), 2 * MOST_CARRIERS, found)


async def _moment(waiting: Collection[asyncio.Task[None]]) -> None:
    """Until one of them is done, or somebody else may have been found."""
    if waiting:
        await asyncio.wait(waiting, timeout=LOOK_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
    else:
        await asyncio.sleep(LOOK_EVERY_S)


def _refusal(refusals: set[str]) -> Unavailable:
    """What the listener is told when nobody gave a grant. What strangers say for reasons goes no further."""
    if of_accounts := sorted(refusals & WORDS.keys()):
        return grant_refused(of_accounts[0])
    if refusals & {BUSY, "too_many_requests"}:
        return artist_busy()
    return grant_refused("elsewhere") if "grant_refused" in refusals else artist_offline()
