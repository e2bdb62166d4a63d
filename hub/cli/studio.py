"""`digm studio`: the artist's page, on the artist's own machine."""

from typing import Annotated

import typer


def studio(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="On loopback; default: a free one.")] = 0,
    browser: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Prepare, publish and look after your music, in a page that only this machine's browser can open."""
    from functools import partial

    import msgspec

    from hub.config import load_settings
    from hub.lifecycle import run_process
    from hub.studio.app import serve

    # Its log goes to the terminal, under the address: only what needs somebody's attention.
    settings = msgspec.structs.replace(load_settings(), log_level="warning")
    run_process("studio", settings, partial(serve, settings, port, browser))
