"""`digm up`: everything on this machine, with music in it, until it is told to stop."""

import os
from pathlib import Path
from typing import Annotated

import typer


def up(
    port: Annotated[
        int | None, typer.Option(help="The hub's port; the others follow it. Default: 8080.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="The data folder.")] = None,
) -> None:
    """Start everything on this machine, publish demo music if there is none, and say where to listen."""
    from functools import partial

    import msgspec

    from hub.config import load_settings
    from hub.lifecycle import run_process
    from hub.together import serve

    environment = dict(os.environ)
    if port is not None:
        environment["DIGM_PORT"] = str(port)
    if data is not None:
        environment["DIGM_DATA"] = str(data.absolute())
    settings = load_settings(environment)
    # Its own log goes to the terminal, under the address: only what needs somebody's attention.
    quiet = msgspec.structs.replace(settings, log_level="warning")
    run_process("up", quiet, partial(serve, settings, environment))
