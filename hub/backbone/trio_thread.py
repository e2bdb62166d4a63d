"""A trio program in a thread of its own beside an asyncio server, and calls both ways between the two.

py-libp2p is written for trio, the rest of the hub for asyncio. Every libp2p object stays on the trio side.
"""

import asyncio
import socket
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar, TypeVarTuple

import outcome
import trio

from digm.errors import Unavailable

Result = TypeVar("Result")
Args = TypeVarTuple("Args")


class OwnSockets(trio.abc.SocketFactory):
    """Every socket that a trio program makes, so that none outlives it.

    What libp2p had begun to close when it was cancelled stays open until the garbage collector finds it, and in
    a process that lives on the other side goes on believing that we are there.
    """

    def __init__(self) -> None:
        self._made: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def socket(
        self,
        family: socket.AddressFamily | int = socket.AF_INET,
        type: socket.SocketKind | int = socket.SOCK_STREAM,
        proto: int = 0,
    ) -> trio.socket.SocketType:
        """As trio would make it."""
        made = socket.socket(family, type, proto)
        self._made.add(made)
        return trio.socket.from_stdlib_socket(made)

    def close_all(self) -> None:
        """Close those that are open; when the program has ended."""
        for made in list(self._made):
            with suppress(OSError):
                made.close()


