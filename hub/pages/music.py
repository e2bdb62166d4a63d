"""The page of what a listener owns, and its service worker.

All of it is the browser's: the hub sends the same page to everybody and learns nothing about who owns what.
"""

from aiohttp import hdrs, web

from hub.pages.views import render
from hub.services import SERVICES


def routes() -> list[web.AbstractRouteDef]:
    """The page and the worker's script."""
    return [web.get("/music", page), web.get("/music-worker.js", worker)]


async def page(request: web.Request) -> web.Response:
    """The frame that static/music.js fills."""
    files = request.app[SERVICES].static
    return render("music.html", request, has_player=True, player=files.player(), preloads=files.modules())


async def worker(request: web.Request) -> web.Response:
    """A service worker may answer for what lies below its own address, hence it is not in /static/."""
    answer = await request.app[SERVICES].static.answer(request, "music-worker.js")
    # A worker has a policy of its own: it fetches what its page fetches, from gateways too.
    answer.headers[hdrs.CONTENT_SECURITY_POLICY] = "default-src 'none'; connect-src 'self' http: https:"
    return answer
