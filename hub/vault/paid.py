"""Whether somebody paid, asked of every server of the chain that answers.

What the follower read came from one of them, and a server could make an event up, for a buyer who is a friend
of its operator's, or put another listening key into one. So before a key is wrapped, each server is asked for
itself what the contract says, and for the event. One that is named alone is believed: name one of your own.
"""

import asyncio
from typing import TYPE_CHECKING

from digm.chain_sales import P256, PurchaseOnChain
from digm.errors import DigmError, PeerFault, Unavailable
from hub.chain import words
from hub.chain.client import ChainClient
from hub.chain.deployment import Deployment, contract
from hub.chain.opening import urls_of
from hub.chain.rpc import Rpc

if TYPE_CHECKING:
    from hub.config import Settings

WITHIN_S = 10.0


async def check_paid(settings: "Settings", deployed: Deployment, purchase: PurchaseOnChain) -> None:
    """See that a purchase waits, as it was told.

    Raises:
        PeerFault: `servers_differ`: one that answers knows no such purchase, or another one.
        Unavailable: `chain_unreachable`: none answers.
    """
    said = await asyncio.gather(*(_says(url, deployed, purchase) for url in urls_of(settings)))
    if False in said:
        raise PeerFault(
            "servers_differ",
            "A server of the chain knows nothing of a purchase that another one told of: no key is sent before "
            "they agree.",
        )
    if True not in said:
        raise Unavailable("chain_unreachable", "No server of the chain says whether somebody paid.")


async def _says(url: str, deployed: Deployment, purchase: PurchaseOnChain) -> bool | None:
    """None: it does not answer."""
    try:
        async with asyncio.timeout(WITHIN_S), Rpc([url]) as rpc:
            client = ChainClient(rpc)
            if await rpc.chain_id() != deployed.chain_id or await client.genesis() != deployed.genesis:
                return None
            found = await client.call(
                contract("sales"), deployed.addresses["sales"], "purchase", purchase.item, purchase.buyer
            )
            keys = await _listening_keys(rpc, deployed, purchase)
    except (TimeoutError, DigmError):
        return None
    told = (purchase.amount, purchase.deliver_before, purchase.token)
    # Where it is delivered by now the contract takes no other.
    return (found["amount"], found["deliver_before"], found["token"]) == told and purchase.buyer_key in keys


async def _listening_keys(rpc: Rpc, deployed: Deployment, purchase: PurchaseOnChain) -> list[bytes]:
    """To which keys it was bought, in its block. Raises as `Rpc.ask`."""
    sales, block = contract("sales"), hex(purchase.block)
    name = "PurchasedP256" if purchase.suite == P256 else "Purchased"
    buyer = bytes.fromhex(purchase.buyer[2:]).rjust(32, b"\0")
    wanted = {
        "fromBlock": block, "toBlock": block, "address": deployed.addresses["sales"],
        "topics": [words.data(sales.topic(name)), words.data(purchase.item), words.data(buyer)],
    }  # fmt: skip
    said = await rpc.ask("eth_getLogs", wanted)
    events = [sales.event(words.log_of(one)) for one in (said if isinstance(said, list) else [])]
    return [bytes(one.arguments["buyer_key"]) for one in events if one is not None]
