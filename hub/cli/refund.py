"""`digm refund`: the money back for a key that did not come."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.chain_common import AsJson, Track, tell

if TYPE_CHECKING:
    from hub.chain.client import ChainClient
    from hub.chain.deployment import Deployment
    from hub.config import Settings


def refund(
    track: Track,
    address: Annotated[
        str, typer.Argument(metavar="[ADDRESS]", help="Whose purchase; none: the account's here.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Have what was paid given back, where the key did not come in time; then digm withdraw fetches it."""

    async def job(client: "ChainClient", deployed: "Deployment", _settings: "Settings") -> dict[str, Any]:
        from hub.chain import shopkeeping

        return await shopkeeping.refund(client, deployed, track, address)

    tell(job, as_json)
