"""What a listener may open of a track: a grant that is renewed before it expires, or a key of their own.

Their own comes from a purchase (web.purchase), at the start or while the track plays; it needs no grant and
never expires. One that does not fit is told of and changes nothing. What is done with keys is the track's.
"""

import asyncio
from typing import Any, Protocol

from digm.errors import DigmError
from digm.grants import Grant, SealedGrant
from digm.json_reader import JsonReader
from digm.manifest import Manifest
from web import browser, purchase, unlock
from web.begun import HeadStartFailed, begun

RENEW_BEFORE_S = 120.0
RENEW_RETRY_S = 30.0
FOREVER = 1 << 53


class KeyOwner(Protocol):
    """Who is told of keys."""

    def keys_renewed(self, swarm_token: str) -> None:
        """A grant came."""

    def keys_owned(self) -> None:
        """The track's own key came."""

    def keys_refused(self, fault: DigmError) -> None:
        """A key came that is not this track's, or does not open here."""


class Entitlement:
    """The keys of one track.

    Args:
        begun: of the head start: `grant`, `keys`, `owned`, `renew`.
        offered: what comes later: the `owned` of a purchase, or the bytes of a key for this session.
    """

    def __init__(self, manifest: Manifest, begun: Any, offered: asyncio.Queue[Any], owner: KeyOwner) -> None:
        self._manifest = manifest
        self._begun = begun
        self._offered = offered
        self._owner = owner
        self._granted: Grant | None = None
        self._own: Grant | None = None
        self._has_looked = asyncio.Event()

    @property
    def grant(self) -> Grant | None:
        """What may be opened now; None while nothing came."""
        return self._own or self._granted

    @property
    def is_owned(self) -> bool:
        return self._own is not None

    async def run(self) -> None:
        """Open what comes, renew grants; until cancelled.

        Raises:
            HeadStartFailed: there is no grant, and no key that would make it needless.
            PeerFault: `grant_*`.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._take_keys(), name="keys")
            tasks.create_task(self._keep_granted(), name="grant")

    async def answer(self) -> Any:
        """The hub's first answer; None when it did not come and need not, because the track is owned."""
        try:
            return await begun(self._begun.grant)
        except HeadStartFailed:
            await self._has_looked.wait()
            if not self.is_owned:
                raise
            return None

    async def _keep_granted(self) -> None:
        keys = await begun(self._begun.keys)
        answer = await self.answer() or await self._renewed()
        while True:
            sealed = SealedGrant.from_reader(JsonReader(answer.grant.to_py(), "grant"))
            grant = self._granted = await unlock.open_grant(sealed, self._manifest, keys)
            self._owner.keys_renewed(answer.swarm_token)
            left_s = grant.not_after - browser.wall_clock_s()
            await asyncio.sleep(left_s - min(RENEW_BEFORE_S, left_s / 4))
            answer = await self._renewed()

    async def _renewed(self) -> Any:
        while True:
            try:
                return await self._begun.renew()
            except browser.BrowserError:
                await asyncio.sleep(RENEW_RETRY_S)

    async def _take_keys(self) -> None:
        """The key that is here already, then what comes."""
        try:
            if owned := await begun(self._begun.owned):
                await self._take(owned)
        finally:
            self._has_looked.set()
        while True:
            await self._take(await self._offered.get())

    async def _take(self, offered: Any) -> None:
        if self.is_owned:
            return
        try:
            if isinstance(offered, bytes):
                key = await purchase.open_sealed(offered, self._manifest, await begun(self._begun.keys))
            else:
                key = await purchase.open_owned(offered, self._manifest)
        except DigmError as fault:
            self._owner.keys_refused(fault)
            return
        self._own = Grant(self._manifest.track_root, b"", FOREVER, track_key=key)
        self._owner.keys_owned()
