"""DIGM's contracts on a fresh devnet, and play money to try them out, from the first demo account."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from digm.errors import CallerFault
from hub.chain.amounts import UNIT
from hub.chain.client import ChainClient
from hub.chain.deployment import FILE_NAME, Deployment, check_deployment, contract, deploy, load_deployment
from hub.chain.devnet.accounts import demo_accounts
from hub.chain.devnet.server import CHAIN_ID
from hub.chain.keystore import Signer
from hub.chain.outbox import Outbox
from hub.chain.rpc import Rpc
from hub.chain.rules import TOKENS, load_rules
from hub.chain.sender import Patience, Sender

log = structlog.get_logger()
GIFT = 100_000 * UNIT
GIFT_WEI = 100 * UNIT
PATIENCE = Patience(poll_s=0.05)


@asynccontextmanager
async def open_rich(rpc: Rpc, folder: Path) -> AsyncIterator[ChainClient]:
    """The demo account that has everything.

    Raises:
        CallerFault: `not_devnet`: this chain is none.
    """
    chain_id = await rpc.chain_id()
    if chain_id != CHAIN_ID:
        raise CallerFault("not_devnet", f"Money is given away on the devnet alone; this is chain {chain_id}.")
    signer = Signer(demo_accounts()[0])
    outbox = Outbox(folder, f"{chain_id}:{await ChainClient(rpc).genesis()}", signer.address)
    try:
        yield ChainClient(rpc, Sender(rpc, signer, outbox, PATIENCE))
    finally:
        outbox.close()


async def put_contracts(url: str, folder: Path) -> Deployment:
    """Deploy, unless it is done; what was begun is gone on with.

    Args:
        folder: where the deployment and the outbox are kept.
    Raises:
        as `deploy`, `load_deployment`, `check_deployment`.
    """
    path = folder / FILE_NAME
    async with Rpc([url]) as rpc, open_rich(rpc, folder) as client:
        if not path.exists():
            return await deploy(client, path, load_rules("devnet"))
        deployed = load_deployment(path)
        await check_deployment(client, deployed)  # the chain may have been thrown away, and begun anew
        if deployed.missing:
            return await deploy(client, path, load_rules("devnet"))
        return deployed


async def give(rpc: Rpc, deployed: Deployment, folder: Path, address: str) -> None:
    """Coins for gas, and tokens, to an account. Raises as `open_rich`, `ChainClient.transact`."""
    async with open_rich(rpc, folder) as client:
        purpose = client.sender.purpose
        await client.pay(purpose(f"gas for {address}"), address, GIFT_WEI)
        for part in TOKENS:
            token, where = contract(part), deployed.addresses[part]
            if await client.call(token, where, "balanceOf", client.sender.address) >= GIFT:
                await client.transact(purpose(f"{part} for {address}"), token, where, "transfer", address, GIFT)
