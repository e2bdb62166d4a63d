"""Publishing: files in, tracks in the catalogue out; each release whole, or nothing of it.

The order is what makes it safe to be killed anywhere: everything is made in a staging folder; its journal says
what will be moved; chunks, covers and manifests are moved and made durable; the vault gets the keys; and one
transaction in the catalogue is the acknowledgement. Before that transaction nobody sees anything of it, and the
next sweep takes it back. One bad file in a folder keeps the whole folder from being published.

What is published already stays as it is; if it was damaged since, the same file puts it back (`repair`).
"""

import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Literal, NamedTuple, Self

from digm.errors import CallerFault, DigmError, Unavailable
from digm.ids import to_hex
from digm.keys import KEY_BYTES
from digm.manifest import Manifest
from digm.merkle import audit_root
from hub.config import Settings
from hub.media import IngestedTrack, ingest
from hub.publishing.encryption import TrackEncryption
from hub.publishing.identity import open_vault
from hub.publishing.model import Note, ProgressEvent, PublishedTrack, PublishOptions, Report, Stage
from hub.publishing.release import (
    PreparedTrack,
    hash_of,
    in_order,
    name_release,
    release_entry,
    stage_cover,
    track_entry,
    write_manifest,
)
from hub.publishing.repair import NO_RELEASE, options_of, put_back
from hub.publishing.sources import (
    Fingerprint,
    ReleaseSource,
    check_unchanged,
    find_release,
    fingerprint,
    printable,
)
from hub.publishing.staging import JournalEntry, Staging, sweep_staging
from hub.publishing.vault import TrackSecret
from hub.storage.catalogue import Catalogue, TrackEntry
from hub.storage.chunk_store import ChunkStore
from hub.storage.durable import disk_faults_named, write_new
from hub.storage.verification import verify_track

_THREADS = max(2, min(8, os.cpu_count() or 2))


class _Described(NamedTuple):
    track: PreparedTrack
    manifest: Manifest
    document: bytes

    @property
    def root(self) -> str:
        return to_hex(self.manifest.track_root)

    def journal_entry(self) -> JournalEntry:
        chunks = tuple(to_hex(chunk_hash) for chunk_hash in self.track.chunk_hashes)
        return JournalEntry(self.root, chunks, hash_of(self.track.cover))

    def secret(self, published_at: float) -> TrackSecret:
        return TrackSecret(
            track_root=self.root,
            track_key=self.track.track_key,
            source_sha256=self.track.source.sha256,
            published_at=published_at,
        )


def publish(
    paths: Iterable[Path],
    settings: Settings,
    options: PublishOptions | None = None,
    report: Callable[[Report], None] = lambda _event: None,
) -> list[PublishedTrack]:
    """Publish files and folders, one release after another.

    Raises:
        DigmError: the first release that cannot be published; those before it are.
    """
    with Publisher(settings, options or PublishOptions(), report) as publisher:
        return [track for path in paths for track in publisher.publish(find_release(path))]


