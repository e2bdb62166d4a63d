"""`digm demo FOLDER`: the demo music as files."""

from pathlib import Path
from typing import Annotated

import typer


def demo(folder: Annotated[Path, typer.Argument(help="Where the FLAC files go.")]) -> None:
    """Render the demo music (Bach, Satie) into a folder of FLAC files."""
    from digm.errors import CallerFault
    from hub.demo.release import write_release

    try:
        for path in write_release(folder):
            typer.echo(path)
    except OSError as error:
        raise CallerFault("cannot_write", f"{folder} cannot be written: {error.strerror or error}.") from error
