"""`digm chain`: tracks in the registry."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.chain_common import AsJson, Track, chain, run, show, tell

if TYPE_CHECKING:
    from hub.chain.client import ChainClient
    from hub.chain.deployment import Deployment
    from hub.config import Settings


@chain.command("publish")
def publish(
    track_roots: Annotated[list[str], typer.Argument(metavar="TRACKROOT...", help="Tracks published here.")],
    as_json: AsJson = False,
) -> None:
    """Say on the chain that these tracks are yours, and which key signs for you: once each."""

    async def work(settings: "Settings") -> None:
        from hub.chain.opening import open_deployed
        from hub.chain.publishing import bind_artist, publish_track
        from hub.publishing.identity import open_vault

        async with open_deployed(settings, with_key=True) as (client, deployed):
            with open_vault(settings) as vault:
                await bind_artist(client, deployed, vault)
                for root in track_roots:
                    show(await publish_track(client, deployed, settings.data, vault, root), as_json)

    run(work)


@chain.command("tracks")
def tracks(as_json: AsJson = False) -> None:
    """Show the tracks on the chain, and whose signature their manifests have to carry."""

    async def work(settings: "Settings") -> None:
        from hub.chain.opening import open_deployed, open_reader
        from hub.chain.report import track_of
        from hub.chain.tracks import tracks_of

        async with open_deployed(settings, with_key=False) as (_, deployed), open_reader(settings) as reader:
            await reader.catch_up_patiently()
            for track in tracks_of(deployed, reader.all_events()):
                show(track_of(track), as_json)

    run(work)


@chain.command("revise")
def revise(track: Track, as_json: AsJson = False) -> None:
    """Name the manifest that lies here now: the same bytes with a corrected title or cover."""

    async def job(client: "ChainClient", deployed: "Deployment", settings: "Settings") -> dict[str, Any]:
        from hub.chain.telling import revise as name_it

        return await name_it(client, deployed, settings.data, track)

    tell(job, as_json)


@chain.command("withdraw-track")
def withdraw_track(track: Track, as_json: AsJson = False) -> None:
    """Take a track of yours out of the catalogue, for good."""
    _tell_registry(track, "withdraw {}", "withdraw", [], as_json)


@chain.command("split")
def split(
    track: Track,
    shares: Annotated[
        list[str], typer.Argument(metavar="ADDRESS=PERCENT...", help="At most 8, 100 per cent in all.")
    ],
    is_final: Annotated[bool, typer.Option("--final", help="Nobody can change it any more.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say how a track's income is shared."""
    from hub.chain.telling import payees_of

    _tell_registry(track, "split {} *", "set_split", [payees_of(shares), is_final], as_json)


@chain.command("transfer")
def transfer(
    track: Track,
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Whose it shall be; 'nobody': no more.")],
    as_json: AsJson = False,
) -> None:
    """Offer a track of yours to another account, which has to take it."""
    from hub.chain.opening import checked_address
    from hub.chain.telling import NOBODY

    receiver = NOBODY if address == "nobody" else checked_address(address)
    _tell_registry(track, f"offer {{}} to {receiver} *", "offer", [receiver], as_json)


@chain.command("take")
def take(track: Track, as_json: AsJson = False) -> None:
    """Take a track that was offered to the key here; by its id on the chain."""
    _tell_registry(track, "take {} *", "take", [], as_json)


def _tell_registry(track: str, purpose: str, function: str, arguments: list[Any], as_json: bool) -> None:
    async def job(client: "ChainClient", deployed: "Deployment", _settings: "Settings") -> dict[str, Any]:
        from hub.chain import telling

        name = await telling.track_of(client, deployed, track)
        return await telling.tell(
            client, deployed, "registry", purpose.format(name.hex()), function, name, *arguments
        )

    tell(job, as_json)