class Publisher:
    """An open data folder and vault to publish into; a context manager.

    Entering it undoes what killed publishers left behind.

    Args:
        report: is told of progress, from this thread and others.
        ingested: by file, what was ingested before, with the artist's own words in it.
    Raises:
        CallerFault, Unavailable: as `open_vault` and `Catalogue.open`, on entering; nothing is written before
            the vault is open.
    """

    def __init__(
        self,
        settings: Settings,
        options: PublishOptions,
        report: Callable[[Report], None] = lambda _event: None,
        ingested: Mapping[Path, IngestedTrack] = MappingProxyType({}),
    ) -> None:
        self._ingested = ingested
        self._settings = settings
        self._options = options
        self._report = report
        self._store = ChunkStore(settings.data)

    def __enter__(self) -> Self:
        data = self._settings.data
        self._vault = open_vault(self._settings)
        try:
            self._catalogue = Catalogue.open(data)
            sweep_staging(data)
        except BaseException:
            self._vault.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._catalogue.close()
        self._vault.close()

    def publish(self, source: ReleaseSource) -> list[PublishedTrack]:
        """Publish one release; it is durable and in the catalogue when this returns.

        Returns:
            one item per file of the release; files whose bytes are published already are said to be so.
        Raises:
            DigmError: nothing of the release is published, and nothing of it is left behind.
        """
        if self._options.title is not None and len(source.files) > 1:
            raise CallerFault("bad_option", "--title names one track: give one file with it, not a folder.")
        try:
            self._report_ignored(source)
            return self._publish(source)
        except DigmError as fault:
            if source.folder is None:
                raise
            rest = f"So nothing of the folder {printable(source.folder)} was published now."
            raise type(fault)(fault.code, f"{fault.message} {rest}", **fault.data) from fault

    def _report_ignored(self, source: ReleaseSource) -> None:
        if source.folder is None:
            return
        folders = [path for path in source.ignored if path.is_dir()]
        others = [path for path in source.ignored if path not in folders]
        for paths, why in (
            (others, "left out, because it is no audio"),
            (
                folders,
                "left out, because a subfolder is a release of its own that is published by its own name",
            ),
        ):
            if paths:
                names = ", ".join(printable(path.name) for path in paths)
                self._report(Note(source.folder, f"{why}: {names}."))

    def _publish(self, source: ReleaseSource) -> list[PublishedTrack]:
        prints = {path: self._fingerprint(path) for path in source.files}
        missing: dict[str, Path] = {}
        listed: dict[str, tuple[Path, TrackEntry]] = {}
        for path, printed in prints.items():
            entry = self._published(printed.sha256)
            if entry is None:
                missing.setdefault(printed.sha256, path)
            else:
                listed.setdefault(printed.sha256, (path, entry))
        repaired = {
            sha256
            for sha256, (path, entry) in listed.items()
            if self._repair(path, prints[path], entry, source.cover)
        }
        fresh: dict[str, TrackEntry] = {}
        if missing:
            with Staging(self._settings.data, self._store, self._catalogue) as staging:
                preview_s = self._options.preview_seconds
                tracks = [
                    self._prepare(path, prints[path], source.cover, staging, preview_s)
                    for path in missing.values()
                ]
                known = [self._published(printed.sha256) for printed in prints.values()]
                fresh = self._commit(source, in_order(tracks), [entry for entry in known if entry], staging)
        return [self._result(path, prints[path].sha256, fresh, repaired) for path in prints]

    def _repair(self, path: Path, printed: Fingerprint, entry: TrackEntry, cover: Path | None) -> bool:
        """Make a published track whole again.

        Returns:
            whether it was not.
        """
        secret = self._vault.secret(entry.track_root)
        if secret is None or verify_track(self._store, entry).is_whole:
            return False
        try:
            self._make_again(path, printed, entry, cover, secret.track_key, entry.preview_s)
        except Unavailable as fault:
            if entry.preview_s is None or fault.code != "track_damaged":
                raise
            # What was published before chunks ended with the preview is cut as it was then.
            self._make_again(path, printed, entry, cover, secret.track_key, None)
        self._report(ProgressEvent(path, "storing", 1.0))
        return True

    def _make_again(
        self, path: Path, printed: Fingerprint, entry: TrackEntry, cover: Path | None,
        track_key: bytes, preview_s: int | None,
    ) -> None:  # fmt: skip
        with Staging(self._settings.data, self._store, self._catalogue) as staging:
            track = self._prepare(path, printed, cover, staging, preview_s, track_key)
            _, document = write_manifest(
                track, NO_RELEASE, options_of(entry), self._vault.artist_key, self._vault.sign
            )
            with staging.committing():
                put_back(self._store, entry, path, document, track.files)

    def _result(
        self, path: Path, sha256: str, fresh: dict[str, TrackEntry], repaired: set[str]
    ) -> PublishedTrack:
        new = fresh.pop(sha256, None)
        entry = new or self._published(sha256)
        if entry is None:
            raise CallerFault(
                "track_withdrawn",
                f"{printable(path)} was taken out of the catalogue just now: publish it again.",
            )
        if not new:
            self._report_not_applied(path, entry)
        status: Literal["repaired", "already_published"] = (
            "repaired" if sha256 in repaired else "already_published"
        )
        return PublishedTrack(
            track_root=entry.track_root,
            title=entry.title,
            artist=entry.artist,
            album=entry.album,
            duration_s=entry.duration_s,
            status="published" if new else status,
            file=printable(path),
        )

    def _report_not_applied(self, path: Path, entry: TrackEntry) -> None:
        wanted = self._options
        said = {
            "--title": (wanted.title, entry.title),
            "--artist": (wanted.artist, entry.artist),
            "--album": (wanted.album, entry.album),
            "--preview-seconds": (wanted.preview_seconds, entry.preview_s),
        }
        names = [name for name, (asked, given) in said.items() if asked is not None and asked != given]
        if names:
            self._report(
                Note(
                    path,
                    f"was published already and stays as it is, so not applied: {', '.join(names)}. To publish "
                    "it otherwise, change the file's tags and publish that: it becomes another track.",
                )
            )

    def _published(self, sha256: str) -> TrackEntry | None:
        """The track in the catalogue that was made from these source bytes."""
        for secret in self._vault.by_source(sha256):
            if entry := self._catalogue.track(secret.track_root):
                return entry
        return None

    def _fingerprint(self, path: Path) -> Fingerprint:
        self._report(ProgressEvent(path, "reading", 0.0))
        printed = fingerprint(path)
        self._report(ProgressEvent(path, "reading", 1.0))
        return printed

    def _prepare(
        self,
        path: Path,
        printed: Fingerprint,
        cover: Path | None,
        staging: Staging,
        preview_s: int | None,
        known_key: bytes | None = None,
    ) -> PreparedTrack:
        """Ingest and encrypt one file; its plaintext is gone when this returns.

        Args:
            preview_s: where a chunk has to end; None: anywhere.
            known_key: of a track that is published already; None: it is a new track, with a key of its own.
        """
        with disk_faults_named(self._settings.data):
            workdir, chunks = staging.folder / "media", staging.folder / "chunks"
            workdir.mkdir(mode=0o700)
            chunks.mkdir(mode=0o700, exist_ok=True)
            try:
                ingested = self._ingested.get(path) or ingest(
                    path, workdir, cover=cover, on_progress=self._progress(path, "encoding")
                )
                check_unchanged(path, printed)
                if known_key is None:
                    self._check_preview(path, ingested.duration_s)
                for sentence in ingested.notes:
                    self._report(Note(path, sentence))
                track_key = known_key or secrets.token_bytes(KEY_BYTES)
                return self._encrypt(path, printed, ingested, chunks, track_key, preview_s)
            finally:
                shutil.rmtree(workdir, ignore_errors=True)

    def _encrypt(
        self, path: Path, printed: Fingerprint, ingested: IngestedTrack, chunks: Path,
        track_key: bytes, preview_s: int | None,
    ) -> PreparedTrack:  # fmt: skip
        progress, count = self._progress(path, "encrypting"), len(ingested.renditions)
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="encrypt") as pool:
            encryption = TrackEncryption(track_key, chunks, pool, preview_s)
            renditions = tuple(
                encryption.add(number, rendition, partial(_part_done, progress, number, count))
                for number, rendition in enumerate(ingested.renditions)
            )
        progress(1.0)
        files = dict(encryption.files)
        cover = stage_cover(ingested.cover, chunks, files)
        root = audit_root(encryption.audit_roots)
        return PreparedTrack(path, printed, ingested, cover, track_key, renditions, root, files)

    def _commit(
        self,
        source: ReleaseSource,
        tracks: Sequence[PreparedTrack],
        known: Sequence[TrackEntry],
        staging: Staging,
    ) -> dict[str, TrackEntry]:
        """Store, remember the keys, acknowledge.

        Returns:
            SHA-256 of the source -> track, for all that were not published by somebody else meanwhile.
        """
        for track in tracks:
            self._report(ProgressEvent(track.path, "storing", 0.0))
        names = name_release(source, tracks, self._options)
        key, sign = self._vault.artist_key, self._vault.sign
        described = [
            _Described(track, *write_manifest(track, names, self._options, key, sign)) for track in tracks
        ]
        release_id = self._release_to_join(names.title, known) or secrets.token_hex(32)
        with staging.committing():
            new = [item for item in described if self._published(item.track.source.sha256) is None]
            if not new:
                return {}
            now = time.time()
            entries = [track_entry(item.manifest, item.document, release_id, now) for item in new]
            self._store_release(new, staging)
            self._vault.add(*(item.secret(now) for item in new))
            staging.acknowledge(release_entry(names, release_id, key, now), entries)
        for track in tracks:
            self._report(ProgressEvent(track.path, "storing", 1.0))
        return {item.track.source.sha256: entry for item, entry in zip(new, entries, strict=True)}

    def _store_release(self, new: Sequence[_Described], staging: Staging) -> None:
        with disk_faults_named(self._settings.data):
            manifests = staging.folder / "manifests"
            manifests.mkdir(mode=0o700)
            staged = {item.root: manifests / item.root for item in new}
            for item in new:
                write_new(staged[item.root], item.document)
            staging.write_journal([item.journal_entry() for item in new])
            files = {name: path for item in new for name, path in item.track.files.items()}
            self._store.adopt_all(files, staged)

    def _release_to_join(self, title: str, known: Sequence[TrackEntry]) -> str | None:
        """The release that a folder's other files are published in, if it has the same title."""
        for entry in known:
            release = self._catalogue.release(entry.release_id)
            if release is not None and release.title == title:
                return release.release_id
        return None

    def _check_preview(self, path: Path, duration_s: float) -> None:
        preview_s = self._options.preview_seconds
        if preview_s is not None and preview_s > duration_s:
            raise CallerFault(
                "preview_too_long",
                f"{printable(path)} lasts {duration_s:.1f} seconds, shorter than a preview of {preview_s}: "
                "choose fewer seconds, or leave --preview-seconds out to let everyone hear all of it.",
                file=printable(path),
            )

    def _progress(self, path: Path, stage: Stage) -> Callable[[float], None]:
        return lambda done: self._report(ProgressEvent(path, stage, done))


def _part_done(progress: Callable[[float], None], part: int, parts: int, done: float) -> None:
    progress((part + done) / parts)
