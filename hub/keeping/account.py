"""The node's account on the chain: opened without anybody at a terminal, and used through the outbox."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from digm.errors import CallerFault
from hub.chain.client import ChainClient
from hub.chain.deployment import Deployment, check_deployment
from hub.chain.keystore import FILE_NAME, Signer, open_key
from hub.chain.opening import (
    DEVNET_CHAIN_ID,
    DEVNET_POLL_S,
    POLL_S,
    confirmations_of,
    folder_of,
    urls_of,
)
from hub.chain.outbox import Outbox
from hub.chain.passphrase import ask_passphrase
from hub.chain.rpc import Rpc
from hub.chain.sender import Patience, Sender
from hub.config import Settings

DEARER_AFTER_S = 30.0
"""An answer that comes late is worth nothing, and whatever is stuck holds up what follows it."""


def has_key(settings: Settings) -> bool:
    """Whether the node has an account at all."""
    return (folder_of(settings) / FILE_NAME).exists()


@asynccontextmanager
async def open_account(settings: Settings, deployed: Deployment) -> AsyncIterator[ChainClient]:
    """A client with the node's key.

    Raises:
        CallerFault: `no_key`, `no_passphrase`, `wrong_passphrase`, `wrong_chain`, `not_deployed`, ...
        As `Rpc.ask`, `Outbox`.
    """
    signer = await asyncio.to_thread(_signer, settings)
    async with Rpc(urls_of(settings)) as rpc:
        reader = ChainClient(rpc)
        await check_deployment(reader, deployed)
        outbox = Outbox(folder_of(settings), f"{deployed.chain_id}:{deployed.genesis}", signer.address)
        patience = Patience(
            confirmations=confirmations_of(settings, deployed.chain_id),
            poll_s=DEVNET_POLL_S if deployed.chain_id == DEVNET_CHAIN_ID else POLL_S,
            dearer_after_s=DEARER_AFTER_S,
        )
        try:
            yield ChainClient(rpc, Sender(rpc, signer, outbox, patience))
        finally:
            outbox.close()


def _signer(settings: Settings) -> Signer:
    """Takes a third of a second, and the import of eth-account longer: in a thread."""

    def nobody(_question: str) -> str:
        raise CallerFault(
            "no_passphrase",
            "The node's key needs a passphrase: set DIGM_CHAIN_PASSPHRASE, or write it into "
            "secrets/chain-passphrase in its folder.",
        )

    return open_key(folder_of(settings) / FILE_NAME, ask_passphrase(settings, ask=nobody))
