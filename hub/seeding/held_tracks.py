"""What there is to seed: the tracks of the catalogue, and which of their chunks lie in the store."""

from dataclasses import dataclass

import structlog

from digm.bitfield import Bitfield
from digm.errors import DigmError
from digm.ids import from_hex, short, to_hex
from digm.manifest import Rendition, parse_manifest
from hub.storage.catalogue import Catalogue
from hub.storage.chunk_store import ChunkStore

log = structlog.get_logger()


@dataclass(frozen=True)
class SeedTrack:
    """One track that can be given away.

    Attributes:
        held: by rendition id; a chunk that turns out to be damaged is taken out.
    """

    track_root: bytes
    renditions: tuple[Rendition, ...]
    held: dict[int, Bitfield]

    @property
    def share(self) -> float:
        """Part of all chunks that is held, 0.0 to 1.0."""
        return sum(map(len, self.held.values())) / sum(field.count for field in self.held.values())

    def chunk_hash(self, rendition: int, chunk: int) -> str:
        return to_hex(self.renditions[rendition].chunk_hashes[chunk])


class Library:
    """The tracks of one data folder. `refresh` blocks: call it in a thread.

    Attributes:
        manifest_hashes: of the tracks in the catalogue, by track root; both in hex.
    """

    def __init__(self, catalogue: Catalogue, store: ChunkStore) -> None:
        self._catalogue = catalogue
        self._store = store
        self._tracks: dict[str, SeedTrack] = {}
        self.manifest_hashes: dict[str, str] = {}
        self._unreadable: set[str] = set()

    @property
    def tracks(self) -> dict[str, SeedTrack]:
        """By track root in hex."""
        return self._tracks

    def refresh(self) -> None:
        """Look at the catalogue again.

        Raises:
            Unavailable: the catalogue cannot be read just now.
        """
        self.manifest_hashes = {entry.track_root: entry.manifest_hash for entry in self._catalogue.tracks()}
        tracks = {}
        for root in self.manifest_hashes:
            track = self._tracks.get(root) or self._load(root)
            if track is not None:
                tracks[root] = track
        self._tracks = tracks

    def _load(self, root: str) -> SeedTrack | None:
        try:
            manifest = parse_manifest(self._store.manifest(root))
        except DigmError as error:
            if root not in self._unreadable:
                log.warning("track_not_seeded", track_root=short(root), code=error.code)
                self._unreadable.add(root)
            return None
        self._unreadable.discard(root)
        held = {
            rendition.id: Bitfield(
                rendition.chunk_count,
                (i for i, name in enumerate(rendition.chunk_hashes) if to_hex(name) in self._store),
            )
            for rendition in manifest.renditions
        }
        return SeedTrack(from_hex(root), manifest.renditions, held)
