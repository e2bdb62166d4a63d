"""The three ways from a file to its best rendition: FLAC copied, lossy codecs copied, all else made FLAC.

Each gives decoded sound, exactly what is to be heard, and in the end the rendition.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from av.audio.frame import AudioFrame
from av.codec.context import Flags2

from hub.media.analysis import FlacChecksum
from hub.media.decoding import access_unit, damaged_at, decode, decoder
from hub.media.fanout import Consumer
from hub.media.faults import MediaFault
from hub.media.gapless import Gaps, cut, mp4_gaps
from hub.media.lossy_copy import CopiedUnits
from hub.media.model import INDEX_ENTRY
from hub.media.renditions import AccessUnitWriter, FlacEncoder, flac_report
from hub.media.report import NoteReport, RenditionReport
from hub.media.source import PCM_BITS, Source

_STREAMINFO_BYTES = 34
_ALAC_BIT_DEPTH_AT = 17
_WIDENED = ("pcm_f", "pcm_mulaw", "pcm_alaw", "pcm_u8", "pcm_s8")


class Recording(Protocol):
    """One way of reading a source.

    Attributes:
        expected_samples: how many `frames` will probably give, for progress; None if nobody knows.
        consumers: who else needs the decoded sound.
        is_opus: the source is Opus already, and its copy the only rendition.
        is_clipped: the rendition holds nothing beyond full scale.
    """

    sample_rate: int
    channels: int
    expected_samples: int | None
    consumers: Sequence[Consumer]
    is_opus: bool
    is_clipped: bool

    def frames(self) -> Iterator[AudioFrame]:
        """Decoded sound without delay and padding."""

    def finish(self, samples: int) -> RenditionReport:
        """Close the rendition after that many samples, or say what is wrong with the file."""

    def notes(self) -> list[NoteReport]:
        """What the artist should know."""


def _refuse_shorter(samples: int, declared: int | None) -> None:
    if declared is not None and samples < declared:
        raise MediaFault("truncated_file", what=f"{100 * samples // declared} % of the declared sound is there")


class FlacCopy:
    """FLAC frames as they are, verified against the checksum that the file carries."""

    is_opus = False
    is_clipped = True

    def __init__(self, source: Source, folder: Path) -> None:
        context = source.stream.codec_context
        self._source = source
        self._stream_info = context.extradata or b""
        self.sample_rate, self.channels = context.sample_rate, context.channels
        self.bits = flac_bits(self._stream_info)
        self.expected_samples = int.from_bytes(self._stream_info[13:18], "big") & 0xF_FFFF_FFFF or None
        self._checksum = FlacChecksum(self.bits)
        self.consumers: Sequence[Consumer] = (self._checksum,)
        self._writer = AccessUnitWriter(folder, "flac")

    def frames(self) -> Iterator[AudioFrame]:
        """Copy and decode frame by frame."""
        context = self._source.stream.codec_context
        context.options = {"err_detect": "crccheck+explode"}
        for packet in self._source.packets():
            try:
                frames = decode(context, packet)
            except ValueError as error:
                raise self._broken_off() from error
            if len(frames) != 1:
                raise self._broken_off()
            self._writer.add(bytes(packet), frames[0].samples)
            yield frames[0]

    def _broken_off(self) -> MediaFault:
        # The parser hands on the remains of a last frame that was cut; damage elsewhere is followed by more.
        if next(self._source.packets(), None) is None:
            return MediaFault("truncated_file", what="its last frame is missing or damaged")
        return damaged_at(self._writer.duration, self.sample_rate)

    def finish(self, samples: int) -> RenditionReport:
        """Compare with what STREAMINFO says (RFC 9639 §8.2): length and MD5, each 0 if unknown."""
        self._writer.close()
        _refuse_shorter(samples, self.expected_samples)
        declared_md5 = self._stream_info[18:34]
        if any(declared_md5) and declared_md5 != self._checksum.digest():
            raise MediaFault("damaged_file", what="its samples do not match their checksum")
        return flac_report(self.sample_rate, self.channels, self.bits, self._stream_info)

    def notes(self) -> list[NoteReport]:
        """Nothing was changed."""
        return []


def flac_bits(stream_info: bytes) -> int:
    """Bits per sample.

    Raises:
        MediaFault: `damaged_file`.
    """
    if len(stream_info) != _STREAMINFO_BYTES:
        raise MediaFault("damaged_file", what="its STREAMINFO is missing")
    return ((stream_info[12] & 1) << 4 | stream_info[13] >> 4) + 1


class LossyCopy:
    """Access units of AAC, MP3 and Opus as they are, decoded to be measured."""

    # A player of floating point hears what is beyond full scale, or turns it down.
    is_clipped = False

    def __init__(self, units: CopiedUnits) -> None:
        self._units = units
        self.sample_rate, self.channels = units.sample_rate, units.channels
        self.is_opus = units.codec == "opus"
        self.consumers: Sequence[Consumer] = ()
        self._total = units.writer.duration
        self.expected_samples: int | None = self._total - units.gaps.delay - units.gaps.padding

    def frames(self) -> Iterator[AudioFrame]:
        """Decode what was written: what is measured is what will be played."""
        return cut(self._decoded(), self._units.gaps, self._total)

    def _decoded(self) -> Iterator[AudioFrame]:
        units = self._units
        context = decoder(units.codec, units.codec_private, self.sample_rate, self.channels)
        at = 0
        with (
            units.writer.path.open("rb") as packets,
            units.writer.path.with_suffix(".index").open("rb") as index,
        ):
            for size, duration in iter(lambda: INDEX_ENTRY.unpack(index.read(8) or bytes(8)), (0, 0)):
                try:
                    frames = decode(context, access_unit(packets.read(size)))
                except ValueError as error:
                    raise damaged_at(at, self.sample_rate) from error
                if sum(frame.samples for frame in frames) != duration:
                    raise damaged_at(at, self.sample_rate)
                at += duration
                yield from frames

    def finish(self, samples: int) -> RenditionReport:
        """The rendition as it was copied."""
        units = self._units
        rate = self.sample_rate
        return RenditionReport(units.codec, rate, self.channels, 0, rate, units.codec_private, *units.gaps)

    def notes(self) -> list[NoteReport]:
        """Nothing was changed."""
        return []


class Transcode:
    """Decodes and encodes to FLAC: without loss, as far as 24 bits reach, or with nothing lost twice."""

    is_opus = False
    is_clipped = True

    def __init__(self, source: Source, folder: Path) -> None:
        context = source.stream.codec_context
        if source.demuxer in ("wav", "aiff"):
            context.layout = "mono" if context.channels == 1 else "stereo"
        self._source = source
        self.sample_rate, self.channels = context.sample_rate, context.channels
        self._encoder = FlacEncoder(folder, self.sample_rate, self.channels, _kept_bits(source))
        self.consumers: Sequence[Consumer] = (self._encoder,)
        self._declared = source.declared_samples
        self._gaps = self._edit_gaps()
        self._is_ogg_vorbis = source.codec == "vorbis" and source.demuxer == "ogg"
        if self._is_ogg_vorbis:
            # FFmpeg takes the end off the wrong packet where a recording fits into one page.
            context.flags2 |= Flags2.skip_manual
        self.expected_samples = self._declared

    def _edit_gaps(self) -> Gaps:
        header, track, declared = self._source.mp4, self._source.mp4_track, self._declared
        if header is None or track is None or declared is None:
            return Gaps(0, 0)
        ticks = self._source.stream.duration or 0
        return mp4_gaps(header, track, ticks, declared, self.sample_rate, "")

    def frames(self) -> Iterator[AudioFrame]:
        """Decode the file."""
        if (any(self._gaps) or self._is_ogg_vorbis) and self._declared is not None:
            return cut(self._decoded(), self._gaps, self._declared)
        return self._decoded()

    def _decoded(self) -> Iterator[AudioFrame]:
        context, at = self._source.stream.codec_context, 0
        is_primed = not self._is_ogg_vorbis
        for packet in self._source.packets():
            try:
                frames = decode(context, packet)
            except ValueError as error:
                raise damaged_at(at, self.sample_rate) from error
            if not is_primed:
                # The first packet only gives the second something to overlap with (Vorbis I §4.3.8).
                frames, is_primed = [], True
            at += sum(frame.samples for frame in frames)
            yield from frames
        yield from decode(context, None)

    def finish(self, samples: int) -> RenditionReport:
        """Compare with what the header declared."""
        declared = self._declared
        _refuse_shorter(samples, None if declared is None else declared - sum(self._gaps))
        return self._encoder.report()

    def notes(self) -> list[NoteReport]:
        """What was rounded or widened."""
        source, encoder = self._source, self._encoder
        notes = []
        if source.codec == "vorbis":
            notes.append(NoteReport("vorbis_as_flac"))
        elif source.codec.startswith(_WIDENED):
            notes.append(NoteReport("widened", PCM_BITS[source.codec]))
        if encoder.rounded:
            notes.append(NoteReport("rounded", encoder.rounded))
        if source.demuxer in ("wav", "aiff") and self._declared is None:
            notes.append(NoteReport("length_unknown"))
        return notes


def _kept_bits(source: Source) -> int:
    if source.codec == "alac":
        cookie = source.stream.codec_context.extradata or b""
        return 16 if len(cookie) > _ALAC_BIT_DEPTH_AT and cookie[_ALAC_BIT_DEPTH_AT] <= 16 else 24
    if source.codec == "flac":
        return 16 if flac_bits(source.stream.codec_context.extradata or b"") <= 16 else 24
    return PCM_BITS.get(source.codec, 16)
