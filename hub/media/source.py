"""Opens the file with the one demuxer that its first bytes call for, and refuses what DIGM does not take."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition

from hub.media.faults import MediaFault
from hub.media.model import IngestLimits
from hub.media.mp4_boxes import Mp4Header, Mp4Track, read_mp4
from hub.media.ogg_pages import check_ogg
from hub.media.recognise import recognise
from hub.media.report import NoteReport
from hub.media.riff import Declared, read_aiff, read_wav

MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 8_000, 192_000
PCM_BITS = {
    "pcm_u8": 16,
    "pcm_s8": 16,
    "pcm_mulaw": 16,
    "pcm_alaw": 16,
    "pcm_s16le": 16,
    "pcm_s16be": 16,
    "pcm_s24le": 24,
    "pcm_s24be": 24,
    "pcm_s32le": 24,
    "pcm_s32be": 24,
    "pcm_f32le": 24,
    "pcm_f32be": 24,
    "pcm_f64le": 24,
    "pcm_f64be": 24,
}
_CODECS = {*PCM_BITS, "flac", "alac", "aac", "mp3", "opus", "vorbis"}
# No picture decoder is on it: cover pictures are looked at elsewhere, with limits.
_DECODERS = ",".join([*sorted(_CODECS), "mp3float"])
_PCM_PACKET_BYTES = 1 << 17


@dataclass
class Source:
    """An open recording.

    Attributes:
        codec: FFmpeg's name, the same for all its decoders.
        declared_samples: what the header promises, before delay and padding are taken off; None if it promises
            nothing.
        audio_start: byte at which the audio begins, behind ID3v2 tags.
    """

    file: BinaryIO
    demuxer: str
    container: InputContainer
    stream: AudioStream
    codec: str
    declared_samples: int | None
    mp4: Mp4Header | None
    audio_start: int
    notes: list[NoteReport]

    @property
    def mp4_track(self) -> Mp4Track | None:
        """The track that the stream was made of."""
        return self.mp4.track(self.stream.id) if self.mp4 else None

    def packets(self) -> "Iterator[Packet[AudioStream]]":
        """All packets with sound in them, in order.

        Raises:
            MediaFault: `changing_format`, `damaged_file`.
        """
        is_first = True
        try:
            for packet in self.container.demux(self.stream):
                if not is_first and packet.has_sidedata("new_extradata"):
                    raise MediaFault("changing_format")
                if packet.size:
                    is_first = False
                    yield packet
        except av.error.InvalidDataError as error:
            raise MediaFault("damaged_file", what="its container cannot be read to the end") from error


def _open_container(file: BinaryIO, demuxer: str) -> InputContainer:
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": _whitelisted(demuxer),
        "codec_whitelist": _DECODERS,
    }
    if demuxer == "mov":
        # Edit lists are applied by us, because FFmpeg rounds their end to the movie's timescale.
        options["ignore_editlist"] = "1"
    if demuxer == "wav":
        options["max_size"] = str(_PCM_PACKET_BYTES)
    try:
        # By descriptor: the very file that was recognised, whatever its name means to a program.
        return av.open(
            f"file:/dev/fd/{file.fileno()}",
            "r",
            format=demuxer,
            container_options=options,
            metadata_errors="replace",
        )
    except (av.error.InvalidDataError, av.error.EOFError) as error:
        raise MediaFault("damaged_file", what="its header cannot be read") from error


def _whitelisted(demuxer: str) -> str:
    return "mov,mp4,m4a,3gp,3g2,mj2" if demuxer == "mov" else demuxer


def _codec_name(stream: AudioStream) -> str:
    codec = stream.codec_context.codec
    return codec.canonical_name if codec else "unknown"


def _audio_stream(container: InputContainer, notes: list[NoteReport]) -> AudioStream:
    pictures = Disposition.attached_pic | Disposition.timed_thumbnails
    for stream in container.streams:
        if stream.type == "video" and not stream.disposition & pictures:
            raise MediaFault("video_file")
    streams = container.streams.audio
    if not streams:
        raise MediaFault("no_audio")
    if len(streams) > 1:
        notes.append(NoteReport("first_recording", len(streams)))
    stream = streams[0]
    if stream.codec_context is None:
        raise MediaFault("unsupported_codec", what="an unknown codec")
    return stream


def _refuse_declared(declared: Declared, limits: IngestLimits) -> None:
    if declared.channels > limits.max_channels:
        raise MediaFault("too_many_channels", channels=declared.channels)
    if declared.samples is not None:
        refuse_too_long(declared.samples, declared.sample_rate, limits)


def refuse_too_long(samples: int, sample_rate: int, limits: IngestLimits) -> None:
    """Raise `too_long` for a recording of that many samples."""
    if samples > limits.max_duration_s * sample_rate:
        raise MediaFault("too_long", limit=f"{limits.max_duration_s / 3600:.3g}")


def _refuse_stream(source: Source, limits: IngestLimits) -> None:
    context = source.stream.codec_context
    if source.codec not in _CODECS:
        raise MediaFault("unsupported_codec", what=source.codec)
    if context.channels > limits.max_channels:
        raise MediaFault("too_many_channels", channels=context.channels)
    if context.channels < 1:
        raise MediaFault("damaged_file", what="its header names no channels")
    if context.sample_rate < 1:
        raise MediaFault("damaged_file", what="it is too short, or its header names no sample rate")
    if not MIN_SAMPLE_RATE <= context.sample_rate <= MAX_SAMPLE_RATE:
        raise MediaFault("unsupported_sample_rate", rate=context.sample_rate)
    length_us = source.container.duration
    # An MP3 without a Xing tag has its length guessed from its bit rate: that is counted later, not believed.
    if length_us is not None and source.demuxer not in ("mp3", "aac"):
        refuse_too_long(length_us // 1000, 1000, limits)


def open_source(file: BinaryIO, limits: IngestLimits) -> Source:
    """Recognise and open a file.

    Raises:
        MediaFault: why it is not taken.
    """
    size = os.fstat(file.fileno()).st_size
    demuxer, start = recognise(file, size)
    declared: Declared | None = None
    mp4: Mp4Header | None = None
    if demuxer == "wav":
        declared = read_wav(file, start, size)
    elif demuxer == "aiff":
        declared = read_aiff(file, start, size)
    elif demuxer == "mov":
        mp4 = read_mp4(file, size)
    elif demuxer == "ogg":
        check_ogg(file, start, size)
    if declared:
        _refuse_declared(declared, limits)
    notes: list[NoteReport] = []
    container = _open_container(file, demuxer)
    stream = _audio_stream(container, notes)
    codec = _codec_name(stream)
    samples = declared.samples if declared else _declared_by_demuxer(stream, demuxer)
    source = Source(file, demuxer, container, stream, codec, samples, mp4, start, notes)
    _refuse_stream(source, limits)
    return source


def _declared_by_demuxer(stream: AudioStream, demuxer: str) -> int | None:
    if stream.duration is None or stream.time_base is None or demuxer in ("mp3", "aac"):
        return None
    return round(Fraction(stream.duration) * stream.time_base * stream.codec_context.sample_rate)
