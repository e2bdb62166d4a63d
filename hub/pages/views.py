"""Pages for people: the catalogue, releases, tracks, the widget, and what is shown for what is not there.

Templates stand beside this file. Titles and names come from strangers' files: autoescape is on, and no
template writes into a script, a style or an unquoted attribute.
"""

from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import hdrs, web
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from digm.errors import CallerFault, Unavailable
from digm.ids import is_hex_id
from hub.api.addresses import Addresses, addresses_of
from hub.api.paging import page_of
from hub.api.server import SAFE_HEADERS
from hub.api.tracks import release_json, track_details, track_json
from hub.bridge.bridge import BRIDGE
from hub.pages.security import content_security_policy
from hub.pages.static import Preload, StaticFiles
from hub.services import SERVICES
from hub.signalling import SIGNALLING
from hub.storage.catalogue import ReleaseEntry, TrackEntry

HUES = 12
PER_PAGE = 500
EMBED_HEIGHT, EMBED_HEIGHT_WITH_BUY = 200, 236
HEADINGS = {
    400: "That did not work",
    404: "Nothing here",
    405: "Nothing here",
    410: "Not here any more",
    503: "Not now",
}

_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=select_autoescape(default=True, default_for_string=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def routes() -> list[web.AbstractRouteDef]:
    """The pages' routes."""
    return [
        web.get("/", catalogue),
        web.get("/tracks/{track_root}", track),
        web.get("/releases/{release_id}", release),
        web.get("/embed/{track_root}", embed),
        web.get("/buy/{track_root}", buy),
        web.get("/static/{name:.+}", static),
        web.get("/favicon.ico", favicon),
        web.get("/robots.txt", robots),
    ]


def clock_time(seconds: float) -> str:
    """Minutes and seconds as people read them: 3:07, 1:02:03."""
    whole = int(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def _view(entry: TrackEntry, addresses: Addresses) -> dict[str, Any]:
    """A track as templates show it."""
    name = entry.title.strip() or "?"
    return {
        **track_json(entry, addresses),
        **_length(entry.duration_s),
        "preview": None if entry.preview_s is None else f"{entry.preview_s} s",
        "hue": int(entry.track_root[:8], 16) % HUES,
        "initial": name[0].upper(),
    }


def _length(seconds: float) -> dict[str, str]:
    return {"duration": clock_time(seconds), "iso_duration": f"PT{round(seconds)}S"}


def _release_view(entry: ReleaseEntry, tracks: list[TrackEntry], addresses: Addresses) -> dict[str, Any]:
    """A release as templates show it, with its tracks."""
    return {
        **release_json(entry, tracks, addresses),
        **_length(sum(track.duration_s for track in tracks)),
        "hue": int(entry.release_id[:8], 16) % HUES,
        "initial": (entry.title.strip() or "?")[0].upper(),
        "tracks": [_view(track, addresses) for track in tracks],
    }


def render(
    template: str,
    request: web.Request,
    status: int = 200,
    is_embeddable: bool = False,
    has_player: bool = False,
    **values: Any,
) -> web.Response:
    """A page with its headers."""
    addresses = addresses_of(request, request.app[SERVICES].settings)
    text = _templates.get_template(template).render(hub=addresses.hub, **values)
    headers = {
        **SAFE_HEADERS,
        hdrs.CACHE_CONTROL: "no-cache",
        hdrs.CONTENT_SECURITY_POLICY: content_security_policy(addresses, is_embeddable, has_player),
    }
    return web.Response(text=text, status=status, content_type="text/html", headers=headers)


async def catalogue(request: web.Request) -> web.Response:
    """All albums and all tracks, newest first, PER_PAGE tracks a page."""
    services = request.app[SERVICES]
    addresses = addresses_of(request, services.settings)
    tracks = await services.tracks()
    together: defaultdict[str, list[TrackEntry]] = defaultdict(list)
    for entry in tracks:
        together[entry.release_id].append(entry)
    page = page_of(request, tracks, PER_PAGE)
    several = dict.fromkeys(one.release_id for one in page.items if len(together[one.release_id]) > 1)
    return render(
        "catalogue.html",
        request,
        albums=[
            _release_view(entry, together[entry.release_id], addresses)
            for entry in await services.releases(several)
        ],
        tracks=[_view(entry, addresses) for entry in page.items],
        page=page,
    )


async def release(request: web.Request) -> web.Response:
    """The page of a release: its tracks in order, and a player that plays them without a gap."""
    services = request.app[SERVICES]
    addresses = addresses_of(request, services.settings)
    entry, tracks = await services.release(request.match_info["release_id"])
    details = await _details(request, tracks[0], addresses)
    shown = _release_view(entry, tracks, addresses)
    return render(
        "release.html",
        request,
        has_player=True,
        release=shown,
        paid=[track for track in shown["tracks"] if track["preview"]],
        details=_details_json(details),
        preloads=_preloads(services.static, details),
        player=services.static.player(),
    )


def _details_json(details: dict[str, object]) -> str:
    """What the player would ask the API for, for an attribute of its element: it need not ask."""
    return msgspec.json.encode(details).decode()


async def _track(request: web.Request) -> tuple[dict[str, Any], dict[str, object], Addresses]:
    """A track as templates show it, as the API shows it, and the addresses that this visitor uses."""
    services = request.app[SERVICES]
    root = request.match_info["track_root"]
    if not is_hex_id(root):
        raise Unavailable("track_not_found", "There is no such track here.")
    addresses = addresses_of(request, services.settings)
    entry = await services.track(root)
    return _view(entry, addresses), await _details(request, entry, addresses), addresses


async def _details(request: web.Request, entry: TrackEntry, addresses: Addresses) -> dict[str, object]:
    homes = request.app[SIGNALLING].homes.signal_urls(entry.track_root)
    request.app[BRIDGE].expect_grants(entry)
    gateways = await request.app[BRIDGE].first_gateways(entry.track_root, addresses.gateway)
    return track_details(entry, addresses, homes, gateways)


def _preloads(files: StaticFiles, details: dict[str, object]) -> list[Preload]:
    """The manifest is on its way before the player's own code is there."""
    return [Preload(str(details["manifest_url"]), "preload", "fetch"), *files.modules()]


async def track(request: web.Request) -> web.Response:
    """The page of one track: one player, and the player's parts on their way before it asks for them."""
    shown, details, addresses = await _track(request)
    static_files = request.app[SERVICES].static
    height = EMBED_HEIGHT_WITH_BUY if shown["preview"] else EMBED_HEIGHT
    embed_code = (
        f'<iframe src="{addresses.hub}/embed/{shown["track_root"]}" width="100%" height="{height}" '
        'sandbox="allow-scripts allow-same-origin allow-popups allow-popups-to-escape-sandbox" '
        'allow="autoplay" loading="lazy" frameborder="0" title="DIGM player"></iframe>'
    )
    return render(
        "track.html",
        request,
        has_player=True,
        track=shown,
        details=_details_json(details),
        embed_code=embed_code,
        preloads=_preloads(static_files, details),
        player=static_files.player(),
    )


async def embed(request: web.Request) -> web.Response:
    """The widget, for other people's pages: any frame may hold it, and it loads nothing big before a click."""
    shown, details, _ = await _track(request)
    static_files = request.app[SERVICES].static
    return render(
        "embed.html",
        request,
        is_embeddable=True,
        has_player=True,
        track=shown,
        details=_details_json(details),
        preloads=static_files.modules(),
        player=static_files.player(),
    )


async def buy(request: web.Request) -> web.Response:
    """The window in which a widget's listener buys; no frame may hold it."""
    shown, _, _ = await _track(request)
    return render("buy.html", request, track=shown)


def html_problem(request: web.Request, status: int, sentence: str) -> web.Response:
    """The page for a failure."""
    heading = HEADINGS.get(status, "Something broke" if status >= 500 else "That did not work")
    try:
        return render("problem.html", request, status=status, heading=heading, sentence=sentence)
    except CallerFault:  # without a usable Host there is no policy to write, hence no page
        return web.Response(text=sentence, status=status, headers=SAFE_HEADERS)


async def static(request: web.Request) -> web.Response:
    """A static file."""
    return await request.app[SERVICES].static.answer(request, request.match_info["name"])


async def favicon(_request: web.Request) -> web.Response:
    """Browsers ask for it; the pages name the real icon."""
    raise web.HTTPMovedPermanently("/static/icons/digm.svg")


async def robots(_request: web.Request) -> web.Response:
    """Pages may be indexed, the API and the widgets need not."""
    return web.Response(text="User-agent: *\nDisallow: /api/\nDisallow: /embed/\nDisallow: /buy/\n")
