"""The manifest: everything a listener must know of a track before its first byte, signed by the artist.

A UTF-8 JSON document. Its identity is the SHA-256 of its exact bytes. The signature is the last member of the
document and is made over the exact bytes of the document without that member: nothing has to be written again
in a canonical form to be checked. Checking an Ed25519 signature is left to the room around this one
(`cryptography` on a server, WebCrypto in the page): it needs `artist_key`, `signature` and `signed_part`.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from digm.chunks import FRAME_BYTES, FRAMES_PER_CHUNK, MAX_CHUNK_SECONDS, MAX_CHUNKS, MAX_RENDITIONS
from digm.errors import DigmError, PeerFault
from digm.ids import from_hex, is_hex_id, to_hex
from digm.json_reader import JsonReader
from digm.media import AudioConfig
from digm.merkle import track_root

FORMAT_VERSION = 1
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
MAX_PEAKS = 2_000
MAX_DURATION_S = 8 * 3600
MAX_INIT_BYTES = 4_096
MAX_FRAGMENTS_PER_CHUNK = 64
MAX_COVER_BYTES = 524_288
_SIGNATURE_OPENS, _SIGNATURE_CLOSES, _SIGNATURE_HEX = b',"signature":"', b'"}', 128

Fragments = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Rendition:
    """One encoding of the track.

    Attributes:
        id: 0, 1, ... in the order of the manifest; 0 is the best.
        bit_rate: average, bits per second.
        frames_per_chunk: of every chunk but the last.
        last_chunk_frames: of the last.
        duration: of all access units, in units of the timescale; delay and padding are part of it.
        init: the init segment, empty for MP3.
        chunk_hashes: SHA-256 of each encrypted chunk.
        fragments: per chunk, the (byte offset in the plaintext, start in units of the timescale) of each
            place where decoding may begin.
    """

    id: int
    config: AudioConfig
    bit_rate: int
    frames_per_chunk: int
    last_chunk_frames: int
    duration: int
    init: bytes
    chunk_hashes: tuple[bytes, ...]
    fragments: tuple[Fragments, ...]

    @property
    def chunk_count(self) -> int:
        return len(self.chunk_hashes)

    def chunk_frames(self, chunk: int) -> int:
        """How many frames a chunk has."""
        return self.last_chunk_frames if chunk == self.chunk_count - 1 else self.frames_per_chunk

    def chunk_bytes(self, chunk: int) -> int:
        """The size of an encrypted chunk."""
        return self.chunk_frames(chunk) * FRAME_BYTES

    def is_last_frame(self, chunk: int, frame: int) -> bool:
        """Whether this is the last frame of the rendition, as its additional data must say."""
        return chunk == self.chunk_count - 1 and frame == self.last_chunk_frames - 1

    def presented_s(self, units: int) -> float:
        """A time inside the rendition as it is heard: without the encoder's delay, never negative."""
        return max(0, units - self.config.delay) / self.config.timescale

    @property
    def presented_duration_s(self) -> float:
        """What is heard, in seconds."""
        return (self.duration - self.config.delay - self.config.padding) / self.config.timescale

    def chunk_start_s(self, chunk: int) -> float:
        return self.presented_s(self.fragments[chunk][0][1])

    def chunk_end_s(self, chunk: int) -> float:
        is_last = chunk == self.chunk_count - 1
        return self.presented_duration_s if is_last else self.chunk_start_s(chunk + 1)

    def chunk_at(self, seconds: float) -> int:
        """The chunk that holds a moment of the track; the first or the last for a moment outside of it."""
        low, high = 0, self.chunk_count - 1
        while low < high:
            middle = (low + high + 1) // 2
            if self.chunk_start_s(middle) <= seconds:
                low = middle
            else:
                high = middle - 1
        return low


