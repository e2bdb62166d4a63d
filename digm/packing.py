"""Access units in, the plaintext of chunks out: each can be played alone and has exactly the size it should.

Two containers share one packer: fragmented MP4 filled up with a `free` box, and plain MPEG audio (MP3) filled
up with an empty ID3v2.4 tag, which every player skips. Encryption is for others.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from digm import mp4
from digm.chunks import FRAME_PLAINTEXT_BYTES, FRAMES_PER_CHUNK, MAX_CHUNK_SECONDS
from digm.errors import CallerFault
from digm.media import AudioConfig, Sample

MIN_CHUNK_SECONDS = 3
MAX_FRAGMENT_SECONDS = 2
_ID3_HEADER_BYTES = 10


class PackedChunk(NamedTuple):
    """The plaintext of one chunk.

    Attributes:
        plaintext: a multiple of 65,520 bytes.
        start: of its first access unit, in units of the timescale from the first of the rendition.
        fragments: (byte offset, start) of each place where decoding may begin; the first is (0, start).
    """

    plaintext: bytes
    start: int
    fragments: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class _Container:
    fragment_overhead: int
    sample_overhead: int
    filler_min_bytes: int
    write_fragment: Callable[[int, int, Sequence[Sample]], bytes]
    write_filler: Callable[[int], bytes]

    def fits_exactly(self, used: int, capacity: int) -> bool:
        """Whether what is left over can be filled: nothing, or at least the smallest filler."""
        return used == capacity or used + self.filler_min_bytes <= capacity


def _empty_id3_tag(size: int) -> bytes:
    # ID3v2.4 §3.1: ten bytes of header, the size of the rest in four groups of seven bits.
    rest = size - _ID3_HEADER_BYTES
    groups = bytes(rest >> shift & 0x7F for shift in (21, 14, 7, 0))
    return (b"ID3\x04\x00\x00" + groups).ljust(size, b"\0")


_FRAGMENTED_MP4 = _Container(
    fragment_overhead=mp4.FRAGMENT_OVERHEAD_BYTES,
    sample_overhead=mp4.SAMPLE_ENTRY_BYTES,
    filler_min_bytes=mp4.FREE_BOX_MIN_BYTES,
    write_fragment=mp4.fragment,
    write_filler=mp4.free_box,
)
_MPEG_AUDIO = _Container(
    fragment_overhead=0,
    sample_overhead=0,
    filler_min_bytes=_ID3_HEADER_BYTES,
    write_fragment=lambda _sequence, _start, samples: b"".join(sample.payload for sample in samples),
    write_filler=_empty_id3_tag,
)


def _container(config: AudioConfig) -> _Container:
    return _MPEG_AUDIO if config.codec == "mp3" else _FRAGMENTED_MP4


def frames_per_chunk(total_bytes: int, duration_s: float, largest_sample_bytes: int) -> int:
    """The smallest chunk that holds at least 3 seconds on average and the largest access unit for certain.

    Args:
        total_bytes: all access units of the rendition.
    Returns:
        1, 2, 4, 8 or 16 frames; 16 also where even that is less than 3 seconds.
    Raises:
        CallerFault: `sample_too_large`.
    """
    bytes_per_second = total_bytes / duration_s if duration_s > 0 else 0.0
    needed = largest_sample_bytes + mp4.FRAGMENT_OVERHEAD_BYTES + mp4.SAMPLE_ENTRY_BYTES + _ID3_HEADER_BYTES
    able = [frames for frames in FRAMES_PER_CHUNK if frames * FRAME_PLAINTEXT_BYTES >= needed]
    if not able:
        raise CallerFault(
            "sample_too_large",
            f"One piece of this recording is {largest_sample_bytes} bytes: no chunk can hold it.",
        )
    for frames in able:
        if frames * FRAME_PLAINTEXT_BYTES >= MIN_CHUNK_SECONDS * bytes_per_second:
            return frames
    return able[-1]


@dataclass
class _Fragment:
    start: int
    duration: int = 0
    samples: list[Sample] = field(default_factory=list)


@dataclass
class _OpenChunk:
    """The chunk that is being filled: its fragments so far and what they will weigh."""

    start: int
    used: int = 0
    duration: int = 0
    fragments: list[_Fragment] = field(default_factory=list)


class _Packer:
    def __init__(self, config: AudioConfig, frames: int, preview_end: int | None = None) -> None:
        self.preview_end = preview_end
        self.container = _container(config)
        self.capacity = frames * FRAME_PLAINTEXT_BYTES
        self.max_fragment = MAX_FRAGMENT_SECONDS * config.timescale
        self.max_chunk = MAX_CHUNK_SECONDS * config.timescale
        self.sequence_number = 1
        self.open = _OpenChunk(start=0)

    def add(self, sample: Sample) -> PackedChunk | None:
        """Put one access unit in; give the chunk that it did not fit into any more."""
        finished = None
        if not self._has_room_for(sample):
            if not self.open.fragments:
                raise CallerFault(
                    "sample_too_large",
                    f"One piece of this recording is {len(sample.payload)} bytes: too large.",
                )
            finished = self.close(self.capacity)
        opens_fragment = self._opens_fragment(sample)
        if opens_fragment:
            self.open.fragments.append(_Fragment(self.open.start + self.open.duration))
        fragment = self.open.fragments[-1]
        fragment.samples.append(sample)
        fragment.duration += sample.duration
        self.open.duration += sample.duration
        self.open.used += self._cost(sample, opens_fragment)
        return finished

    def close(self, size: int) -> PackedChunk:
        """Write the open chunk, filled up to `size` bytes, and open the next."""
        chunk, pieces, index, offset = self.open, [], [], 0
        for fragment in chunk.fragments:
            written = self.container.write_fragment(self.sequence_number, fragment.start, fragment.samples)
            index.append((offset, fragment.start))
            pieces.append(written)
            offset += len(written)
            self.sequence_number += 1
        if offset < size:
            pieces.append(self.container.write_filler(size - offset))
        self.open = _OpenChunk(start=chunk.start + chunk.duration)
        return PackedChunk(b"".join(pieces), chunk.start, tuple(index))

    def last(self) -> PackedChunk | None:
        """Write what is left, filled up to a whole frame."""
        if not self.open.fragments:
            return None
        size = -(-self.open.used // FRAME_PLAINTEXT_BYTES) * FRAME_PLAINTEXT_BYTES
        if not self.container.fits_exactly(self.open.used, size):
            size += FRAME_PLAINTEXT_BYTES
        return self.close(size)

    def _has_room_for(self, sample: Sample) -> bool:
        if self.open.fragments and self.open.duration + sample.duration > self.max_chunk:
            return False
        if self._is_behind_preview():
            return False
        used = self.open.used + self._cost(sample, self._opens_fragment(sample))
        return self.container.fits_exactly(used, self.capacity)

    def _is_behind_preview(self) -> bool:
        """Whether the open chunk is the preview's last and has all of it."""
        end = self.preview_end
        return end is not None and self.open.start < end <= self.open.start + self.open.duration

    def _opens_fragment(self, sample: Sample) -> bool:
        fragments = self.open.fragments
        return not fragments or fragments[-1].duration + sample.duration > self.max_fragment

    def _cost(self, sample: Sample, opens_fragment: bool) -> int:
        overhead = self.container.fragment_overhead if opens_fragment else 0
        return overhead + self.container.sample_overhead + len(sample.payload)


def preview_end_units(config: AudioConfig, preview_s: int) -> int:
    """Where a preview ends in a rendition, in units of its timescale from its first access unit."""
    return config.delay + preview_s * config.timescale


def pack(
    config: AudioConfig, samples: Iterable[Sample], frames: int, *, preview_s: int | None = None
) -> Iterator[PackedChunk]:
    """Cut a rendition into the plaintext of its chunks.

    Args:
        samples: all access units in order, the encoder's delay included.
        frames: frames per chunk, from `frames_per_chunk`.
        preview_s: a chunk ends with the access unit in which this second ends, however much of it stays empty:
            the keys of a preview open nothing behind it.
    Yields:
        chunks of `frames` x 65,520 bytes; the last is as many whole frames as it needs.
    Raises:
        CallerFault: `sample_too_large`.
    """
    packer = _Packer(config, frames, None if preview_s is None else preview_end_units(config, preview_s))
    for sample in samples:
        if finished := packer.add(sample):
            yield finished
    if last := packer.last():
        yield last
