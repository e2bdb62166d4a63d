"""MPEG audio layer III frames (ISO/IEC 11172-3 §2.4, 13818-3), and the Xing, Info or LAME tag in the first."""

from typing import NamedTuple

# kbit/s by bitrate index, layer III. Index 0 is the free format, which no browser plays; 15 is forbidden.
_BIT_RATES_V1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_BIT_RATES_V2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_SAMPLE_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_LAYER_III = 1
_MPEG_1 = 3
_MONO = 3
HEADER_BYTES = 4
# What the decoder itself puts before the first sample: 528 of the filter bank and one more by convention.
DECODER_DELAY = 529
_GAPLESS_ENCODERS = (b"LAME", b"Lavf", b"Lavc")


class FrameHeader(NamedTuple):
    """One frame: its whole size in bytes and how many samples it decodes to."""

    size: int
    samples: int
    sample_rate: int
    channels: int
    side_info_bytes: int


class EncoderTag(NamedTuple):
    """The Xing or Info tag. `frames` is 0 where it is not told, `delay` and `padding` are the encoder's own."""

    frames: int
    delay: int
    padding: int
    is_gapless: bool


def parse_header(data: bytes, at: int = 0) -> FrameHeader | None:
    """The layer III header at that place, or None if there is none."""
    if len(data) < at + HEADER_BYTES or data[at] != 0xFF or data[at + 1] & 0xE0 != 0xE0:
        return None
    version, layer = data[at + 1] >> 3 & 3, data[at + 1] >> 1 & 3
    bit_rate_index, rate_index = data[at + 2] >> 4, data[at + 2] >> 2 & 3
    if version == 1 or layer != _LAYER_III or bit_rate_index in (0, 15) or rate_index == 3:
        return None
    is_mpeg_1 = version == _MPEG_1
    sample_rate = _SAMPLE_RATES[version][rate_index]
    bit_rate = (_BIT_RATES_V1 if is_mpeg_1 else _BIT_RATES_V2)[bit_rate_index] * 1000
    channels = 1 if data[at + 3] >> 6 == _MONO else 2
    samples = 1152 if is_mpeg_1 else 576
    size = samples // 8 * bit_rate // sample_rate + (data[at + 2] >> 1 & 1)
    side_info = (17 if channels == 1 else 32) if is_mpeg_1 else (9 if channels == 1 else 17)
    return FrameHeader(size, samples, sample_rate, channels, side_info)


def parse_encoder_tag(frame: bytes) -> EncoderTag | None:
    """The tag in place of audio in the first frame, or None if the frame is audio.

    A VBRI tag (Fraunhofer) tells the number of frames and nothing about gaps.
    """
    header = parse_header(frame)
    if header is None:
        return None
    if frame[36:40] == b"VBRI" and len(frame) >= 54:
        return EncoderTag(int.from_bytes(frame[50:54], "big"), 0, 0, False)
    at = HEADER_BYTES + header.side_info_bytes
    if frame[at : at + 4] not in (b"Xing", b"Info") or len(frame) < at + 8:
        return None
    flags = int.from_bytes(frame[at + 4 : at + 8], "big")
    at += 8
    frames = int.from_bytes(frame[at : at + 4], "big") if flags & 1 else 0
    # Frame count, byte count, table of contents, quality: each there if its flag is set.
    at += 4 * (flags & 1) + 4 * (flags >> 1 & 1) + 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1)
    lame = frame[at : at + 24]
    if len(lame) < 24 or not lame.startswith(_GAPLESS_ENCODERS):
        return EncoderTag(frames, 0, 0, False)
    return EncoderTag(frames, lame[21] << 4 | lame[22] >> 4, (lame[22] & 15) << 8 | lame[23], True)
