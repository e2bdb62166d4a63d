"""What ingest is allowed to use and what it gives back."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from digm.media import AudioConfig, Sample

INDEX_ENTRY = struct.Struct(">II")
_INDEX_ENTRIES_PER_READ = 4096


@dataclass(frozen=True)
class IngestLimits:
    """What one file may be and what its worker may take.

    Attributes:
        max_duration_s: longer recordings are refused, from their header where it tells, else while decoding.
        max_cover_pixels: width times height of a cover picture; larger ones count as image bombs.
        memory_bytes: address space of the worker (RLIMIT_AS): libraries take about 700 MiB of it unused.
        cpu_s: processor time of the worker (RLIMIT_CPU).
        wall_s: from start to result.
        stall_s: without a sign of life.
        output_bytes: of any one file that the worker writes (RLIMIT_FSIZE).
        open_files: RLIMIT_NOFILE.
    """

    max_duration_s: int = 8 * 3600
    max_channels: int = 2
    max_cover_pixels: int = 25_000_000
    memory_bytes: int = 2 << 30
    cpu_s: int = 4 * 3600
    wall_s: int = 4 * 3600
    stall_s: int = 120
    output_bytes: int = 32 << 30
    open_files: int = 64


@dataclass(frozen=True)
class Tags:
    """What the file says about itself: untrusted text, trimmed, at most 500 characters, none of them a control.

    `title` is None only where neither the tags nor the file name hold a printable character.
    """

    title: str | None = None
    artist: str | None = None
    album: str | None = None
    track_number: int | None = None
    year: int | None = None
    genre: str | None = None
    isrc: str | None = None
    licence: str | None = None


@dataclass(frozen=True)
class IngestedRendition:
    """One encoding of the recording, as access units in a file.

    Attributes:
        packets: the access units one after another.
        index: per access unit its size and its duration, u32 each, big-endian.
        duration: of all access units in units of the timescale, delay and padding included.
        largest_sample_bytes: of the largest access unit.
    """

    config: AudioConfig
    packets: Path
    index: Path
    total_bytes: int
    duration: int
    largest_sample_bytes: int

    def samples(self) -> Iterator[Sample]:
        """The access units in order, read as they are asked for."""
        with self.packets.open("rb") as packets, self.index.open("rb") as index:
            while block := index.read(INDEX_ENTRY.size * _INDEX_ENTRIES_PER_READ):
                for size, duration in INDEX_ENTRY.iter_unpack(block):
                    yield Sample(packets.read(size), duration)


@dataclass(frozen=True)
class IngestedTrack:
    """A recording, ready to be packed.

    Attributes:
        cover: a JPEG made anew, at most 1200 pixels wide and high and 512 KiB.
        duration_s: of what is heard.
        loudness_lufs: EBU R 128 integrated; None for silence.
        true_peak_db: dBTP; None for silence.
        peaks: the waveform, at most 2000 values, evenly spaced, 255 = full scale.
        renditions: best quality first, Opus last.
        source_codec: FFmpeg's name of the codec in the file.
        notes: sentences for the artist: what had to be changed.
    """

    tags: Tags
    cover: Path | None
    duration_s: float
    loudness_lufs: float | None
    true_peak_db: float | None
    peaks: bytes
    renditions: list[IngestedRendition]
    source_codec: str
    notes: list[str]
