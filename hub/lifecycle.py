"""How a process starts, reports its health and ends: shared by hub, gateway, seeding peer and artist.

A process drains on SIGTERM or SIGINT (`stop` is set, `main` returns when its work is done); the second signal
ends it at once. What a process does between those two belongs to the process.
"""

import asyncio
import contextlib
import ctypes
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from types import MappingProxyType

import structlog
from aiohttp import hdrs, web

from digm.errors import CallerFault
from hub.config import Settings
from hub.logs import configure_logs

log = structlog.get_logger()
PR_SET_PDEATHSIG = 1
NOT_STORED = {hdrs.CACHE_CONTROL: "no-store"}
Readiness = Callable[[], Awaitable[dict[str, bool]]]


def run_process(process: str, settings: Settings, main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run `main(stop)` on uvloop until it returns; SIGTERM and SIGINT set `stop`.

    Args:
        process: the name on every log line.
        main: owns every task and socket of the process and closes them before it returns.
    """
    import uvloop

    configure_logs(process, settings.log_level)
    _allow_many_files()

    async def guarded() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _stop_or_exit, stop, number)
        await main(stop)
        log.info("process_stopped")

    uvloop.run(guarded())


def _allow_many_files() -> None:
    """A socket is an open file: take all that the system lets us have, instead of the 1,024 of most shells."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # "unlimited" is more than some kernels take
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _stop_or_exit(stop: asyncio.Event, number: signal.Signals) -> None:
    if stop.is_set():
        os._exit(128 + number)
    log.info("process_stopping", signal=number.name)
    stop.set()


def tie_to_parent() -> Callable[[], None]:
    """A `preexec_fn` that makes the kernel end the child when this process ends, however it ends (prctl(2)).

    Returns:
        a function for the child, between fork and exec: it touches nothing but two system calls.
    """
    parent = os.getpid()
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def in_child() -> None:
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            if os.getppid() != parent:  # it ended before the request was made
                os._exit(1)

    return in_child


async def listen(runner: web.AppRunner, host: str, port: int) -> int:
    """Bind an aiohttp application.

    Returns:
        the port in use (another one than asked for only if that was 0).
    Raises:
        CallerFault: `port_in_use` or `cannot_listen`, with the address in the sentence.
    """
    site = web.TCPSite(runner, host, port, backlog=512)
    try:
        await site.start()
    except OSError as error:
        raise cannot_listen(host, port, error) from error
    return int(runner.addresses[0][1])


def cannot_listen(host: str, port: int, error: OSError) -> CallerFault:
    """The sentence for a socket that could not be bound."""
    if "in use" in str(error):
        return CallerFault(
            "port_in_use", f"Port {port} is already in use on {host}; choose another one.", port=port
        )
    return CallerFault("cannot_listen", f"Cannot listen on {host} port {port}: {error.strerror or error}.")


@contextlib.asynccontextmanager
async def health_server(
    settings: Settings,
    port: int,
    ready: Readiness,
    routes: Iterable[web.AbstractRouteDef] = (),
    reasons: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[int]:
    """`/healthz`, `/readyz` and `/metrics` for a process that serves little else.

    Args:
        ready: named conditions; `/readyz` is 200 when all of them hold.
        routes: what else it answers.
        reasons: a sentence for each condition that may not hold.
    Yields:
        the port in use.
    """
    from hub.api.failures import failures_middleware
    from hub.api.server import Runner, add_safe_headers

    async def readyz(_request: web.Request) -> web.Response:
        conditions = await ready()
        missing = {name: reasons[name] for name, holds in conditions.items() if not holds and name in reasons}
        return readiness_response(conditions, missing)

    app = web.Application(middlewares=[failures_middleware()])
    app.on_response_prepare.append(add_safe_headers)
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    app.add_routes(routes)
    runner = Runner(app, 1)
    await runner.setup()
    try:
        yield await listen(runner, settings.host, port)
    finally:
        await runner.cleanup()


async def healthz(_request: web.Request) -> web.Response:
    """Alive: the loop turns. Says nothing about anything else."""
    return web.json_response({"status": "ok"}, headers=NOT_STORED)


async def metrics(_request: web.Request) -> web.Response:
    """What Prometheus collects."""
    from hub.metrics import metrics_response

    response = metrics_response()
    response.headers.update(NOT_STORED)
    return response


def readiness_response(
    conditions: dict[str, bool], reasons: Mapping[str, str] = MappingProxyType({})
) -> web.Response:
    """200 when every named condition holds, else 503; the body lists them all.

    Args:
        reasons: a sentence for each condition that does not hold.
    """
    is_ready = all(conditions.values())
    body = {"ready": is_ready, "conditions": conditions, "reasons": dict(reasons)}
    return web.json_response(body, status=200 if is_ready else 503, headers=NOT_STORED)
