"""Chunks on their way to peers: read in a thread, hashed, and kept a while for the next one who asks."""

import asyncio
from collections import OrderedDict

from hub.storage.chunk_store import ChunkStore


class ChunkCache:
    """Verified chunks, the most recently used ones in memory.

    Every read from disk is hashed: that takes 1 ms for 512 KiB where sending it takes 50, and a disk may change
    its mind. Two peers that ask for one chunk at once cause one read.

    Args:
        limit_bytes: how much is kept.
    """

    def __init__(self, store: ChunkStore, limit_bytes: int) -> None:
        self._store = store
        self._limit_bytes = limit_bytes
        self._chunks: OrderedDict[str, bytes] = OrderedDict()
        self._kept_bytes = 0
        self._reads: dict[str, asyncio.Future[bytes]] = {}

    async def read(self, hash_hex: str) -> bytes:
        """A chunk whose hash is right.

        Raises:
            Unavailable: `chunk_not_held`, `chunk_damaged`.
        """
        chunk = self._chunks.get(hash_hex)
        if chunk is not None:
            self._chunks.move_to_end(hash_hex)
            return chunk
        read = self._reads.get(hash_hex)
        if read is None:
            read = asyncio.ensure_future(asyncio.to_thread(self._store.read_verified, hash_hex))
            self._reads[hash_hex] = read
            read.add_done_callback(lambda done: self._keep(hash_hex, done))
        # Shielded: one asker that goes away must not take the others' answer along.
        return await asyncio.shield(read)

    def _keep(self, hash_hex: str, read: "asyncio.Future[bytes]") -> None:
        del self._reads[hash_hex]
        if read.cancelled() or isinstance(read.exception(), Exception):
            return
        self._chunks[hash_hex] = read.result()
        self._kept_bytes += len(read.result())
        while self._kept_bytes > self._limit_bytes:
            _, dropped = self._chunks.popitem(last=False)
            self._kept_bytes -= len(dropped)
