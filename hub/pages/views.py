"""Pages for people: the catalogue, a track, the widget, and what is shown when something is not there.

Templates stand beside this file. Titles and names come from strangers' files: autoescape is on, and no
template writes into a script, a style or an unquoted attribute.
"""

from pathlib import Path
from typing import Any

import msgspec
from aiohttp import hdrs, web
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from digm.errors import CallerFault, Unavailable
from digm.ids import is_hex_id
from hub.api.addresses import Addresses, addresses_of
from hub.api.server import SAFE_HEADERS
from hub.api.tracks import track_details, track_json
from hub.pages.security import content_security_policy
from hub.pages.static import Preload
from hub.services import SERVICES
from hub.signalling import SIGNALLING
from hub.storage.catalogue import TrackEntry

HUES = 12
EMBED_HEIGHT = 200
HEADINGS = {400: "That did not work", 404: "Nothing here", 405: "Nothing here", 503: "Not now"}

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
        web.get("/embed/{track_root}", embed),
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
        "duration": clock_time(entry.duration_s),
        "iso_duration": f"PT{round(entry.duration_s)}S",
        "preview": None if entry.preview_s is None else f"{entry.preview_s} s",
        "hue": int(entry.track_root[:8], 16) % HUES,
        "initial": name[0].upper(),
    }


def render(
    template: str, request: web.Request, status: int = 200, is_embeddable: bool = False, **values: Any
) -> web.Response:
    """A page with its headers."""
    addresses = addresses_of(request, request.app[SERVICES].settings)
    text = _templates.get_template(template).render(hub=addresses.hub, **values)
    headers = {
        **SAFE_HEADERS,
        hdrs.CACHE_CONTROL: "no-cache",
        hdrs.CONTENT_SECURITY_POLICY: content_security_policy(addresses, is_embeddable),
    }
    return web.Response(text=text, status=status, content_type="text/html", headers=headers)


async def catalogue(request: web.Request) -> web.Response:
    """All tracks, newest first."""
    services = request.app[SERVICES]
    addresses = addresses_of(request, services.settings)
    return render(
        "catalogue.html", request, tracks=[_view(entry, addresses) for entry in await services.tracks()]
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
    homes = request.app[SIGNALLING].homes.signal_urls(entry.track_root)
    return _view(entry, addresses), track_details(entry, addresses, homes), addresses


async def track(request: web.Request) -> web.Response:
    """The page of one track: one player, and the player's parts on their way before it asks for them."""
    shown, details, addresses = await _track(request)
    static_files = request.app[SERVICES].static
    embed_code = (
        f'<iframe src="{addresses.hub}/embed/{shown["track_root"]}" width="100%" height="{EMBED_HEIGHT}" '
        'sandbox="allow-scripts" allow="autoplay" loading="lazy" frameborder="0" title="DIGM player"></iframe>'
    )
    return render(
        "track.html",
        request,
        track=shown,
        details=_details_json(details),
        embed_code=embed_code,
        # The manifest is on its way before the player's own code is there.
        preloads=[Preload(str(details["manifest_url"]), "preload", "fetch"), *static_files.modules()],
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
        track=shown,
        details=_details_json(details),
        preloads=static_files.modules(),
        player=static_files.player(),
    )


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
    return web.Response(text="User-agent: *\nDisallow: /api/\nDisallow: /embed/\n")
