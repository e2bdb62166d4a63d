"""Files that ordinary players open, made of access units: nothing is decoded, nothing is encoded again.

| codec | file | what makes it exact |
| --- | --- | --- |
| FLAC | `.flac`: the marker, STREAMINFO as the encoder wrote it (with its MD5), tags, the frames | no gaps |
| Opus | `.opus`, `.ogg`: digm.ogg | pre-skip and the last granule position |
| AAC (and FLAC, Opus) | `.m4a`, `.mp4`: digm.whole_mp4 | an edit list |
| MP3 | `.mp3`: a Xing or Info frame with LAME's delay and padding, the frames | that tag |

Tags and cover go in while the file is written (digm.tags).
"""

import struct
from collections.abc import Callable
from typing import BinaryIO, Protocol

from digm.errors import CallerFault
from digm.manifest import Manifest, Rendition
from digm.media import Sample
from digm.mpeg_frames import DECODER_DELAY, HEADER_BYTES, FrameHeader, parse_header
from digm.ogg import OggOpusWriter
from digm.tags import NO_TAGS, Tags, flac_picture, id3, vorbis_comment
from digm.whole_mp4 import WholeMp4Writer

_TOC_ENTRIES = 100
# Marker, flags, frames, bytes, table of contents; then LAME's part, of which we fill in the gaps.
_XING_BYTES = 4 + 4 + 4 + 4 + _TOC_ENTRIES + 36
_MOST_GAP = 0xFFF
_STREAMINFO, _VORBIS_COMMENT, _PICTURE = 0, 4, 6


class ContainerWriter(Protocol):
    """Takes access units chunk by chunk, then is closed."""

    def add(self, samples: list[Sample]) -> None: ...
    def close(self) -> None: ...


class FlacWriter:
    """A native FLAC stream (RFC 9639): fLaC, STREAMINFO, comments and picture, frames."""

    def __init__(self, file: BinaryIO, rendition: Rendition, tags: Tags = NO_TAGS) -> None:
        self._file = file
        blocks = [(_STREAMINFO, rendition.config.codec_private)]
        if tags:
            blocks.append((_VORBIS_COMMENT, vorbis_comment(tags)))
        if tags.cover is not None:
            blocks.append((_PICTURE, flac_picture(tags)))
        file.write(b"fLaC")
        for kind, body in blocks:
            is_last = kind == blocks[-1][0]
            file.write(bytes([is_last << 7 | kind]) + len(body).to_bytes(3, "big") + body)

    def add(self, samples: list[Sample]) -> None:
        self._file.write(b"".join(sample.payload for sample in samples))

    def close(self) -> None:
        pass


class Mp3Writer:
    """MPEG frames, and in front of them one that tells players of the gaps and how to seek.

    The tag counts from the encoder's input; the decoder's own 529 samples are part of the manifest's delay
    (hub.media.lossy_copy).
    """

    def __init__(self, file: BinaryIO, rendition: Rendition, tags: Tags = NO_TAGS) -> None:
        self._file = file
        file.write(id3(tags))
        self._tag_at = file.tell()
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
            self._file.seek(self._tag_at)
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


Maker = Callable[[BinaryIO, Rendition, Tags], ContainerWriter]
_BY_SUFFIX: dict[str, dict[str, Maker]] = {
    ".flac": {"flac": FlacWriter},
    ".opus": {"opus": OggOpusWriter},
    ".ogg": {"opus": OggOpusWriter},
    ".mp3": {"mp3": Mp3Writer},
    ".m4a": dict.fromkeys(("flac", "opus", "aac"), WholeMp4Writer),
    ".mp4": dict.fromkeys(("flac", "opus", "aac"), WholeMp4Writer),
}


def choose_rendition(manifest: Manifest, name: str, asked: str | None = None) -> Rendition:
    """The rendition for a file: the one that is asked for, else the best one that fits the file's name.

    Args:
        name: of the file; its end says what it is to be.
        asked: a number or a codec's name; None: whatever fits.
    Raises:
        CallerFault: `rendition_unknown`, `bad_out`.
    """
    able = _BY_SUFFIX.get(_suffix(name), {})
    offered = choose_renditions(manifest, asked)
    for rendition in offered:
        if rendition.config.codec in able:
            return rendition
    codecs = [rendition.config.codec for rendition in offered]
    fitting = [suffix for suffix, makers in _BY_SUFFIX.items() if set(codecs) & makers.keys()]
    raise CallerFault(
        "bad_out",
        f"{name} cannot hold this track, which comes as {' and '.join(codecs)}: "
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


def open_container(file: BinaryIO, name: str, rendition: Rendition, tags: Tags = NO_TAGS) -> ContainerWriter:
    """A writer for a name that `choose_rendition` found fitting."""
    return _BY_SUFFIX[_suffix(name)][rendition.config.codec](file, rendition, tags)


def usual_suffix(codec: str) -> str:
    """What the file of a rendition is called where nobody asks for something else, such as ".flac"."""
    return next(suffix for suffix, makers in _BY_SUFFIX.items() if codec in makers)


def _suffix(name: str) -> str:
    return name[name.rfind(".") :].lower() if "." in name else ""
