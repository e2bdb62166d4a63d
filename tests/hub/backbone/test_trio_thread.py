"""Calls from asyncio into the trio thread: answered, cancelled, and leaving nothing behind."""

import asyncio
import gc
from typing import Any

import pytest
import trio

from digm.errors import Unavailable
from hub.backbone.trio_thread import TrioThread


async def running(ready: Any) -> None:
    ready()
    await trio.sleep_forever()


@pytest.fixture
async def thread() -> Any:
    made = TrioThread()
    await made.start(running, 10.0)
    yield made
    await made.stop(10.0)


async def test_a_call_that_is_cancelled_is_cancelled_over_there_and_complains_to_nobody(
    thread: TrioThread,
) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    began, ended = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    async def wait() -> None:
        loop.call_soon_threadsafe(began.set)
        try:
            await trio.sleep_forever()
        finally:
            loop.call_soon_threadsafe(ended.set)

    call = asyncio.create_task(thread.call(wait, timeout_s=60.0))
    await began.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await ended.wait()
    assert (
        await thread.call(trio.lowlevel.checkpoint, timeout_s=10.0) is None
    )  # what was posted before has come
    del call
    gc.collect()
    assert complaints == []


async def test_a_call_that_takes_too_long_is_given_up_by_name(thread: TrioThread) -> None:
    with pytest.raises(Unavailable) as late:
        await thread.call(trio.sleep_forever, timeout_s=0.01)
    assert late.value.code == "backbone_timeout"


async def test_what_is_raised_over_there_is_raised_here(thread: TrioThread) -> None:
    async def fail() -> None:
        raise Unavailable("as_asked", "As asked.")

    with pytest.raises(Unavailable) as failed:
        await thread.call(fail, timeout_s=10.0)
    assert failed.value.code == "as_asked"


async def test_a_call_after_the_end_is_refused(thread: TrioThread) -> None:
    await thread.stop(10.0)
    with pytest.raises(Unavailable) as down:
        await thread.call(trio.lowlevel.checkpoint, timeout_s=10.0)
    assert down.value.code == "backbone_down"
