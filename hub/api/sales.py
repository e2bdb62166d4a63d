"""Offers, keys that were paid for, and a page's way to the chain, as JSON.

Everything that is asked often comes from what the hub has read of the chain (`hub.chain.selling`); only what an
account has, and what it sends, goes to the chain's servers (`hub.chain.desk`). The hub holds no money and no
keys: wrapped keys are on the chain for everybody, and open for their buyer alone.
"""

import asyncio
import contextlib
import importlib
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import hdrs, web

from digm.chain_sales import PurchaseOnChain
from digm.errors import CallerFault, Unavailable
from digm.ids import is_hex_id
from hub.api.addresses import client_address
from hub.api.bodies import read_body
from hub.api.tracks import CORS
from hub.bridge.chain import CHAIN
from hub.chain.selling import Shop
from hub.granting.rate import RateLimit, address_group
from hub.services import SERVICES

if TYPE_CHECKING:
    from hub.chain.deployment import Deployment
    from hub.chain.desk import ChainDesk

MOST_WAIT_S = 25.0
MOST_WAITING, MOST_WAITING_OF_ONE = 2_000, 16
MAX_BODY_BYTES = 10_000
DEVNET_CHAIN_ID = 31_337  # as hub.chain.opening has it, which is not imported here
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_HASH = re.compile(r"0x[0-9a-f]{64}", re.ASCII)
_PER_MINUTE = {"look": 600, "account": 240, "send": 30, "faucet": 20}


class SalesDesk:
    """What the handlers share.

    Attributes:
        rates: per minute and client address, by what is asked.
        waiting: how many long polls each client has open.
    """

    def __init__(self) -> None:
        self.rates = {name: RateLimit(count) for name, count in _PER_MINUTE.items()}
        self.waiting: Counter[str] = Counter()
        self._shop: Shop | None = None
        self._desk: ChainDesk | None = None
        self._opening = asyncio.Lock()

    def shop(self, request: web.Request) -> Shop:
        """What is sold now."""
        state = request.app[CHAIN].state
        if self._shop is None or self._shop.state is not state:
            self._shop = Shop.of(state, self._shop)
        return self._shop

    async def desk(self, request: web.Request) -> "ChainDesk":
        """The way to the chain. Its imports take a second, so they are done in a thread, once."""
        async with self._opening:
            if self._desk is None:
                module = await asyncio.to_thread(importlib.import_module, "hub.chain.desk")
                self._desk = module.ChainDesk(request.app[SERVICES].settings)
            return self._desk

    async def close(self) -> None:
        """At the hub's end."""
        if self._desk is not None:
            await self._desk.close()

    @contextmanager
    def long_poll(self, client: str) -> Iterator[None]:
        """A place to wait in. Raises Unavailable `too_many_requests`."""
        group = address_group(client)
        if self.waiting.total() >= MOST_WAITING or self.waiting[group] >= MOST_WAITING_OF_ONE:
            raise Unavailable("too_many_requests", "Too many wait for keys already.", retry_after_s=5)
        self.waiting[group] += 1
        try:
            yield
        finally:
            self.waiting[group] -= 1
            if not self.waiting[group]:
                del self.waiting[group]


SALES: web.AppKey[SalesDesk] = web.AppKey("sales", SalesDesk)


class _Raw(msgspec.Struct, frozen=True):
    raw: str


class _Who(msgspec.Struct, frozen=True):
    address: str


def add_sales(app: web.Application) -> None:
    """Mount the routes. After `add_chain`."""
    app[SALES] = SalesDesk()
    app.router.add_get("/api/tracks/{track_root}/offer", offer)
    app.router.add_get("/api/keys/{address}", keys)
    app.router.add_get("/api/chain/account/{address}", account)
    app.router.add_get("/api/chain/transaction/{hash}", transaction)
    app.router.add_post("/api/chain/send", send)
    app.router.add_post("/api/chain/faucet", faucet)
    app.cleanup_ctx.append(_desk_open)


async def _desk_open(app: web.Application) -> AsyncIterator[None]:
    yield
    await app[SALES].close()


# -- what is for sale


