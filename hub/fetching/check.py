"""Asks every source of a track for every chunk, and says who really has what (`digm fetch --check`).

What sources claim is not believed: all bytes are fetched and hashed, nothing is kept.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from digm.containers import choose_renditions
from digm.errors import PeerFault, Unavailable
from digm.ids import to_hex
from digm.manifest import manifest_hash
from digm.plain_text import clean_text
from hub.fetching.allotment import Wanted, wanted_chunks
from hub.fetching.fetch import MOST_SHOWN, FetchJob
from hub.fetching.grants import join_swarm
from hub.fetching.ledger import Ledger, Problem
from hub.fetching.search import Search, searching
from hub.fetching.sources import NOT_HELD, ChunkSource

ATTEMPTS = 3
REST_S = 1.0
MOST_FAILURES = 3  # chunks in a row; after that each is asked for once, without a rest
MOST_IN_MEMORY = 64  # chunks of all sources at once, at most 1 MiB each


class SourceCheck(msgspec.Struct, frozen=True):
    """What one source really has.

    Attributes:
        claimed: chunks that it says it has; None: it does not say.
        right: chunks that came and are the artist's.
        missing, wrong, failed: places such as `0/3-7` (rendition/chunks): not there, other bytes, no answer.
        errors: code -> how often.
        first_ms: until the first right chunk was there.
    """

    name: str
    kind: str
    claimed: int | None
    right: int
    missing: list[str]
    wrong: list[str]
    failed: list[str]
    errors: dict[str, int]
    bytes: int
    first_ms: float | None
    bytes_per_s: float | None


class CheckReport(msgspec.Struct, frozen=True):
    """Who has what of a track.

    Attributes:
        nowhere: places of chunks that no source gave.
        least_copies: of the rarest chunk.
        whole_copies: sources that have every chunk.
    """

    track_root: str
    title: str
    artist_key: str
    manifest_hash: str
    chunks: int
    bytes: int
    least_copies: int
    whole_copies: int
    nowhere: list[str]
    sources: list[SourceCheck]
    problems: list[Problem]
    seconds: float


@dataclass
class _Checked:
    """One source while it is asked."""

    source: ChunkSource
    right: set[int] = field(default_factory=set)
    missing: set[int] = field(default_factory=set)
    wrong: set[int] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)
    errors: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    first_ms: float | None = None
    seconds: float = 0.0
    failures: int = 0

    def count(self, code: str) -> None:
        self.errors[code] = self.errors.get(code, 0) + 1


async def check_track(
    job: FetchJob, ledger: Ledger, watch: Callable[[int, int, str], None] = lambda _done, _of, _title: None
) -> CheckReport:
    """Ask everybody for everything.

    Raises:
        Unavailable: `no_manifest`. CallerFault: `rendition_unknown`.
    """
    async with searching(job.target, ledger, job.via) as search:
        manifest, document = await search.manifest(job.artist)
        join_swarm(search, manifest)
        await search.settled()
        wanted = wanted_chunks(manifest, [it.id for it in choose_renditions(manifest, job.rendition)])
        checked = [_Checked(source) for source in search.sources.values()]
        room, done = asyncio.Semaphore(MOST_IN_MEMORY), 0

        def one_done() -> None:
            nonlocal done
            done += 1
            watch(done, len(wanted) * len(checked), manifest.title)

        await asyncio.gather(*(_check(item, wanted, room, one_done) for item in checked))
        copies = [sum(index in item.right for item in checked) for index in range(len(wanted))]
        return CheckReport(
            track_root=search.target.track_root,
            title=clean_text(manifest.title, MOST_SHOWN),
            artist_key=to_hex(manifest.artist_key),
            manifest_hash=to_hex(manifest_hash(document)),
            chunks=len(wanted),
            bytes=sum(item.size for item in wanted),
            least_copies=min(copies),
            whole_copies=sum(len(item.right) == len(wanted) for item in checked),
            nowhere=places(wanted, (index for index, count in enumerate(copies) if not count)),
            sources=_reports(checked, wanted, search),
            problems=ledger.problems,
            seconds=ledger.seconds,
        )


async def _check(
    item: _Checked, wanted: Sequence[Wanted], room: asyncio.Semaphore, one_done: Callable[[], None]
) -> None:
    """All chunks of one source, as many at once as it takes."""
    waiting, began = list(range(len(wanted)))[::-1], time.monotonic()

    async def work() -> None:
        while waiting:
            index = waiting.pop()
            async with room:
                await _check_one(item, index, wanted[index], began)
            one_done()

    await asyncio.gather(*(work() for _ in range(item.source.slots)))
    item.seconds = time.monotonic() - began


async def _check_one(item: _Checked, index: int, wanted: Wanted, began: float) -> None:
    """One chunk; a source that is busy or does not answer is asked again, unless it is gone for good."""
    for _ in range(ATTEMPTS):
        try:
            data = await item.source.fetch(wanted, lambda _received: None)
        except Unavailable as fault:
            item.count(fault.code)
            if fault.code == NOT_HELD:
                item.missing.add(index)
                return
            if item.failures >= MOST_FAILURES:
                break
            await asyncio.sleep(REST_S)
            continue
        except PeerFault as fault:
            item.count(fault.code)
            break
        if hashlib.sha256(data).digest() != wanted.hash:
            item.count("wrong_hash")
            item.wrong.add(index)
            return
        if not item.right:
            item.first_ms = round((time.monotonic() - began) * 1000, 1)
        item.failures = 0
        item.right.add(index)
        item.bytes += len(data)
        return
    item.failures += 1
    item.failed.add(index)


def _reports(checked: Sequence[_Checked], wanted: Sequence[Wanted], search: Search) -> list[SourceCheck]:
    reports = [
        SourceCheck(
            name=item.source.name,
            kind=item.source.kind,
            claimed=item.source.claimed(wanted),
            right=len(item.right),
            missing=places(wanted, item.missing),
            wrong=places(wanted, item.wrong),
            failed=places(wanted, item.failed),
            errors=item.errors,
            bytes=item.bytes,
            first_ms=item.first_ms,
            bytes_per_s=round(item.bytes / item.seconds) if item.bytes else None,
        )
        for item in checked
    ]
    return sorted(reports, key=lambda report: (-report.right, report.kind, report.name))


def places(wanted: Sequence[Wanted], indexes: Iterable[int]) -> list[str]:
    """Chunks as people write them: `0/3-7` is rendition 0, chunks 3 to 7."""
    runs: list[list[int]] = []  # rendition, first, last
    for place in (wanted[index] for index in sorted(indexes)):
        if runs and runs[-1][0] == place.rendition and runs[-1][2] == place.chunk - 1:
            runs[-1][2] = place.chunk
        else:
            runs.append([place.rendition, place.chunk, place.chunk])
    return [
        f"{rendition}/{first}" if first == last else f"{rendition}/{first}-{last}"
        for rendition, first, last in runs
    ]
