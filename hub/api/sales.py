"""Offers, and a page's way to the chain, as JSON; keys that were paid for are in `hub.api.keys`.

Everything that is asked often comes from what the hub has read of the chain (`hub.chain.selling`); only what an
account has, and what it sends, goes to the chain's servers (`hub.chain.desk`). The hub holds no money and no
keys.
"""

import asyncio
import importlib
import re
import time
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from digm.errors import CallerFault, Unavailable
from digm.ids import is_hex_id
from hub.api.addresses import client_address
from hub.api.bodies import read_body
from hub.api.keys import Keys, checked, json_of, no_chain
from hub.bridge.chain import CHAIN
from hub.granting.rate import RateLimit
from hub.services import SERVICES, off_loop

if TYPE_CHECKING:
    from hub.chain.deployment import Deployment
    from hub.chain.desk import ChainDesk
    from hub.chain.model import Event

MAX_BODY_BYTES = 10_000
DEVNET_CHAIN_ID = 31_337  # as hub.chain.opening has it, which is not imported here
_HASH = re.compile(r"0x[0-9a-f]{64}", re.ASCII)
_PER_MINUTE = {"account": 240, "send": 30, "faucet": 20}


class SalesDesk:
    """What the handlers share.

    Attributes:
        keys: what was bought. rates: per minute and client address, by what is asked.
    """

    def __init__(self, app: web.Application) -> None:
        services = app[SERVICES]
        self.keys = Keys(services.settings, app[CHAIN], services.known, self._fresh)
        self.rates = {name: RateLimit(count) for name, count in _PER_MINUTE.items()}
        self._settings = services.settings
        self._desk: ChainDesk | None = None
        self._opening = asyncio.Lock()

    async def desk(self) -> "ChainDesk":
        """The way to the chain. Its imports take a second, so they are done in a thread, once."""
        async with self._opening:
            if self._desk is None:
                module = await asyncio.to_thread(importlib.import_module, "hub.chain.desk")
                self._desk = module.ChainDesk(self._settings)
            return self._desk

    async def _fresh(self, deployed: "Deployment", counted: int) -> "tuple[int, Sequence[Event]]":
        return await (await self.desk()).fresh(deployed, counted)

    async def close(self) -> None:
        """At the hub's end."""
        if self._desk is not None:
            await self._desk.close()


SALES: web.AppKey[SalesDesk] = web.AppKey("sales", SalesDesk)


class _Raw(msgspec.Struct, frozen=True):
    raw: str


class _Who(msgspec.Struct, frozen=True):
    address: str


def add_sales(app: web.Application) -> None:
    """Mount the routes. After `add_chain`."""
    desk = app[SALES] = SalesDesk(app)
    app.router.add_get("/api/tracks/{track_root}/offer", offer)
    app.router.add_get("/api/keys/{address}", desk.keys.answer)
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
    keys, services = request.app[SALES].keys, request.app[SERVICES]
    keys.count(request)
    shop, settings, root = keys.shop, services.settings, request.match_info["track_root"]
    if not is_hex_id(root):
        raise Unavailable("track_not_found", "There is no such track here.")
    state = shop.state
    is_devnet = state.deployed is not None and state.deployed.chain_id == DEVNET_CHAIN_ID
    extra: dict[str, Any] = {
        "faucet": is_devnet,
        "payment_link": None,
        "premium": [],
        "block": max(0, state.counted),
    }
    extra["time"] = state.time or None
    try:
        entry = await services.track(root)
    except Unavailable as fault:
        if fault.code != "track_withdrawn":
            raise
        return json_of({**shop.gone(root), **extra})
    if settings.payment_link and entry.preview_s is not None and await _is_ours(request, root):
        extra["payment_link"] = settings.payment_link.replace("{track}", root)
    terms = services.vaults.premium_of(entry.artist_key) if entry.preview_s is not None else ()
    extra["premium"] = shop.premium(terms)
    titles = await services.known(shop.roots_beside(entry))
    return json_of({**shop.offer(entry, titles.get), **extra})


async def _is_ours(request: web.Request, root: str) -> bool:
    """Whether it is published here: the operator's payment link takes no money for others' tracks."""
    return await off_loop(request.app[SERVICES].catalogue.track, root) is not None


# -- the way to the chain


async def account(request: web.Request) -> web.Response:
    """What an account has, and what its next transaction needs."""
    _count(request, "account")
    who, deployed = await checked(request.match_info["address"]), _deployed(request)
    return json_of(await (await request.app[SALES].desk()).account(deployed, who))


async def transaction(request: web.Request) -> web.Response:
    """What became of a transaction."""
    _count(request, "account")
    name = request.match_info["hash"]
    if not _HASH.fullmatch(name):
        raise CallerFault("bad_id", "A transaction's hash is 0x and 64 hex digits.")
    _deployed(request)
    return json_of(await (await request.app[SALES].desk()).transaction(name))


async def send(request: web.Request) -> web.Response:
    """Send one signed transaction on, to DIGM's contracts; 202 with its hash."""
    _count(request, "send")
    body, deployed = await _body(request, _Raw, 'Send JSON like {"raw": "0x02..."}.'), _deployed(request)
    return json_of(await (await request.app[SALES].desk()).send(deployed, body.raw), status=202)


async def faucet(request: web.Request) -> web.Response:
    """Play money, on the devnet alone."""
    _count(request, "faucet")
    body, deployed = await _body(request, _Who, 'Send JSON like {"address": "0x..."}.'), _deployed(request)
    if deployed.chain_id != DEVNET_CHAIN_ID:
        raise CallerFault("not_devnet", "Money is given away on the devnet alone.")
    who = await checked(body.address)
    return json_of(await (await request.app[SALES].desk()).give(deployed, who), status=202)


# -- parts


def _count(request: web.Request, what: str) -> None:
    client = client_address(request, request.app[SERVICES].settings)
    request.app[SALES].rates[what].take(client, time.monotonic())


def _deployed(request: web.Request) -> "Deployment":
    found = request.app[CHAIN].state.deployed
    if found is None:
        raise no_chain()
    return found


async def _body(request: web.Request, kind: Any, otherwise: str) -> Any:
    content = await read_body(request, MAX_BODY_BYTES)
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise CallerFault("bad_body", otherwise) from error
