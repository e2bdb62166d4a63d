"""What the commands `digm chain ...` share: the group, a run with settings, and how results are shown."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hub.chain.client import ChainClient
    from hub.chain.deployment import Deployment
    from hub.config import Settings

chain = typer.Typer(
    name="chain",
    help="Contracts: who published what, who promised to keep it, and who is paid.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
AsJson = Annotated[bool, typer.Option("--json", help="JSON, one object a line.")]
Order = Annotated[int, typer.Argument(metavar="ORDER", min=1, help="The order's number: digm chain pins.")]
Track = Annotated[
    str, typer.Argument(metavar="TRACK", help="The root of a track of yours, or 0x and its id on the chain.")
]
Months = Annotated[int, typer.Option(min=1, max=120, help="For how long.")]
Duration = Annotated[
    str | None, typer.Option(help="For how long, instead of --months, such as '90 days' or '36 hours'.")
]


def run(work: Any) -> None:
    """Do an async job that takes the settings."""
    from hub.config import load_settings
    from hub.logs import configure_logs

    settings = load_settings()
    configure_logs("chain", "error")  # what goes wrong is said in the sentence at the end
    job: Coroutine[Any, Any, None] = work(settings)
    asyncio.run(job)


def show(found: dict[str, Any], as_json: bool) -> None:
    """A result: for people a line for each value."""
    import msgspec

    if as_json:
        print(msgspec.json.encode(found).decode(), flush=True)
        return
    width = max(len(name) for name in found) + 2
    for name, value in found.items():
        print(f"{name:{width}}{value}", flush=True)


def tell(
    job: "Callable[[ChainClient, Deployment, Settings], Awaitable[dict[str, Any]]]", as_json: bool
) -> None:
    """Do a job with the key, and show what came of it."""

    async def work(settings: "Settings") -> None:
        from hub.chain.opening import open_deployed

        async with open_deployed(settings, with_key=True) as (client, deployed):
            show(await job(client, deployed, settings), as_json)

    run(work)


def seconds_of(months: int, duration: str | None) -> int:
    """How long, of the two ways to say it. Raises CallerFault as `parse_duration`."""
    from digm.pinning import MONTH_S, parse_duration

    return parse_duration(duration) if duration else months * MONTH_S
