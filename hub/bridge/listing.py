"""A manifest from a stranger, compared with what the chain says of its track: what a page may show of it."""

import hashlib
from collections.abc import Iterable

from digm.errors import PeerFault
from digm.ids import to_hex
from digm.manifest import MAX_MANIFEST_BYTES, Manifest, parse_manifest
from hub.chain.state import FoundTrack
from hub.signatures import verify
from hub.storage.catalogue import TrackEntry
from hub.storage.listed import ListedTrack, release_of

# Eight init segments, texts and peaks; a hash and 64 places to begin for each chunk (`digm.manifest`).
_FIXED_BYTES, _BYTES_PER_CHUNK = 256 * 1024, 2 * 1024


def most_bytes(found: FoundTrack) -> int:
    """How large a manifest can be, by the chunks that it names: what is larger need not be read."""
    return min(MAX_MANIFEST_BYTES, _FIXED_BYTES + _BYTES_PER_CHUNK * found.said.chunk_count)


def editions_of(document: bytes, claims: Iterable[FoundTrack]) -> tuple[FoundTrack, ...]:
    """The claims whose manifest the chain says these bytes are, in their order."""
    name = hashlib.sha256(document).digest()
    return tuple(found for found in claims if found.said.manifest_hash == name)


def checked(document: bytes, found: FoundTrack, published_at: float) -> ListedTrack:
    """What there is to list. Blocks: a manifest may be large.

    Args:
        document: the bytes that the chain names (`editions_of`).
    Raises:
        PeerFault: `manifest_not_as_on_chain`, `manifest_forged`; as `parse_manifest`.
    """
    manifest, said = parse_manifest(document), found.said
    sizes = [one.chunk_bytes(number) for one in manifest.renditions for number in range(one.chunk_count)]
    here = (manifest.track_root, manifest.audit_root, len(sizes), sum(sizes))
    if here != (said.track_root, said.audit_root, said.chunk_count, said.byte_size):
        raise PeerFault("manifest_not_as_on_chain", "The manifest is of another track than the chain says.")
    if manifest.artist_key != found.artist_key or not verify(
        manifest.artist_key, manifest.signature, manifest.signed_part
    ):
        raise PeerFault(
            "manifest_forged", "The manifest is not signed by the artist whose account published it."
        )
    entry = _entry(manifest, document, published_at)
    return ListedTrack(name=to_hex(said.track), year=manifest.year, entry=entry)


def _entry(manifest: Manifest, document: bytes, published_at: float) -> TrackEntry:
    return TrackEntry(
        track_root=to_hex(manifest.track_root),
        manifest_hash=hashlib.sha256(document).hexdigest(),
        release_id=release_of(manifest.artist_key, manifest.album, manifest.track_root),
        position=manifest.track_number or 0,
        title=manifest.title,
        artist=manifest.artist,
        album=manifest.album,
        track_number=manifest.track_number,
        duration_s=manifest.duration_s,
        cover_hash=to_hex(manifest.cover.hash) if manifest.cover else None,
        artist_key=to_hex(manifest.artist_key),
        preview_s=manifest.preview_s,
        published_at=published_at,
    )
