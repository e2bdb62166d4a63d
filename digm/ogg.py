"""Opus in Ogg (RFC 3533, RFC 7845): pages with checksums, pre-skip in front, an end cut to the sample."""

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from digm.manifest import Rendition
from digm.media import OPUS_TIMESCALE, Sample
from digm.tags import NO_TAGS, Tags, vorbis_comment

_CONTINUED, _BEGIN_OF_STREAM, _END_OF_STREAM = 0x01, 0x02, 0x04
_NO_PACKET_ENDS = 0xFFFF_FFFF_FFFF_FFFF  # in place of a granule position (RFC 3533 §6)
_SERIAL = 0x4449474D  # "DIGM"; it only has to differ from those of other streams in one file
_MOST_LACING = 255
_PAGE_SAMPLES = OPUS_TIMESCALE  # RFC 7845 §4: pages of a second at most
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class OggOpusWriter:
    """One Opus stream as an Ogg file.

    Args:
        file: empty, open for writing.
    """

    def __init__(self, file: BinaryIO, rendition: Rendition, tags: Tags = NO_TAGS) -> None:
        self._file = file
        self._config = rendition.config
        self._end = rendition.duration - rendition.config.padding
        self._pages = 0
        self._granule = 0
        self._waiting: list[bytes] = []
        self._waiting_lacing = 0
        self._waiting_samples = 0
        self._page([_head(rendition)], 0, _BEGIN_OF_STREAM)
        self._long_packet(b"OpusTags" + vorbis_comment(tags, has_picture=True))

    def add(self, samples: list[Sample]) -> None:
        """Packets, in order."""
        for packet, duration in samples:
            lacing = len(packet) // 255 + 1
            is_full = self._waiting_lacing + lacing > _MOST_LACING
            if self._waiting and (is_full or self._waiting_samples + duration > _PAGE_SAMPLES):
                self._flush(0)
            self._waiting.append(packet)
            self._waiting_lacing += lacing
            self._waiting_samples += duration

    def close(self) -> None:
        """The last page; its granule position cuts off the padding (RFC 7845 §4.4)."""
        self._flush(_END_OF_STREAM)

    def _flush(self, flags: int) -> None:
        self._granule += self._waiting_samples
        granule = min(self._granule, self._end) if flags & _END_OF_STREAM else self._granule
        self._page(self._waiting, granule, flags)
        self._waiting, self._waiting_lacing, self._waiting_samples = [], 0, 0

    def _long_packet(self, packet: bytes) -> None:
        """Pages of its own for a packet that may be larger than one: the tags with a picture."""
        lacing, flags = bytes(_lacing(len(packet))), 0
        for at in range(0, len(lacing), _MOST_LACING):
            is_end = at + _MOST_LACING >= len(lacing)
            body = packet[at * 255 : (at + _MOST_LACING) * 255]
            self._write(lacing[at : at + _MOST_LACING], body, 0 if is_end else _NO_PACKET_ENDS, flags)
            flags = _CONTINUED

    def _page(self, packets: list[bytes], granule: int, flags: int) -> None:
        lacing = bytes(value for packet in packets for value in _lacing(len(packet)))
        self._write(lacing, b"".join(packets), granule, flags)

    def _write(self, lacing: bytes, body: bytes, granule: int, flags: int) -> None:
        head = struct.pack("<4sBBQIIIB", b"OggS", 0, flags, granule, _SERIAL, self._pages, 0, len(lacing))
        page = head + lacing + body
        checksum = struct.pack("<I", ogg_crc(page))
        self._file.write(page[:22] + checksum + page[26:])
        self._pages += 1


def _head(rendition: Rendition) -> bytes:
    """OpusHead as it is in the manifest, with the pre-skip that the manifest says."""
    head = rendition.config.codec_private
    return head[:10] + struct.pack("<H", min(rendition.config.delay, 0xFFFF)) + head[12:]


def _lacing(size: int) -> Iterator[int]:
    """A packet's lengths: 255s, and what is left, be it 0 (RFC 3533 §6)."""
    yield from b"\xff" * (size // 255)
    yield size % 255


def ogg_crc(data: bytes) -> int:
    """CRC-32 with the usual polynomial, neither reflected nor inverted (RFC 3533 §6).

    zlib's is both; bits turned round before and after, and its inversions undone, the two are the same.
    """
    reflected = zlib.crc32(data.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reflected:032b}"[::-1], 2)
