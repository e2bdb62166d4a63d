"""What a node does with its money: stake, ask it back, collect what is owed."""

import time
from pathlib import Path
from typing import Any

from digm.errors import CallerFault
from hub.chain.amounts import read_amount, say_amount
from hub.chain.client import ChainClient
from hub.chain.deployment import Deployment, contract
from hub.chain.ordering import allow
from hub.chain.rules import STAKE_TERMS

CLASSES = {"elder": 1, "cold": 2}
NO_KEY = bytes(32)


async def stake(
    client: ChainClient, deployed: Deployment, amount: str, part: str, node_class: str, node_key: bytes = NO_KEY
) -> dict[str, Any]:
    """Become a node, or stake more as one.

    Args:
        amount: in whole tokens. part: which token (`STAKE_TERMS`). node_class: of `CLASSES`.
        node_key: Ed25519 key of the node's announcements.
    Raises:
        CallerFault: `bad_amount`, `bad_option`; as `ChainClient.transact`.
    """
    units, pinning, address = read_amount(amount), contract("pinning"), deployed.addresses["pinning"]
    if part not in STAKE_TERMS or node_class not in CLASSES:
        raise CallerFault("bad_option", f"A stake is in {', '.join(STAKE_TERMS)}; a node is elder or cold.")
    facts = await client.call(pinning, address, "node", client.sender.address)
    is_new = not facts["stake"] and not facts["leaving"]
    token = deployed.addresses[part] if is_new else facts["token"]
    if token != deployed.addresses[part]:
        raise CallerFault("bad_option", f"This node's stake is in the token {token}, not in {part}.")
    purpose = client.sender.purpose
    await allow(client, deployed, part, units)
    name: str = "add_stake"
    arguments: list[Any] = [units]
    if is_new:
        name, arguments = "join", [CLASSES[node_class], token, units, node_key]
    receipt = await client.transact(purpose(f"stake {units} {part}"), pinning, address, name, *arguments)
    facts = await client.call(pinning, address, "node", client.sender.address)
    return {"stake": f"{say_amount(facts['stake'])} {part}", "transaction": receipt.transaction_hash}


def node_key_of(data: Path) -> bytes:
    """The key of the node that lives in a data folder; `NO_KEY` where none does."""
    from hub.backbone.identity import FILE_NAME, NodeIdentity

    return NodeIdentity.load(data).node_key if (data / "secrets" / FILE_NAME).exists() else NO_KEY


async def ask_back(client: ChainClient, deployed: Deployment, amount: str) -> dict[str, Any]:
    """Ask for stake back. Raises CallerFault `bad_amount`; as `ChainClient.transact`."""
    pinning, address = contract("pinning"), deployed.addresses["pinning"]
    units = read_amount(amount)
    purpose = client.sender.purpose(f"unstake {units}")
    receipt = await client.transact(purpose, pinning, address, "request_unstake", units)
    facts = await client.call(pinning, address, "node", client.sender.address)
    return {
        "leaving": say_amount(facts["leaving"]),
        "ready_at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(facts["leaving_at"])),
        "transaction": receipt.transaction_hash,
    }


async def collect(client: ChainClient, deployed: Deployment) -> dict[str, str]:
    """Fetch what is owed.

    Returns:
        amounts by token; empty if nothing is owed.
    Raises:
        as `ChainClient.transact`.
    """
    pinning, address, who = contract("pinning"), deployed.addresses["pinning"], client.sender.address
    facts, found, purpose = await client.call(pinning, address, "node", who), {}, client.sender.purpose
    if facts["leaving"] and facts["leaving_at"] <= await client.time():
        await client.transact(purpose("collect stake"), pinning, address, "collect_stake")
        found["stake"] = say_amount(facts["leaving"])
    for part in ("para", *STAKE_TERMS):
        token = deployed.addresses[part]
        owed = await client.call(pinning, address, "credits", token, who)
        if owed:
            await client.transact(purpose(f"withdraw {part}"), pinning, address, "withdraw", token)
            found[part] = say_amount(owed)
    return found
