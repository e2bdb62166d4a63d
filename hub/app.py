"""The hub's process: one aiohttp application with pages, API, signalling and the vault link."""

import asyncio
import gc
from collections.abc import AsyncIterator

import structlog
from aiohttp import web

from hub.api import tracks as api
from hub.api.chain import add_chain_api
from hub.api.failures import failures_middleware
from hub.api.fresh_index import add_fresh_index
from hub.api.nodes import add_nodes
from hub.api.pins import add_pins
from hub.api.reasons import reasons
from hub.api.receipts import add_receipts
from hub.api.reports import add_reports
from hub.api.sales import add_sales
from hub.api.server import Runner, add_safe_headers
from hub.api.sources import add_sources
from hub.bridge.bridge import BRIDGE, add_bridge
from hub.bridge.chain import add_chain
from hub.config import Settings
from hub.granting.links import VaultLinks
from hub.granting.rate import RateLimit
from hub.lifecycle import healthz, listen, metrics, readiness_response
from hub.overview.overview import add_overview
from hub.pages import music, operator, views
from hub.pages.static import StaticFiles
from hub.readiness import Readiness
from hub.services import SERVICES, Services
from hub.signalling import add_signalling
from hub.signalling.tokens import load_swarm_secret
from hub.storage.catalogue import Catalogue
from hub.storage.chunk_store import ChunkStore
from hub.storage.listed import load_listed

log = structlog.get_logger()
READINESS: web.AppKey[Readiness] = web.AppKey("readiness", Readiness)
MAX_BODY_BYTES = 64 * 1024
DRAIN_S = 5.0
# The default thresholds pause for up to 230 ms at ten thousand sockets; with these it was 30 ms.
GC_THRESHOLDS = (50_000, 50, 1000)


def create_app(settings: Settings, static: StaticFiles | None = None) -> web.Application:
    """Build the hub. Opens the catalogue; blocking, so call it before the loop is busy.

    Args:
        static: where static files come from; the project's folder unless a test says otherwise.
    Raises:
        DigmError: the data folder or the catalogue cannot be used.
    """
    app = web.Application(middlewares=[failures_middleware(views.html_problem)], client_max_size=MAX_BODY_BYTES)
    services = Services(
        settings=settings,
        catalogue=Catalogue.open(settings.data),
        store=ChunkStore(settings.data),
        vaults=VaultLinks(),
        static=static or StaticFiles(),
        grant_rate=RateLimit(settings.grants_per_minute),
        swarm_secret=load_swarm_secret(settings.data),
        listed=load_listed(settings.data),
    )
    app[SERVICES] = services
    app.add_routes(views.routes())
    app.add_routes(api.routes())
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", _readyz), web.get("/metrics", metrics)])
    app.on_response_prepare.append(add_safe_headers)
    app.add_routes(operator.routes())
    app.add_routes(music.routes())
    add_signalling(app, settings)
    add_reports(app)
    add_receipts(app)
    add_bridge(app)
    app[READINESS] = Readiness(services, app[BRIDGE])
    add_chain(app)
    add_sources(app)
    add_pins(app)
    add_fresh_index(app)
    add_overview(app)
    add_nodes(app)
    add_chain_api(app)
    add_sales(app)
    app.on_shutdown.append(_close_links)
    app.cleanup_ctx.append(_catalogue_open)
    return app


async def _readyz(request: web.Request) -> web.Response:
    conditions = await request.app[READINESS].conditions()
    return readiness_response(conditions, await reasons(request.app[SERVICES], request.app[BRIDGE], conditions))


async def _close_links(app: web.Application) -> None:
    await app[SERVICES].vaults.close()


async def _catalogue_open(app: web.Application) -> AsyncIterator[None]:
    yield
    await asyncio.to_thread(app[SERVICES].catalogue.close)


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run the hub until `stop` is set, then drain."""
    app = await asyncio.to_thread(create_app, settings)
    if app[SERVICES].static.assets() is None:
        log.warning("player_not_built", remedy="npm run build")
    runner = Runner(app, DRAIN_S)
    await runner.setup()
    try:
        port = await listen(runner, settings.host, settings.port)
        log.info("hub_listening", host=settings.host, port=port)
        # What there is now stays: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        await stop.wait()
    finally:
        await runner.cleanup()
