"""Checks a published track against itself: manifest, signature, every chunk, both roots, and the cover.

What is checked here is what a listener would check; whether the audio inside is right only a key can tell.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from digm.errors import CallerFault, DigmError
from digm.ids import is_hex_id, short, to_hex
from digm.manifest import Manifest, manifest_hash, parse_manifest
from digm.merkle import audit_root, chunk_audit_root
from hub.signatures import verify
from hub.storage.catalogue import Catalogue, TrackEntry
from hub.storage.chunk_store import ChunkStore

Part = Literal["manifest", "chunk", "cover", "audit_root", "key"]


class Damage(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is not as it was published.

    Attributes:
        code: stable: `chunk_damaged`, `chunk_not_held`, `chunk_size`, `signature`, `manifest_hash`,
            `no_key`, ...
        hash: of a chunk or a cover.
        rendition, chunk: the place of a chunk.
    """

    part: Part
    code: str
    sentence: str
    hash: str | None = None
    rendition: int | None = None
    chunk: int | None = None


class TrackReport(msgspec.Struct, frozen=True):
    """What verifying a track came to."""

    track_root: str
    title: str
    chunks: int
    bytes: int
    damages: list[Damage]

    @property
    def is_whole(self) -> bool:
        return not self.damages


def choose_tracks(catalogue: Catalogue, track_roots: Sequence[str]) -> list[TrackEntry]:
    """The tracks with these roots; all tracks if none is given.

    Raises:
        CallerFault: `bad_id`, `track_unknown`.
    """
    if not track_roots:
        return catalogue.tracks()
    chosen = []
    for root in track_roots:
        if not is_hex_id(root):
            raise CallerFault("bad_id", f"{root!r} is not a track root: that is 64 lower-case hex digits.")
        entry = catalogue.track(root)
        if entry is None:
            raise CallerFault("track_unknown", f"The track {short(root)} is not published here.")
        chosen.append(entry)
    return chosen


def verify_track(store: ChunkStore, entry: TrackEntry) -> TrackReport:
    """Read everything a track is made of and compare it with what was signed.

    Never raises for what is damaged: that is in the report.
    """
    try:
        document = store.manifest(entry.track_root)
        manifest = parse_manifest(document)
    except DigmError as fault:
        damage = Damage("manifest", fault.code, fault.message)
        return TrackReport(entry.track_root, entry.title, 0, 0, [damage])
    damages = _manifest_damages(manifest, document, entry)
    chunk_damages, audit_roots, size = _check_chunks(store, manifest)
    damages += chunk_damages
    if not chunk_damages and audit_root(audit_roots) != manifest.audit_root:
        damages.append(Damage("audit_root", "audit_root", "The audit root is not that of the chunks."))
    damages += _cover_damages(store, manifest)
    return TrackReport(entry.track_root, entry.title, len(audit_roots), size, damages)


def signature_holds(manifest: Manifest) -> bool:
    """Whether the artist named in the manifest signed it."""
    return verify(manifest.artist_key, manifest.signature, manifest.signed_part)


def _manifest_damages(manifest: Manifest, document: bytes, entry: TrackEntry) -> list[Damage]:
    checks = {
        "manifest_hash": (
            to_hex(manifest_hash(document)) == entry.manifest_hash,
            "The manifest is not the one that was published.",
        ),
        "track_root": (
            to_hex(manifest.track_root) == entry.track_root,
            "The manifest is that of another track.",
        ),
        "artist_key": (
            to_hex(manifest.artist_key) == entry.artist_key,
            "The manifest is that of another artist.",
        ),
        "signature": (signature_holds(manifest), "The manifest's signature does not hold."),
    }
    return [Damage("manifest", code, sentence) for code, (holds, sentence) in checks.items() if not holds]


def _check_chunks(store: ChunkStore, manifest: Manifest) -> tuple[list[Damage], list[bytes], int]:
    damages: list[Damage] = []
    audit_roots: list[bytes] = []
    size = 0
    for rendition in manifest.renditions:
        for chunk, chunk_hash in enumerate(rendition.chunk_hashes):
            name = to_hex(chunk_hash)
            try:
                data = store.read_verified(name)
            except DigmError as fault:
                damages.append(Damage("chunk", fault.code, fault.message, name, rendition.id, chunk))
                continue
            if len(data) != rendition.chunk_bytes(chunk):
                sentence = f"The chunk {short(name)} has {len(data)} bytes, not what the manifest says."
                damages.append(Damage("chunk", "chunk_size", sentence, name, rendition.id, chunk))
            size += len(data)
            audit_roots.append(chunk_audit_root(data))
    return damages, audit_roots, size


def _cover_damages(store: ChunkStore, manifest: Manifest) -> list[Damage]:
    cover = manifest.cover
    if cover is None:
        return []
    name = to_hex(cover.hash)
    try:
        picture = store.read_verified(name)
    except DigmError as fault:
        return [Damage("cover", fault.code, fault.message, hash=name)]
    if len(picture) != cover.size:
        return [Damage("cover", "cover_size", "The cover is not as large as the manifest says.", hash=name)]
    return []
