"""`digm play`: a track from the network into a player, while it comes."""

import shutil
import subprocess
import sys
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Annotated

import typer

from digm.errors import CallerFault
from hub.cli.fetch import (
    Artist,
    Bootstrap,
    Gateways,
    Hubs,
    Key,
    Rendition,
    Track,
    Via,
    quiet_logs,
    read_kinds,
    read_places,
)

if TYPE_CHECKING:
    from hub.fetching.fetch import FetchJob

PLAYERS = {
    "ffplay": ("ffplay", "-v", "error", "-nodisp", "-autoexit", "-i", "pipe:0"),
    "mpv": ("mpv", "--no-video", "--really-quiet", "-"),
    "vlc": ("cvlc", "--quiet", "--play-and-exit", "-"),
}
STANDARD_OUTPUT = "-"


def play(
    track: Track,
    player: Annotated[
        str | None,
        typer.Option(help="ffplay, mpv, vlc, or - for standard output; unset: the first that is there."),
    ] = None,
    key: Key = None,
    hub: Hubs = None,
    gateway: Gateways = None,
    bootstrap: Bootstrap = None,
    rendition: Rendition = None,
    artist: Artist = None,
    via: Via = None,
) -> None:
    """Play a track from whoever has it, through ffplay, mpv or VLC."""
    from hub.fetching.fetch import FetchJob
    from hub.fetching.unlocking import read_key

    job = FetchJob(
        target=read_places(track, hub, gateway, bootstrap),
        out=None,
        raw=None,
        track_key=read_key(key) if key else None,
        rendition=rendition,
        artist=artist,
        via=read_kinds(via),
    )
    raise typer.Exit(play_command(job, _command(player)))


def play_command(job: "FetchJob", command: tuple[str, ...] | None) -> int:
    """Play until the end, or until the player is closed.

    Args:
        command: the player, which reads its standard input; None: standard output.
    Returns:
        the exit status: the player's.
    """
    import asyncio

    quiet_logs()
    if command is None:
        asyncio.run(_pour(job, sys.stdout.buffer))
        return 0
    child = subprocess.Popen(command, stdin=subprocess.PIPE)
    assert child.stdin is not None
    try:
        asyncio.run(_pour(job, child.stdin))
    except BaseException:
        child.terminate()
        raise
    finally:
        with suppress(BrokenPipeError):
            child.stdin.close()
        child.wait()
    return child.returncode


async def _pour(job: "FetchJob", pipe: IO[bytes]) -> None:
    """Write the stream as fast as it is read; who reads no more has heard enough."""
    import asyncio
    from contextlib import aclosing

    from hub.fetching.ledger import Ledger
    from hub.fetching.play import stream_track

    def said(title: str) -> None:
        print(title, file=sys.stderr)

    try:
        async with aclosing(stream_track(job, Ledger(), said)) as pieces:
            async for piece in pieces:
                await asyncio.to_thread(pipe.write, piece)
                await asyncio.to_thread(pipe.flush)
    except BrokenPipeError:
        return


def _command(player: str | None) -> tuple[str, ...] | None:
    """The player to start; None for standard output.

    Raises:
        CallerFault: `no_player`, `bad_option`.
    """
    if player == STANDARD_OUTPUT:
        return None
    if player is not None and player not in PLAYERS:
        raise CallerFault("bad_option", f"--player takes {', '.join(PLAYERS)} or -, not {player!r:.20}.")
    for name, command in PLAYERS.items():
        if player in (None, name) and shutil.which(command[0]):
            return command
    raise CallerFault(
        "no_player",
        f"{player or 'No player'} is not installed: install ffplay, mpv or VLC, or pipe --player - on.",
    )
