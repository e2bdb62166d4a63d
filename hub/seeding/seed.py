"""The process `digm seed`."""

import asyncio

import structlog

from hub.config import Settings
from hub.lifecycle import health_server
from hub.seeding.ice import offer_loopback, quicken_gathering
from hub.seeding.peer import SeedingPeer
from hub.seeding.sctp import quicken_retransmission
from hub.seeding.source import SeedSource
from hub.storage.catalogue import Catalogue

log = structlog.get_logger()


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Seed the data folder until `stop` is set, then drain."""
    offer_loopback(settings.ice_loopback)
    quicken_retransmission()
    quicken_gathering()
    catalogue = await asyncio.to_thread(Catalogue.open, settings.data)
    try:
        peer = SeedingPeer(settings, SeedSource.of_hub(settings, catalogue))
        async with health_server(settings, settings.seed_port, peer.ready) as port:
            log.info("seed_started", peer_id=peer.peer_id[:8], port=port)
            await peer.run(stop)
    finally:
        await asyncio.to_thread(catalogue.close)
