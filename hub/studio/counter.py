"""The counter: prices of what is out, keys for who paid elsewhere, and the income."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from digm.errors import CallerFault
from digm.ids import is_hex_id
from hub.studio.replies import answer, read
from hub.studio.room import ROOM, Room

if TYPE_CHECKING:
    from hub.chain.client import ChainClient
    from hub.chain.deployment import Deployment

Job = Callable[["ChainClient", "Deployment"], Awaitable[Any]]


class PriceBody(msgspec.Struct, frozen=True):
    """As it was typed; an empty price ends the sale."""

    price: str = ""
    token: str = "para"  # noqa: S105 - of money
    is_at_least: bool = False


class GiftBody(msgspec.Struct, frozen=True):
    """The code that a listener's page shows: an account, a space, a listening key; or the account alone."""

    code: str


def routes() -> list[web.AbstractRouteDef]:
    """All of them need the page key."""
    return [
        web.post("/api/tracks/{track_root}/price", set_price),
        web.post("/api/tracks/{track_root}/give", give),
        web.post("/api/income", fetch_income),
    ]


async def set_price(request: web.Request) -> web.Response:
    """Sell a track from now on for something else, or no longer."""
    room, root = request.app[ROOM], _root(request)
    body = await read(request, PriceBody)

    async def job(client: "ChainClient", deployed: "Deployment") -> Any:
        from hub.chain import shopkeeping

        if not body.price.strip():
            return await shopkeeping.end_sale(client, deployed, root)
        price = shopkeeping.price_of(deployed, body.price.strip(), body.token, body.is_at_least)
        return await shopkeeping.sell_track(client, deployed, room.settings.data, root, price)

    return answer(_said(await _on_chain(room, job)))


async def give(request: web.Request) -> web.Response:
    """Give a listener the key of a track, for nothing or for what was paid elsewhere."""
    room, root = request.app[ROOM], _root(request)
    code = (await read(request, GiftBody)).code.split()
    if not 1 <= len(code) <= 2:
        raise CallerFault("bad_code", "Paste the whole code that the listener's page shows: 0x..., then a key.")

    async def job(client: "ChainClient", deployed: "Deployment") -> Any:
        from hub.chain import shopkeeping

        state = room.chain.state
        return await shopkeeping.give(client, deployed, state, room.vault, room.settings.data, root, *code)

    return answer(_said(await _on_chain(room, job)))


async def fetch_income(request: web.Request) -> web.Response:
    """Have what was earned paid to the account here."""

    async def job(client: "ChainClient", deployed: "Deployment") -> Any:
        from hub.chain import shopkeeping

        return await shopkeeping.withdraw_income(client, deployed)

    return answer({"fetched": await _on_chain(request.app[ROOM], job)})


async def _on_chain(room: Room, job: Job) -> Any:
    """One after the other: two that look what stands there would both say it."""
    from hub.chain.opening import open_deployed

    async with room.telling, open_deployed(room.settings, with_key=True) as (client, deployed):
        return await job(client, deployed)


def _said(said: dict[str, Any]) -> dict[str, Any]:
    return {"block": said.get("block")}


def _root(request: web.Request) -> str:
    root = request.match_info["track_root"]
    if not is_hex_id(root):
        raise CallerFault("bad_id", "There is no such track here.")
    return root
