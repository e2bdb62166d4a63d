"""Pin orders with escrow: what copies cost, whether the account can pay, and placing each order once.

An order is placed once for as long as it runs: whoever asks again, also after kill -9, gets the same one.
"""

import time
from dataclasses import dataclass

from digm.chain_pins import ChainPins, PinOrderOnChain
from digm.errors import CallerFault
from hub.chain.amounts import say_amount
from hub.chain.client import ChainClient
from hub.chain.deployment import Deployment, contract, deployment_of
from hub.chain.opening import open_reader
from hub.chain.picture import Picture
from hub.chain.state import ChainState
from hub.chain.words import lie
from hub.config import Settings

GIB, DAY_S, WHOLE_BPS = 1 << 30, 86_400, 10_000  # as `Pinning` has them
MOST_PRICE = 1 << 120
MOST_APPROVALS = 3


@dataclass(frozen=True)
class CopyTerms:
    """What is ordered of one track.

    Attributes:
        price: PARA (10^-18) for a GiB and day of one copy.
    """

    replicas: int
    duration_s: int
    price: int


@dataclass(frozen=True)
class Placed:
    """An order that runs. `transaction`: None: it was placed before."""

    order_id: int
    ends_at: int
    escrow: int
    replicas: int
    transaction: str | None


async def cost_of(client: ChainClient, deployed: Deployment, byte_size: int, terms: CopyTerms) -> int:
    """What an order takes from the account, fee included, as `Pinning.quote` counts it.

    Args:
        byte_size: of the track; it need not be on the chain yet.
    Raises:
        CallerFault: `bad_price`; as `ChainClient.call`.
    """
    rules = await client.call(contract("pinning"), deployed.addresses["pinning"], "rules")
    if not rules["min_price"] <= terms.price <= MOST_PRICE:
        least = say_amount(rules["min_price"])
        raise CallerFault("bad_price", f"The contract takes prices from {least} PARA for a GiB and day on.")
    if terms.duration_s < rules["min_duration_s"]:
        raise CallerFault("bad_duration", f"The contract takes orders from {rules['min_duration_s']} s on.")
    rate = max(byte_size, rules["min_pin_bytes"]) * terms.price // (GIB * DAY_S)
    cost = rate * terms.replicas * terms.duration_s
    return int(cost + cost * rules["fee_bps"] // WHOLE_BPS)


async def check_funds(client: ChainClient, deployed: Deployment, needed: int) -> None:
    """Raises CallerFault `not_enough_para`, before anything is sent; as `ChainClient.call`."""
    account = client.sender.address
    held = await client.call(contract("para"), deployed.addresses["para"], "balanceOf", account)
    if held < needed:
        raise CallerFault(
            "not_enough_para",
            f"The copies cost {say_amount(needed)} PARA, and {account} has {say_amount(held)}: nothing was "
            "sent. Order fewer copies, for a shorter time or at a lower --price, or get PARA "
            "(on the devnet: digm chain fund).",
            needed=needed,
            held=held,
        )


async def place_order(
    client: ChainClient, deployed: Deployment, track: bytes, terms: CopyTerms, pins: ChainPins | None = None
) -> Placed:
    """Order copies and put their price into escrow.

    Args:
        track: its id on the chain.
        pins: what the chain says of orders; one of this account that runs is not placed again. None: it is.
    Raises:
        CallerFault: `not_enough_para`; as `ChainClient.transact`. PeerFault: `rpc_lies`.
    """
    name = f"order {track.hex()}"
    begun = client.sender.begun(name)
    if begun is not None:
        placed = await _send(client, deployed, begun, track, terms)
        order = await client.call(contract("pinning"), deployed.addresses["pinning"], "order", placed.order_id)
        if not order["is_cancelled"] and order["ends_at"] > await client.time():
            return placed
    if pins is not None:
        one = running_order(pins, track, client.sender.address, await client.time())
        if one is not None:
            return Placed(one.order_id, one.ends_at, one.escrow, one.replicas, None)
    cost, fee = await client.call(
        contract("pinning"), deployed.addresses["pinning"], "quote", track, *_numbers(terms)
    )
    await check_funds(client, deployed, cost + fee)
    await allow(client, deployed, "para", cost + fee)
    return await _send(client, deployed, client.sender.purpose(name), track, terms)


def running_order(pins: ChainPins, track: bytes, owner: str, now_s: int) -> PinOrderOnChain | None:
    """The latest order of somebody's for a track that goes on."""
    for one in reversed(pins.running(now_s)):
        if one.track == track and one.owner == owner and not one.is_cancelled:
            return one
    return None


async def _send(
    client: ChainClient, deployed: Deployment, purpose: str, track: bytes, terms: CopyTerms
) -> Placed:
    pinning, address = contract("pinning"), deployed.addresses["pinning"]
    receipt = await client.transact(purpose, pinning, address, "place_order", track, *_numbers(terms))
    for log in receipt.logs:
        event = pinning.event(log) if log.address == address else None
        if event is not None and event.name == "PinOrdered":
            said = event.arguments
            return Placed(
                said["order_id"], said["ends_at"], said["escrow"], said["replicas"], receipt.transaction_hash
            )
    raise lie(f"the transaction {receipt.transaction_hash} placed no order")


def _numbers(terms: CopyTerms) -> tuple[int, int, int]:
    return terms.replicas, terms.duration_s, terms.price


async def allow(client: ChainClient, deployed: Deployment, part: str, units: int) -> None:
    """Let `Pinning` take so much of a token. Raises as `ChainClient.transact`."""
    token, where, pinning = contract(part), deployed.addresses[part], deployed.addresses["pinning"]
    name = f"approve {units} {part}"
    # What was begun may have been done, and used up: then once more.
    for _ in range(MOST_APPROVALS):
        allowed = await client.call(token, where, "allowance", client.sender.address, pinning)
        if allowed >= units:
            return
        await client.transact(client.sender.purpose(name), token, where, "approve", pinning, units)


async def state_now(settings: Settings) -> ChainState:
    """What the chain says of tracks, orders and nodes, as far as it counts.

    Raises:
        as `open_reader`, `EventReader.catch_up`.
    """
    deployed = deployment_of(settings)
    async with open_reader(settings) as reader:
        await reader.catch_up_patiently()
        picture = Picture(deployed)
        picture.look(reader)
        return picture.state


def say_until(ends_at: int) -> str:
    """The day on which an order ends."""
    return time.strftime("%Y-%m-%d", time.gmtime(ends_at))
