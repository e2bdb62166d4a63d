"""The published tracks of a hub, as its voice and its auditor look at them."""

from dataclasses import dataclass

from digm.bitfield import Bitfield
from digm.errors import Unavailable
from digm.ids import short, to_hex
from hub.seeding.held_tracks import Library, SeedTrack
from hub.storage.catalogue import Catalogue
from hub.storage.chunk_store import ChunkStore


@dataclass(frozen=True)
class PublishedTrack:
    """A track of the catalogue; the hub keeps it without anybody's order."""

    track_root: str
    manifest_hash: str
    pinned_by: tuple[str, ...] = ()


class Published:
    """A hub's data folder as `hub.pinning.network.Readable`. Calls block; threads may share it.

    Attributes:
        chunks: the files.
    """

    def __init__(self, catalogue: Catalogue, store: ChunkStore) -> None:
        self._library, self.chunks = Library(catalogue, store), store

    def tracks(self) -> list[PublishedTrack]:
        """The tracks whose manifests lie here.

        Raises:
            Unavailable: the catalogue cannot be read just now.
        """
        self._library.refresh()
        names = self._library.manifest_hashes
        return [PublishedTrack(root, names[root]) for root in self._library.tracks]

    def find(self, track_root: str) -> SeedTrack | None:
        """What there is to give away of a track, as `tracks` saw it last."""
        return self._library.tracks.get(track_root)

    def chunk_counts(self, track_root: bytes, manifest_hash: bytes) -> dict[int, int] | None:
        """By rendition, as `tracks` saw it last; None where that manifest is not here. Does not block."""
        track = self.find(to_hex(track_root))
        if track is None or self._library.manifest_hashes.get(to_hex(track_root)) != to_hex(manifest_hash):
            return None
        return {rendition.id: len(rendition.chunk_hashes) for rendition in track.renditions}

    def availability(self, track_root: str) -> dict[int, Bitfield]:
        """Which chunks are held, by rendition; a copy. Raises Unavailable `track_not_held`."""
        track = self.find(track_root)
        if track is None:
            raise Unavailable("track_not_held", f"The track {short(track_root)} is not here.")
        return {part: Bitfield(held.count, held) for part, held in track.held.items()}

    def read(self, hash_hex: str) -> bytes:
        """A chunk, checked against its hash; one that is damaged or gone is claimed no more.

        Raises:
            Unavailable: `chunk_not_held`, `chunk_damaged`, ...
        """
        try:
            return self.chunks.read_verified(hash_hex)
        except Unavailable:
            self._take_out(bytes.fromhex(hash_hex))
            raise

    def _take_out(self, chunk_hash: bytes) -> None:
        for track in self._library.tracks.values():
            for rendition in track.renditions:
                for chunk, name in enumerate(rendition.chunk_hashes):
                    if name == chunk_hash:
                        track.held[rendition.id].discard(chunk)