@dataclass(frozen=True)
class Cover:
    """A picture in the chunk store: not encrypted, checked by its hash."""

    hash: bytes
    media_type: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """A track as its artist signed it. All text is untrusted wherever it is shown.

    Attributes:
        loudness_lufs: EBU R 128 integrated loudness; None for silence.
        true_peak_db: dBTP.
        peaks: the waveform, 0 to 255, evenly spaced over the track.
        preview_s: how many seconds anyone may hear; None when all of it is free.
        key_commitment: of the track key (`digm.keys.key_commitment`).
        signature, signed_part: the artist's Ed25519 signature and what it is over; empty before signing.
    """

    title: str
    artist: str | None
    album: str | None
    track_number: int | None
    year: int | None
    genre: str | None
    isrc: str | None
    licence: str | None
    cover: Cover | None
    duration_s: float
    loudness_lufs: float | None
    true_peak_db: float | None
    peaks: bytes
    preview_s: int | None
    key_commitment: bytes
    track_root: bytes
    audit_root: bytes
    artist_key: bytes
    renditions: tuple[Rendition, ...]
    signature: bytes = b""
    signed_part: bytes = b""


def manifest_hash(document: bytes) -> bytes:
    """The identity of a manifest: SHA-256 of its exact bytes."""
    return hashlib.sha256(document).digest()


def encode_manifest(manifest: Manifest, sign: Callable[[bytes], bytes]) -> bytes:
    """Write and sign a manifest. What is written is read again, so nobody publishes what nobody can read.

    Args:
        sign: gives the artist's 64-byte Ed25519 signature of a message.
    Raises:
        PeerFault: a `manifest_*` code, where a field is out of its range.
    """
    unsigned = json.dumps(_to_json(manifest), ensure_ascii=False, separators=(",", ":")).encode()
    document = unsigned[:-1] + _SIGNATURE_OPENS + sign(unsigned).hex().encode() + _SIGNATURE_CLOSES
    parse_manifest(document)
    return document


def parse_manifest(document: bytes) -> Manifest:
    """Read and check a manifest: everything but the signature itself.

    Raises:
        PeerFault: `manifest_too_large`, `manifest_not_json`, `manifest_version`, `manifest_unsigned`,
            `manifest_field` (data: field), `manifest_times`, `manifest_root`.
    """
    signature, signed_part = _split_signature(document)
    reader = JsonReader.parse(document, "manifest")
    if reader.integer("digm", 0, 1 << 31) != FORMAT_VERSION:
        raise PeerFault("manifest_version", "This track has a newer format than this player reads.")
    try:
        manifest = _from_json(reader)
    except PeerFault:
        raise
    except DigmError as fault:  # an AudioConfig or an id that refuses its own values
        raise PeerFault("manifest_field", f"The manifest is not right: {fault}", **fault.data) from fault
    _check_roots(manifest)
    return replace(manifest, signature=signature, signed_part=signed_part)


def _split_signature(document: bytes) -> tuple[bytes, bytes]:
    if len(document) > MAX_MANIFEST_BYTES:
        raise PeerFault("manifest_too_large", f"The manifest is larger than {MAX_MANIFEST_BYTES} bytes.")
    tail = len(_SIGNATURE_OPENS) + _SIGNATURE_HEX + len(_SIGNATURE_CLOSES)
    opens, hexadecimal = document[-tail : -tail + len(_SIGNATURE_OPENS)], document[-tail:-2][-_SIGNATURE_HEX:]
    if opens != _SIGNATURE_OPENS or not document.endswith(_SIGNATURE_CLOSES):
        raise PeerFault("manifest_unsigned", "The manifest does not end with its artist's signature.")
    try:
        return binascii.unhexlify(hexadecimal), document[:-tail] + b"}"
    except ValueError as fault:
        raise PeerFault("manifest_unsigned", "The manifest's signature is not 128 hex digits.") from fault


