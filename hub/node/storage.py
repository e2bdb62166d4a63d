"""What a node stores: chunks within a quota, the least recently used one going first, a pinned one never.

A pin is a promise: the whole size of a pinned track is set aside when the pin is taken, so that replicating it
cannot fail half-way for want of quota. Only chunks that a held manifest names are let in. What is stored is
verified whenever it is read; what is rotten is taken away at once and stands in `lost` until it is put back.

Who asks for pins, and where chunks come from, is not known here.
"""

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import structlog

from digm.bitfield import Bitfield
from digm.errors import CallerFault, DigmError, PeerFault, Unavailable
from digm.ids import short, to_hex
from digm.manifest import Manifest, manifest_hash, parse_manifest
from hub.node.files import WatchedChunks, lock_folder, make_agree
from hub.node.index import HeldTrack, NodeIndex, Pin, Place, places_of
from hub.node.uses import LastUses
from hub.storage.verification import signature_holds

log = structlog.get_logger()
FOREVER = float("inf")


class NodeStore:
    """The chunks, manifests and pins of one node. Calls block; threads may share it, processes may not.

    Attributes:
        chunks: the files, for whoever serves them; every read through it is verified and counts as use.
        changes: goes up whenever what is held or pinned changes.

    Args:
        data: the node's own folder. It is given away for good: what lies there and is not known, goes.
        quota_bytes: most bytes of chunks and manifests.
        now: the clock, in seconds since 1970.
    Raises:
        CallerFault: `not_a_node_folder`, `already_running`, `data_not_writable`. Unavailable: `disk_full`, ...
    """

    def __init__(self, data: Path, quota_bytes: int, now: Callable[[], float] = time.time) -> None:
        self.data, self.quota_bytes, self.changes = data, quota_bytes, 0
        self._now = now
        self._arriving: set[str] = set()
        self._turn = threading.Condition(threading.RLock())
        self._arriving_bytes, self._is_closed = 0, False
        self._lock = lock_folder(data)
        try:
            self._uses = LastUses(data, now)
            self.chunks = WatchedChunks(data, self._uses.note, self._was_bad)
            self._index = NodeIndex(data)
            make_agree(self.chunks, self._index, now())
            self._held_bytes = self._index.held_bytes()
            self._promised_bytes = self._index.promised_bytes()
            self._make_room(0, is_forced=True)  # less than before may be allowed
        except BaseException:
            os.close(self._lock)
            raise

    def close(self) -> None:
        """Write down what was used when, and let another process have the folder. Safe to call twice."""
        with self._turn:
            # A second close of the descriptor would be of a file that somebody else has opened since.
            if self._is_closed:
                return
            self._is_closed = True
            with suppress(Unavailable, CallerFault):
                self._write_uses()
            self._index.close()
            os.close(self._lock)

    # -- room

    @property
    def held_bytes(self) -> int:
        """Bytes of all chunks and manifests that are held."""
        return self._held_bytes

    @property
    def promised_bytes(self) -> int:
        """Bytes of the pinned tracks when they are whole."""
        return self._promised_bytes

    def free_bytes(self) -> int:
        """What may still be pinned: by the quota, and by the disk once what is not pinned has gone."""
        disk = os.statvfs(self.data)
        with self._turn:
            unpinned = self._index.unpinned_bytes()
            to_come = max(0, self._promised_bytes - (self._held_bytes - unpinned))
            on_disk = disk.f_bavail * disk.f_frsize + unpinned - to_come
        return max(0, min(self.quota_bytes - self._promised_bytes, on_disk))

    # -- tracks and pins

    def add_track(self, document: bytes) -> Manifest:
        """Hold a manifest, so that its chunks may come.

        Args:
            document: the exact bytes.
        Raises:
            CallerFault: of `parse_manifest`. PeerFault: `manifest_signature`, `manifest_conflict`.
            Unavailable: `quota_full`, `disk_full`, `disk_failed`.
        """
        manifest = parse_manifest(document)
        if not signature_holds(manifest):
            raise PeerFault("manifest_signature", "The manifest's signature does not hold.")
        root, name = to_hex(manifest.track_root), to_hex(manifest_hash(document))
        with self._turn:
            known = self._index.manifest_of(root)
            if known is not None:
                if known[0] != name:
                    raise PeerFault(
                        "manifest_conflict", f"Another manifest of {short(root)} is held.", track_root=root
                    )
                return manifest
            self._make_room(len(document))
            self.chunks.put_manifest(root, document)
            self._index.add_track(root, name, len(document), places_of(manifest))
            self._held_bytes += len(document)
            self.changes += 1
        return manifest

    def forget(self, track_root: str) -> None:
        """Let a track go, with its chunks.

        Raises:
            CallerFault: `track_pinned`.
        """
        with self._turn:
            if any(pin.track_root == track_root for pin in self._index.pins()):
                raise CallerFault(
                    "track_pinned", f"{short(track_root)} is pinned: it stays until its pins end."
                )
            self._drop_track(track_root)

    def pin(self, track_root: str, pinned_by: str, until: float = FOREVER) -> None:
        """Promise to keep a track whole; what of it is held now is safe from eviction when this returns.

        Args:
            pinned_by: who may end it: an order's id. Given again, it changes the time.
            until: seconds since 1970; it ends when `end_expired_pins` is called after that, not by itself.
        Raises:
            Unavailable: `track_not_held`, its manifest is needed first; `quota_full`.
        """
        with self._turn:
            needed = self._whole_bytes(track_root)
            is_new = all(pin.track_root != track_root for pin in self._index.pins())
            if is_new and self._promised_bytes + needed > self.quota_bytes:
                raise Unavailable(
                    "quota_full",
                    f"{short(track_root)} needs {needed} bytes, and {self._promised_bytes} of the "
                    f"{self.quota_bytes} in the quota are promised: raise it, or unpin something.",
                    track_root=track_root,
                )
            self._index.pin(Pin(track_root, pinned_by, until))
            self._pins_changed()

    def unpin(self, track_root: str, pinned_by: str) -> None:
        """End a pin; nothing goes before its room is needed."""
        with self._turn:
            self._index.unpin([Pin(track_root, pinned_by, 0)])
            self._pins_changed()

    def end_expired_pins(self) -> list[Pin]:
        """End the pins whose time is over.

        Returns:
            those pins.
        """
        with self._turn:
            over = [pin for pin in self._index.pins() if pin.until <= self._now()]
            if over:
                self._index.unpin(over)
                self._pins_changed()
        return over

    def pins(self) -> list[Pin]:
        """Who pins what."""
        with self._turn:
            return self._index.pins()

    def tracks(self) -> list[HeldTrack]:
        """All tracks whose manifest is held, by track root."""
        with self._turn:
            pins = self._index.pins()
            return [
                self._index.held_track(root, name, pins) for root, (name, _) in self._index.tracks().items()
            ]

    def availability(self, track_root: str) -> dict[int, Bitfield]:
        """Which chunks of each rendition are held.

        Raises:
            Unavailable: `track_not_held`.
        """
        held: dict[int, list[int]] = {}
        counts: dict[int, int] = {}
        for place, is_held in self._places_of(track_root):
            if place.rendition is not None:
                counts[place.rendition] = counts.get(place.rendition, 0) + 1
                held.setdefault(place.rendition, []).extend([place.chunk] * is_held)
        return {rendition: Bitfield(count, held[rendition]) for rendition, count in counts.items()}

    def missing(self, track_root: str) -> list[Place]:
        """What of a track is not held, the cover too.

        Raises:
            Unavailable: `track_not_held`.
        """
        return [place for place, is_held in self._places_of(track_root) if not is_held]

    # -- chunks

    def put(self, hash_hex: str, data: bytes) -> bool:
        """Store a chunk that a held manifest names; it is durable when this returns.

        Returns:
            False when it was here.
        Raises:
            PeerFault: `chunk_wrong`, these bytes are something else. CallerFault: `chunk_unnamed`.
            Unavailable: `quota_full`, `disk_full`, `disk_failed`; all that was held before is still held, but
                for unpinned chunks that made room.
        """
        if hashlib.sha256(data).hexdigest() != hash_hex:
            raise PeerFault("chunk_wrong", f"What came as {short(hash_hex)} is something else.", hash=hash_hex)
        with self._turn:
            self._turn.wait_for(lambda: hash_hex not in self._arriving)
            place = self._check_named(hash_hex, len(data))
            if self._index.size_held(hash_hex) is not None:
                return False
            self._make_room(len(data), place.track_root)
            self._arriving.add(hash_hex)
            self._arriving_bytes += len(data)
        is_whole = False
        try:
            self.chunks.put(data)
            is_whole = True
        finally:
            with self._turn:
                self._arriving.discard(hash_hex)
                self._arriving_bytes -= len(data)
                self._turn.notify_all()
                if is_whole:  # in this same turn: before, it would count twice, after, not at all
                    self._settle(hash_hex, len(data))
        return True

    def read(self, hash_hex: str) -> bytes:
        """A whole chunk, verified; counts as use.

        Raises:
            CallerFault: `bad_id`. Unavailable: `chunk_not_held`, `chunk_damaged` (it is out of service then).
        """
        return self.chunks.read(hash_hex)

    def take_out(self, hash_hex: str) -> None:
        """Take a chunk that is not as it should be out of service, and note that it is to be repaired."""
        with self._turn:
            size = self._index.size_held(hash_hex)
            if size is None or hash_hex in self._arriving:
                return
            # The file first: nobody may be served from it, even if the disk is too full to write that down.
            self.chunks.delete(hash_hex)
            self._index.lose_chunk(hash_hex, self._now())
            self._held_bytes -= size
            self.changes += 1
        log.warning("chunk_taken_out", hash=short(hash_hex))

    def lost(self) -> list[Place]:
        """What was held and is to be repaired, the longest lost first."""
        with self._turn:
            return self._index.lost()

    def inspect(self, hash_hex: str) -> None:
        """Read a chunk to see whether it is sound; this is no use of it.

        Raises:
            CallerFault: `bad_id`. Unavailable: `chunk_not_held`, `chunk_damaged` (it is out of service then).
        """
        self.chunks.inspect(hash_hex)

    def longest_unchecked(self, count: int) -> list[tuple[str, int]]:
        """(Hash, bytes) of the chunks that were not looked at for longest."""
        with self._turn:
            return self._index.longest_unchecked(count)

    def write_uses(self) -> None:
        """Write down what was used when, if it is much; call it every few seconds."""
        if self._uses.are_many():
            with self._turn, suppress(Unavailable):  # on a full disk chunks are read all the same
                self._write_uses()

    def mark_checked(self, hashes: Iterable[str]) -> None:
        """These chunks were looked at."""
        with self._turn:
            self._index.mark_checked(hashes, self._now())

    # -- within

    def _check_named(self, hash_hex: str, size: int) -> Place:
        place = self._index.place_of(hash_hex)
        if place is None:
            raise CallerFault(
                "chunk_unnamed", f"No manifest that is held names {short(hash_hex)}: add its track first."
            )
        if place.size != size:
            raise PeerFault("chunk_wrong", f"{short(hash_hex)} is {size} bytes, not as its manifest says.")
        return place

    def _settle(self, hash_hex: str, size: int) -> None:
        """A chunk's file is in place: from now on it is held."""
        try:
            self._check_named(hash_hex, size)  # its track may have been forgotten meanwhile
            self._index.add_chunk(hash_hex, size, self._now())
        except BaseException:
            self.chunks.delete(hash_hex)
            raise
        self._held_bytes += size
        self.changes += 1

    def _make_room(self, wanted_bytes: int, kept_root: str | None = None, *, is_forced: bool = False) -> None:
        """Evict until this fits, or nothing if it cannot; manifests go with their last chunk.

        Args:
            kept_root: its manifest stays.
            is_forced: evict what can go even if that is not enough.
        """
        too_many = self._held_bytes + self._arriving_bytes + wanted_bytes - self.quota_bytes
        if too_many <= 0:
            return
        self._write_uses()
        victims = self._index.oldest_unpinned(too_many)
        could_go = sum(size for _, size in victims)
        if could_go < too_many:
            could_go += sum(
                size for root, size in self._index.unpinned_manifests().items() if root != kept_root
            )
        if could_go < too_many and not is_forced:
            raise Unavailable(
                "quota_full",
                f"The node's quota of {self.quota_bytes} bytes is taken by what is pinned: raise it, or unpin.",
            )
        emptied = {place.track_root for name, _ in victims if (place := self._index.place_of(name))}
        self._remove(victims)
        for root in self._index.idle_tracks():
            is_needed = self._held_bytes + self._arriving_bytes + wanted_bytes > self.quota_bytes
            if root != kept_root and (root in emptied or is_needed):
                self._drop_track(root)

    def _remove(self, victims: list[tuple[str, int]]) -> None:
        self._index.remove_chunks(name for name, _ in victims)
        for name, size in victims:
            self.chunks.delete(name)
            self._uses.forget(name)
            self._held_bytes -= size
        self.changes += 1

    def _drop_track(self, root: str) -> None:
        manifest = self._index.manifest_of(root)
        if manifest is None:
            return
        orphans = self._index.remove_track(root)
        self.chunks.delete_manifest(root)
        self._held_bytes -= manifest[1]
        self._remove(orphans)

    def _pins_changed(self) -> None:
        self._promised_bytes = self._index.promised_bytes()
        self.changes += 1

    def _whole_bytes(self, root: str) -> int:
        manifest = self._index.manifest_of(root)
        if manifest is None:
            raise Unavailable("track_not_held", f"The track {short(root)} is not here.", track_root=root)
        # What another pinned track names as well counts twice here: a promise may be too careful.
        sizes = {place.hash: place.size for place, _ in self._index.places(root)}
        return manifest[1] + sum(sizes.values())

    def _places_of(self, root: str) -> list[tuple[Place, bool]]:
        with self._turn:
            if self._index.manifest_of(root) is None:
                raise Unavailable("track_not_held", f"The track {short(root)} is not here.", track_root=root)
            return self._index.places(root)

    def _was_bad(self, hash_hex: str) -> None:
        try:
            self.take_out(hash_hex)
        except DigmError as error:  # such as a file system that became read-only; the read fails in any case
            log.warning("chunk_not_taken_out", hash=short(hash_hex), code=error.code)

    def _write_uses(self) -> None:
        self._index.mark_used(self._uses.take())
