"""What the page calls once Python is up (static/digm-python.js)."""

import random
from typing import Any

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
