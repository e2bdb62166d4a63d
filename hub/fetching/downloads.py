"""Does what the allotment decides, and is the one gate: nothing is kept whose SHA-256 is not the one that the
artist signed."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

import structlog

from digm.errors import DigmError, PeerFault, Unavailable
from hub.fetching.allotment import Action, Allotment, Ask, Drop, Wanted
from hub.fetching.ledger import Ledger, SourceAccount
from hub.fetching.search import Search
from hub.fetching.sources import NOT_HELD, ChunkSource
from hub.storage.chunk_store import ChunkStore

log = structlog.get_logger()
LOOK_EVERY_S = 1.0


class Downloads:
    """The chunks of one track on their way into a store.

    Args:
        wanted: in the order in which they are wanted.
        held: indexes of those that are in the store, verified.
        patience_s: how long nothing may come, before it is given up.
        ahead: see Allotment.
        on_chunk: told of each chunk that came, by index.
    """

    def __init__(
        self,
        wanted: Sequence[Wanted],
        store: ChunkStore,
        search: Search,
        ledger: Ledger,
        *,
        held: Sequence[int] = (),
        patience_s: float,
        ahead: int | None = None,
        on_chunk: Callable[[int], None] = lambda _index: None,
    ) -> None:
        self._allotment = Allotment(wanted, time.monotonic(), held, ahead)
        self._store, self._search, self._ledger = store, search, ledger
        self._patience_s = patience_s
        self._on_chunk = on_chunk
        self._sources: dict[str, ChunkSource] = {}
        self._accounts: dict[str, SourceAccount] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._asks: dict[int, Ask] = {}
        self._wake = asyncio.Event()
        self._failure: BaseException | None = None

    async def run(self) -> None:
        """Until every chunk is there.

        Raises:
            Unavailable: `no_source`: nobody gives a chunk; `disk_full`, `disk_failed`.
            CallerFault: the folder cannot be written.
        """
        self._search.listen(self._on_search)
        try:
            while not self._allotment.is_complete and self._failure is None:
                self._wake.clear()
                now = time.monotonic()
                for action in self._allotment.poll(now):
                    self._act(action)
                self._failure = self._failure or self._hopelessness(now)
                if self._failure is None:
                    await self._until(self._allotment.next_deadline(now), now)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        if self._failure is not None:
            raise self._failure

    def _on_search(self) -> None:
        found = self._search.sources
        for name in [name for name, source in self._sources.items() if found.get(name) is not source]:
            self._allotment.lose_source(name)
            del self._sources[name]
        for name, source in found.items():
            if name not in self._sources:
                self._sources[name] = source
                self._accounts[name] = self._ledger.account(name, source.kind)
                self._allotment.add_source(
                    name,
                    slots=source.slots,
                    silence_s=source.silence_s,
                    wrongs_allowed=source.wrongs_allowed,
                    holds=source.holds,
                    is_last=partial(self._search.last.__contains__, name),
                )
        self._wake.set()

    def _act(self, action: Action) -> None:
        match action:
            case Ask():
                task = asyncio.create_task(self._ask(action), name=f"chunk {action.wanted.chunk}")
                task.add_done_callback(self._on_done)
                self._tasks[action.number], self._asks[action.number] = task, action
            case Drop(number, is_silent) if number in self._tasks:
                self._tasks[number].cancel()
                if is_silent:
                    self._account(self._asks[number]).failed("silent", "It stopped sending.")

    def _on_done(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = self._failure or error  # a bug of ours: better heard of than waited for
            self._wake.set()

    def _account(self, ask: Ask) -> SourceAccount:
        return self._accounts[ask.source]

    async def _until(self, deadline: float | None, now: float) -> None:
        wait_s = LOOK_EVERY_S if deadline is None else max(0.001, min(LOOK_EVERY_S, deadline - now))
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._wake.wait()

    def _hopelessness(self, now: float) -> Unavailable | None:
        """Why it is given up, if it is."""
        allotment = self._allotment
        if not allotment.missing or not self._search.is_settled:
            return None
        index = allotment.hopeless()
        if not self._sources and self._accounts:
            index = None  # all have gone: one of them may come back, or others
        if index is None and now - allotment.good_at > self._patience_s:
            index = allotment.missing[0]
        if index is None:
            return None
        place, missing = allotment.wanted[index], len(allotment.missing)
        return Unavailable(
            "no_source",
            f"{missing} of {len(allotment.wanted)} chunks are missing, and nobody gives chunk "
            f"{place.rendition}/{place.chunk}. {self._ledger.reasons()}",
            missing=missing,
        )

    # -- one chunk of one source

    async def _ask(self, ask: Ask) -> None:
        allotment, account, source = self._allotment, self._account(ask), self._sources[ask.source]
        account.began()
        try:
            data = await source.fetch(
                ask.wanted, lambda received: allotment.progress(ask.number, received, time.monotonic())
            )
            account.ended()
        except BaseException as error:
            account.ended()
            if not isinstance(error, Unavailable | PeerFault):
                raise
            account.failed(error.code, error.message)
            is_fault, is_missing = isinstance(error, PeerFault), error.code == NOT_HELD
            if is_fault:
                account.is_banned = True
                source.part(error.code)
            allotment.failed(ask.number, time.monotonic(), is_missing=is_missing, is_fault=is_fault)
        else:
            await self._check(ask, data)
        finally:
            self._tasks.pop(ask.number, None)
            self._asks.pop(ask.number, None)
            self._wake.set()

    async def _check(self, ask: Ask, data: bytes) -> None:
        """The gate."""
        allotment, account = self._allotment, self._account(ask)
        if not allotment.came(ask.number, time.monotonic()):
            account.wasted_bytes += len(data)
            return
        try:
            is_right = await asyncio.to_thread(self._keep, ask.wanted, data)
        except DigmError as fault:  # our own disk
            self._failure = fault
            return
        if not is_right:
            account.failed("wrong_hash", "It sent a chunk that is not the artist's.")
            account.wasted_bytes += len(data)
            if allotment.wrong(ask.number, time.monotonic()):
                account.is_banned = True
                self._sources[ask.source].part("wrong_hash")
                log.warning("source_banned", source=ask.source, chunk=ask.wanted.chunk)
            return
        account.chunks += 1
        account.bytes += len(data)
        allotment.verified(ask.number, time.monotonic())
        self._on_chunk(ask.index)

    def _keep(self, wanted: Wanted, data: bytes) -> bool:
        if hashlib.sha256(data).digest() != wanted.hash:
            return False
        self._store.put(data)
        return True
