"""Several gateway processes on one address, each with sockets of its own; one that dies is started again.

The kernel spreads connections over the sockets (SO_REUSEPORT). Each process has a UDP socket to itself, because
the datagrams of a QUIC connection must come to the process that knows it. The sockets belong to the supervisor
and stay open while a worker is away: the others' QUIC connections are not shuffled, and TCP connections wait.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from hub.config import Settings
from hub.gateway.shelf import work_folder
from hub.gateway.sockets import GatewaySockets, bind_for_workers
from hub.lifecycle import tie_to_parent
from hub.metrics import SHARED_FOLDER

log = structlog.get_logger()
RESTART_FIRST_S = 0.2
RESTART_MOST_S = 10.0
STEADY_AFTER_S = 30.0
STOP_WITHIN_S = 6.0


@dataclass(frozen=True)
class Share:
    """What each worker gets.

    Attributes:
        cache_bytes: of DIGM_GATEWAY_CACHE_BYTES.
        counts: folder in which all of them count, so that any of them can tell the sum, the dead included.
        shelf: folder of hub/gateway/shelf.py; None where nobody takes chunks from there.
        sent: log of who does; the first worker counts it.
    """

    cache_bytes: int
    counts: Path
    shelf: Path | None = None
    shelf_bytes: int = 0
    sent: Path | None = None

    def arguments(self, number: int) -> list[str]:
        """For a worker's command line."""
        if self.shelf is None or self.sent is None:
            return []
        return [str(self.shelf), str(self.shelf_bytes), "-" if number else str(self.sent)]

    def environment(self) -> dict[str, str]:
        """Besides ours."""
        return {"DIGM_GATEWAY_CACHE_BYTES": str(self.cache_bytes), SHARED_FOLDER: str(self.counts)}


async def supervise(settings: Settings, stop: asyncio.Event) -> None:
    """Keep `settings.gateway_workers` processes running until `stop` is set.

    The workers read their settings as this process did, from its environment.

    Raises:
        CallerFault: `port_in_use`, `cannot_listen`.
    """
    sockets = bind_for_workers(settings)
    try:
        with work_folder() as (folder, _):
            async with asyncio.TaskGroup() as tasks:
                keep_workers(tasks, sockets, Share(settings.gateway_cache_bytes // len(sockets), folder), stop)
    finally:
        for own in sockets:
            for item in own.all():
                item.close()


def keep_workers(
    tasks: asyncio.TaskGroup, sockets: Sequence[GatewaySockets], share: Share, stop: asyncio.Event
) -> None:
    """Keep a worker running for each of `sockets`, which stay open here, until `stop` is set."""
    for number, own in enumerate(sockets):
        tasks.create_task(_keep_running(number, own, share, stop), name=f"worker {number}")


async def _keep_running(number: int, own: GatewaySockets, share: Share, stop: asyncio.Event) -> None:
    delay_s, tie = RESTART_FIRST_S, tie_to_parent()
    while not stop.is_set():
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hub.gateway.worker", *own.arguments(), *share.arguments(number)),
            stdin=asyncio.subprocess.DEVNULL,
            env={**os.environ, **share.environment()},
            pass_fds=[item.fileno() for item in own.all()],
            preexec_fn=tie,
            start_new_session=True,
        )
        log.info("worker_started", number=number, pid=process.pid)
        if await _ended_or_stopped(process, stop):
            return
        if time.monotonic() - began > STEADY_AFTER_S:
            delay_s = RESTART_FIRST_S
        log.warning("worker_ended", number=number, status=process.returncode, restart_in_s=delay_s)
        with suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await stop.wait()
        delay_s = min(2 * delay_s, RESTART_MOST_S)


async def _ended_or_stopped(process: asyncio.subprocess.Process, stop: asyncio.Event) -> bool:
    """Wait for either; when it is to stop, end the process first."""
    ending, stopping = asyncio.ensure_future(process.wait()), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((ending, stopping), return_when=asyncio.FIRST_COMPLETED)
        if ending.done():
            return stop.is_set()
        process.send_signal(signal.SIGTERM)
        _, late = await asyncio.wait((ending,), timeout=STOP_WITHIN_S)
        if late:
            process.kill()
            await ending
        return True
    finally:
        stopping.cancel()
        ending.cancel()
        if process.returncode is None:  # we are cancelled
            with suppress(ProcessLookupError):
                process.terminate()
