"""What a decoder must know of one rendition before its first access unit."""

from dataclasses import dataclass
from typing import NamedTuple

from digm.errors import CallerFault

OPUS_TIMESCALE = 48_000
STREAMINFO_BYTES = 34

_MIME = {
    "flac": 'audio/mp4; codecs="flac"',
    "opus": 'audio/mp4; codecs="opus"',
    "aac": 'audio/mp4; codecs="mp4a.40.2"',
    "mp3": "audio/mpeg",
}
CODECS = tuple(_MIME)


class Sample(NamedTuple):
    """One access unit: a FLAC frame, an Opus packet, an AAC access unit, an MPEG audio frame.

    `duration` counts in the timescale of the rendition.
    """

    payload: bytes
    duration: int


@dataclass(frozen=True)
class AudioConfig:
    """The codec of a rendition and its parameters.

    Attributes:
        codec: "flac", "opus", "aac" or "mp3".
        sample_rate: Hz, of the decoded sound.
        bits: 16 or 24 for FLAC, 0 for a lossy codec.
        timescale: units per second of all times in the rendition: the sample rate, 48000 for Opus.
        codec_private: FLAC STREAMINFO (34 bytes), OpusHead, AAC AudioSpecificConfig; empty for MP3.
        delay: what the encoder put before the first sound, in units of the timescale; not to be heard.
        padding: what it put behind the last, likewise.
    Raises:
        CallerFault: `bad_audio_config`, with the field that is out of its range.
    """

    codec: str
    sample_rate: int
    channels: int
    bits: int
    timescale: int
    codec_private: bytes
    delay: int
    padding: int

    def __post_init__(self) -> None:
        checks = {
            "codec": self.codec in CODECS,
            "sample_rate": 8_000 <= self.sample_rate <= 768_000,
            "channels": 1 <= self.channels <= 8,
            "bits": self.bits in ((16, 24) if self.codec == "flac" else (0,)),
            "timescale": self.timescale == (OPUS_TIMESCALE if self.codec == "opus" else self.sample_rate),
            "codec_private": self._codec_private_fits(),
            "delay": 0 <= self.delay < 1 << 31,
            "padding": 0 <= self.padding < 1 << 31,
        }
        for field, holds in checks.items():
            if not holds:
                raise CallerFault(
                    "bad_audio_config", f"The audio parameter {field} is out of its range.", field=field
                )

    def _codec_private_fits(self) -> bool:
        size = len(self.codec_private)
        if self.codec == "flac":
            return size == STREAMINFO_BYTES
        if self.codec == "opus":
            # Channel mapping family 0 (RFC 7845 §5.1.1): mono or stereo, 19 bytes, no mapping table.
            return size == 19 and self.codec_private.startswith(b"OpusHead") and self.codec_private[18] == 0
        return (2 <= size <= 64) if self.codec == "aac" else size == 0

    @property
    def preroll_s(self) -> float:
        """How much earlier decoding must begin for sound to be exact: RFC 7845 §4.6 for Opus; two access units,
        for the overlap and the bit reservoir, of AAC and MP3; FLAC needs none."""
        units = {"opus": OPUS_TIMESCALE * 80 // 1000, "aac": 2 * 1024, "mp3": 2 * 1152}.get(self.codec, 0)
        return units / self.timescale

    @property
    def mime(self) -> str:
        """What `MediaSource.isTypeSupported` and `addSourceBuffer` are asked with."""
        return _MIME[self.codec]