def _from_json(reader: JsonReader) -> Manifest:
    loudness = reader.nested("loudness")
    return Manifest(
        title=reader.text("title"),
        artist=reader.optional_text("artist"),
        album=reader.optional_text("album"),
        track_number=reader.optional_integer("track_number", 0, 9_999),
        year=reader.optional_integer("year", 0, 9_999),
        genre=reader.optional_text("genre"),
        isrc=reader.optional_text("isrc"),
        licence=reader.optional_text("licence"),
        cover=_cover_from_json(reader),
        duration_s=reader.number("duration_s", 0, MAX_DURATION_S),
        loudness_lufs=loudness.optional_number("integrated_lufs", -200, 100),
        true_peak_db=loudness.optional_number("true_peak_db", -200, 100),
        peaks=reader.binary("peaks", MAX_PEAKS),
        preview_s=reader.optional_integer("preview_s", 1, MAX_DURATION_S),
        key_commitment=reader.hash("key_commitment"),
        track_root=reader.hash("track_root"),
        audit_root=reader.hash("audit_root"),
        artist_key=reader.hash("artist_key"),
        renditions=tuple(
            _rendition_from_json(item, number)
            for number, item in enumerate(reader.objects("renditions", 1, MAX_RENDITIONS))
        ),
    )


def _cover_from_json(reader: JsonReader) -> Cover | None:
    if reader.value("cover") is None:
        return None
    cover = reader.nested("cover")
    return Cover(cover.hash("hash"), cover.text("type", 64), cover.integer("bytes", 1, MAX_COVER_BYTES))


def _rendition_from_json(reader: JsonReader, number: int) -> Rendition:
    if reader.integer("id", 0, MAX_RENDITIONS) != number:
        reader.refuse("id", f"{number}, its place in the list")
    config = AudioConfig(
        codec=reader.text("codec", 16),
        sample_rate=reader.integer("sample_rate", 1, 1 << 20),
        channels=reader.integer("channels", 1, 255),
        bits=reader.integer("bits", 0, 64),
        timescale=reader.integer("timescale", 1, 1 << 20),
        codec_private=reader.binary("codec_private", 256),
        delay=reader.integer("delay", 0, 1 << 31),
        padding=reader.integer("padding", 0, 1 << 31),
    )
    hashes = reader.items("chunk_hashes", 1, MAX_CHUNKS)
    if not all(is_hex_id(item) for item in hashes):
        reader.refuse("chunk_hashes", "a list of 64 lower-case hex digits each")
    frames = reader.integer("frames_per_chunk", 1, FRAMES_PER_CHUNK[-1])
    if frames not in FRAMES_PER_CHUNK:
        reader.refuse("frames_per_chunk", "1, 2, 4, 8 or 16")
    rendition = Rendition(
        id=number,
        config=config,
        bit_rate=reader.integer("bit_rate", 1, 1 << 31),
        frames_per_chunk=frames,
        last_chunk_frames=reader.integer("last_chunk_frames", 1, frames),
        duration=reader.integer("duration", 1, config.timescale * MAX_DURATION_S + (1 << 32)),
        init=reader.binary("init", MAX_INIT_BYTES),
        chunk_hashes=tuple(from_hex(item) for item in hashes),
        fragments=_fragments_from_json(reader, len(hashes)),
    )
    _check_times(rendition)
    return rendition


def _fragments_from_json(reader: JsonReader, chunk_count: int) -> tuple[Fragments, ...]:
    def chunk_fragments(item: Any) -> Fragments:
        pairs = item if isinstance(item, list) and 0 < len(item) <= MAX_FRAGMENTS_PER_CHUNK else []
        if not pairs or not all(_is_pair(pair) for pair in pairs):
            reader.refuse("fragments", "a list of [byte offset, start] pairs for each chunk")
        return tuple((offset, start) for offset, start in pairs)

    return tuple(chunk_fragments(item) for item in reader.items("fragments", chunk_count, chunk_count))


