"""`digm sell`: a price on a track, or on several together as an album."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from digm.errors import CallerFault
from hub.cli.chain_common import AsJson, tell

if TYPE_CHECKING:
    from hub.chain.client import ChainClient
    from hub.chain.deployment import Deployment
    from hub.config import Settings


def sell(
    tracks: Annotated[
        list[str],
        typer.Argument(
            metavar="TRACK...", help="Roots of tracks of yours, or 0x and ids on the chain; or a release's id."
        ),
    ],
    price: Annotated[str, typer.Option("--for", help="What it costs, such as 2.50.")] = "",
    paid_in: Annotated[str, typer.Option("--token", help="In what: coin, para, digm, xfg, heat.")] = "para",
    is_at_least: Annotated[bool, typer.Option("--at-least", help="Who buys may give more.")] = False,
    is_album: Annotated[bool, typer.Option("--as-album", help="All of them together, at one price.")] = False,
    shares: Annotated[
        list[str] | None,
        typer.Option(
            "--share", help="ADDRESS=PERCENT, for each who shares an album's income; none: all is yours."
        ),
    ] = None,
    is_over: Annotated[bool, typer.Option("--end", help="Sell it no longer.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what tracks of yours cost: each of them, or all together with --as-album."""
    if is_over == bool(price):
        raise CallerFault("bad_option", "Say what it costs with --for 2.50, or --end to sell it no longer.")
    if shares and not is_album:
        raise CallerFault("bad_option", "--share goes with --as-album; a track's income: digm chain split.")

    async def job(client: "ChainClient", deployed: "Deployment", settings: "Settings") -> dict[str, Any]:
        from hub.chain import shopkeeping
        from hub.cli.chain_common import show

        if is_album and not is_over:
            cost = shopkeeping.price_of(deployed, price, paid_in, is_at_least)
            return await shopkeeping.sell_album(client, deployed, settings.data, tracks, cost, shares or ())
        for number, track in enumerate(tracks):
            if is_over:
                said = await shopkeeping.end_sale(client, deployed, track)
            else:
                cost = shopkeeping.price_of(deployed, price, paid_in, is_at_least)
                said = await shopkeeping.sell_track(client, deployed, settings.data, track, cost)
            if number < len(tracks) - 1:
                show(said, as_json)
        return said

    tell(job, as_json)
