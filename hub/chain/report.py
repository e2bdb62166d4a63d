"""What `digm chain` shows: the chain, orders, nodes and events, as mappings of plain values."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from typing import Any

import msgspec

from digm.errors import CallerFault
from hub.chain import keystore
from hub.chain.amounts import say_amount
from hub.chain.client import ChainClient
from hub.chain.deployment import Deployment, check_deployment, contract, deployment_of
from hub.chain.journal import Step
from hub.chain.model import Event
from hub.chain.opening import checked_address, confirmations_of, folder_of
from hub.chain.rules import TOKENS
from hub.chain.state import FoundTrack
from hub.config import Settings

MOST_ORDERS = 10_000
_CLASSES = {0: "none", 1: "elder", 2: "cold"}


async def status_of(client: ChainClient, settings: Settings) -> dict[str, Any]:
    """The chain, the contracts, and what the key here has. Raises as `Rpc.ask`, `check_deployment`."""
    chain_id = await client.rpc.chain_id()
    found: dict[str, Any] = {
        "chain": chain_id,
        "newest block": await client.head(),
        "confirmations": confirmations_of(settings, chain_id),
    }
    deployed = None
    try:
        deployed = deployment_of(settings)
    except CallerFault as fault:
        if fault.code != "not_deployed":
            raise
        found["contracts"] = "none known here"
    if deployed is not None:
        await check_deployment(client, deployed)
        found |= deployed.addresses
    address = keystore.address_of(folder_of(settings) / keystore.FILE_NAME)
    found["key"] = address or "none"
    if address is not None:
        found["for gas"] = say_amount(await client.balance(address))
        for part in TOKENS if deployed is not None else ():
            assert deployed is not None
            held = await client.call(contract(part), deployed.addresses[part], "balanceOf", address)
            found[f"{part} held"] = say_amount(held)
    return found


def track_of(found: FoundTrack) -> dict[str, Any]:
    """A track on the chain."""
    said: dict[str, Any] = {
        name: value for name, value in asdict(found.said).items() if name not in ("is_withdrawn", "track")
    }
    return plain(said) | {"artist_key": found.artist_key.hex() if found.artist_key else None}  # type: ignore[no-any-return]


async def orders_of(client: ChainClient, deployed: Deployment) -> AsyncIterator[dict[str, Any]]:
    """The pin orders, newest first. Raises as `ChainClient.call`."""
    pinning, address = contract("pinning"), deployed.addresses["pinning"]
    count = await client.call(pinning, address, "order_count")
    for number in range(count, max(0, count - MOST_ORDERS), -1):
        order = await client.call(pinning, address, "order", number)
        yield {"order": number, **plain(order), "escrow": say_amount(order["escrow"])}


async def node_of(client: ChainClient, deployed: Deployment, address: str) -> dict[str, Any]:
    """A node's stake, conduct and challenge. Raises as `ChainClient.call`; CallerFault `bad_address`."""
    address = checked_address(address)
    pinning, where = contract("pinning"), deployed.addresses["pinning"]
    facts = await client.call(pinning, where, "node", address)
    found: dict[str, Any] = plain(facts) | {"node_class": _CLASSES.get(facts["node_class"], "?")}
    for name in ("stake", "leaving"):
        found[name] = say_amount(facts[name])
    if facts["has_open_challenge"]:
        found["challenge"] = plain(await client.call(pinning, where, "challenge", address))
    return found


def event_json(step: Step, event: Event, in_words: Sequence[str]) -> str:
    """One line for programs."""
    said = {
        "sequence": step.sequence,
        "is_undone": step.is_undone,
        "contract": event.contract,
        "event": event.name,
        "arguments": plain(event.arguments),
        "block": event.log.block,
        "block_hash": event.log.block_hash,
        "transaction": event.log.transaction_hash,
        "log_index": event.log.index,
        "words": in_words,
    }
    return msgspec.json.encode(said).decode()


def plain(value: Any) -> Any:
    """Bytes as hex; numbers that JSON readers would round, as text."""
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, int) and abs(value) >= 1 << 53:
        return str(value)
    return value
