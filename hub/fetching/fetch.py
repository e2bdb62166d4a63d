"""A whole track from the network into a file (`digm fetch`): found, checked, opened, resumed.

    report = await Fetch(job, watch).run()

The chunks lie in a folder beside the file, `FILE.part`, until the file is whole; it has the layout of a data
folder, and whatever is in it and right is not fetched again. With `raw` the chunks stay encrypted, in a folder
that `digm gateway` serves as it is.
"""

import asyncio
import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from digm.containers import choose_rendition, choose_renditions
from digm.errors import CallerFault, DigmError, PeerFault, Unavailable
from digm.grants import Grant
from digm.ids import to_hex
from digm.manifest import Manifest, Rendition, manifest_hash
from digm.plain_text import clean_text
from hub.fetching.allotment import Wanted, wanted_chunks
from hub.fetching.assembling import Assembly, write_file
from hub.fetching.downloads import Downloads
from hub.fetching.grants import join_swarm, obtain_access
from hub.fetching.ledger import Ledger, Problem, SourceReport
from hub.fetching.search import Search, searching
from hub.fetching.sources import GatewaySource, NodeSource
from hub.fetching.targets import Target
from hub.storage.chunk_store import ChunkStore
from hub.storage.durable import disk_faults_named, make_folder

PATIENCE_S = 30.0  # two rests of a source that failed (allotment.REST_MOST_S)
COVER_WITHIN_S = 10.0
PART = ".part"
MOST_SHOWN = 200  # of a title, which is a stranger's text


@dataclass(frozen=True)
class FetchJob:
    """What to fetch, from whom, and where it goes: `out` or `raw`.

    Attributes:
        out: a file that does not exist, unless `may_replace`.
        raw: a folder for the encrypted chunks, of all renditions unless one is asked for.
        track_key: if it is known; without it the hub is asked for a grant.
        rendition: a number or a codec's name.
        artist: the artist's key in hex, if it is known.
        via: kinds of sources that may be used.
    """

    target: Target
    out: Path | None
    raw: Path | None
    track_key: bytes | None = None
    rendition: str | None = None
    artist: str | None = None
    via: frozenset[str] = frozenset()
    patience_s: float = PATIENCE_S
    may_replace: bool = False


class FetchReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a fetch came to; `error` and `message` when it failed.

    Attributes:
        chunks, bytes: that were wanted; `chunks_before` of them lay there already.
        is_preview: the grant did not cover all of the track.
        file_bytes: of the file that was written.
    """

    track_root: str
    title: str | None = None
    artist: str | None = None
    artist_key: str | None = None
    manifest_hash: str | None = None
    renditions: list[str] = []
    out: str | None = None
    chunks: int = 0
    bytes: int = 0
    chunks_before: int = 0
    is_preview: bool = False
    file_bytes: int | None = None
    seconds: float = 0.0
    sources: list[SourceReport] = []
    problems: list[Problem] = []
    error: str | None = None
    message: str | None = None


Watch = Callable[[int, int, str], None]
"""Told how many bytes are there, of how many, and a title; `0, 0, sentence` while there is nothing to count."""


class Fetch:
    """One run of one job; `report` says at any time how far it came."""

    def __init__(self, job: FetchJob, watch: Watch = lambda _done, _of, _title: None) -> None:
        self._job = job
        self._watch = watch
        self._ledger = Ledger()
        self._known = FetchReport(track_root=job.target.track_root)

    def report(self, fault: DigmError | None = None) -> FetchReport:
        """So far."""
        return msgspec.structs.replace(
            self._known,
            seconds=self._ledger.seconds,
            sources=self._ledger.sources,
            problems=self._ledger.problems,
            error=fault.code if fault else None,
            message=fault.message if fault else None,
        )

    async def run(self) -> FetchReport:
        """Fetch.

        Raises:
            CallerFault: `no_places`, `out_exists`, `fetch_running`, `bad_out`, `rendition_unknown`,
                `wrong_key`; the folder cannot be written.
            Unavailable: `no_manifest`, `no_key`, `no_source`, `disk_full`, `disk_failed`.
            PeerFault: what an artist signed is not right.
        """
        job = self._job
        _check_places(job)
        folder = job.raw if job.raw is not None else _part_folder(job.out)
        with _only_one(folder):
            async with searching(job.target, self._ledger, job.via) as search:
                self._watch(0, 0, "Looking for the track")
                store = ChunkStore(folder)
                if job.raw is not None:
                    await self._fetch_raw(search, store)
                else:
                    assert job.out is not None
                    await self._fetch_file(search, store, job.out)
        return self.report()

    def _know(self, manifest: Manifest, document: bytes) -> None:
        self._known = msgspec.structs.replace(
            self._known,
            title=clean_text(manifest.title, MOST_SHOWN),
            artist=manifest.artist and clean_text(manifest.artist, MOST_SHOWN),
            artist_key=to_hex(manifest.artist_key),
            manifest_hash=to_hex(manifest_hash(document)),
        )

    # -- to a folder

    async def _fetch_raw(self, search: Search, store: ChunkStore) -> None:
        manifest, document = await search.manifest(self._job.artist)
        self._know(manifest, document)
        renditions = choose_renditions(manifest, self._job.rendition)
        wanted = wanted_chunks(manifest, [it.id for it in renditions])
        join_swarm(search, manifest)
        self._will_fetch(renditions, wanted)
        await self._download(search, wanted, store)
        if (cover := await _cover(search, manifest)) is not None:
            await asyncio.to_thread(store.put, cover)
        # Last, so that a folder with a manifest is whole.
        await asyncio.to_thread(store.put_manifest, self._job.target.track_root, document)
        self._known = msgspec.structs.replace(self._known, out=str(store.data))

    # -- to a file

    async def _fetch_file(self, search: Search, store: ChunkStore, out: Path) -> None:
        manifest, document, grant = await obtain_access(search, self._job.artist, self._job.track_key)
        self._know(manifest, document)
        rendition = choose_rendition(manifest, out.name, self._job.rendition)
        chunks = granted_chunks(rendition, grant)
        wanted = wanted_chunks(manifest, [rendition.id])[: len(chunks)]
        self._will_fetch([rendition], wanted, is_preview=len(chunks) < rendition.chunk_count)
        await self._download(search, wanted, store)
        assembly = Assembly(manifest, rendition, grant, chunks, await _cover(search, manifest))
        self._watch(self._known.bytes, self._known.bytes, "Writing the file")
        temporary = store.data / f"{secrets.token_hex(8)}{out.suffix}"
        size = await asyncio.to_thread(write_file, assembly, store, temporary, out)
        await asyncio.to_thread(shutil.rmtree, store.data, ignore_errors=True)
        self._known = msgspec.structs.replace(self._known, out=str(out), file_bytes=size)

    def _will_fetch(
        self, renditions: list[Rendition], wanted: list[Wanted], *, is_preview: bool = False
    ) -> None:
        self._known = msgspec.structs.replace(
            self._known,
            renditions=[it.config.codec for it in renditions],
            chunks=len(wanted),
            bytes=sum(item.size for item in wanted),
            is_preview=is_preview,
        )

    async def _download(self, search: Search, wanted: list[Wanted], store: ChunkStore) -> None:
        held = await asyncio.to_thread(_held, store, wanted)
        self._known = msgspec.structs.replace(self._known, chunks_before=len(held))
        done = sum(wanted[index].size for index in held)
        title = self._known.title or ""

        def came(index: int) -> None:
            nonlocal done
            done += wanted[index].size
            self._watch(done, self._known.bytes, title)

        self._watch(done, self._known.bytes, title)
        downloads = Downloads(
            wanted, store, search, self._ledger, held=held, patience_s=self._job.patience_s, on_chunk=came
        )
        await downloads.run()


def granted_chunks(rendition: Rendition, grant: Grant) -> range:
    """The chunks from the beginning on that a grant opens, without a gap.

    Raises:
        Unavailable: `no_key`, not even the first.
    """
    count = 0
    while count < rendition.chunk_count and grant.key_for(rendition.id, count) is not None:
        count += 1
    if not count:
        raise Unavailable("no_key", "The listening grant does not cover this rendition.")
    return range(count)


def _held(store: ChunkStore, wanted: list[Wanted]) -> list[int]:
    """What an earlier run brought; a damaged chunk does not count."""
    held = []
    for index, item in enumerate(wanted):
        with suppress(Unavailable):
            store.read_verified(item.name)
            held.append(index)
    return held


async def _cover(search: Search, manifest: Manifest) -> bytes | None:
    """The picture, if a gateway or a node gives it soon; a file without one is a file."""
    if manifest.cover is None:
        return None
    name = to_hex(manifest.cover.hash)
    for source in [it for it in search.givers.values() if isinstance(it, GatewaySource | NodeSource)]:
        with suppress(Unavailable, PeerFault, TimeoutError):
            async with asyncio.timeout(COVER_WITHIN_S):
                picture = await source.cover(name, manifest.cover.size)
            if hashlib.sha256(picture).digest() == manifest.cover.hash:
                return picture
    return None


def _check_places(job: FetchJob) -> None:
    if not job.target.has_places:
        raise CallerFault(
            "no_places",
            "Nobody to ask: name a hub (--hub), a gateway (--gateway) or a node (--bootstrap), or give the "
            "address of the track's page.",
        )
    if job.out is not None and os.path.lexists(job.out) and not job.may_replace:
        raise CallerFault(
            "out_exists",
            f"{job.out} is there already: choose another name, or say --replace.",
            out=str(job.out),
        )


def _part_folder(out: Path | None) -> Path:
    assert out is not None
    return out.with_name(out.name + PART)


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Make the folder, and be the only process that fetches into it."""
    with disk_faults_named(folder):
        make_folder(folder)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CallerFault("fetch_running", f"Another process is fetching into {folder}.") from error
        yield
    finally:
        os.close(descriptor)
        with suppress(OSError):  # unless something is in it
            folder.rmdir()
