"""The artist process: it runs where the artist says so, holds the track keys, answers for them, and publishes
what is dropped into the inbox."""

import asyncio
import contextlib
import time

import structlog

from hub.config import Settings
from hub.granting.inbox import Inbox
from hub.granting.issue import GrantIssuer
from hub.granting.vault_link import VaultLink
from hub.lifecycle import health_server
from hub.publishing.staging import sweep_staging
from hub.publishing.vault import FILE_NAME as VAULT_FILE
from hub.publishing.vault import Vault
from hub.storage.chunk_store import ChunkStore

log = structlog.get_logger()


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run until `stop` is set.

    Raises:
        DigmError: the vault cannot be opened (wrong passphrase, damaged, unreadable).
    """
    await asyncio.to_thread(sweep_staging, settings.data)
    vault = await asyncio.to_thread(Vault.open, settings.data / VAULT_FILE, settings.vault_passphrase)
    with vault:
        await _serve(settings, vault, stop)


async def _serve(settings: Settings, vault: Vault, stop: asyncio.Event) -> None:
    issuer = GrantIssuer(vault, ChunkStore(settings.data), settings.grant_seconds)
    link = VaultLink(vault, issuer, settings.signal_url)

    async def ready() -> dict[str, bool]:
        return {"vault_linked": link.is_linked}

    async with health_server(settings, settings.artist_port, ready) as port:
        log.info("artist_listening", host=settings.host, port=port)
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(link.run(), name="vault link"),
                tasks.create_task(Inbox(settings).run(time.monotonic), name="inbox"),
            ]
            await stop.wait()
            for task in running:
                task.cancel()
            for task in running:
                with contextlib.suppress(asyncio.CancelledError):
                    await task
