"""What a release and its tracks are called, and their manifests: from tags, options and names of files."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from digm.ids import to_hex
from digm.keys import key_commitment
from digm.manifest import Cover, Manifest, Rendition, encode_manifest, manifest_hash
from digm.merkle import track_root
from digm.plain_text import clean_text
from hub.media import IngestedTrack
from hub.publishing.model import PublishOptions
from hub.publishing.sources import Fingerprint, ReleaseSource
from hub.storage.catalogue import ReleaseEntry, TrackEntry
from hub.storage.durable import write_new

_T = TypeVar("_T")
_MAX_NAME = 200
_COVER_TYPE = "image/jpeg"
_NO_NUMBER = 1 << 30


@dataclass(frozen=True)
class PreparedTrack:
    """A track whose chunks lie encrypted in the staging folder.

    Attributes:
        ingested: what the recording says of itself; its plaintext files are gone.
        files: hash in hex -> staged file, of the chunks and the cover.
    """

    path: Path
    source: Fingerprint
    ingested: IngestedTrack
    cover: Cover | None
    track_key: bytes
    renditions: tuple[Rendition, ...]
    audit_root: bytes
    files: Mapping[str, Path]

    @property
    def chunk_hashes(self) -> list[bytes]:
        """All chunks in the order of the track root."""
        return [chunk_hash for rendition in self.renditions for chunk_hash in rendition.chunk_hashes]


@dataclass(frozen=True)
class ReleaseNames:
    """What the tracks of a release have in common; `album` is for tracks whose tags name none."""

    title: str
    artist: str | None
    album: str | None
    year: int | None
    cover: Cover | None


def in_order(tracks: Iterable[PreparedTrack]) -> list[PreparedTrack]:
    """By track number, then by name of the file; tracks without a number come last."""

    def place(track: PreparedTrack) -> tuple[int, str]:
        number = track.ingested.tags.track_number
        return (_NO_NUMBER if number is None else number, track.path.name)

    return sorted(tracks, key=place)


def name_release(
    source: ReleaseSource, tracks: Sequence[PreparedTrack], options: PublishOptions
) -> ReleaseNames:
    """Choose the names of a release: the artist's word, then what most tags say, then the folder's name."""
    tags = [track.ingested.tags for track in tracks]
    album = options.album or _most_common(tag.album for tag in tags)
    if source.folder is not None and album is None:
        album = clean_text(source.folder.resolve().name, _MAX_NAME) or "Untitled"
    title = album if source.folder is not None and album else title_of(tracks[0], options)
    return ReleaseNames(
        title=title,
        artist=options.artist or _shared(tag.artist for tag in tags),
        album=album,
        year=_shared(tag.year for tag in tags),
        cover=next((track.cover for track in tracks if track.cover), None),
    )


def title_of(track: PreparedTrack, options: PublishOptions) -> str:
    """A track's title: the artist's word, the tag, or the name of the file."""
    name = clean_text(track.path.stem, _MAX_NAME)
    return options.title or track.ingested.tags.title or name or "Untitled"


def write_manifest(
    track: PreparedTrack,
    names: ReleaseNames,
    options: PublishOptions,
    artist_key: bytes,
    sign: Callable[[bytes], bytes],
) -> tuple[Manifest, bytes]:
    """Describe and sign a track.

    Returns:
        the manifest and its exact bytes.
    Raises:
        PeerFault: a `manifest_*` code, where a fact is out of what the format holds.
    """
    ingested, tags = track.ingested, track.ingested.tags
    manifest = Manifest(
        title=title_of(track, options),
        artist=options.artist or tags.artist,
        album=options.album or tags.album or names.album,
        track_number=tags.track_number,
        year=tags.year,
        genre=tags.genre,
        isrc=tags.isrc,
        licence=tags.licence,
        cover=track.cover,
        duration_s=ingested.duration_s,
        loudness_lufs=ingested.loudness_lufs,
        true_peak_db=ingested.true_peak_db,
        peaks=ingested.peaks,
        preview_s=options.preview_seconds,
        key_commitment=key_commitment(track.track_key),
        track_root=track_root(track.chunk_hashes),
        audit_root=track.audit_root,
        artist_key=artist_key,
        renditions=track.renditions,
    )
    return manifest, encode_manifest(manifest, sign)


def release_entry(names: ReleaseNames, release_id: str, artist_key: bytes, published_at: float) -> ReleaseEntry:
    """A release as the catalogue lists it."""
    return ReleaseEntry(
        release_id=release_id,
        title=names.title,
        artist=names.artist,
        year=names.year,
        cover_hash=hash_of(names.cover),
        artist_key=to_hex(artist_key),
        published_at=published_at,
    )


def track_entry(manifest: Manifest, document: bytes, release_id: str, published_at: float) -> TrackEntry:
    """A track as the catalogue lists it."""
    return TrackEntry(
        track_root=to_hex(manifest.track_root),
        manifest_hash=to_hex(manifest_hash(document)),
        release_id=release_id,
        title=manifest.title,
        artist=manifest.artist,
        album=manifest.album,
        track_number=manifest.track_number,
        duration_s=manifest.duration_s,
        cover_hash=hash_of(manifest.cover),
        artist_key=to_hex(manifest.artist_key),
        preview_s=manifest.preview_s,
        published_at=published_at,
    )


def hash_of(cover: Cover | None) -> str | None:
    """Where a cover lies in the store, in hex."""
    return None if cover is None else to_hex(cover.hash)


def _most_common(values: Iterable[str | None]) -> str | None:
    counted = Counter(value for value in values if value)
    return counted.most_common(1)[0][0] if counted else None


def _shared(values: Iterable[_T | None]) -> _T | None:
    different = set(values)
    return different.pop() if len(different) == 1 else None


def stage_cover(picture: Path | None, chunks: Path, files: dict[str, Path]) -> Cover | None:
    """Put a track's picture among its staged files, once however many tracks have it."""
    if picture is None:
        return None
    data = picture.read_bytes()
    cover = Cover(hashlib.sha256(data).digest(), _COVER_TYPE, len(data))
    staged = chunks / to_hex(cover.hash)
    if not staged.exists():
        write_new(staged, data)
    files[to_hex(cover.hash)] = staged
    return cover