class TrioThread:
    """One thread that runs `trio.run` once; a new one is made after a crash.

    The thread is a daemon: a trio side that no longer answers must not keep the process from ending.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._started: asyncio.Future[None] = self._loop.create_future()
        self._token: trio.lowlevel.TrioToken | None = None
        self._nursery: trio.Nursery | None = None
        self._stop = trio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self.done: asyncio.Future[BaseException | None] = self._loop.create_future()

    async def start(self, main: Callable[[Callable[[], None]], Awaitable[None]], timeout_s: float) -> None:
        """Run `main(ready)` over there; returns once it called `ready`, and it runs on until `stop`.

        Raises:
            Unavailable: `backbone_not_started`, not ready in time.
            Exception: what `main` raised before it was ready.
        """

        def ready() -> None:
            self._post(_settle, self._started, None)

        sockets = OwnSockets()

        async def program() -> None:
            trio.socket.set_custom_socket_factory(sockets)
            self._token = trio.lowlevel.current_trio_token()
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(main, ready)
                await self._stop.wait()
                nursery.cancel_scope.cancel()

        def run() -> None:
            result = outcome.capture(trio.run, program)
            sockets.close_all()
            error = result.error if isinstance(result, outcome.Error) else None
            self._post(_settle, self.done, error)

        threading.Thread(target=run, daemon=True, name="libp2p").start()
        first: set[asyncio.Future[Any]] = {self._started, self.done}
        await asyncio.wait(first, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if self.done.done():
            raise self.done.result() or Unavailable("backbone_not_started", "The libp2p side ended at once.")
        if not self._started.done():
            self._request_stop()
            raise Unavailable("backbone_not_started", f"libp2p was not ready within {timeout_s:g} s.")

    async def call(
        self, function: Callable[[*Args], Awaitable[Result]], *args: *Args, timeout_s: float
    ) -> Result:
        """Run an async trio function over there; its result or exception comes out here.

        A call that is cancelled here, or takes too long, is cancelled there.

        Raises:
            Unavailable: `backbone_down`, or `backbone_timeout` after `timeout_s`.
        """
        future: asyncio.Future[Result] = self._loop.create_future()
        scope = trio.CancelScope()

        async def job() -> None:
            with scope:
                result = await outcome.acapture(function, *args)
                self._post(_settle_outcome, future, result)
            if scope.cancelled_caught or not future.done():
                self._post(_give_up, future)

        self._in_trio(lambda: self._spawn(job))
        first: set[asyncio.Future[Any]] = {future, self.done}
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError as error:
            raise Unavailable("backbone_timeout", f"libp2p did not answer within {timeout_s:g} s.") from error
        finally:
            is_answered = future.done()
            if not is_answered:
                self._in_trio(scope.cancel, or_else=None)
                future.cancel()  # what still comes of it concerns nobody
            elif not future.cancelled():
                future.exception()  # seen: who was cancelled in this moment will not look
        if not is_answered:
            raise _down()
        return future.result()

    async def ask(self, function: Callable[[*Args], Coroutine[Any, Any, Result]], *args: *Args) -> Result:
        """The other way: from trio, run a coroutine function on the asyncio side and wait for its result.

        Cancelled there when cancelled here. Raises what the function raises.
        """
        answered = trio.Event()
        token = trio.lowlevel.current_trio_token()
        results: list[outcome.Outcome[Result]] = []
        tasks: list[asyncio.Task[None]] = []

        async def job() -> None:
            result = await outcome.acapture(function, *args)
            results.append(result)

        def finished(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            _in(token, answered.set)

        def begin() -> None:
            task = self._loop.create_task(job(), name="backbone-ask")
            self._tasks.add(task)
            tasks.append(task)
            task.add_done_callback(finished)

        self._loop.call_soon_threadsafe(begin)
        try:
            await answered.wait()
        except trio.Cancelled:
            self._post(lambda: [task.cancel() for task in tasks])
            raise
        if not results:  # cancelled over there: the process is ending
            raise _down()
        return results[0].unwrap()

    def posting(self, function: Callable[[*Args], object]) -> Callable[[*Args], None]:
        """A function for the trio side that has `function` called over here."""

        def post(*args: *Args) -> None:
            self._post(function, *args)

        return post

    def telling(self, function: Callable[[int], object]) -> Callable[[int], None]:
        """The same for a number that grows: one that comes before the last was told over here replaces it."""
        latest, is_posted = 0, False

        def tell() -> None:
            nonlocal is_posted
            is_posted = False  # first: what is set from now on is told again
            function(latest)

        def told(number: int) -> None:
            nonlocal latest, is_posted
            latest = number
            if not is_posted:
                is_posted = True
                self._post(tell)

        return told

    async def stop(self, timeout_s: float) -> None:
        """End the trio side; gives up waiting after `timeout_s` (the thread is a daemon)."""
        self._request_stop()
        await asyncio.wait({self.done}, timeout=timeout_s)
        for task in self._tasks:
            task.cancel()

    @property
    def is_running(self) -> bool:
        return self._started.done() and not self.done.done()

    def _spawn(self, job: Callable[[], Awaitable[None]]) -> None:
        assert self._nursery is not None
        if not self._nursery.cancel_scope.cancel_called:
            self._nursery.start_soon(job)

    def _request_stop(self) -> None:
        self._in_trio(self._stop.set, or_else=None)

    def _in_trio(self, function: Callable[[], object], *, or_else: object = ...) -> None:
        if self._token is None or not _in(self._token, function):
            if or_else is None:
                return
            raise _down()

    def _post(self, function: Callable[[*Args], object], *args: *Args) -> None:
        """From the trio side; nothing is left to tell once the asyncio loop is closed."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *args)


def _in(token: trio.lowlevel.TrioToken, function: Callable[[], object]) -> bool:
    try:
        token.run_sync_soon(function)
    except trio.RunFinishedError:
        return False
    return True


def _down() -> Unavailable:
    return Unavailable("backbone_down", "libp2p is not running just now; it is being started again.")


def _settle(future: "asyncio.Future[Result]", value: Result) -> None:
    if not future.done():
        future.set_result(value)


def _settle_outcome(future: "asyncio.Future[Result]", result: "outcome.Outcome[Result]") -> None:
    if future.done():
        return
    if isinstance(result, outcome.Error):
        future.set_exception(result.error)
    else:
        future.set_result(result.unwrap())


def _give_up(future: "asyncio.Future[Any]") -> None:
    if not future.done():
        future.set_exception(_down())
