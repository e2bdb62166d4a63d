"""`digm demo FOLDER`: the demo music as files."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    folder: Annotated[Path, typer.Argument(help="Where the FLAC files go.")],
    for_sale: Annotated[bool, typer.Option("--for-sale", help="The piece that costs something.")] = False,
) -> None:
    """Render the demo music (Bach, Satie; for sale: Petzold) into a folder of FLAC files."""
    from digm.errors import CallerFault
    from hub.demo.release import write_release

    try:
        for path in write_release(folder, is_for_sale=for_sale):
            typer.echo(path)
    except OSError as error:
        raise CallerFault("cannot_write", f"{folder} cannot be written: {error.strerror or error}.") from error
