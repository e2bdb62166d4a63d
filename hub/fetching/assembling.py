"""From verified chunks to a file: opened, unpacked, written beside where it goes, and then put there."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from digm.containers import open_container
from digm.grants import Grant
from digm.ids import to_hex
from digm.manifest import Manifest, Rendition
from digm.media import Sample
from digm.tags import tags_of
from digm.unpacking import access_units
from hub.fetching.unlocking import open_chunk
from hub.storage.chunk_store import ChunkStore
from hub.storage.durable import disk_faults_named, sync_folder


@dataclass(frozen=True)
class Assembly:
    """What a file is made of.

    Attributes:
        chunks: numbers of the chunks of the rendition that go into it, from 0 on without a gap.
        cover: the picture, verified.
    """

    manifest: Manifest
    rendition: Rendition
    grant: Grant
    chunks: Sequence[int]
    cover: bytes | None

    @property
    def is_whole(self) -> bool:
        return len(self.chunks) == self.rendition.chunk_count


def write_file(assembly: Assembly, store: ChunkStore, temporary: Path, out: Path) -> int:
    """Write, fsync, rename. Blocks: call it in a thread.

    Args:
        temporary: a name in the same file system that nobody else uses.
    Returns:
        bytes of the file.
    Raises:
        Unavailable: `disk_full`, `disk_failed`, `chunk_damaged`. CallerFault: `data_not_writable`.
        PeerFault: `frame_tag`, `media_malformed`.
    """
    with disk_faults_named(out.parent):
        try:
            with temporary.open("w+b") as file:
                tags = tags_of(assembly.manifest, assembly.cover)
                container = open_container(file, out.name, as_written(assembly), tags)
                for samples in _sound(assembly, store):
                    container.add(samples)
                container.close()
                file.flush()
                os.fsync(file.fileno())
            size = temporary.stat().st_size
            temporary.replace(out)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(out.parent)
    return size


def plaintexts(assembly: Assembly, store: ChunkStore) -> Iterator[bytes]:
    """The opened chunks, in order; each is checked once more as it is read. Raises as `write_file`."""
    for chunk in assembly.chunks:
        yield open_one(assembly, store, chunk)


def open_one(assembly: Assembly, store: ChunkStore, chunk: int) -> bytes:
    """One opened chunk. Raises as `write_file`."""
    rendition = assembly.rendition
    key = assembly.grant.key_for(rendition.id, chunk)
    assert key is not None
    return open_chunk(rendition, chunk, store.read_verified(to_hex(rendition.chunk_hashes[chunk])), key)


def _sound(assembly: Assembly, store: ChunkStore) -> Iterator[list[Sample]]:
    return access_units(assembly.rendition, plaintexts(assembly, store))


def as_written(assembly: Assembly) -> Rendition:
    """The rendition as the file has it: of a preview, less than the manifest says."""
    rendition = assembly.rendition
    if assembly.is_whole:
        return rendition
    config, duration = rendition.config, rendition.fragments[len(assembly.chunks)][0][1]
    if config.codec == "flac":
        # RFC 9639 §8.2: samples in 36 bits, then the MD5 of all of them; zeros: not known.
        private = bytearray(config.codec_private)
        private[13:18] = ((private[13] >> 4 << 36) | duration).to_bytes(5, "big")
        private[18:34] = bytes(16)
        config = replace(config, codec_private=bytes(private))
    return replace(rendition, duration=duration, config=replace(config, padding=0))
