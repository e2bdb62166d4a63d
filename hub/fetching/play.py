"""A track as a stream for a player's standard input (`digm play`): the beginning first, the rest meanwhile."""

import asyncio
import io
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path

from digm.containers import ContainerWriter, FlacWriter, Maker, choose_renditions
from digm.manifest import Rendition
from digm.media import Sample
from digm.ogg import OggOpusWriter
from digm.plain_text import clean_text
from digm.tags import NO_TAGS
from digm.unpacking import access_units
from hub.fetching.allotment import wanted_chunks
from hub.fetching.assembling import Assembly, as_written, open_one
from hub.fetching.downloads import Downloads
from hub.fetching.fetch import MOST_SHOWN, FetchJob, granted_chunks
from hub.fetching.grants import obtain_access
from hub.fetching.ledger import Ledger
from hub.fetching.search import Search, searching
from hub.storage.chunk_store import ChunkStore

AHEAD_CHUNKS = 8  # of 3 s or more each: half a minute, as the player in a page keeps


async def stream_track(
    job: FetchJob, ledger: Ledger, on_title: Callable[[str], None] = lambda _title: None
) -> AsyncGenerator[bytes, None]:
    """Pieces of a file that plays while it comes: FLAC, Ogg Opus, MP3, or fragmented MP4 with AAC.

    Raises:
        as `Fetch.run`.
    """
    async with searching(job.target, ledger, job.via) as search:
        manifest, _, grant = await obtain_access(search, job.artist, job.track_key)
        rendition = choose_renditions(manifest, job.rendition)[0]
        chunks = granted_chunks(rendition, grant)
        on_title(clean_text(manifest.title, MOST_SHOWN))
        with tempfile.TemporaryDirectory(prefix="digm-play-") as folder:
            assembly = Assembly(manifest, rendition, grant, chunks, None)
            async for piece in _pieces(assembly, search, ledger, ChunkStore(Path(folder)), job.patience_s):
                yield piece


async def _pieces(
    assembly: Assembly, search: Search, ledger: Ledger, store: ChunkStore, patience_s: float
) -> AsyncGenerator[bytes, None]:
    rendition = assembly.rendition
    wanted = wanted_chunks(assembly.manifest, [rendition.id])[: len(assembly.chunks)]
    arrived = [asyncio.Event() for _ in wanted]
    downloads = Downloads(
        wanted, store, search, ledger, patience_s=patience_s, ahead=AHEAD_CHUNKS,
        on_chunk=lambda index: arrived[index].set(),
    )  # fmt: skip
    fetching = asyncio.create_task(downloads.run(), name="downloads")
    writer = StreamWriter(as_written(assembly))
    try:
        for chunk in assembly.chunks:
            came = asyncio.create_task(arrived[chunk].wait())
            await asyncio.wait({came, fetching}, return_when=asyncio.FIRST_COMPLETED)
            came.cancel()
            if not arrived[chunk].is_set():
                await fetching  # it failed
            plaintext = await asyncio.to_thread(open_one, assembly, store, chunk)
            yield writer.add(plaintext)
        yield writer.close()
        await fetching
    finally:
        fetching.cancel()
        await asyncio.gather(fetching, return_exceptions=True)


class StreamWriter:
    """The bytes that each chunk adds to a stream that nobody can seek in."""

    def __init__(self, rendition: Rendition) -> None:
        self._rendition = rendition
        self._buffer = io.BytesIO()
        self._container: ContainerWriter | None = None
        makers: dict[str, Maker] = {"flac": FlacWriter, "opus": OggOpusWriter}
        if (maker := makers.get(rendition.config.codec)) is not None:
            self._container = maker(self._buffer, rendition, NO_TAGS)
        else:
            self._buffer.write(rendition.init)

    def add(self, plaintext: bytes) -> bytes:
        if self._container is None and self._rendition.init:
            self._buffer.write(plaintext)  # fragments, as a page's SourceBuffer gets them
            return self._taken()
        for samples in self._units(plaintext):
            if self._container is not None:
                self._container.add(samples)
            else:
                self._buffer.write(b"".join(sample.payload for sample in samples))
        return self._taken()

    def close(self) -> bytes:
        if self._container is not None:
            self._container.close()
        return self._taken()

    def _units(self, plaintext: bytes) -> Iterator[list[Sample]]:
        return access_units(self._rendition, [plaintext])

    def _taken(self) -> bytes:
        piece = self._buffer.getvalue()
        self._buffer.seek(0)
        self._buffer.truncate()
        return piece
