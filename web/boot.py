"""What the page calls once Python is up (static/digm-python.js)."""

import importlib
import random
import sys
from pathlib import Path
from typing import Any

import digm
import web
from web.player import Player


def reseed(seed: Any) -> None:
    """Give `random` a state of this visitor's own: the one in the snapshot is the same for everybody.

    Args:
        seed: a Uint8Array of fresh random bytes.
    """
    random.seed(seed.to_bytes())


def open_player(host: Any) -> Player:
    """Start playing a track. The caller calls `close()` when it is done with it."""
    player = Player(host)
    player.start()
    return player


def add_modules(data: Any) -> None:
    """Take in modules that the page fetched later; once.

    Args:
        data: a Uint8Array with a zip as web/build/bundle.py writes it.
    """
    place = Path(f"/later-{len(data)}.zip")
    if place.exists():
        return
    place.write_bytes(data.to_bytes())
    sys.path.append(str(place))
    for package in (digm, web):
        package.__path__.append(f"{place}/{package.__name__}")


async def save_track(host: Any) -> str:
    """Make a file of a track (web.saving, which has to be there: `add_modules`). Returns its name."""
    return await importlib.import_module("web.saving").save(host)
