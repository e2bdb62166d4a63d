"""An artist with an account on a devnet: publishes, revises and withdraws what lies in a data folder."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from eth_account import Account

from digm.ids import from_hex
from hub.chain.client import ChainClient
from hub.chain.deployment import FILE_NAME, Deployment, contract, load_deployment
from hub.chain.keystore import Signer
from hub.chain.outbox import Outbox
from hub.chain.publishing import bind_artist, publish_track
from hub.chain.rpc import Rpc
from hub.chain.sender import Patience, Sender
from hub.publishing.vault import FILE_NAME as VAULT
from hub.publishing.vault import Vault
from tests.hub.chain.devnet import DevnetProcess

QUICK = Patience(poll_s=0.02, give_up_after_s=60)


def contracts_on(devnet: DevnetProcess) -> Deployment:
    """Of a devnet that was started with them: they are deployed while it runs already."""
    path, deadline = devnet.data / "chain" / FILE_NAME, time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, "the contracts were not deployed"
        time.sleep(0.05)
    return load_deployment(path)


class Publisher:
    """Made by `publisher`."""

    def __init__(self, data: Path, client: ChainClient, deployed: Deployment) -> None:
        self.data, self.client, self.deployed = data, client, deployed
        self.account = client.sender.address

    async def bind(self) -> None:
        with Vault.open(self.data / VAULT) as vault:
            await bind_artist(self.client, self.deployed, vault)

    async def publish(self, root: str) -> bytes:
        """Returns the track's id on the chain."""
        with Vault.open(self.data / VAULT) as vault:
            said = await publish_track(self.client, self.deployed, self.data, vault, root)
        return from_hex(said["track"][2:])

    async def tell(self, purpose: str, function: str, *arguments: object) -> None:
        """Any call of the registry, once for each purpose."""
        address = self.deployed.addresses["registry"]
        await self.client.transact(purpose, contract("registry"), address, function, *arguments)

    async def withdraw(self, track: bytes) -> None:
        await self.tell(f"withdraw {track.hex()}", "withdraw", track)


@asynccontextmanager
async def publisher(devnet: DevnetProcess, data: Path) -> AsyncIterator[Publisher]:
    """With a fresh account that has money for gas."""
    account = Account.create()
    rich = devnet.ask("eth_accounts")["result"][0]
    gift = {"from": rich, "to": account.address, "value": hex(10**19)}
    assert "result" in devnet.ask("eth_sendTransaction", gift)
    (data / "chain").mkdir(parents=True, exist_ok=True)
    outbox = Outbox(data / "chain", "test", account.address)
    try:
        async with Rpc([devnet.url]) as rpc:
            client = ChainClient(rpc, Sender(rpc, Signer(account), outbox, QUICK))
            yield Publisher(data, client, contracts_on(devnet))
    finally:
        outbox.close()
