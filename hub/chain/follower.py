"""What the chain says, kept up to date in any asyncio process that wants it: hub, node, commands.

    follower = ChainFollower(settings)
    task = asyncio.create_task(follower.run())
    version = await follower.changed()          # the first news
    follower.state.tracks, follower.state.pins, follower.state.head
    version = await follower.changed(version)   # the next

It reads alone and needs no key. RPC, SQLite and the decoding of logs are in a thread with a loop of its own
(`hub.chain.following`), where eth-abi is imported too: importing this module costs nothing.
"""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import structlog

from digm.chain_pins import ChainPins
from digm.chain_sales import ChainSales
from hub.chain.handing_on import FILE_NAME, FOLDER
from hub.chain.state import ChainState, FoundTrack

if TYPE_CHECKING:
    from hub.chain.deployment import Deployment
    from hub.config import Settings

log = structlog.get_logger()
AGAIN_S = 5.0
LOOKED_AT_S = 1.0
AskOthers = Callable[[bytes], Awaitable[Sequence[bytes]]]
"""By the hash of a chain's first block: deployments as others hand them on, JSON each, unchecked."""


async def _nobody(_genesis: bytes) -> Sequence[bytes]:
    return ()


class ChainFollower:
    """Follows the chain while `run` runs. Used on one loop.

    Attributes:
        state: what is known now; another object whenever it changes.
        version: goes up with every change.

    Args:
        ask_others: asked where the contracts are, when neither files, settings nor the RPC server say it.
    """

    def __init__(self, settings: "Settings", ask_others: AskOthers = _nobody) -> None:
        self._settings, self._ask_others = settings, ask_others
        self.state, self.version = ChainState(), 0
        self._news = asyncio.Event()

    @property
    def tracks(self) -> Sequence[FoundTrack]:
        """The tracks that are not withdrawn, in the order in which they were published."""
        return self.state.tracks

    @property
    def pins(self) -> ChainPins:
        """Orders, copies, nodes and rounds."""
        return self.state.pins

    @property
    def sales(self) -> ChainSales:
        """Offers, albums, purchases, vaults and passes."""
        return self.state.sales

    @property
    def head(self) -> int:
        """The newest block that was heard of."""
        return self.state.head

    @property
    def is_current(self) -> bool:
        """Whether all events up to `head` were read, and the server answered when it was last asked."""
        return self.state.is_current

    @property
    def deployed(self) -> "Deployment | None":
        """The contracts; None while none are known."""
        return self.state.deployed

    async def changed(self, since: int = 0) -> int:
        """Wait until the version is another one; at once where it is. Returns it."""
        while self.version == since:
            await self._news.wait()
        return self.version

    async def run(self) -> None:
        """Follow until cancelled. What the chain or the disk refuse is said once, and tried again.

        Where no chain is named, and no contracts lie in the data folder, it only looks whether some appear.
        """
        if not await asyncio.to_thread(self._has_chain):
            log.info("no_chain_followed", remedy="DIGM_CHAIN_RPC")
        while not await asyncio.to_thread(self._has_chain):
            await asyncio.sleep(LOOKED_AT_S)
        while True:
            try:
                await self._in_thread()
            except Exception:
                log.exception("chain_follower_crashed", again_in_s=AGAIN_S)
            await asyncio.sleep(AGAIN_S)

    def _has_chain(self) -> bool:
        settings = self._settings
        named = settings.chain_rpc or settings.chain_deployment
        return bool(named) or (settings.data / FOLDER / FILE_NAME).exists()

    def _take(self, state: ChainState) -> None:
        self.state, self.version = state, self.version + 1
        self._news.set()
        self._news = asyncio.Event()

    async def _in_thread(self) -> None:
        here = asyncio.get_running_loop()
        thread = _Thread(here)

        def tell(state: ChainState) -> None:
            with contextlib.suppress(RuntimeError):  # the loop may be closed by now
                here.call_soon_threadsafe(self._take, state)

        async def on_this_loop(genesis: bytes) -> Sequence[bytes]:
            return await self._ask_others(genesis)

        async def ask_others(genesis: bytes) -> Sequence[bytes]:
            asked = asyncio.run_coroutine_threadsafe(on_this_loop(genesis), here)
            return await asyncio.wrap_future(asked)

        async def follow() -> None:
            from hub.chain.following import Following

            await Following(self._settings, tell, ask_others).run()

        thread.start(follow)
        try:
            await asyncio.shield(thread.done)
        finally:
            thread.cancel()
            # It ends at its next await: a read of the journal, an answer of the server.
            await asyncio.shield(asyncio.gather(thread.done, return_exceptions=True))


class _Thread:
    """A coroutine on a loop of its own, in a thread of its own.

    Attributes:
        done: on the loop of the one who started it.
    """

    def __init__(self, here: asyncio.AbstractEventLoop) -> None:
        self._here = here
        self.done: asyncio.Future[None] = here.create_future()
        self._is_cancelled = False
        self._task: asyncio.Task[None] | None = None

    def start(self, work: Callable[[], Awaitable[None]]) -> None:
        threading.Thread(target=self._run, args=(work,), name="chain", daemon=True).start()

    def cancel(self) -> None:
        self._is_cancelled = True
        if (task := self._task) is not None:
            with contextlib.suppress(RuntimeError):  # its loop is closed: it has ended
                task.get_loop().call_soon_threadsafe(task.cancel)

    def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        async def main() -> None:
            self._task = asyncio.current_task()
            if not self._is_cancelled:  # before there was a task to cancel
                await work()

        failure: BaseException | None = None
        try:
            with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
                runner.run(main())
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            failure = error
        with contextlib.suppress(RuntimeError):
            self._here.call_soon_threadsafe(self._end, failure)

    def _end(self, failure: BaseException | None) -> None:
        if failure is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(failure)
