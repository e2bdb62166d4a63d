"""The operator's view: nodes, the chain and the swarms of listeners, as a page; the swarms as JSON too.

For whoever runs the hub and for nobody else (`hub.api.operators`). The page is whole without scripts; one keeps
it up to date in place.
"""

import time
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
from aiohttp import hdrs, web

from hub.api.operators import refusal
from hub.api.reports import PLAYER_REPORTS, TrackSums
from hub.bridge.bridge import BRIDGE
from hub.overview.overview import OVERVIEW
from hub.pages.chain_view import drawn_chain
from hub.pages.node_map import drawn_network
from hub.pages.views import render
from hub.services import SERVICES
from hub.signalling import SIGNALLING
from hub.signalling.presence import SwarmView
from hub.storage.catalogue import TrackEntry

MAX_SWARMS = 50  # drawn; the biggest
REFRESH_S = 5
BAR_PITCH, BAR_HEIGHT = 8, 36  # of the drawing, in its own units


@dataclass(frozen=True)
class SwarmRow:
    """One swarm on the page."""

    track: str
    title: str
    artist: str
    listeners: int
    nodes: int
    share: float
    relayed: int
    reports: int
    members: tuple[tuple[str, float], ...]
    bytes: dict[str, int]
    offload: float | None
    stalls: int
    first_sound_ms: float | None


def routes() -> list[web.AbstractRouteDef]:
    """The page and its JSON."""
    return [web.get("/operator", page), web.get("/api/operator/swarms", document)]


async def page(request: web.Request) -> web.Response:
    """The drawing."""
    if refused := refusal(request):
        return refused
    rows = await _rows(request)
    totals = _totals(request, rows)
    drawn = [_drawn(row) for row in rows[:MAX_SWARMS]]
    network = drawn_network(await request.app[OVERVIEW].look(), time.time())
    response = render(
        "operator.html",
        request,
        swarms=drawn,
        totals=totals,
        network=network,
        chain=drawn_chain(await request.app[OVERVIEW].chain()),
        is_member=request.app[BRIDGE].member is not None,
        refresh_s=REFRESH_S,
    )
    response.headers[hdrs.CACHE_CONTROL] = "no-store"
    return response


async def document(request: web.Request) -> web.Response:
    """The same numbers for programs."""
    if refused := refusal(request):
        return refused
    rows = await _rows(request)
    body = {"totals": _totals(request, rows), "swarms": [asdict(row) for row in rows]}
    headers = {hdrs.CACHE_CONTROL: "no-store"}
    return web.Response(body=msgspec.json.encode(body), content_type="application/json", headers=headers)


async def _rows(request: web.Request) -> list[SwarmRow]:
    reports, signalling = request.app[PLAYER_REPORTS], request.app[SIGNALLING]
    entries = {entry.track_root: entry for entry in await request.app[SERVICES].tracks()}
    rows = [
        _row(view, entries.get(view.track), signalling.relayed(view.track), reports.of(view.track))
        for view in signalling.presence.views()
    ]
    return sorted(rows, key=lambda row: (-row.listeners, -row.nodes, row.title))


def _row(view: SwarmView, entry: TrackEntry | None, relayed: int, sums: TrackSums) -> SwarmRow:
    fetched = {"peer": sums.peer, "gateway": sums.gateway, "cache": sums.cache}
    from_others = sums.peer + sums.gateway
    return SwarmRow(
        view.track,
        entry.title if entry else f"Track {view.track[:8]}",
        (entry.artist or "Unknown artist") if entry else "not published here",
        view.listeners,
        view.nodes,
        round(view.share, 4),
        relayed,
        view.reports,
        view.members,
        fetched,
        round(sums.peer / from_others, 4) if from_others else None,
        sums.stalls,
        sums.first_sound_ms,
    )


def _totals(request: web.Request, rows: list[SwarmRow]) -> dict[str, Any]:
    peer = sum(row.bytes["peer"] for row in rows)
    fetched = peer + sum(row.bytes["gateway"] for row in rows)
    return {
        "sessions": request.app[SIGNALLING].session_count,
        "swarms": len(rows),
        "listeners": sum(row.listeners for row in rows),
        "nodes": sum(row.nodes for row in rows),
        "relayed": sum(row.relayed for row in rows),
        "offload": round(peer / fetched, 4) if fetched else None,
    }


def _drawn(row: SwarmRow) -> dict[str, Any]:
    """A row with its drawing: a bar for each member, as high as what it holds; where the bytes came from."""
    bars = [
        {"x": place * BAR_PITCH, "y": BAR_HEIGHT - height, "height": height, "role": role}
        for place, (role, share) in enumerate(row.members)
        for height in [2 + share * (BAR_HEIGHT - 2)]
    ]
    total = sum(row.bytes.values())
    sources, x = [], 0.0
    for name, count in row.bytes.items():
        if count:
            sources.append({"name": name, "x": x, "width": 100 * count / total, "bytes": _megabytes(count)})
            x += 100 * count / total
    more = row.listeners + row.nodes - len(row.members)
    return {**asdict(row), "bars": bars, "sources": sources, "width": len(bars) * BAR_PITCH, "more": more}


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.2f} GB"
