"""From settings to a client: which servers, which key, which outbox. For commands and processes."""

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from digm.errors import CallerFault, Unavailable
from hub.chain.client import ChainClient
from hub.chain.deployment import Deployment, check_deployment, deployment_of
from hub.chain.events import EventReader
from hub.chain.journal import FILE_NAME as JOURNAL_FILE
from hub.chain.journal import Journal
from hub.chain.keystore import FILE_NAME as KEY_FILE
from hub.chain.keystore import open_key
from hub.chain.outbox import Outbox
from hub.chain.passphrase import ask_passphrase
from hub.chain.rpc import Rpc
from hub.chain.sender import Patience, Sender
from hub.config import Settings

FOLDER = "chain"
DEVNET_PORT, PORT_FILE = 8545, "devnet-port"
DEVNET_CHAIN_ID = 31_337
CONFIRMATIONS = 12
DEVNET_POLL_S, POLL_S = 0.1, 4.0
DEVNET_GIFT_WEI = 100 * 10**18


def folder_of(settings: Settings) -> Path:
    """Where everything about the chain lies: key, outbox, journal, deployment, devnet."""
    return settings.data / FOLDER


def checked_address(text: str) -> str:
    """An address that somebody typed, with its checksum. Raises CallerFault `bad_address`."""
    from eth_utils.address import is_address, to_checksum_address

    if not is_address(text):  # one in mixed case has to have the right checksum (EIP-55)
        raise CallerFault("bad_address", f"{text!r:.80} is no address: that is 0x and 40 hex digits.")
    return str(to_checksum_address(text))


def confirmations_of(settings: Settings, chain_id: int) -> int:
    """How many blocks make an event count."""
    if settings.chain_confirmations:
        return settings.chain_confirmations
    return 1 if chain_id == DEVNET_CHAIN_ID else CONFIRMATIONS


def urls_of(settings: Settings) -> tuple[str, ...]:
    """The chain's servers; the devnet of this machine where none are named."""
    return settings.chain_rpc or (f"http://127.0.0.1:{devnet_port(settings)}",)


def devnet_port(settings: Settings) -> int:
    """Where the devnet listens: on the port that was set, else on the one that this folder's told."""
    if settings.chain_port == DEVNET_PORT:
        with contextlib.suppress(OSError, ValueError):
            return int((folder_of(settings) / PORT_FILE).read_text()[:5])
    return settings.chain_port


@asynccontextmanager
async def open_rpc(settings: Settings) -> AsyncIterator[Rpc]:
    """The chain's servers; the devnet of this machine where none are named.

    Raises:
        CallerFault: `bad_setting`. Unavailable: `devnet_missing`; as `Rpc.ask`.
    """
    async with Rpc(urls_of(settings)) as rpc:
        try:
            await rpc.chain_id()
        except Unavailable as fault:
            if settings.chain_rpc:
                raise
            raise Unavailable(
                "devnet_missing",
                "No chain answers: start one with digm chain devnet, or name one with DIGM_CHAIN_RPC.",
            ) from fault
        yield rpc


@asynccontextmanager
async def open_client(settings: Settings, with_key: bool) -> AsyncIterator[ChainClient]:
    """A client; with the key, if it is to write.

    Raises:
        CallerFault: as `open_key`, `ask_passphrase`. As `open_rpc`, `Outbox`.
    """
    signer = None
    if with_key:
        path = folder_of(settings) / KEY_FILE
        if not path.exists():  # before anybody is asked for a passphrase
            raise CallerFault("no_key", f"There is no key in {path}: digm chain key makes one.")
        signer = open_key(path, ask_passphrase(settings))
    async with open_rpc(settings) as rpc:
        reader = ChainClient(rpc)
        if signer is None:
            yield reader
            return
        chain_id = await rpc.chain_id()
        outbox = Outbox(folder_of(settings), f"{chain_id}:{await reader.genesis()}", signer.address)
        patience = Patience(
            confirmations=confirmations_of(settings, chain_id),
            poll_s=DEVNET_POLL_S if chain_id == DEVNET_CHAIN_ID else POLL_S,
        )
        try:
            yield ChainClient(rpc, Sender(rpc, signer, outbox, patience))
        finally:
            outbox.close()


@asynccontextmanager
async def open_deployed(settings: Settings, with_key: bool) -> AsyncIterator[tuple[ChainClient, Deployment]]:
    """A client and the contracts, which are there.

    Raises:
        as `open_client`, `deployment_of`, `check_deployment`.
    """
    deployed = deployment_of(settings)
    async with open_client(settings, with_key) as client:
        await check_deployment(client, deployed)
        yield client, deployed


def open_journal(settings: Settings, deployed: Deployment) -> Journal:
    """What was read of these contracts' events. Blocks; raises as `Journal`."""
    addresses = ",".join(sorted(deployed.addresses.values()))
    return Journal(folder_of(settings) / JOURNAL_FILE, f"{deployed.genesis}:{addresses}")


@asynccontextmanager
async def open_reader(settings: Settings) -> AsyncIterator[EventReader]:
    """The contracts' events, read from where they were read to. Raises as `open_deployed`, `Journal`."""
    async with open_deployed(settings, with_key=False) as (client, deployed):
        confirmations = confirmations_of(settings, deployed.chain_id)
        journal = open_journal(settings, deployed)
        poll_s = DEVNET_POLL_S if deployed.chain_id == DEVNET_CHAIN_ID else POLL_S
        try:
            yield EventReader(
                client.rpc, journal, deployed.contracts(), deployed.first_block, confirmations, poll_s=poll_s
            )
        finally:
            journal.close()


async def fund_on_devnet(client: ChainClient, address: str) -> None:
    """Give an account money for gas, where it grows on trees. Raises as `Rpc.ask`."""
    if await client.rpc.chain_id() != DEVNET_CHAIN_ID or await client.balance(address):
        return
    rich, *_ = await client.rpc.ask("eth_accounts")
    gift = {"from": rich, "to": address, "value": hex(DEVNET_GIFT_WEI)}
    await client.rpc.ask("eth_sendTransaction", gift)