async def offer(request: web.Request) -> web.Response:
    """What a track costs, and how it is bought (docs/paid-listening.md)."""
    _count(request, "look")
    services, shop = request.app[SERVICES], request.app[SALES].shop(request)
    root = request.match_info["track_root"]
    if not is_hex_id(root):
        raise Unavailable("track_not_found", "There is no such track here.")
    settings, state = services.settings, shop.state
    is_devnet = state.deployed is not None and state.deployed.chain_id == DEVNET_CHAIN_ID
    extra: dict[str, Any] = {"faucet": is_devnet, "payment_link": None, "block": state.counted}
    extra["time"] = state.time or None
    try:
        entry = await services.track(root)
    except Unavailable as fault:
        if fault.code != "track_withdrawn":
            raise
        return _json({**shop.gone(root), **extra})
    if settings.payment_link and entry.preview_s is not None and await _is_ours(request, root):
        extra["payment_link"] = settings.payment_link.replace("{track}", root)
    titles = await services.known(shop.roots_beside(entry))
    return _json({**shop.offer(entry, titles.get), **extra})


async def _is_ours(request: web.Request, root: str) -> bool:
    """Whether it is published here: the operator's payment link takes no money for others' tracks."""
    return any(one.track_root == root for one in await request.app[SERVICES].own_tracks())


# -- what was paid for


async def keys(request: web.Request) -> web.Response:
    """`{"keys": [...], "block": n}`; with `?after=BLOCK&wait=25` once something is newer than that."""
    _count(request, "look")
    services, desk, follower = request.app[SERVICES], request.app[SALES], request.app[CHAIN]
    who = await _checked(request.match_info["address"])
    after, wait_s = _number(request, "after", 2**53), min(float(_number(request, "wait", 600)), MOST_WAIT_S)
    _deployed(request)
    before = follower.sales.purchases_of(who)
    if wait_s and "after" in request.query and all(_block(one) <= after for one in before):
        with desk.long_poll(client_address(request, services.settings)), contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while follower.sales.purchases_of(who) == before:
                    await follower.changed(follower.version)
    shop, state = desk.shop(request), follower.state
    titles = await services.known(shop.roots_bought(who))
    said = {"block": state.counted, "time": state.time, "is_current": state.is_current}
    return _json({"keys": shop.keys(who, titles.get), **said})


def _block(one: PurchaseOnChain) -> int:
    return max(one.block, one.answered_in)


# -- the way to the chain


async def account(request: web.Request) -> web.Response:
    """What an account has, and what its next transaction needs."""
    _count(request, "account")
    who, deployed = await _checked(request.match_info["address"]), _deployed(request)
    return _json(await (await request.app[SALES].desk(request)).account(deployed, who))


async def transaction(request: web.Request) -> web.Response:
    """What became of a transaction."""
    _count(request, "account")
    name = request.match_info["hash"]
    if not _HASH.fullmatch(name):
        raise CallerFault("bad_id", "A transaction's hash is 0x and 64 hex digits.")
    _deployed(request)
    return _json(await (await request.app[SALES].desk(request)).transaction(name))


async def send(request: web.Request) -> web.Response:
    """Send one signed transaction on, to DIGM's contracts; 202 with its hash."""
    _count(request, "send")
    body, deployed = await _body(request, _Raw, 'Send JSON like {"raw": "0x02..."}.'), _deployed(request)
    said = await (await request.app[SALES].desk(request)).send(deployed, body.raw)
    return _json(said, status=202)


async def faucet(request: web.Request) -> web.Response:
    """Play money, on the devnet alone."""
    _count(request, "faucet")
    body, deployed = await _body(request, _Who, 'Send JSON like {"address": "0x..."}.'), _deployed(request)
    if deployed.chain_id != DEVNET_CHAIN_ID:
        raise CallerFault("not_devnet", "Money is given away on the devnet alone.")
    who = await _checked(body.address)
    return _json(await (await request.app[SALES].desk(request)).give(deployed, who), status=202)


# -- parts


def _count(request: web.Request, what: str) -> None:
    client = client_address(request, request.app[SERVICES].settings)
    request.app[SALES].rates[what].take(client, time.monotonic())


def _deployed(request: web.Request) -> "Deployment":
    found = request.app[CHAIN].state.deployed
    if found is None:
        raise Unavailable("no_chain", "This hub follows no chain just now: nothing can be bought here.")
    return found


async def _checked(address: str) -> str:
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


async def _body(request: web.Request, kind: Any, otherwise: str) -> Any:
    content = await read_body(request, MAX_BODY_BYTES)
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise CallerFault("bad_body", otherwise) from error


def _json(body: object, status: int = 200) -> web.Response:
    headers = {**CORS, hdrs.CACHE_CONTROL: "no-store"}
    return web.Response(
        body=msgspec.json.encode(body), status=status, content_type="application/json", headers=headers
    )
