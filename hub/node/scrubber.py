"""Reads every chunk of a node again and again, slowly, so that rot is found before a listener finds it.

A rotten chunk is out of service the moment it is seen. It is asked for elsewhere, with growing pauses while
nobody has it, and put back. Where it comes from is the repairer's business.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog
from prometheus_client import Counter, Gauge

from digm.errors import DigmError
from digm.ids import short
from hub.node.index import Place
from hub.node.storage import NodeStore
from hub.pauses import Pauses
from hub.storage.durable import open_regular

log = structlog.get_logger()
SCRUBBED = Counter("digm_scrubbed_chunks", "Chunks that the scrubber read, by what it found.", ["result"])
REPAIRED = Counter("digm_repaired_chunks", "Attempts to repair a lost chunk.", ["result"])
LOST = Gauge("digm_lost_chunks", "Chunks that are to be repaired.")

# A disk of 1 TB is read once in six days, and a listener does not notice.
BYTES_PER_S = 2_000_000.0
BATCH = 32  # chunks between two lookups; their being sound is written down together
IDLE_S = 60.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 600.0

Repair = Callable[[Place], Awaitable[bytes]]
"""Fetches a chunk from somebody else, or raises a DigmError; the bytes need not be checked."""


class Scrubber:
    """Scrubs one store. `run` it as a task of the node.

    Args:
        repair: see `Repair`.
        bytes_per_s: most that is read in a second, on average.
        idle_s: between two rounds over less than a batch; more is read without a rest.
        clock, sleep: of the event loop; tests bring their own.
    """

    def __init__(
        self,
        store: NodeStore,
        repair: Repair,
        bytes_per_s: float = BYTES_PER_S,
        idle_s: float = IDLE_S,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store, self._repair, self._bytes_per_s, self._idle_s = store, repair, bytes_per_s, idle_s
        self._clock, self._sleep = clock, sleep
        self._pauses = Pauses[str](FIRST_PAUSE_S, LONGEST_PAUSE_S, clock)  # by hash

    async def run(self) -> None:
        """Scrub and repair until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._scrub_forever(), name="scrub")
            tasks.create_task(self._repair_forever(), name="repair")

    async def scrub_batch(self) -> int:
        """Look at the chunks that were not looked at for longest.

        Returns:
            how many there were; a short batch is a whole round.
        """
        batch = await asyncio.to_thread(self._store.longest_unchecked, BATCH)
        for hash_hex, size in batch:
            began = self._clock()
            await asyncio.to_thread(self._inspect, hash_hex)
            await self._sleep(max(0.0, size / self._bytes_per_s - (self._clock() - began)))
        await asyncio.to_thread(self._store.mark_checked, [hash_hex for hash_hex, _ in batch])
        return len(batch)

    async def repair_lost(self) -> int:
        """Ask once for every lost chunk whose pause is over.

        Returns:
            how many were put back.
        """
        lost = await asyncio.to_thread(self._store.lost)
        self._pauses.keep_only({place.hash for place in lost})
        repaired = 0
        for place in lost:
            if self._pauses.left_s(place.hash):
                continue
            if await self._repair_one(place):
                repaired += 1
            else:
                self._pauses.failed(place.hash)
        LOST.set(len(lost) - repaired)
        return repaired

    async def _repair_one(self, place: Place) -> bool:
        try:
            data = await self._repair(place)
            await asyncio.to_thread(self._store.put, place.hash, data)
        except DigmError as error:
            REPAIRED.labels(error.code).inc()
            log.info("chunk_not_repaired", hash=short(place.hash), code=error.code)
            return False
        REPAIRED.labels("repaired").inc()
        log.info("chunk_repaired", hash=short(place.hash), track_root=short(place.track_root))
        return True

    def _inspect(self, hash_hex: str) -> None:
        """Read a chunk off the disk; if it is not sound, the store takes it out of service on the way."""
        path = self._store.chunks.path(hash_hex)
        with suppress(OSError):
            descriptor = open_regular(path)
            try:  # what the kernel remembers of the file would hide what became of it on the disk
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)
        try:
            self._store.inspect(hash_hex)
        except DigmError as error:
            SCRUBBED.labels(error.code).inc()
        else:
            SCRUBBED.labels("sound").inc()

    async def _scrub_forever(self) -> None:
        while True:
            try:
                is_round = await self.scrub_batch() < BATCH
            except DigmError as error:  # a full disk: what was seen is seen again later
                log.warning("scrub_failed", code=error.code, reason=error.message)
                is_round = True
            if is_round:
                await self._sleep(self._idle_s)

    async def _repair_forever(self) -> None:
        while True:
            try:
                await self.repair_lost()
            except DigmError as error:
                log.warning("repair_failed", code=error.code, reason=error.message)
            await self._sleep(FIRST_PAUSE_S)
