"""`digm studio`: the artist's page, on the artist's own machine."""

import os
from pathlib import Path
from typing import Annotated

import typer


def studio(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="On loopback; default: a free one.")] = 0,
    data: Annotated[Path | None, typer.Option(help="The data folder.")] = None,
    hub: Annotated[
        str | None, typer.Option(metavar="URL", help="The hub; default: DIGM_SIGNAL_URL, this machine's.")
    ] = None,
    browser: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Prepare, publish and look after your music, in a page that only this machine's browser can open."""
    from contextlib import suppress
    from functools import partial

    import msgspec

    from digm.errors import CallerFault
    from hub.chain.passphrase import ask_passphrase
    from hub.config import load_settings
    from hub.lifecycle import run_process
    from hub.studio.app import serve

    environment = dict(os.environ)
    if data is not None:
        environment["DIGM_DATA"] = str(data.absolute())
    if hub is not None:
        environment["DIGM_SIGNAL_URL"] = hub
    settings = load_settings(environment)
    if (settings.data / "chain" / "key.json").exists():
        # Now, and not in the middle of publishing. Where nobody can be asked, the page says what is missing.
        with suppress(CallerFault):
            passphrase = ask_passphrase(settings)
            settings = msgspec.structs.replace(settings, chain_passphrase=passphrase)
    # Its log goes to the terminal, under the address: only what needs somebody's attention.
    settings = msgspec.structs.replace(settings, log_level="warning")
    run_process("studio", settings, partial(serve, settings, port, browser))
