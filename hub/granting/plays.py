"""How often each track was made ready to be played: counts, and nothing of who asked.

A track's page asks for a listening grant when it opens, a widget when somebody presses play, and both again
when it runs out; each one given is counted, by track and day, in `DATA/plays.json`. A machine that loses power
may lose the last seconds of it.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog

from digm.errors import DigmError
from hub.storage.durable import disk_faults_named, write_durably

log = structlog.get_logger()
FILE_NAME = "plays.json"
WRITTEN_EVERY_S = 5.0
KEPT_DAYS = 90
MAX_FILE_BYTES = 64 << 20


class TrackPlays(msgspec.Struct):
    """Of one track. `days`: `2026-11-23` -> plays (UTC), the latest `KEPT_DAYS` that had any."""

    total: int = 0
    days: dict[str, int] = {}


def load_plays(data: Path) -> dict[str, TrackPlays]:
    """By track root. A file that is missing or damaged counts as none. Blocks."""
    try:
        content = (data / FILE_NAME).read_bytes()[:MAX_FILE_BYTES]
        return msgspec.json.decode(content, type=dict[str, TrackPlays])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        log.warning("plays_unreadable", reason=str(error))
        return {}


class Plays:
    """Counts of one artist process. Used on one loop.

    Args:
        clock: seconds since 1970.
    """

    def __init__(self, data: Path, clock: Callable[[], float] = time.time) -> None:
        self._data, self._clock = data, clock
        self._counts = load_plays(data)
        self._is_new = False

    def count(self, root_hex: str) -> None:
        """One more. The track is one of the vault's, so there are never more than those."""
        track = self._counts.setdefault(root_hex, TrackPlays())
        day = time.strftime("%Y-%m-%d", time.gmtime(self._clock()))
        track.total += 1
        track.days[day] = track.days.get(day, 0) + 1
        while len(track.days) > KEPT_DAYS:
            del track.days[min(track.days)]
        self._is_new = True

    async def run(self) -> None:
        """Write what is new, until cancelled; then once more."""
        try:
            while True:
                await asyncio.sleep(WRITTEN_EVERY_S)
                await asyncio.to_thread(self._write)
        finally:
            self._write()

    def _write(self) -> None:
        if not self._is_new:
            return
        self._is_new = False
        try:
            with disk_faults_named(self._data):
                write_durably(
                    self._data / FILE_NAME, msgspec.json.encode(self._counts), self._data / "incoming"
                )
        except DigmError as fault:  # nobody's listening stops for it
            self._is_new = True
            log.warning("plays_not_written", code=fault.code, reason=fault.message)
