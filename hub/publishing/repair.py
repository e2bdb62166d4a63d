"""Putting back what was lost of a published track, out of the file that it was made from.

The vault still has the track's key and encryption has no chance in it, so the same encoder's output gives the
same chunks again. Nothing is believed of that: only what has the published hash is put back. The rest must
never leave the staging folder, for other plaintext under the same key and nonce would give both away.
"""

from collections.abc import Mapping
from pathlib import Path

from digm.errors import Unavailable
from digm.ids import to_hex
from digm.manifest import manifest_hash
from hub.publishing.model import PublishOptions
from hub.publishing.release import ReleaseNames
from hub.publishing.sources import printable
from hub.storage.catalogue import TrackEntry
from hub.storage.chunk_store import ChunkStore
from hub.storage.verification import verify_track

# What a track's own names are put together with when its manifest is written anew: nothing.
NO_RELEASE = ReleaseNames(title="", artist=None, album=None, year=None, cover=None)


def options_of(entry: TrackEntry) -> PublishOptions:
    """Options that give a track the names and the preview that it was published with."""
    return PublishOptions(
        title=entry.title, artist=entry.artist, album=entry.album, preview_seconds=entry.preview_s
    )


def put_back(
    store: ChunkStore, entry: TrackEntry, source: Path, document: bytes, files: Mapping[str, Path]
) -> None:
    """Replace what is damaged or missing of a track; it is whole when this returns.

    Args:
        source: for the sentence.
        document: the manifest, made anew.
        files: hash in hex -> staged and fsynced file, of the chunks and the cover made anew.
    Raises:
        Unavailable: `track_damaged`, what was made anew is not what was published; `disk_full`, ...
    """
    report = verify_track(store, entry)
    is_manifest_wrong = any(damage.part in ("manifest", "audit_root") for damage in report.damages)
    if is_manifest_wrong and to_hex(manifest_hash(document)) == entry.manifest_hash:
        store.put_manifest(entry.track_root, document)
        report = verify_track(store, entry)
    lost = {damage.hash for damage in report.damages if damage.hash}
    store.adopt_all({name: path for name, path in files.items() if name in lost})
    report = verify_track(store, entry)
    if not report.is_whole:
        raise Unavailable(
            "track_damaged",
            f"{printable(source)} is published, but what is stored of it is damaged and cannot be made again "
            f"exactly as it was ({report.damages[0].sentence}): publish it as it was published first, with its "
            "folder and cover picture, or restore chunks and manifests from a backup.",
            file=printable(source),
            track_root=entry.track_root,
        )
