"""What a node holds, as those see it who give it away: over libp2p, and as the seeding peer."""

import asyncio
from collections import OrderedDict
from threading import Lock

from digm.errors import DigmError
from digm.ids import from_hex, to_hex
from digm.manifest import Rendition, parse_manifest
from hub.node.storage import NodeStore
from hub.seeding.held_tracks import SeedTrack

KEPT_SHAPES = 256  # manifests that were read, so that not every stream reads one again
MOST_SEEDED = 2_000  # swarms that a node is in; the pinned tracks first


class NodeTracks:
    """The tracks of one node.

    Attributes:
        tracks: by track root in hex, those of which something is held, as `refresh` found them. A track that
            was there before is the same object, so that sessions see its chunks come and go.
    """

    def __init__(self, store: NodeStore) -> None:
        self._store = store
        self._shapes: OrderedDict[tuple[str, int], tuple[Rendition, ...]] = OrderedDict()
        self._turn = Lock()
        self._seen_changes = -1
        self.tracks: dict[str, SeedTrack] = {}

    async def find(self, track_root: bytes) -> SeedTrack | None:
        """A track as it is held now; None where nothing of it is (`hub.backbone.chunk_streams.FindTrack`)."""
        return await asyncio.to_thread(self._load, to_hex(track_root))

    def refresh(self) -> None:
        """Look at the store again, if it has changed. Blocks.

        Raises:
            Unavailable: the store cannot be read just now.
        """
        changes = self._store.changes
        if changes == self._seen_changes:
            return
        held = sorted(self._store.tracks(), key=lambda track: (not track.pinned_by, track.track_root))
        tracks = {}
        for item in held[:MOST_SEEDED]:
            track = self._load(item.track_root)
            if track is not None:
                tracks[item.track_root] = _renewed(self.tracks.get(item.track_root), track)
        self.tracks, self._seen_changes = tracks, changes

    def _load(self, root: str) -> SeedTrack | None:
        try:
            held = self._store.availability(root)
            renditions = self._renditions(root)
        except (DigmError, OSError):  # it was let go meanwhile
            return None
        return SeedTrack(from_hex(root), renditions, held) if any(map(len, held.values())) else None

    def _renditions(self, root: str) -> tuple[Rendition, ...]:
        key = root, self._store.chunks.manifest_path(root).stat().st_mtime_ns
        with self._turn:
            if key in self._shapes:
                self._shapes.move_to_end(key)
                return self._shapes[key]
        renditions = parse_manifest(self._store.chunks.manifest(root)).renditions
        with self._turn:
            self._shapes[key] = renditions
            while len(self._shapes) > KEPT_SHAPES:
                self._shapes.popitem(last=False)
        return renditions


def _renewed(before: SeedTrack | None, now: SeedTrack) -> SeedTrack:
    """The object that sessions have, brought up to date."""
    if before is None or before.renditions != now.renditions:
        return now
    for number, field in now.held.items():
        mine = before.held[number]
        for chunk in set(mine) - set(field):
            mine.discard(chunk)
        for chunk in set(field) - set(mine):
            mine.add(chunk)
    return before
