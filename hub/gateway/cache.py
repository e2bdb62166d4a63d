"""The last used chunks as `bytes`, bounded in size; a chunk that many want at once is read once."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from hub.metrics import GATEWAY_CACHE


class ByteCache:
    """Least recently used first out.

    Args:
        most_bytes: what may be held; 0 holds nothing but still joins simultaneous reads.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._held: OrderedDict[str, bytes] = OrderedDict()
        self._reading: dict[str, asyncio.Task[bytes]] = {}
        self.held_bytes = 0

    async def get(self, key: str, read: Callable[[], Awaitable[bytes]]) -> bytes:
        """The bytes under `key`, from `read()` if they are not held. A failed read is not remembered."""
        held = self._held.get(key)
        if held is not None:
            self._held.move_to_end(key)
            GATEWAY_CACHE.labels("hit").inc()
            return held
        reading = self._reading.get(key)
        if reading is None:
            GATEWAY_CACHE.labels("miss").inc()
            reading = asyncio.ensure_future(self._read(key, read))
            self._reading[key] = reading
            reading.add_done_callback(_seen)
        # A client that goes away must not take the read from those who wait beside it.
        return await asyncio.shield(reading)

    async def _read(self, key: str, read: Callable[[], Awaitable[bytes]]) -> bytes:
        try:
            data = await read()
        finally:
            del self._reading[key]
        if len(data) <= self._most_bytes:
            self._held[key] = data
            self.held_bytes += len(data)
            while self.held_bytes > self._most_bytes:
                _, dropped = self._held.popitem(last=False)
                self.held_bytes -= len(dropped)
        return data


def _seen(task: asyncio.Task[bytes]) -> None:
    """Look at the outcome, for the case that every client who waited has gone."""
    if not task.cancelled():
        task.exception()
