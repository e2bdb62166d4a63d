"""Files that ordinary players open, made of access units: nothing is decoded, nothing is encoded again.

| codec | file | what makes it exact |
| --- | --- | --- |
| FLAC | `.flac`: the marker, STREAMINFO as the encoder wrote it (with its MD5), the frames | it has no gaps |
| Opus | `.opus`, `.ogg`: hub.fetching.ogg | pre-skip and the last granule position |
| AAC (and FLAC, Opus) | `.m4a`, `.mp4`: hub.fetching.whole_mp4 | an edit list |
| MP3 | `.mp3`: a Xing or Info frame with LAME's delay and padding, the frames | that tag |
"""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Protocol

from digm.errors import CallerFault
from digm.manifest import Manifest, Rendition
from digm.media import STREAMINFO_BYTES, Sample
from hub.fetching.ogg import OggOpusWriter
from hub.fetching.whole_mp4 import WholeMp4Writer
from hub.media.mpeg_frames import DECODER_DELAY, HEADER_BYTES, FrameHeader, parse_header

_TOC_ENTRIES = 100
# Marker, flags, frames, bytes, table of contents; then LAME's part, of which we fill in the gaps.
_XING_BYTES = 4 + 4 + 4 + 4 + _TOC_ENTRIES + 36
_MOST_GAP = 0xFFF


class ContainerWriter(Protocol):
    """Takes access units chunk by chunk, then is closed."""

    def add(self, samples: list[Sample]) -> None: ...
    def close(self) -> None: ...


class FlacWriter:
    """A native FLAC stream (RFC 9639): fLaC, STREAMINFO, frames."""

    def __init__(self, file: BinaryIO, rendition: Rendition) -> None:
        self._file = file
        last_block_streaminfo = bytes([0x80, 0, 0, STREAMINFO_BYTES])
        file.write(b"fLaC" + last_block_streaminfo + rendition.config.codec_private)

    def add(self, samples: list[Sample]) -> None:
        self._file.write(b"".join(sample.payload for sample in samples))

    def close(self) -> None:
        pass


class Mp3Writer:
    """MPEG frames, and in front of them one that tells players of the gaps and how to seek.

    The tag counts from the encoder's input; the decoder's own 529 samples are part of the manifest's delay
    (hub.media.lossy_copy).
    """

    def __init__(self, file: BinaryIO, rendition: Rendition) -> None:
        self._file = file
        self._delay = rendition.config.delay - DECODER_DELAY
        self._padding = rendition.config.padding + DECODER_DELAY
        self._tag: bytes | None = None
        self._header = b""
        self._sizes: list[int] = []

    def add(self, samples: list[Sample]) -> None:
        for sample in samples:
            if self._tag is None:
                self._header = sample.payload[:HEADER_BYTES]
                self._tag = self._tag_frame()
                self._file.write(self._tag)
            self._sizes.append(len(sample.payload))
            self._file.write(sample.payload)

    def close(self) -> None:
        """Now that it is known how many frames there are, write the tag again."""
        if self._tag:
            self._file.seek(0)
            self._file.write(self._tag_frame())
            self._file.seek(0, 2)

    def _tag_frame(self) -> bytes:
        """A frame of silence with the tag inside; empty where the gaps do not fit into one."""
        if not (0 <= self._delay <= _MOST_GAP and self._padding <= _MOST_GAP):
            return b""
        header, parsed = _roomy_header(self._header)
        at = HEADER_BYTES + parsed.side_info_bytes
        frame = bytearray(header.ljust(parsed.size, b"\0"))
        is_constant = len(set(self._sizes)) <= 2  # the padding bit makes two sizes of one rate
        struct.pack_into(
            ">4sIII", frame, at, b"Info" if is_constant else b"Xing", 0x7, len(self._sizes),
            sum(self._sizes) + parsed.size,
        )  # fmt: skip
        frame[at + 16 : at + 16 + _TOC_ENTRIES] = self._table_of_contents()
        lame = at + 16 + _TOC_ENTRIES
        frame[lame : lame + 9] = b"LAME3.100"
        frame[lame + 21 : lame + 24] = (self._delay << 12 | self._padding).to_bytes(3, "big")
        return bytes(frame)

    def _table_of_contents(self) -> bytes:
        """For each hundredth of the time, the 256th of the file where it begins."""
        total, count, before = sum(self._sizes) or 1, len(self._sizes), 0
        entries, frame = bytearray(), 0
        for hundredth in range(_TOC_ENTRIES):
            while frame < hundredth * count // _TOC_ENTRIES:
                before += self._sizes[frame]
                frame += 1
            entries.append(min(255, before * 256 // total))
        return bytes(entries)


def _roomy_header(header: bytes) -> tuple[bytes, FrameHeader]:
    """The header of a frame like the others, without checksum, at a rate that leaves room for the tag."""
    for bit_rate_index in range(1, 15):
        made = bytes([header[0], header[1] | 1, bit_rate_index << 4 | header[2] & 0x0C, header[3]])
        parsed = parse_header(made)
        if parsed is not None and parsed.size >= HEADER_BYTES + parsed.side_info_bytes + _XING_BYTES:
            return made, parsed
    raise AssertionError("at 160 kbit/s and more every frame has room")


Maker = Callable[[BinaryIO, Rendition], ContainerWriter]
_BY_SUFFIX: dict[str, dict[str, Maker]] = {
    ".flac": {"flac": FlacWriter},
    ".opus": {"opus": OggOpusWriter},
    ".ogg": {"opus": OggOpusWriter},
    ".mp3": {"mp3": Mp3Writer},
    ".m4a": dict.fromkeys(("flac", "opus", "aac"), WholeMp4Writer),
    ".mp4": dict.fromkeys(("flac", "opus", "aac"), WholeMp4Writer),
}


def choose_rendition(manifest: Manifest, out: Path, asked: str | None) -> Rendition:
    """The rendition for a file: the one that is asked for, else the best one that fits the file's name.

    Args:
        asked: a number or a codec's name; None: whatever fits.
    Raises:
        CallerFault: `rendition_unknown`, `bad_out`.
    """
    able = _BY_SUFFIX.get(out.suffix.lower(), {})
    offered = choose_renditions(manifest, asked)
    for rendition in offered:
        if rendition.config.codec in able:
            return rendition
    codecs = [rendition.config.codec for rendition in offered]
    fitting = [suffix for suffix, makers in _BY_SUFFIX.items() if set(codecs) & makers.keys()]
    raise CallerFault(
        "bad_out",
        f"{out.name} cannot hold this track, which comes as {' and '.join(codecs)}: "
        f"choose a name that ends in {', '.join(fitting)}.",
    )


def choose_renditions(manifest: Manifest, asked: str | None) -> list[Rendition]:
    """All renditions, or those that are asked for by a number or a codec's name.

    Raises:
        CallerFault: `rendition_unknown`.
    """
    if asked is None:
        return list(manifest.renditions)
    found = [it for it in manifest.renditions if asked in (str(it.id), it.config.codec)]
    if not found:
        offered = ", ".join(f"{it.id} ({it.config.codec})" for it in manifest.renditions)
        raise CallerFault("rendition_unknown", f"This track has no rendition {asked!r:.20}; it has {offered}.")
    return found


def open_container(file: BinaryIO, out: Path, rendition: Rendition) -> ContainerWriter:
    """A writer for a name that `choose_rendition` found fitting."""
    return _BY_SUFFIX[out.suffix.lower()][rendition.config.codec](file, rendition)
