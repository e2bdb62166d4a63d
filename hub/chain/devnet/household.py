"""One machine's artist and elder nodes on its devnet: keys, play money, stakes, and the demo on the chain.

Each step has a purpose of its own and is taken once, whenever it was cut off: what somebody has done with an
account since (unstaked, say) stays as it is.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import structlog

from digm.errors import CallerFault, DigmError, Unavailable
from digm.pinning import MONTH_S
from hub.backbone.identity import NodeIdentity
from hub.chain import keystore
from hub.chain.amounts import UNIT
from hub.chain.client import ChainClient
from hub.chain.deployment import FILE_NAME as DEPLOYMENT_FILE
from hub.chain.deployment import Deployment, contract, load_deployment, save_deployment
from hub.chain.devnet.demo import open_rich
from hub.chain.keystore import create_key
from hub.chain.opening import folder_of, open_deployed, open_rpc
from hub.chain.ordering import CopyTerms, allow, place_order, state_now
from hub.chain.passphrase import ask_passphrase, make_passphrase
from hub.chain.publishing import bind_artist, publish_track
from hub.chain.staking import CLASSES
from hub.config import Settings
from hub.publishing.identity import open_vault

log = structlog.get_logger()
LIGHT_WORK = 1 << 12
"""scrypt's N, as geth's light keys: the passphrase is random, and lies beside the key."""
GIFT_WEI, PARA_GIFT, STAKE_GIFT, STAKE = 100 * UNIT, 100_000 * UNIT, 5_000 * UNIT, 2_000 * UNIT
JOIN = "join"
THERE_WITHIN_S = 120.0
POLL_S = 0.2
# As long as the blueprint's example; the price is that of `digm publish --pin`.
DEMO_TERMS = (18 * MONTH_S, UNIT)


@dataclass(frozen=True)
class Household:
    """The settings of the artist's data folder, and of each node's."""

    artist: Settings
    nodes: tuple[Settings, ...]

    @classmethod
    def of(cls, settings: Settings, places: Sequence[Path]) -> "Household":
        nodes = (
            msgspec.structs.replace(settings, data=place, chain_passphrase=None, chain_rpc=_own(settings))
            for place in places
        )
        return cls(settings, tuple(nodes))

    def members(self) -> Iterator[Settings]:
        yield self.artist
        yield from self.nodes


def _own(settings: Settings) -> tuple[str, ...]:
    return (f"http://127.0.0.1:{settings.chain_port}",)


def make_key(settings: Settings) -> str:
    """The account of a data folder, which gets a key and a passphrase file if it has no key.

    Raises:
        as `create_key`, `make_passphrase`.
    """
    path = folder_of(settings) / keystore.FILE_NAME
    address = keystore.address_of(path)
    if address is not None:
        return address
    if not settings.chain_passphrase:
        make_passphrase(settings.data)
    return create_key(path, ask_passphrase(settings), work=LIGHT_WORK)


async def settle_in(household: Household, roots: Sequence[str]) -> dict[str, Any]:
    """Accounts with money on them, stakes of the nodes, the demo published and ordered.

    Args:
        roots: tracks of the artist's data folder that are not on the chain yet.
    Returns:
        the addresses: `rpc`, `registry`, `pinning`, `artist`, `nodes`.
    Raises:
        Unavailable: `devnet_missing`: no devnet with contracts within two minutes. What the chain refuses.
    """
    artist, *nodes = [make_key(one) for one in household.members()]
    deployed = await _contracts_there(household.artist)
    _hand_on(household, deployed)
    async with open_rpc(household.artist) as rpc, open_rich(rpc, folder_of(household.artist)) as rich:
        await _welcome(rich, deployed, artist, "para", PARA_GIFT)
        for address in nodes:
            await _welcome(rich, deployed, address, "digm", STAKE_GIFT)
    for node in household.nodes:
        await _joined(node)
    if roots:
        await _demo_on_chain(household, roots)
    return {
        "rpc": _own(household.artist)[0],
        "registry": deployed.addresses["registry"],
        "pinning": deployed.addresses["pinning"],
        "artist": artist,
        "nodes": nodes,
    }


async def _contracts_there(settings: Settings) -> Deployment:
    """The devnet is being started, and deploys, just now."""
    fault: DigmError = Unavailable("devnet_missing", "The devnet was not started.")
    try:
        async with asyncio.timeout(THERE_WITHIN_S):
            while True:
                try:
                    async with open_deployed(settings, with_key=False) as (_, deployed):
                        return deployed
                except (Unavailable, CallerFault) as error:
                    fault = error
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise fault from None


def _hand_on(household: Household, deployed: Deployment) -> None:
    """The nodes' folders get to know the contracts."""
    for node in household.nodes:
        path = folder_of(node) / DEPLOYMENT_FILE
        with contextlib.suppress(CallerFault):
            if load_deployment(path) == deployed:
                continue
        save_deployment(path, deployed)


async def _welcome(rich: ChainClient, deployed: Deployment, address: str, part: str, units: int) -> None:
    await rich.pay(f"welcome {address} with gas", address, GIFT_WEI)
    token, where = contract(part), deployed.addresses[part]
    await rich.transact(f"welcome {address} with {part}", token, where, "transfer", address, units)


async def _joined(node: Settings) -> None:
    """Stake, once: a node that was unstaked since stays so."""
    async with open_deployed(node, with_key=True) as (client, deployed):
        pinning, where = contract("pinning"), deployed.addresses["pinning"]
        if not client.sender.is_begun(JOIN):
            if (await client.call(pinning, where, "node", client.sender.address))["node_class"]:
                return  # by its operator's own command
            await allow(client, deployed, "digm", STAKE)
        key = NodeIdentity.load(node.data).node_key
        arguments = (CLASSES["elder"], deployed.addresses["digm"], STAKE, key)
        await client.transact(JOIN, pinning, where, "join", *arguments)


async def _demo_on_chain(household: Household, roots: Sequence[str]) -> None:
    async with open_deployed(household.artist, with_key=True) as (client, deployed):
        with open_vault(household.artist) as vault:
            await bind_artist(client, deployed, vault)
            for root in roots:
                said = await publish_track(client, deployed, household.artist.data, vault, root)
                if household.nodes:
                    terms = CopyTerms(len(household.nodes), *DEMO_TERMS)
                    pins = (await state_now(household.artist)).pins
                    await place_order(client, deployed, bytes.fromhex(said["track"][2:]), terms, pins)
