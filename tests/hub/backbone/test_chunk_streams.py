"""Chunks from one node to another: which streams they take, and what ends those."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bench.backbone_peer import CHUNK_BYTES, ROOT, Track, chunk_of
from digm.backbone_messages import PEER
from digm.bitfield import Bitfield
from digm.errors import Unavailable
from hub.backbone.backbone import Backbone
from tests.hub.backbone.nodes import backbone, until

COUNT = 6


class Pair:
    """Who gives a track of six chunks, who asks for them, and how many streams that took."""

    def __init__(self) -> None:
        self.track = Track(COUNT)
        self.is_reading, self.may_read = asyncio.Event(), asyncio.Event()
        self.may_read.set()
        self.opened = 0

    async def find(self, root: bytes) -> Track | None:
        return self.track if root == ROOT else None

    async def read(self, name: str) -> bytes:
        self.is_reading.set()
        await self.may_read.wait()
        return self.track.chunks[name]

    async def meet(self, giver: Backbone, asker: Backbone) -> None:
        self.giver, self.asker = giver, asker
        self.chunks: Any = asker._host.chunks if asker._host else None
        await asker.connect(giver.multiaddrs[0])
        open_stream = self.chunks._open_stream

        async def counted(peer: str) -> Any:
            self.opened += 1
            return await open_stream(peer)

        self.chunks._open_stream = counted

    async def fetch(self, chunk: int, size: int = CHUNK_BYTES, **options: Any) -> bytes:
        return await self.asker.fetch_chunk(self.giver.peer_id, ROOT, 0, chunk, size, **options)

    def served(self) -> int:
        """Streams of chunks that the giver has open."""
        (connection,) = self.giver._host.network.get_connections() if self.giver._host else ()
        return [stream.protocol_id for stream in connection.get_streams()].count(PEER.name)

    def kept(self) -> list[Any]:
        """Streams of the asker that wait for the next chunk."""
        return [stream for kept in self.chunks._kept.values() for stream in kept]


@asynccontextmanager
async def pair() -> AsyncIterator[Pair]:
    nodes = Pair()
    async with backbone(before=lambda one: one.share(nodes.find, nodes.read)) as giver, backbone() as asker:
        await nodes.meet(giver, asker)
        yield nodes


async def test_a_track_comes_over_one_stream_chunk_after_chunk() -> None:
    async with pair() as nodes:
        for number in range(COUNT):
            assert await nodes.fetch(number) == chunk_of(number)
        assert nodes.opened == 1


async def test_chunks_that_are_asked_for_at_once_take_a_stream_each_and_the_next_ones_take_those() -> None:
    async with pair() as nodes:
        for _ in range(3):
            assert await asyncio.gather(*map(nodes.fetch, range(COUNT))) == [*map(chunk_of, range(COUNT))]
        assert nodes.opened == COUNT


async def test_a_stream_that_nobody_uses_is_ended_on_both_sides() -> None:
    async with pair() as nodes:
        await nodes.fetch(0)
        assert len(nodes.kept()) == nodes.served() == 1
        await until(lambda: not nodes.kept() and not nodes.served())
        assert await nodes.fetch(1) == chunk_of(1)


async def test_a_kept_stream_that_broke_is_replaced() -> None:
    async with pair() as nodes:
        await nodes.fetch(0)
        (kept,) = nodes.kept()
        await nodes.asker._call(kept._frames._stream.muxed_stream.reset)
        assert await nodes.fetch(1) == chunk_of(1)
        assert nodes.opened == 2


async def test_a_fetch_that_was_cancelled_leaves_nothing_to_the_next() -> None:
    async with pair() as nodes:
        nodes.may_read.clear()
        fetch = asyncio.create_task(nodes.fetch(0))
        await nodes.is_reading.wait()
        fetch.cancel()
        await until(lambda: not nodes.served())
        nodes.may_read.set()
        for number in (1, 2, 0):
            assert await nodes.fetch(number) == chunk_of(number)


async def test_progress_is_told_and_never_goes_back() -> None:
    async with pair() as nodes:
        told: list[int] = []
        await nodes.fetch(0, on_progress=told.append)
        await until(lambda: told[-1:] == [CHUNK_BYTES])
        assert told == sorted(told)


async def test_a_node_that_gets_more_of_a_track_is_asked_for_it_soon() -> None:
    async with pair() as nodes:
        nodes.track.held = {0: Bitfield(COUNT)}
        nodes.track.held[0].add(0)
        assert await nodes.fetch(0) == chunk_of(0)
        with pytest.raises(Unavailable) as missing:
            await nodes.fetch(1)
        assert missing.value.code == "not_held"
        nodes.track.held[0].add(1)
        assert await nodes.fetch(1) == chunk_of(1)
        assert dict(await nodes.asker.availability(nodes.giver.peer_id, ROOT)) == nodes.track.held


async def test_a_chunk_that_is_gone_since_is_refused_and_the_others_still_come() -> None:
    async with pair() as nodes:
        await nodes.fetch(0)
        nodes.track.held[0].discard(1)
        with pytest.raises(Unavailable) as gone:
            await nodes.fetch(1)
        assert gone.value.data["reason"] == "not_held"
        assert await nodes.fetch(2) == chunk_of(2)