def _is_pair(item: Any) -> bool:
    return isinstance(item, list) and len(item) == 2 and type(item[0]) is int and type(item[1]) is int


def _check_times(rendition: Rendition) -> None:
    """Offsets grow inside each chunk, times through the rendition; no chunk is longer than 8 seconds."""
    config = rendition.config

    def refuse(what: str) -> NoReturn:
        raise PeerFault("manifest_times", f"The manifest's rendition {rendition.id} {what}.")

    if rendition.fragments[0][0][1] != 0:
        refuse("does not start at time 0")
    if rendition.duration <= config.delay + config.padding:
        refuse("has no sound between its encoder delay and its padding")
    before = -1
    starts = [fragments[0][1] for fragments in rendition.fragments] + [rendition.duration]
    for chunk, fragments in enumerate(rendition.fragments):
        if fragments[0][0] != 0:
            refuse(f"has a chunk {chunk} that cannot be played alone")
        offset_before = -1
        for offset, start in fragments:
            if (
                not offset_before < offset < rendition.chunk_bytes(chunk)
                or not before < start < rendition.duration
            ):
                refuse(f"has times or offsets in chunk {chunk} that do not grow")
            offset_before, before = offset, start
        if starts[chunk + 1] - starts[chunk] > MAX_CHUNK_SECONDS * config.timescale:
            refuse(f"has a chunk {chunk} of more than {MAX_CHUNK_SECONDS} seconds")


def _check_roots(manifest: Manifest) -> None:
    hashes = [chunk_hash for rendition in manifest.renditions for chunk_hash in rendition.chunk_hashes]
    if track_root(hashes) != manifest.track_root:
        raise PeerFault("manifest_root", "The manifest's track root is not the root of its chunk hashes.")
    if manifest.preview_s is not None and manifest.preview_s > manifest.duration_s + 1:
        raise PeerFault("manifest_field", "The manifest's preview is longer than the track.", field="preview_s")


def _to_json(manifest: Manifest) -> dict[str, Any]:
    cover = manifest.cover
    return {
        "digm": FORMAT_VERSION,
        "title": manifest.title,
        "artist": manifest.artist,
        "album": manifest.album,
        "track_number": manifest.track_number,
        "year": manifest.year,
        "genre": manifest.genre,
        "isrc": manifest.isrc,
        "licence": manifest.licence,
        "cover": cover and {"hash": to_hex(cover.hash), "type": cover.media_type, "bytes": cover.size},
        "duration_s": manifest.duration_s,
        "loudness": {"integrated_lufs": manifest.loudness_lufs, "true_peak_db": manifest.true_peak_db},
        "peaks": base64.b64encode(manifest.peaks).decode(),
        "preview_s": manifest.preview_s,
        "key_commitment": to_hex(manifest.key_commitment),
        "track_root": to_hex(manifest.track_root),
        "audit_root": to_hex(manifest.audit_root),
        "artist_key": to_hex(manifest.artist_key),
        "renditions": [_rendition_to_json(rendition) for rendition in manifest.renditions],
    }


def _rendition_to_json(rendition: Rendition) -> dict[str, Any]:
    config = rendition.config
    return {
        "id": rendition.id,
        "codec": config.codec,
        "sample_rate": config.sample_rate,
        "channels": config.channels,
        "bits": config.bits,
        "timescale": config.timescale,
        "codec_private": base64.b64encode(config.codec_private).decode(),
        "delay": config.delay,
        "padding": config.padding,
        "bit_rate": rendition.bit_rate,
        "frames_per_chunk": rendition.frames_per_chunk,
        "last_chunk_frames": rendition.last_chunk_frames,
        "duration": rendition.duration,
        "init": base64.b64encode(rendition.init).decode(),
        "chunk_hashes": [to_hex(chunk_hash) for chunk_hash in rendition.chunk_hashes],
        "fragments": rendition.fragments,
    }
