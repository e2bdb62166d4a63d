"""`GET /api/keys/{address}`: what an account has bought or was given, with wrapped keys, at hubs and nodes.

The keys lie on the chain for everybody and open for their buyer alone, so whoever follows the chain may pass
them on. With `?after=BLOCK&wait=25` the answer waits until there is something newer than that.
"""

import asyncio
import contextlib
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
from aiohttp import hdrs, web

from digm.chain_sales import PurchaseOnChain
from digm.errors import CallerFault, DigmError, Unavailable
from hub.api.addresses import client_address
from hub.chain.follower import ChainFollower
from hub.chain.selling import Shop
from hub.config import Settings
from hub.granting.rate import RateLimit, address_group

if TYPE_CHECKING:  # a node knows no catalogue
    from hub.chain.deployment import Deployment
    from hub.chain.model import Event
    from hub.storage.catalogue import TrackEntry

MOST_WAIT_S = 25.0
FRESH_EVERY_S = 1.5
MOST_WAITING, MOST_WAITING_OF_ONE = 2_000, 16
LOOKS_PER_MINUTE = 600
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_CORS = {hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*", "Cross-Origin-Resource-Policy": "cross-origin"}
Known = Callable[[Iterable[str]], Awaitable[Mapping[str, "TrackEntry"]]]
"""Those of some tracks, by root, whose titles are known here."""
Fresh = Callable[["Deployment", int], Awaitable[tuple[int, Sequence["Event"]]]]
"""What `Sales` wrote behind a block, and up to which."""


async def _nothing(_roots: Iterable[str]) -> "Mapping[str, TrackEntry]":
    return {}


class Keys:
    """Answers for one process.

    Args:
        known: for titles; a node knows none.
        fresh: what is not deep enough to count yet. A key that opens is right however deep it lies, so its
            buyer need not wait; the vault is the one who does. None: only what counts is told.
    """

    def __init__(
        self,
        settings: Settings,
        follower: ChainFollower,
        known: Known = _nothing,
        fresh: Fresh | None = None,
    ) -> None:
        self._settings, self._follower, self._known, self._fresh = settings, follower, known, fresh
        self._rate = RateLimit(LOOKS_PER_MINUTE)
        self._waiting: Counter[str] = Counter()
        self._shop: Shop | None = None

    @property
    def shop(self) -> Shop:
        """What is sold now."""
        if self._shop is None or self._shop.state is not self._follower.state:
            self._shop = Shop.of(self._follower.state, self._shop)
        return self._shop

    def count(self, request: web.Request) -> None:
        """A look of somebody's. Raises Unavailable `too_many_requests`."""
        self._rate.take(client_address(request, self._settings), time.monotonic())

    async def answer(self, request: web.Request) -> web.Response:
        """`{"keys": [...], "block", "time", "is_current", "chain_id", "sales"}`."""
        self.count(request)
        who, follower = await checked(request.match_info["address"]), self._follower
        after, wait_s = _number(request, "after", 2**53), min(float(_number(request, "wait", 600)), MOST_WAIT_S)
        if (deployed := follower.state.deployed) is None:
            raise no_chain()
        shop, block = await self._shop_now()
        before = shop.state.sales.purchases_of(who)
        if wait_s and "after" in request.query and all(_block(one) <= after for one in before):
            with self._place(client_address(request, self._settings)), contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    while shop.state.sales.purchases_of(who) == before:
                        await self._news(follower.version)
                        shop, block = await self._shop_now()
        state, titles = shop.state, await self._known(shop.roots_bought(who))
        said = {"block": block, "time": state.time, "is_current": state.is_current}
        where = {"chain_id": deployed.chain_id, "sales": deployed.addresses.get("sales")}
        return json_of({"keys": shop.keys(who, titles.get), **said, **where})

    async def _shop_now(self) -> tuple[Shop, int]:
        """What is sold, with what does not count yet, and up to which block that is."""
        shop, state = self.shop, self._follower.state
        counted = max(0, state.counted)
        if self._fresh is None or state.deployed is None or state.head <= state.counted:
            return shop, counted
        try:
            head, events = await self._fresh(state.deployed, counted)
        except DigmError:
            return shop, counted  # it comes when it counts
        if not events:
            return shop, max(counted, head)
        sales = state.sales.copy()
        for event in events:
            sales.apply(event.name, event.arguments, event.log.block)
        return replace(shop, state=replace(state, sales=sales)), max(counted, head)

    async def _news(self, version: int) -> None:
        """Something counts now that did not before, or it is worth looking what will."""
        if self._fresh is None or self._follower.state.head <= self._follower.state.counted:
            await self._follower.changed(version)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FRESH_EVERY_S):
                await self._follower.changed(version)

    @contextlib.contextmanager
    def _place(self, client: str) -> Iterator[None]:
        """A place to wait in. Raises Unavailable `too_many_requests`."""
        group = address_group(client)
        if self._waiting.total() >= MOST_WAITING or self._waiting[group] >= MOST_WAITING_OF_ONE:
            raise Unavailable("too_many_requests", "Too many wait for keys already.", retry_after_s=5)
        self._waiting[group] += 1
        try:
            yield
        finally:
            self._waiting[group] -= 1
            if not self._waiting[group]:
                del self._waiting[group]


def _block(one: PurchaseOnChain) -> int:
    return max(one.block, one.answered_in)


def no_chain() -> Unavailable:
    """Where no contracts are known."""
    return Unavailable("no_chain", "No chain is followed here just now: nothing can be bought.")


async def checked(address: str) -> str:
    """With its checksum. Raises CallerFault `bad_address`."""
    if not _ADDRESS.fullmatch(address):
        raise CallerFault("bad_address", f"{address!r:.80} is no address: that is 0x and 40 hex digits.")
    return await asyncio.to_thread(_with_checksum, address)


def _with_checksum(address: str) -> str:
    from hub.chain.words import checksummed

    return checksummed(bytes.fromhex(address[2:]))


def _number(request: web.Request, name: str, most: int) -> int:
    said = request.query.get(name, "0")
    if not (said.isascii() and said.isdigit() and len(said) <= 16 and int(said) <= most):
        raise CallerFault("bad_number", f"{name} is a whole number.")
    return int(said)


def json_of(body: object, status: int = 200) -> web.Response:
    """For any page, and never from a cache."""
    headers = {**_CORS, hdrs.CACHE_CONTROL: "no-store"}
    return web.Response(
        body=msgspec.json.encode(body), status=status, content_type="application/json", headers=headers
    )
