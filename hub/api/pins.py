"""Pin orders over HTTP: an artist hands one in, and everybody may see how far it is.

Who may order is proven by the order's own signature: that of the artist who published the track here.
"""

import time
from collections import Counter
from collections.abc import Sequence

import msgspec
from aiohttp import hdrs, web

from digm.announcements import AnnouncementLedger
from digm.errors import Unavailable
from digm.ids import is_hex_id, to_hex
from digm.node_ids import peer_id
from digm.pinning import MAX_ORDER_BYTES
from hub.api.addresses import client_address
from hub.api.bodies import read_body
from hub.api.tracks import CORS
from hub.bridge.bridge import BRIDGE
from hub.bridge.orders import HubOrders
from hub.granting.rate import RateLimit
from hub.pinning.order_desk import OrderProgress
from hub.services import SERVICES

ORDERS_PER_MINUTE = 300  # of one address: an artist may pin a whole catalogue
LOOKS_PER_MINUTE = 600
_ORDERS: web.AppKey[RateLimit] = web.AppKey("pin_orders_rate", RateLimit)
_LOOKS: web.AppKey[RateLimit] = web.AppKey("pin_looks_rate", RateLimit)


def add_pins(app: web.Application) -> None:
    """Mount the routes."""
    app[_ORDERS], app[_LOOKS] = RateLimit(ORDERS_PER_MINUTE), RateLimit(LOOKS_PER_MINUTE)
    app.router.add_post("/api/pins", place)
    app.router.add_get("/api/pins", list_orders)
    app.router.add_get("/api/tracks/{track_root}/pins", show_orders)


async def place(request: web.Request) -> web.Response:
    """Take an order: the body is the signed document. It is on the disk when the answer, 202, is sent."""
    client = client_address(request, request.app[SERVICES].settings)
    request.app[_ORDERS].take(client, time.monotonic())
    document = await read_body(request, MAX_ORDER_BYTES)
    progress = await _orders(request).place(document)
    (order,) = await _orders_json(request, [progress])
    return _json(order, status=202)


async def list_orders(request: web.Request) -> web.Response:
    """`{"orders": [...]}`: the orders that were placed here and still count, the newest first."""
    _count_look(request)
    return _json({"orders": await _orders_json(request, _orders(request).placed_here())})


async def show_orders(request: web.Request) -> web.Response:
    """The same for one track that is published here, wherever its artist placed the orders."""
    _count_look(request)
    root = request.match_info["track_root"]
    if not is_hex_id(root):
        raise Unavailable("track_not_found", "There is no such track here.")
    found = await _orders(request).of_track(root)
    return _json({"orders": await _orders_json(request, found)})


def _count_look(request: web.Request) -> None:
    client = client_address(request, request.app[SERVICES].settings)
    request.app[_LOOKS].take(client, time.monotonic())


def _orders(request: web.Request) -> HubOrders:
    member = request.app[BRIDGE].member
    if member is None or member.orders is None:
        raise Unavailable(
            "backbone_off",
            "This hub is not in the backbone: set DIGM_BACKBONE_LISTEN, or look into its log.",
        )
    return member.orders


async def _orders_json(request: web.Request, found: Sequence[OrderProgress]) -> list[dict[str, object]]:
    titles = {entry.track_root: entry.title for entry in await request.app[SERVICES].tracks()}
    ledger = request.app[BRIDGE].directory.ledger
    return [_order_json(progress, titles.get(to_hex(progress.order.track_root)), ledger) for progress in found]


def _order_json(progress: OrderProgress, title: str | None, ledger: AnnouncementLedger) -> dict[str, object]:
    order = progress.order
    states: dict[bytes, tuple[str, str | None]] = {
        **dict.fromkeys(progress.lost, ("lost", None)),
        **dict.fromkeys(progress.broken, ("broken", None)),
        **{node: ("declined", why.value) for node, why in progress.declined.items()},
        **dict.fromkeys(progress.gone, ("gone", None)),
        **dict.fromkeys(progress.promised, ("accepted", None)),
        **dict.fromkeys(progress.holders, ("held", None)),
    }
    reached = Counter(state for state, _ in states.values())
    nodes = [
        _node_json(node, state, reason, ledger)
        for node, (state, reason) in sorted(states.items(), key=lambda item: (_RANK[item[1][0]], item[0]))
    ]
    return {
        "order_id": to_hex(order.order_id),
        "track_root": to_hex(order.track_root),
        "title": title,
        "artist": to_hex(order.artist),
        "sequence": order.sequence,
        "issued_at": order.issued_at,
        "expires_at": order.expires_at,
        "desired": order.desired_replicas,
        **{state: reached[state] for state in ("held", "accepted", "gone", "declined")},
        "nodes": nodes,
    }


def _node_json(node: bytes, state: str, reason: str | None, ledger: AnnouncementLedger) -> dict[str, object]:
    said = ledger.last_word(node)  # of one that is gone, too
    return {
        "peer_id": peer_id(node),
        "operator": said.operator if said else None,
        "network": said.network if said else None,
        "state": state,
        "reason": reason,
        "last_heard_at": ledger.heard_at(node),
    }


_RANK = {"held": 0, "accepted": 1, "gone": 2, "lost": 3, "broken": 4, "declined": 5}


def _json(body: object, status: int = 200) -> web.Response:
    headers = {**CORS, hdrs.CACHE_CONTROL: "no-store"}
    return web.Response(
        body=msgspec.json.encode(body), status=status, content_type="application/json", headers=headers
    )
