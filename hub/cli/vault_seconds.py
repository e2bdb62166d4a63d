"""`digm vault appoint | accept | dismiss`: a second vault delivers keys when the artist's does not."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hub.chain.client import ChainClient
    from hub.chain.deployment import Deployment
    from hub.config import Settings


def appoint(
    invitation: Annotated[
        str,
        typer.Argument(metavar="[LINE]", help="What digm vault accept prints there; none: who is appointed."),
    ] = "",
    name: Annotated[str, typer.Option(help="What you call it, such as label.")] = "",
) -> None:
    """Let another vault deliver the keys of your tracks, and write the file of keys for it."""
    from hub.cli.chain_common import show, tell
    from hub.config import load_settings
    from hub.publishing.identity import open_vault
    from hub.vault.appointed import Appointed, file_for, keep_appointed, load_appointed, write_for
    from hub.vault.sharing import Invitation

    if not invitation:
        settings = load_settings()
        for one in load_appointed(settings.data):
            show({"vault": one.address, "name": one.name, "keys": file_for(settings.data, one.address)}, False)
        return
    invited = Invitation.parse(invitation)
    new = Appointed(invited.address, invited.key.hex(), name)

    async def job(client: "ChainClient", deployed: "Deployment", settings: "Settings") -> dict[str, Any]:
        with open_vault(settings) as vault:
            path = write_for(vault, settings.data, new)
        others = [one for one in load_appointed(settings.data) if one.address != new.address]
        keep_appointed(settings.data, (*others, new))
        await _say_on_chain(client, deployed, new.address, True)
        return {
            "appointed": new.address,
            "keys": path,
            "next": "give it this file: digm vault accept FILE there",
        }

    tell(job, as_json=False)


def dismiss(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="The vault's account.")],
) -> None:
    """Let another vault deliver no longer. It keeps the keys that it was given."""
    from hub.chain.opening import checked_address
    from hub.cli.chain_common import tell
    from hub.vault.appointed import file_for, keep_appointed, load_appointed

    gone = checked_address(address)

    async def job(client: "ChainClient", deployed: "Deployment", settings: "Settings") -> dict[str, Any]:
        await _say_on_chain(client, deployed, gone, False)
        keep_appointed(
            settings.data, tuple(one for one in load_appointed(settings.data) if one.address != gone)
        )
        file_for(settings.data, gone).unlink(missing_ok=True)
        return {
            "dismissed": gone,
            "note": "it delivers no longer, and has the keys that it was given: nothing takes them back",
        }

    tell(job, as_json=False)


def accept(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="From the artist; none: the line to send there.")
    ] = None,
) -> None:
    """Be an artist's second vault: print the line for the artist, then take the file that comes back."""
    from hub.cli.chain_common import show
    from hub.config import load_settings
    from hub.publishing.identity import open_vault
    from hub.vault.held import HeldKeys

    settings = load_settings()
    with open_vault(settings) as vault:
        held = HeldKeys(vault, settings.data)
        if file is None:
            print(held.invitation())
            return
        keys = held.accept(file)
    note = "digm artist (or digm up) delivers them; a later file at this place is taken by itself"
    show({"artist": keys.artist_key.hex(), "tracks": len(keys.keys), "next": note}, False)


async def _say_on_chain(
    client: "ChainClient", deployed: "Deployment", address: str, is_appointed: bool
) -> None:
    """Unless the chain says so already."""
    from hub.chain.deployment import contract

    sales, where, me = contract("sales"), deployed.address("sales"), client.sender.address
    if await client.call(sales, where, "vaults", me, address) is is_appointed:
        return
    purpose = client.sender.purpose(f"{'appoint' if is_appointed else 'dismiss'} {address}")
    await client.transact(purpose, sales, where, "appoint", address, is_appointed)
