"""Copies the access units of MP3, AAC and Opus out of their containers, and finds where the sound starts.

Nothing is decoded here but the first AAC unit, because its length cannot be read from it.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.packet import Packet

from digm.mpeg_frames import DECODER_DELAY, EncoderTag, FrameHeader, parse_encoder_tag, parse_header
from hub.media.decoding import access_unit, damaged_at, decode, decoder
from hub.media.faults import MediaFault
from hub.media.gapless import Gaps, mp4_gaps
from hub.media.model import IngestLimits
from hub.media.opus_packets import packet_samples
from hub.media.recognise import adts_frame_bytes
from hub.media.renditions import OPUS_RATE, AccessUnitWriter
from hub.media.source import Source, refuse_too_long

_MAX_MPEG_FRAME_BYTES = 2881
# AAC LC, SBR (HE-AAC) and PS (HE-AAC v2): what browsers play (ISO/IEC 14496-3 §1.5.1).
_AAC_OBJECT_TYPES = (2, 5, 29)
_MAX_ENCODED_CHANNELS = 2


@dataclass
class CopiedUnits:
    """All access units of a source in a file, and what a decoder must know."""

    codec: str
    writer: AccessUnitWriter
    sample_rate: int
    channels: int
    codec_private: bytes
    gaps: Gaps


def copy_units(source: Source, folder: Path, limits: IngestLimits) -> CopiedUnits:
    """Copy them.

    Raises:
        MediaFault: `truncated_file`, `damaged_file`, `changing_format`, `unsupported_codec`, `too_long`,
            `no_audio`.
    """
    copy = {"mp3": _copy_mp3, "aac": _copy_aac, "opus": _copy_opus}[source.codec]
    writer = AccessUnitWriter(folder, source.codec)
    try:
        units = copy(source, writer)
    finally:
        writer.close()
    if writer.count == 0:
        raise MediaFault("no_audio")
    refuse_too_long(writer.duration, units.sample_rate, limits)
    return units


# --- MP3


def _mpeg_frames(source: Source) -> Iterator[tuple[bytes, FrameHeader]]:
    first: FrameHeader | None = None
    cut_off = False
    for packet in source.packets():
        data, at = bytes(packet), 0
        while header := parse_header(data, at):
            cut_off = at + header.size > len(data)
            if cut_off:
                break
            first = first or header
            if (header.sample_rate, header.channels) != (first.sample_rate, first.channels):
                raise MediaFault("changing_format")
            yield data[at : at + header.size], header
            at += header.size
    if cut_off:
        raise MediaFault("truncated_file", what="its last frame is not whole")


def _encoder_tag(source: Source) -> EncoderTag | None:
    source.file.seek(source.audio_start)
    return parse_encoder_tag(source.file.read(_MAX_MPEG_FRAME_BYTES))


def _missing_frames(source: Source, writer: AccessUnitWriter, declared: int) -> MediaFault:
    """Damaged if the bytes of at least half of the missing frames are there, else cut short."""
    there = os.fstat(source.file.fileno()).st_size - source.audio_start
    frame_bytes = writer.total_bytes / max(writer.count, 1)
    missing = declared - writer.count
    if there - writer.total_bytes >= missing * frame_bytes / 2:
        percent = max(1, 100 * missing // declared)
        return MediaFault("damaged_file", what=f"{percent} % of its frames cannot be read")
    return MediaFault(
        "truncated_file", what=f"{100 * writer.count // declared} % of the declared sound is there"
    )


def _copy_mp3(source: Source, writer: AccessUnitWriter) -> CopiedUnits:
    header: FrameHeader | None = None
    for frame, header in _mpeg_frames(source):
        # The frame with the Xing, Info or VBRI tag would be heard as silence: it is not audio.
        if writer.count or parse_encoder_tag(frame) is None:
            writer.add(frame, header.samples)
    if header is None:
        raise MediaFault("no_audio")
    tag = _encoder_tag(source)
    gaps = Gaps(0, 0)
    if tag:
        # Some encoders count the frame of the tag itself.
        if writer.count < tag.frames - 1:
            raise _missing_frames(source, writer, tag.frames)
        if tag.is_gapless:
            # The tag counts from the encoder's input; the decoder adds its own 529 samples in front, so that as
            # many fewer of the padding come out at the end.
            gaps = Gaps(tag.delay + DECODER_DELAY, max(0, tag.padding - DECODER_DELAY)).within(writer.duration)
    return CopiedUnits("mp3", writer, header.sample_rate, header.channels, b"", gaps)


# --- AAC


def _adts_units(source: Source) -> "Iterator[tuple[Packet[AudioStream], bytes]]":
    """Raw ADTS: the header of each frame becomes one AudioSpecificConfig for all."""
    config = b""
    to_mp4 = BitStreamFilterContext("aac_adtstoasc", source.stream)
    last_is_whole = True
    for packet in source.packets():
        data = bytes(packet)
        last_is_whole = adts_frame_bytes(data, 0) == len(data)
        if not last_is_whole:
            continue
        for unit in to_mp4.filter(packet):
            if unit.has_sidedata("new_extradata"):
                found = bytes(unit.get_sidedata("new_extradata"))
                if config and found != config:
                    raise MediaFault("changing_format")
                config = found
            yield unit, config
    if not last_is_whole:
        raise MediaFault("truncated_file", what="its last frame is not whole")


def _mp4_units(source: Source) -> "Iterator[tuple[Packet[AudioStream], bytes]]":
    config = source.stream.codec_context.extradata or b""
    for packet in source.packets():
        yield packet, config


def _aac_object_type(config: bytes) -> int:
    """Audio object type (ISO/IEC 14496-3 §1.6.2.1)."""
    bits = int.from_bytes(config[:2].ljust(2, b"\0"), "big")
    return bits >> 11 if bits >> 11 != 31 else 32 + (bits >> 5 & 63)


def _copy_aac(source: Source, writer: AccessUnitWriter) -> CopiedUnits:
    units = _adts_units(source) if source.demuxer == "aac" else _mp4_units(source)
    ticks = unit_samples = sample_rate = channels = 0
    config = b""
    for packet, config in units:
        if not unit_samples:
            if _aac_object_type(config) not in _AAC_OBJECT_TYPES:
                raise MediaFault("unsupported_codec", what="an AAC profile that browsers do not play")
            unit_samples, sample_rate, channels = _first_aac_unit(source, packet, config)
        writer.add(bytes(packet), unit_samples)
        ticks += packet.duration or 0
    if not unit_samples:
        raise MediaFault("no_audio")
    gaps = Gaps(0, 0)
    if source.mp4 and (track := source.mp4_track):
        itunes = source.container.metadata.get("iTunSMPB", "")
        gaps = mp4_gaps(source.mp4, track, ticks, writer.duration, sample_rate, itunes)
    return CopiedUnits("aac", writer, sample_rate, channels, config, gaps)


def _first_aac_unit(source: Source, packet: "Packet[AudioStream]", config: bytes) -> tuple[int, int, int]:
    """Samples, rate and channels of what is heard: with SBR and PS more than the header says."""
    context = source.stream.codec_context
    try:
        probe = decoder("aac", config, context.sample_rate, context.channels)
        frames = decode(probe, access_unit(bytes(packet)))
    except ValueError as error:
        raise damaged_at(0, context.sample_rate) from error
    if not frames:
        raise damaged_at(0, context.sample_rate)
    channels = frames[0].layout.nb_channels
    if channels > _MAX_ENCODED_CHANNELS:
        raise MediaFault("too_many_channels", channels=channels)
    return frames[0].samples, frames[0].sample_rate, channels


# --- Opus


def _skipped_at_end(packet: "Packet[AudioStream]") -> int:
    if not packet.has_sidedata("skip_samples"):
        return 0
    # AV_PKT_DATA_SKIP_SAMPLES: u32 samples to skip at the start, u32 at the end, little-endian.
    return int(struct.unpack_from("<II", bytes(packet.get_sidedata("skip_samples")))[1])


def _copy_opus(source: Source, writer: AccessUnitWriter) -> CopiedUnits:
    head = source.stream.codec_context.extradata or b""
    if len(head) != 19 or head[18] != 0:
        raise MediaFault("unsupported_codec", what="Opus with a channel mapping of its own")
    ticks = padding = 0
    for packet in source.packets():
        payload = bytes(packet)
        samples = packet_samples(payload)
        if not samples:
            raise damaged_at(writer.duration, OPUS_RATE)
        writer.add(payload, samples)
        ticks += packet.duration or 0
        padding += _skipped_at_end(packet)
    pre_skip = int.from_bytes(head[10:12], "little")
    gaps = Gaps(pre_skip, padding)
    if source.mp4 and (track := source.mp4_track):
        gaps = mp4_gaps(source.mp4, track, ticks, writer.duration, OPUS_RATE, "")
        gaps = Gaps(max(pre_skip, gaps.delay), gaps.padding)
    return CopiedUnits("opus", writer, OPUS_RATE, head[9], head, gaps.within(writer.duration))
