"""Fragmented MP4, written by hand: an init segment, movie fragments, and `free` boxes that fill to the byte.

ISO/IEC 14496-12 (boxes), "Encapsulation of FLAC in ISO BMFF" (fLaC, dfLa), "Encapsulation of Opus in ISO
BMFF" (Opus, dOps), ISO/IEC 14496-14 (mp4a, esds). One audio track, no `stts` entries: everything lives in
fragments. Only writing; players read.
"""

import struct
from collections.abc import Sequence

from digm.media import AudioConfig, Sample

TRACK_ID = 1
FREE_BOX_MIN_BYTES = 8
SAMPLE_ENTRY_BYTES = 8
"""What one access unit adds to a `trun`: its duration and its size."""

_UNITY_MATRIX = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_DATA_OFFSET_DURATION_SIZE = 0x000001 | 0x000100 | 0x000200
_DEFAULT_BASE_IS_MOOF = 0x020000


def box(kind: bytes, *payload: bytes) -> bytes:
    """A box: u32 size, four letters, payload."""
    body = b"".join(payload)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def full_box(kind: bytes, version: int, flags: int, *payload: bytes) -> bytes:
    """A box with a version and 24 bits of flags."""
    return box(kind, struct.pack(">I", version << 24 | flags), *payload)


def free_box(size: int) -> bytes:
    """A box of `size` bytes (at least 8) that every reader skips."""
    return struct.pack(">I4s", size, b"free").ljust(size, b"\0")


def init_segment(config: AudioConfig) -> bytes:
    """`ftyp` and `moov` of a rendition; empty for MP3, which is a plain stream of MPEG frames."""
    if config.codec == "mp3":
        return b""
    return box(b"ftyp", b"iso6", bytes(4), b"iso6", b"cmfc", b"mp41") + box(
        b"moov", _movie_header(), _track(config), box(b"mvex", _track_extends())
    )


def _movie_header() -> bytes:
    # The duration stays 0: readers learn the length from the fragments, the player from the manifest.
    return full_box(
        b"mvhd", 0, 0,
        struct.pack(">IIIIIH10x", 0, 0, 1000, 0, 0x10000, 0x0100),
        _UNITY_MATRIX, bytes(24), struct.pack(">I", TRACK_ID + 1),
    )  # fmt: skip


def _track_extends() -> bytes:
    return full_box(b"trex", 0, 0, struct.pack(">IIIII", TRACK_ID, 1, 0, 0, 0))


def _track(config: AudioConfig) -> bytes:
    enabled_in_movie = 0x000003
    header = full_box(
        b"tkhd", 0, enabled_in_movie,
        struct.pack(">IIIII8xhhHxx", 0, 0, TRACK_ID, 0, 0, 0, 0, 0x0100),
        _UNITY_MATRIX, bytes(8),
    )  # fmt: skip
    media_header = full_box(b"mdhd", 0, 0, struct.pack(">IIIIHH", 0, 0, config.timescale, 0, 0x55C4, 0))
    handler = full_box(b"hdlr", 0, 0, bytes(4), b"soun", bytes(12), b"DIGM\0")
    sound_header = full_box(b"smhd", 0, 0, bytes(4))
    data_here = box(b"dinf", full_box(b"dref", 0, 0, struct.pack(">I", 1), full_box(b"url ", 0, 1)))
    no_samples = (
        full_box(b"stts", 0, 0, bytes(4)),
        full_box(b"stsc", 0, 0, bytes(4)),
        full_box(b"stsz", 0, 0, bytes(8)),
        full_box(b"stco", 0, 0, bytes(4)),
    )
    description = full_box(b"stsd", 0, 0, struct.pack(">I", 1), _sample_entry(config))
    return box(
        b"trak", header,
        box(
            b"mdia", media_header, handler,
            box(b"minf", sound_header, data_here, box(b"stbl", description, *no_samples)),
        ),
    )  # fmt: skip


def _sample_entry(config: AudioConfig) -> bytes:
    kind, specific = {
        "flac": (b"fLaC", _flac_specific),
        "opus": (b"Opus", _opus_specific),
        "aac": (b"mp4a", _aac_specific),
    }[config.codec]
    # A 16.16 number cannot hold 96 kHz. The FLAC mapping asks for the greatest regular division that fits;
    # readers take the true rate from dfLa.
    rate = config.timescale
    while rate > 0xFFFF:
        rate //= 2
    return box(
        kind,
        struct.pack(">6xH8xHHHHI", 1, config.channels, config.bits or 16, 0, 0, rate << 16),
        specific(config),
    )


def _flac_specific(config: AudioConfig) -> bytes:
    last_block_streaminfo = 0x80
    return full_box(
        b"dfLa", 0, 0, bytes([last_block_streaminfo, 0, 0, len(config.codec_private)]), config.codec_private
    )


def _opus_specific(config: AudioConfig) -> bytes:
    # OpusHead (RFC 7845 §5.1) holds the same fields little-endian, behind an 8-byte magic and with version 1.
    channels, pre_skip, input_rate, gain, family = struct.unpack_from("<BHIhB", config.codec_private, 9)
    return box(b"dOps", struct.pack(">BBHIhB", 0, channels, pre_skip, input_rate, gain, family))


def _aac_specific(config: AudioConfig) -> bytes:
    def descriptor(tag: int, *payload: bytes) -> bytes:
        body = b"".join(payload)
        return struct.pack(">BB", tag, len(body)) + body

    audio_object, audio_stream = 0x40, 0x05 << 2 | 1
    decoder = descriptor(
        0x04,
        struct.pack(">BB3xII", audio_object, audio_stream, 0, 0),
        descriptor(0x05, config.codec_private),
    )
    return full_box(
        b"esds", 0, 0, descriptor(0x03, struct.pack(">HB", TRACK_ID, 0), decoder, descriptor(0x06, b"\x02"))
    )


_MOOF_FIXED_BYTES = 8 + 16 + 8 + 16 + 20 + 20  # moof, mfhd, traf, tfhd, tfdt, trun without its entries
_MDAT_HEADER_BYTES = 8
FRAGMENT_OVERHEAD_BYTES = _MOOF_FIXED_BYTES + _MDAT_HEADER_BYTES
"""What a fragment costs beside its access units and their `SAMPLE_ENTRY_BYTES`."""


def fragment(sequence_number: int, start: int, samples: Sequence[Sample]) -> bytes:
    """A `moof` and its `mdat`: playable alone behind the init segment.

    Args:
        sequence_number: 1 for the first fragment of the rendition, growing.
        start: decode time of the first sample, in units of the timescale.
    """
    moof_bytes = _MOOF_FIXED_BYTES + SAMPLE_ENTRY_BYTES * len(samples)
    entries = b"".join(struct.pack(">II", sample.duration, len(sample.payload)) for sample in samples)
    track_fragment = box(
        b"traf",
        full_box(b"tfhd", 0, _DEFAULT_BASE_IS_MOOF, struct.pack(">I", TRACK_ID)),
        full_box(b"tfdt", 1, 0, struct.pack(">Q", start)),
        full_box(
            b"trun", 0, _DATA_OFFSET_DURATION_SIZE,
            struct.pack(">Ii", len(samples), moof_bytes + _MDAT_HEADER_BYTES), entries,
        ),
    )  # fmt: skip
    moof = box(b"moof", full_box(b"mfhd", 0, 0, struct.pack(">I", sequence_number)), track_fragment)
    return moof + box(b"mdat", *(sample.payload for sample in samples))
