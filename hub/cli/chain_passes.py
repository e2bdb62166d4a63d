"""`digm chain`: passes, for listening to everything of somebody for some time."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from digm.errors import CallerFault
from hub.cli.chain_common import AsJson, chain, tell

if TYPE_CHECKING:
    from hub.chain.client import ChainClient
    from hub.chain.deployment import Deployment
    from hub.config import Settings

For = Annotated[str, typer.Option("--lasts", help="How long, such as '30 days' or '36 hours'.")]


@chain.command("pass")
def sell_pass(
    price: Annotated[str, typer.Option("--for", help="What it costs, such as 5.")] = "",
    paid_in: Annotated[str, typer.Option("--token", help="In what: coin, para, digm, xfg, heat.")] = "para",
    lasts: For = "30 days",
    is_over: Annotated[bool, typer.Option("--end", help="Sell them no longer; who has one keeps it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Sell passes of the account here; what they are good for says digm premium."""
    if is_over == bool(price):
        raise CallerFault("bad_option", "Say what it costs with --for 5, or --end to sell them no longer.")

    async def job(client: "ChainClient", deployed: "Deployment", _settings: "Settings") -> dict[str, Any]:
        from digm.pinning import parse_duration
        from hub.chain import shopkeeping

        if is_over:
            return await shopkeeping.end_pass(client, deployed)
        cost = shopkeeping.price_of(deployed, price, paid_in)
        return await shopkeeping.set_pass(client, deployed, cost, parse_duration(lasts))

    tell(job, as_json)


@chain.command("give-pass")
def give_pass(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Whose account.")],
    lasts: For = "30 days",
    as_json: AsJson = False,
) -> None:
    """Give somebody a pass of the account's here, or a longer one."""

    async def job(client: "ChainClient", deployed: "Deployment", _settings: "Settings") -> dict[str, Any]:
        from digm.pinning import parse_duration
        from hub.chain import shopkeeping

        return await shopkeeping.give_pass(client, deployed, address, parse_duration(lasts))

    tell(job, as_json)
