"""The process `digm relay`: one of two engines behind one set of settings, with health and metrics."""

import asyncio

import structlog

from hub.config import Settings
from hub.lifecycle import health_server
from hub.relay.coturn import Coturn
from hub.relay.embedded import EmbeddedRelay
from hub.relay.place import find_place

log = structlog.get_logger()


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Relay until `stop` is set.

    Raises:
        CallerFault: `bad_setting`, `port_in_use`, `cannot_listen`, `bad_certificate`, `coturn_missing`.
        Unavailable: `coturn_failed`.
    """
    place = await find_place(settings)
    engine = Coturn(settings, place) if settings.turn_engine == "coturn" else EmbeddedRelay(settings, place)
    async with health_server(settings, settings.relay_port, engine.ready) as port:
        log.info("relay_started", engine=settings.turn_engine, port=port)
        await engine.run(stop)
