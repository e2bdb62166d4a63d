"""The artist process: it runs where the artist says so, holds the track keys, answers for them, delivers
them to who paid, and publishes what is dropped into the inbox."""

import asyncio
import contextlib
import time

import structlog

from digm.delivering import Terms
from digm.ids import short
from hub.chain.follower import ChainFollower
from hub.config import Settings
from hub.granting.inbox import Inbox
from hub.granting.issue import GrantIssuer
from hub.granting.plays import Plays
from hub.granting.vault_link import VaultLink
from hub.lifecycle import health_server
from hub.publishing.identity import open_vault, tracks_without_key
from hub.publishing.staging import sweep_staging
from hub.publishing.vault import Vault
from hub.storage.chunk_store import ChunkStore
from hub.vault.appointed import Sharing
from hub.vault.deliverer import Deliverer
from hub.vault.held import HeldKeys
from hub.vault.premium import Premium
from hub.vault.track_keys import AllTrackKeys, OwnTrackKeys

log = structlog.get_logger()


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run until `stop` is set.

    Raises:
        DigmError: the vault cannot be opened (wrong passphrase, damaged, missing beside tracks, unreadable).
    """
    await asyncio.to_thread(sweep_staging, settings.data)
    vault = await asyncio.to_thread(open_vault, settings)
    with vault:
        for entry in await asyncio.to_thread(tracks_without_key, vault, settings.data):
            log.warning("track_key_missing", track_root=short(entry.track_root), title=entry.title)
        await _serve(settings, vault, stop)


async def _serve(settings: Settings, vault: Vault, stop: asyncio.Event) -> None:
    issuer = GrantIssuer(vault, ChunkStore(settings.data), settings.grant_seconds)
    chain = ChainFollower(settings)
    plays = await asyncio.to_thread(Plays, settings.data)
    link = VaultLink(vault, issuer, settings.signal_url, Premium(settings, chain), plays.count)
    terms = Terms(settings.vault_margin_seconds, settings.vault_stand_in_seconds)
    own_keys = OwnTrackKeys(vault, ChunkStore(settings.data))
    track_keys = AllTrackKeys(own_keys, HeldKeys(vault, settings.data))
    deliverer = Deliverer(settings, chain, track_keys, terms)

    async def ready() -> dict[str, bool]:
        return {"vault_linked": link.is_linked}

    async with health_server(settings, settings.artist_port, ready) as port:
        log.info("artist_listening", host=settings.host, port=port)
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(link.run(), name="vault link"),
                tasks.create_task(Inbox(settings).run(time.monotonic), name="inbox"),
                tasks.create_task(chain.run(), name="chain"),
                tasks.create_task(plays.run(), name="plays"),
                tasks.create_task(deliverer.run(), name="deliverer"),
                tasks.create_task(Sharing(vault, settings.data).run(), name="second vaults"),
            ]
            await stop.wait()
            for task in running:
                task.cancel()
            for task in running:
                with contextlib.suppress(asyncio.CancelledError):
                    await task
