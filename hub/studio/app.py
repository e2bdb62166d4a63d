"""The studio's process: an application on loopback, its page, and its static files."""

import asyncio
import webbrowser
from pathlib import Path

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from digm.errors import DigmError
from hub.api.failures import failures_middleware
from hub.api.server import Runner, add_safe_headers
from hub.config import Settings
from hub.lifecycle import listen
from hub.pages.static import StaticFiles
from hub.publishing.identity import open_vault
from hub.publishing.staging import sweep_staging
from hub.studio import api, counter, safe
from hub.studio.door import HEADERS, Door
from hub.studio.room import ROOM, Room

log = structlog.get_logger()
LOOPBACK = "127.0.0.1"
DRAIN_S = 2.0
PAGE = Path(__file__).with_name("page.html")
STRANGER = Path(__file__).with_name("stranger.html")
DOOR: web.AppKey[Door] = web.AppKey("studio_door", Door)
_FILES: web.AppKey[StaticFiles] = web.AppKey("studio_static", StaticFiles)
# What an element of the page fetches by itself, without the page key; by names that nobody can guess.
_BY_COOKIE = ("/desk/", "/covers/")


def create_app(room: Room, door: Door) -> web.Application:
    """The studio, behind its door."""
    app = web.Application(middlewares=[failures_middleware(), _at_the_door])
    app[ROOM], app[DOOR], app[_FILES] = room, door, StaticFiles()
    app.add_routes(
        [
            web.get("/", page),
            web.get("/static/{name:.+}", static),
            *api.routes(),
            *counter.routes(),
            *safe.routes(),
        ]
    )
    app.on_response_prepare.append(_safe)
    app.on_response_prepare.append(add_safe_headers)
    return app


async def serve(settings: Settings, port: int, opens_browser: bool, stop: asyncio.Event) -> None:
    """Run until `stop` is set.

    Args:
        port: 0: a free one.
    Raises:
        CallerFault: `already_running`, `port_in_use`; as `open_vault`.
    """
    await asyncio.to_thread(sweep_staging, settings.data)
    vault, door = await asyncio.to_thread(open_vault, settings), Door()
    with vault:
        room = Room(settings, vault)
        async with room.open():
            runner = Runner(create_app(room, door), DRAIN_S)
            await runner.setup()
            try:
                door.port = await listen(runner, LOOPBACK, port)
                print(f"Open {door.url}", flush=True)
                if opens_browser:
                    await asyncio.to_thread(webbrowser.open, door.url)
                await stop.wait()
            finally:
                await runner.cleanup()


@web.middleware
async def _at_the_door(request: web.Request, handler: Handler) -> web.StreamResponse:
    door = request.app[DOOR]
    door.check_address(request)
    if request.path.startswith("/static/") or request.path == "/":
        return await handler(request)
    if request.path.startswith(_BY_COOKIE):
        door.check_cookie(request)
    else:
        door.check_page(request)
    return await handler(request)


async def page(request: web.Request) -> web.StreamResponse:
    """The page, for who has the cookie; the cookie, for who has the token."""
    door = request.app[DOOR]
    try:
        if (answer := door.let_in(request)) is not None:
            return answer
        door.check_cookie(request)
    except DigmError as fault:
        if fault.code != "no_token":
            raise
        return _html(STRANGER, 401)
    return _html(PAGE, 200)


def _html(path: Path, status: int) -> web.Response:
    headers = {hdrs.CACHE_CONTROL: "no-store"}
    return web.Response(text=path.read_text("utf-8"), status=status, content_type="text/html", headers=headers)


async def static(request: web.Request) -> web.StreamResponse:
    """A static file: nothing of the artist's is in it."""
    return await request.app[_FILES].answer(request, request.match_info["name"])


async def _safe(_request: web.Request, response: web.StreamResponse) -> None:
    for name, value in HEADERS.items():
        response.headers[name] = value
    # What other parts of DIGM give to any page, this one gives to none.
    response.headers.popall(hdrs.ACCESS_CONTROL_ALLOW_ORIGIN, None)
