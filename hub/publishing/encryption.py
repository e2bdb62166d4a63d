"""From access units to encrypted chunks in staged files, with their hashes and audit roots.

Packing is pure Python and stays in the caller's thread; encrypting, hashing, writing and fsync let go of the
interpreter and run in a pool beside it. A bounded number of chunks is on its way at once, so memory does not
depend on the length of the recording.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from digm.chunks import FRAME_BYTES, FRAME_PLAINTEXT_BYTES, frame_additional_data, frame_nonce
from digm.keys import chunk_key
from digm.manifest import Rendition
from digm.merkle import chunk_audit_root
from digm.mp4 import init_segment
from digm.packing import PackedChunk, frames_per_chunk, pack
from hub.media import IngestedRendition
from hub.storage.durable import write_new

# Enough to keep two threads busy while one of them waits for the disk.
CHUNKS_ON_THEIR_WAY = 8


class ChunkPlace(NamedTuple):
    """Where a chunk stands in its track."""

    rendition: int
    chunk: int
    is_last_chunk: bool


class EncryptedChunk(NamedTuple):
    """A chunk in a staged file that is named by its hash."""

    hash: bytes
    audit_root: bytes
    path: Path


@dataclass
class TrackEncryption:
    """Encrypts the renditions of one track, one after another.

    Args:
        track_key: fresh, 32 bytes.
        folder: for the encrypted chunks; in the file system of the chunk store.
        pool: of threads.
        preview_s: what anybody may hear; the keys of its chunks open nothing behind it.
    Attributes:
        files: hash in hex -> staged file, fsynced.
        audit_roots: of all chunks so far, in the order of the track root.
    """

    track_key: bytes
    folder: Path
    pool: Executor
    preview_s: int | None = None
    files: dict[str, Path] = field(default_factory=dict)
    audit_roots: list[bytes] = field(default_factory=list)

    def add(self, number: int, source: IngestedRendition, on_progress: Callable[[float], None]) -> Rendition:
        """Pack and encrypt a rendition.

        Args:
            number: its id.
            on_progress: is told how much is done, 0 to 1.
        Raises:
            CallerFault: `sample_too_large`. OSError: the disk.
        """
        duration_s = source.duration / source.config.timescale
        frames = frames_per_chunk(source.total_bytes, duration_s, source.largest_sample_bytes)
        packed = pack(source.config, source.samples(), frames, preview_s=self.preview_s)
        hashes, fragments, last_frames = [], [], 0
        for chunk, encrypted in self._encrypted(number, packed):
            self.files[encrypted.hash.hex()] = encrypted.path
            self.audit_roots.append(encrypted.audit_root)
            hashes.append(encrypted.hash)
            fragments.append(chunk.fragments)
            last_frames = chunk.frames
            on_progress(chunk.start / source.duration)
        return Rendition(
            id=number,
            config=source.config,
            bit_rate=max(1, round(source.total_bytes * 8 / duration_s)),
            frames_per_chunk=frames,
            last_chunk_frames=last_frames,
            duration=source.duration,
            init=b"" if source.config.codec == "mp3" else init_segment(source.config),
            chunk_hashes=tuple(hashes),
            fragments=tuple(fragments),
        )

    def _encrypted(
        self, number: int, packed: Iterator[PackedChunk]
    ) -> Iterator[tuple["_ChunkFacts", EncryptedChunk]]:
        waiting: deque[tuple[_ChunkFacts, Future[EncryptedChunk]]] = deque()
        for chunk, (plain, is_last) in enumerate(_marking_the_last(packed)):
            key = chunk_key(self.track_key, number, chunk)
            place = ChunkPlace(number, chunk, is_last)
            future = self.pool.submit(_encrypt_into_file, key, place, plain.plaintext, self.folder)
            frames = len(plain.plaintext) // FRAME_PLAINTEXT_BYTES
            waiting.append((_ChunkFacts(plain.start, plain.fragments, frames), future))
            if len(waiting) > CHUNKS_ON_THEIR_WAY:
                facts, future = waiting.popleft()
                yield facts, future.result()
        for facts, future in waiting:
            yield facts, future.result()


class _ChunkFacts(NamedTuple):
    start: int
    fragments: tuple[tuple[int, int], ...]
    frames: int


def _marking_the_last(packed: Iterator[PackedChunk]) -> Iterator[tuple[PackedChunk, bool]]:
    before = None
    for chunk in packed:
        if before is not None:
            yield before, False
        before = chunk
    if before is not None:
        yield before, True


def encrypt_chunk(key: bytes, place: ChunkPlace, plaintext: bytes) -> bytearray:
    """Encrypt the frames of one chunk (format: Encryption).

    Args:
        key: the chunk's key, not the track's.
        plaintext: a multiple of 65,520 bytes.
    """
    cipher, plain = AESGCM(key), memoryview(plaintext)
    frames = len(plaintext) // FRAME_PLAINTEXT_BYTES
    sealed = bytearray(frames * FRAME_BYTES)
    target = memoryview(sealed)
    for frame in range(frames):
        additional_data = frame_additional_data(
            place.rendition, place.chunk, frame, place.is_last_chunk and frame == frames - 1
        )
        cipher.encrypt_into(
            frame_nonce(frame),
            plain[frame * FRAME_PLAINTEXT_BYTES : (frame + 1) * FRAME_PLAINTEXT_BYTES],
            additional_data,
            target[frame * FRAME_BYTES : (frame + 1) * FRAME_BYTES],
        )
    return sealed


def _encrypt_into_file(key: bytes, place: ChunkPlace, plaintext: bytes, folder: Path) -> EncryptedChunk:
    sealed = encrypt_chunk(key, place, plaintext)
    chunk_hash = hashlib.sha256(sealed).digest()
    path = folder / chunk_hash.hex()
    write_new(path, sealed)
    return EncryptedChunk(chunk_hash, chunk_audit_root(bytes(sealed)), path)
