"""When each chunk was last used, until it is written down: read here, or given by a gateway's processes."""

import time
from collections.abc import Callable
from pathlib import Path

from hub.storage.durable import make_folder
from hub.storage.uses import FOLDER, take_uses

# When this many chunks were used since, the times of their last use are written down.
MOST_UNWRITTEN = 512


class LastUses:
    """The uses of one node's chunks. Threads may share it.

    Args:
        data: the node's folder; the gateway's processes tell in it what they give away.
    """

    def __init__(self, data: Path, now: Callable[[], float] = time.time) -> None:
        make_folder(data / FOLDER)
        self._data, self._now = data, now
        self._used: dict[str, float] = {}

    def note(self, hash_hex: str) -> None:
        """It is used now."""
        self._used[hash_hex] = self._now()

    def forget(self, hash_hex: str) -> None:
        """It is gone."""
        self._used.pop(hash_hex, None)

    def are_many(self) -> bool:
        """Whether it is time to write them down; looks at what other processes told. Blocks."""
        self._gather()
        return len(self._used) > MOST_UNWRITTEN

    def take(self) -> dict[str, float]:
        """Hash -> time of the last use, of what was used since the last call. Blocks."""
        self._gather()
        used, self._used = self._used, {}
        return used

    def _gather(self) -> None:
        for name, used_at in take_uses(self._data).items():
            self._used[name] = max(used_at, self._used.get(name, 0.0))
