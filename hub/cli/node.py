"""`digm node`: an elder node, which keeps copies of tracks for their artists and gives them to everybody."""

import os
from pathlib import Path
from typing import Annotated

import typer


def node(
    data: Annotated[Path | None, typer.Option(help="The node's own data folder.")] = None,
    bootstrap: Annotated[
        list[str] | None,
        typer.Option(metavar="MULTIADDR", help="A node to join through, /.../p2p/ID. May be given again."),
    ] = None,
) -> None:
    """Run an elder node: keep copies of tracks, and give them away. Configured by DIGM_* variables."""
    from functools import partial

    import msgspec

    from hub.config import default_data, load_settings
    from hub.lifecycle import run_process
    from hub.node.node import serve

    # No hub runs here: no port follows its, and none is thought to be on this machine.
    environment = {**os.environ, "DIGM_PORT": "0"}
    if data is not None:
        environment["DIGM_DATA"] = str(data.absolute())
    if bootstrap:
        environment["DIGM_BACKBONE_BOOTSTRAP"] = ",".join(bootstrap)
    settings = load_settings(environment)
    if settings.data == default_data():  # the hub's
        settings = msgspec.structs.replace(settings, data=settings.data.with_name("digm-node"))
    run_process("node", settings, partial(serve, settings))
