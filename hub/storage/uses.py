"""Which chunks a gateway's processes gave away, told to the node that decides which ones to keep.

They share nothing but the data folder. A node makes a folder in it; there each process writes every few seconds
a file with the hashes of what it gave since, one a line, and the node takes the files away. Where there is no
such folder nobody wants to know. A crash loses a few seconds: what is evicted is a guess anyway.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import structlog

from digm.ids import is_hex_id
from hub.storage.chunk_store import ChunkStore

log = structlog.get_logger()
FOLDER = "uses"
EVERY_S = 2.0
MOST_NAMES = 65_536  # of one file, and of what is remembered for the next one
MOST_FILES = 256  # then the node is away, and has more than enough to read when it comes back
LINE_BYTES = 65


class TellingChunks(ChunkStore):
    """A chunk store that tells the node of its folder what was used of it; made by `telling_chunks`."""

    def __init__(self, data: Path, verify_reads: bool = False) -> None:
        super().__init__(data, verify_reads)
        self._folder = data / FOLDER
        self._used: set[str] = set()

    def note_use(self, hash_hex: str) -> None:
        """To be told with the next file."""
        if len(self._used) < MOST_NAMES:
            self._used.add(hash_hex)

    def tell(self) -> None:
        """Write down what was used since the last time. Blocks; never raises."""
        used, self._used = self._used, set()
        if not used or not self._folder.is_dir():
            return
        try:
            if sum(1 for _ in self._folder.iterdir()) >= MOST_FILES:
                return
            staged = self._folder / f".{secrets.token_hex(8)}"
            staged.write_text("".join(f"{name}\n" for name in sorted(used)))
            staged.rename(self._folder / secrets.token_hex(8))
        except OSError as error:
            log.warning("uses_not_told", reason=error.strerror)


@asynccontextmanager
async def telling_chunks(data: Path, verify_reads: bool) -> AsyncIterator[TellingChunks]:
    """The chunks of a data folder; what is used of them is told every few seconds and at the end."""
    store = TellingChunks(data, verify_reads)

    async def tell_for_ever() -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            await asyncio.to_thread(store.tell)

    telling = asyncio.create_task(tell_for_ever(), name="uses")
    try:
        yield store
    finally:
        telling.cancel()
        await asyncio.to_thread(store.tell)


def take_uses(data: Path) -> dict[str, float]:
    """What was told since the last call. Blocks; never raises.

    Returns:
        hash -> when it was written down, in seconds since 1970.
    """
    taken: dict[str, float] = {}
    with suppress(OSError):
        for path in (data / FOLDER).glob("[!.]*"):
            with suppress(OSError):
                told_at = path.stat().st_mtime
                with path.open("rb") as file:
                    lines = file.read(MOST_NAMES * LINE_BYTES).decode("ascii", "replace").splitlines()
                path.unlink()
                for name in filter(is_hex_id, lines):
                    taken[name] = max(told_at, taken.get(name, 0.0))
    return taken
