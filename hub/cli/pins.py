"""`digm pins`: which copies are ordered, and how far they are."""

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from digm.errors import CallerFault, Unavailable
from hub.cli.pin import AsJson, Hub, Within

if TYPE_CHECKING:
    from hub.cli.hub_api import HubApi

EXIT_NOT_HELD = 1
ASKED_EVERY_S = 1.0
MISSED = ("gone", "lost", "broken")


def pins(
    track_root: Annotated[
        str | None, typer.Argument(metavar="[TRACKROOT]", help="One track; none: all orders placed here.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Wait until all copies are held.")] = False,
    within: Within = None,
    hub: Hub = None,
    as_json: AsJson = False,
) -> None:
    """Show which copies are ordered, and who holds them."""
    from digm.ids import is_hex_id
    from hub.cli.hub_api import HubApi
    from hub.config import load_settings

    if track_root is not None and not is_hex_id(track_root):
        raise CallerFault("bad_id", f"{track_root!r} is not a track root: that is 64 lower-case hex digits.")
    api = HubApi(hub or load_settings().signal_url)
    raise typer.Exit(asyncio.run(_pins(api, track_root, watch, within, as_json)))


async def _pins(
    api: "HubApi", track_root: str | None, watch: bool, within_s: float | None, as_json: bool
) -> int:
    async with api:
        path = f"/api/tracks/{track_root}/pins" if track_root else "/api/pins"
        orders = (await api.get(path))["orders"]
        for order in orders:
            print_order(order, as_json)
        if not orders and not as_json:
            print("No copies are ordered." if track_root is None else "No copies of this track are ordered.")
        if not watch:
            return 0
        return await follow(api, [order["track_root"] for order in orders], within_s, as_json)


def print_order(order: dict[str, Any], as_json: bool, is_new: bool = False) -> None:
    """One order, for people with the nodes below it."""
    import msgspec

    from hub.publishing.sources import printable

    if as_json:
        print(msgspec.json.encode(order).decode(), flush=True)
        return
    title, root = printable(order["title"] or "A track"), order["track_root"]
    if not order["desired"]:
        print(f"{title}: the order was taken back  {root}", flush=True)
        return
    until = time.strftime("%Y-%m-%d", time.gmtime(order["expires_at"]))
    if is_new:
        print(f"Ordered {order['desired']} copies of {title} until {until}  {root}", flush=True)
        return
    print(f"{title}: {progress_of(order)}, until {until}  {root}", flush=True)
    for node in order["nodes"]:
        names = (node["operator"], node["network"], _silence_of(node))
        who = ", ".join(printable(name) for name in names if name)
        why = f": {printable(node['reason'])}" if node["reason"] else ""
        print(f"    {node['state'] + why:24}{printable(node['peer_id'])}  {who}", flush=True)


def progress_of(order: dict[str, Any]) -> str:
    """How far an order is, in a few words."""
    under_way = f", {order['accepted']} on their way" if order["accepted"] else ""
    gone = f", {order['gone']} gone that had accepted" if order.get("gone") else ""
    return f"{order['held']} of {order['desired']} held{under_way}{gone}"


def _silence_of(node: dict[str, Any]) -> str:
    """Since when a node is missed."""
    if node["state"] not in MISSED:
        return ""
    if node["last_heard_at"] is None:
        return "not heard since the hub started"
    return f"last heard {time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime(node['last_heard_at']))}"


async def follow(api: "HubApi", roots: list[str], within_s: float | None, as_json: bool) -> int:
    """Show the progress until every track has the copies that were ordered.

    Returns:
        0; 1 when the time is over before.
    """
    said: dict[str, str] = {}
    try:
        async with asyncio.timeout(within_s):
            while roots:
                latest = {root: order for root in roots for order in await _latest(api, root)}
                for order in latest.values():
                    _say_if_new(order, said, as_json)
                roots = [root for root in roots if not _is_done(latest.get(root))]
                await asyncio.sleep(ASKED_EVERY_S if roots else 0)
    except TimeoutError:
        print(f"Not all copies are held after {within_s:g} s: digm pins shows who has what.", file=sys.stderr)
        return EXIT_NOT_HELD
    return 0


def _say_if_new(order: dict[str, Any], said: dict[str, str], as_json: bool) -> None:
    from hub.publishing.sources import printable

    words = progress_of(order)
    if said.get(order["track_root"]) == words:
        return
    said[order["track_root"]] = words
    if as_json:
        print_order(order, as_json)
    else:
        print(f"{printable(order['title'] or 'A track')}: {words}", flush=True)


def _is_done(order: dict[str, Any] | None) -> bool:
    return order is not None and order["held"] >= order["desired"]


async def _latest(api: "HubApi", root: str) -> list[dict[str, Any]]:
    """The order that counts, if the hub tells just now."""
    try:
        orders = (await api.get(f"/api/tracks/{root}/pins"))["orders"]
    except Unavailable as error:  # the hub is being started again, say
        if error.code not in ("hub_unreachable", "backbone_off", "too_many_requests"):
            raise
        return []
    return sorted(orders, key=lambda order: int(order["sequence"]))[-1:]
