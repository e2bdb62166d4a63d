"""The hub follows the chain, if there is one: one follower for the catalogue and for the operator's page."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import structlog
from aiohttp import web

from hub.bridge.bridge import BRIDGE
from hub.bridge.chain_catalogue import ChainCatalogue
from hub.chain.follower import ChainFollower
from hub.chain.handing_on import ask_deployments
from hub.chain.standings import standing_of_announced
from hub.services import SERVICES

log = structlog.get_logger()
AGAIN_S = 5.0
CHAIN: web.AppKey[ChainFollower] = web.AppKey("chain", ChainFollower)


def add_chain(app: web.Application) -> None:
    """Make the follower part of a hub; it runs as long as the hub does. After `add_bridge`."""
    bridge, settings = app[BRIDGE], app[SERVICES].settings
    peers = [address.rpartition("/p2p/")[2] for address in settings.backbone_bootstrap]

    async def ask_bootstrap(genesis: bytes) -> Sequence[bytes]:
        """Only the nodes that the operator named: others could name contracts of their own."""
        backbone = bridge.member.backbone if bridge.member is not None else None
        return await ask_deployments(backbone, peers, genesis) if backbone is not None else ()

    follower = app[CHAIN] = ChainFollower(settings, ask_bootstrap)

    def is_jailed(node: bytes) -> bool:
        said = bridge.directory.ledger.last_word(node)
        standing = standing_of_announced(follower.state, said) if said is not None else None
        return standing is not None and standing.is_jailed

    bridge.directory.is_jailed = is_jailed
    if bridge.member is not None:
        bridge.member.chain_standing = lambda said: standing_of_announced(follower.state, said)
    catalogue = ChainCatalogue(app[SERVICES], bridge, follower)

    async def running(_app: web.Application) -> AsyncIterator[None]:
        tasks = [
            asyncio.create_task(follower.run(), name="chain"),
            asyncio.create_task(_again_and_again(catalogue), name="catalogue from the chain"),
        ]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    app.cleanup_ctx.append(running)


async def _again_and_again(catalogue: ChainCatalogue) -> None:
    """The hub's own tracks need nothing of this: what breaks it is said, and it begins again."""
    while True:
        try:
            await catalogue.run()
        except Exception:
            log.exception("chain_catalogue_crashed", again_in_s=AGAIN_S)
        await asyncio.sleep(AGAIN_S)
