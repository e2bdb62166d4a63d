"""`digm give`: the key of a track for somebody who paid elsewhere, or for nothing."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.chain_common import AsJson, Track, tell

if TYPE_CHECKING:
    from hub.chain.client import ChainClient
    from hub.chain.deployment import Deployment
    from hub.config import Settings


def give(
    track: Track,
    address: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="Whose account; the listener's page shows it.")
    ],
    key: Annotated[
        str,
        typer.Argument(
            metavar="[KEY]",
            help="The listening key that the page shows (p256: before it where the page does); "
            "none: the one that the account bought with before.",
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Give somebody a track or an album of yours: to hear, to keep, for ever."""

    async def job(client: "ChainClient", deployed: "Deployment", settings: "Settings") -> dict[str, Any]:
        from hub.chain import shopkeeping
        from hub.chain.ordering import state_now
        from hub.publishing.identity import open_vault

        state = await state_now(settings)
        with open_vault(settings) as vault:
            return await shopkeeping.give(client, deployed, state, vault, settings.data, track, address, key)

    tell(job, as_json)
