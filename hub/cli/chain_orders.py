"""`digm chain`: orders of copies, with escrow."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.chain_common import AsJson, Duration, Months, Order, Track, chain, run, seconds_of, show, tell

if TYPE_CHECKING:
    from hub.chain.client import ChainClient
    from hub.chain.deployment import Deployment
    from hub.config import Settings

Price = Annotated[str, typer.Option(help="PARA for a GiB and day of one copy.")]
PRICE = "1"


@chain.command("pins")
def pins(as_json: AsJson = False) -> None:
    """Show the pin orders on the chain."""

    async def work(settings: "Settings") -> None:
        from hub.chain.opening import open_deployed
        from hub.chain.report import orders_of

        async with open_deployed(settings, with_key=False) as (client, deployed):
            async for order in orders_of(client, deployed):
                show(order, as_json)

    run(work)


@chain.command("order")
def order(
    track: Track,
    replicas: Annotated[int, typer.Option(min=1, max=100, help="How many nodes shall keep a copy.")] = 7,
    months: Months = 18,
    duration: Duration = None,
    price: Price = PRICE,
    as_json: AsJson = False,
) -> None:
    """Order copies of a track on the chain: what they cost goes into escrow."""
    from hub.chain.amounts import read_amount

    seconds, para = seconds_of(months, duration), read_amount(price)

    async def job(client: "ChainClient", deployed: "Deployment", _settings: "Settings") -> dict[str, Any]:
        from hub.chain.amounts import say_amount
        from hub.chain.ordering import CopyTerms, place_order
        from hub.chain.telling import track_of

        name = await track_of(client, deployed, track)
        placed = await place_order(client, deployed, name, CopyTerms(replicas, seconds, para))
        return {
            "order": placed.order_id,
            "replicas": placed.replicas,
            "ends_at": placed.ends_at,
            "escrow": say_amount(placed.escrow),
            "transaction": placed.transaction,
        }

    tell(job, as_json)


@chain.command("extend")
def extend(number: Order, months: Months = 1, duration: Duration = None, as_json: AsJson = False) -> None:
    """Make an order last longer, at its own rate; anybody may pay for it."""
    seconds = seconds_of(months, duration)

    async def job(client: "ChainClient", deployed: "Deployment", _settings: "Settings") -> dict[str, Any]:
        from hub.chain.telling import extend as lengthen

        return await lengthen(client, deployed, number, seconds)

    tell(job, as_json)


@chain.command("cancel")
def cancel(number: Order, as_json: AsJson = False) -> None:
    """End an order of yours after its notice; `digm chain close` refunds what was not earned."""
    _tell_pinning(f"cancel {number}", "cancel", number, as_json)


@chain.command("close")
def close(number: Order, as_json: AsJson = False) -> None:
    """Refund what is left of an order that is over; `digm chain claim` fetches it."""
    _tell_pinning(f"close {number} *", "close", number, as_json)


def _tell_pinning(purpose: str, function: str, number: int, as_json: bool) -> None:
    async def job(client: "ChainClient", deployed: "Deployment", _settings: "Settings") -> dict[str, Any]:
        from hub.chain.telling import tell as tell_it

        return await tell_it(client, deployed, "pinning", purpose, function, number)

    tell(job, as_json)
