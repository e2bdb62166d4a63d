"""The command `digm`. Each command lives in a module of its own, imported only when it is called.

A module `hub.cli.NAME` holds a function NAME with Typer's annotations, or a Typer NAME with commands of its
own. It ends by returning (exit status 0), by `typer.Exit`, or by raising a `DigmError`, whose sentence goes to
stderr (exit status 2).
"""

import errno
import importlib
import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from digm.errors import DigmError

EXIT_FAILED = 2
EXIT_INTERRUPTED = 130
COMMANDS = {
    "publish": "Publish audio files or folders.",
    "verify": "Check stored tracks, byte by byte.",
    "pin": "Order copies of a track on other nodes.",
    "pins": "Show how far ordered copies are.",
    "sell": "Put a price on tracks, or on an album.",
    "sales": "Show what was sold.",
    "give": "Give somebody the key of a track.",
    "withdraw": "Fetch what was earned.",
    "refund": "Have the money back for a key that did not come.",
    "premium": "Say who hears whole tracks without buying them.",
    "fetch": "Fetch a track from the network into a file.",
    "play": "Play a track from the network.",
    "up": "Start everything on this machine.",
    "hub": "Run the hub: pages, API, signalling.",
    "gateway": "Run the gateway: chunks over HTTP.",
    "seed": "Run the seeding peer: chunks over WebRTC.",
    "node": "Run an elder node: keep and give copies of tracks.",
    "relay": "Run the TURN relay for listeners behind NATs.",
    "artist": "Run the artist's key vault and inbox.",
    "studio": "Open the artist's page on this machine.",
    "receipts": "Show, export and check listening receipts.",
    "vault": "Back the artist's vault up, bring it back.",
    "demo": "Render the demo music into a folder.",
    "chain": "Contracts: who published what, and who is paid.",
}


class LazyGroup(TyperGroup):
    """Knows its commands by name and imports the one that is asked for."""

    is_listing = False

    def list_commands(self, _ctx: Any) -> list[str]:
        """Every command, in the order in which people need them."""
        return list(COMMANDS)

    def get_command(self, _ctx: Any, cmd_name: str) -> Any:
        """The command, or None when there is no such thing."""
        if cmd_name not in COMMANDS:
            return None
        if self.is_listing:
            return _as_command(cmd_name, lambda: None)
        return _as_command(cmd_name, getattr(importlib.import_module(f"hub.cli.{cmd_name}"), cmd_name))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The list of commands, made without importing any of them."""
        self.is_listing = True
        super().format_help(ctx, formatter)


def _as_command(name: str, function: Any) -> Any:
    if isinstance(function, typer.Typer):
        return typer.main.get_command(function)
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    single.command(name, help=COMMANDS[name] if function.__doc__ is None else None)(function)
    return typer.main.get_command(single)


app = typer.Typer(
    name="digm",
    cls=LazyGroup,
    help="Music that its artists own, streamed from peer to peer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _root() -> None:
    """Music that its artists own, streamed from peer to peer."""


def main() -> None:
    """Entry point of `digm`: a known failure is one sentence on stderr and exit status 2."""
    try:
        try:
            app()
        finally:
            if not sys.stdout.closed:  # `play` gives it to the player
                sys.stdout.flush()
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        # What is still buffered cannot be written either, and would be tried again at the very end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print("There is no space left: what was to be written or printed is not complete.", file=sys.stderr)
        sys.exit(EXIT_FAILED)
    except DigmError as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_FAILED)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
