"""One machine, all processes: starts them, publishes demo music when there is none, says where to listen."""

import asyncio
import contextlib
import fcntl
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import structlog

from digm.errors import CallerFault, Unavailable
from hub.config import FOLLOWERS, Settings, variable_of
from hub.demo_sale import PRICE, TOKEN, DemoSale
from hub.gateway.sockets import bind
from hub.home_chain import HomeChain, lines_of
from hub.neighbours import NAMES, Neighbours
from hub.pages.static import StaticFiles
from hub.relay.wanted import own_turn_urls, relay_is_wanted
from hub.storage.catalogue import Catalogue
from hub.supervision import Child, check_writable, stop_all

log = structlog.get_logger()
PROCESSES = ("hub", "gateway", "seed", "artist")
RELAY = "relay"
# The demo's track roots, until the nodes were asked to keep them; until they are on the devnet.
UNPINNED, OFF_CHAIN = "demo-unpinned", "demo-off-chain"
HEALTHY_WITHIN_S = 60.0
READY_WITHIN_S = 60.0
POLL_S = 0.1
ANSWER_WITHIN_S = 3.0
# As often as this in a row the artist process has a link to the hub, and yet answers for no track: waiting does
# not help.
HOPELESS_AFTER = 20


async def serve(settings: Settings, environment: Mapping[str, str], stop: asyncio.Event) -> None:
    """Run everything until `stop` is set.

    Args:
        environment: what the children are started with, besides the data folder and the port.
    Raises:
        CallerFault: `bad_setting`, `player_not_built`, `data_not_writable`, `already_running`, `port_in_use`.
        Unavailable: `child_failed`, `demo_failed`, `not_ready`, with a sentence that names the reason.
    """
    wants_relay = relay_is_wanted(settings)
    followers = [name for name in FOLLOWERS if wants_relay or name != "relay_port"]
    ports = {name: getattr(settings, name) for name in ("port", *followers)}
    _check_known(ports)
    if StaticFiles().assets() is None:
        raise CallerFault(
            "player_not_built", "The player is not built yet: run `npm ci && npm run build` first."
        )
    check_writable(settings.data)
    with _only_one(settings.data):
        for port in ports.values():
            bind(settings.host, port).close()
        child_environment = {**environment, "DIGM_DATA": str(settings.data), "DIGM_PORT": str(settings.port)}
        if wants_relay and not settings.turn_urls:
            child_environment["DIGM_TURN_URLS"] = ",".join(own_turn_urls(settings))
        home = await asyncio.to_thread(HomeChain, settings, child_environment)
        child_environment |= home.environment()
        neighbours = await asyncio.to_thread(Neighbours, settings, child_environment)
        child_environment |= neighbours.hub_environment()
        logs = settings.data / "logs"
        names = (*PROCESSES, RELAY) if wants_relay else PROCESSES
        children = [Child(name, logs, child_environment) for name in names]
        helpers = [Child(name, logs, child_environment) for name in ("demo", "publish", "pin")]
        sale = DemoSale(settings, child_environment)
        try:
            await _run(settings, children, helpers, neighbours, home, sale, stop)
        finally:
            await stop_all([*children, *neighbours.children, *home.children, *helpers, *sale.children])


def _check_known(ports: Mapping[str, int]) -> None:
    """The processes find each other, and people find the hub, by ports that are known beforehand."""
    for name, port in ports.items():
        if port == 0:
            raise CallerFault(
                "bad_setting",
                f"Port 0 (any free one) does not suit `digm up`: set {variable_of(name)} to 1 to 65531.",
            )


@contextlib.contextmanager
def _only_one(data: Path) -> Iterator[None]:
    with (data / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CallerFault(
                "already_running", f"DIGM is already running on the data folder {data}."
            ) from error
        yield


async def _run(
    settings: Settings,
    children: list[Child],
    helpers: list[Child],
    neighbours: Neighbours,
    home: HomeChain,
    sale: DemoSale,
    stop: asyncio.Event,
) -> None:
    is_up, fine = asyncio.Event(), asyncio.Event()
    fine.set()

    async def until_stopped() -> None:
        await stop.wait()
        raise _StoppedError

    async def open_the_doors() -> None:
        demo, publish, pin = helpers
        await _make_ready(settings, demo, publish)
        is_up.set()
        print(f"Listen at http://localhost:{settings.port}/", flush=True)
        up, settling = 0, None
        if home.is_wanted:
            tasks.create_task(home.devnet.keep_running(is_up), name="devnet")
            settling = tasks.create_task(_settle_in(settings.data / OFF_CHAIN, home), name="settle in")
            await home.until_keys(settling)
        for number, child in enumerate(neighbours.children):
            tasks.create_task(child.keep_running(is_up), name=child.log_path.stem)
            # One after the other: somebody may have pressed play just now.
            up += await neighbours.until_up(number)
        if up:
            await _pin_demo(settings.data / UNPINNED, pin, up)
            print(f"{_nodes(up)} at http://localhost:{settings.port}/operator", flush=True)
        if settling is not None and (found := await settling) is not None:
            print("\n".join(lines_of(found, NAMES)), flush=True)
            if root := await sale.put_up(home):
                url = f"http://localhost:{settings.port}/tracks/{root}"
                print(f"Hear the beginning, then buy it ({PRICE} {TOKEN.upper()}): {url}", flush=True)

    print(f"Starting DIGM; its data and logs are in {settings.data}", flush=True)
    try:
        async with asyncio.TaskGroup() as tasks:
            for child in children:
                # A relay that nobody asked for must not keep the music from playing.
                is_optional = child.name == RELAY and settings.relay == "auto"
                tasks.create_task(child.keep_running(fine if is_optional else is_up), name=child.name)
            tasks.create_task(open_the_doors(), name="make ready")
            tasks.create_task(until_stopped(), name="stop")
    except* _StoppedError:
        pass
    except* (CallerFault, Unavailable) as failures:
        raise _first(failures) from None


def _nodes(count: int) -> str:
    if count == 1:
        return "An elder node runs beside it; see it"
    return f"{count} elder nodes run beside it; see them"


class _StoppedError(Exception):
    """Somebody asked us to stop."""


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _make_ready(settings: Settings, demo: Child, publish: Child) -> None:
    timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)
    async with aiohttp.ClientSession(settings.signal_url, timeout=timeout) as session:
        await _wait_for(session, "/healthz", HEALTHY_WITHIN_S)
        artist_ready_url = settings.own_url(settings.artist_port) + "/readyz"
        async with session.get("/api/tracks") as answer:
            is_empty = not (await answer.json())["tracks"]
        if is_empty:
            await _publish_demo(settings.data / "demo", demo, publish)
            roots = await asyncio.to_thread(_published_here, settings.data)
            for name in (UNPINNED, OFF_CHAIN):
                (settings.data / name).write_text("\n".join(roots))
            DemoSale.intend(settings.data)
        await _wait_for(session, "/readyz", READY_WITHIN_S, artist_ready_url)


def _published_here(data: Path) -> list[str]:
    """Not what the hub lists from the chain: that is others' to pin."""
    with Catalogue.open_for_reading(data) as catalogue:
        return [entry.track_root for entry in catalogue.tracks()]


async def _publish_demo(folder: Path, demo: Child, publish: Child) -> None:
    print("The catalogue is empty: playing Bach and Satie for it", flush=True)
    try:
        for child, arguments in ((demo, [str(folder)]), (publish, ["--json", str(folder)])):
            if await child.run(*arguments) != 0:
                raise Unavailable("demo_failed", f"The demo music was not published: {child.last_words()}")
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def _pin_demo(unpinned: Path, pin: Child, replicas: int) -> None:
    """Have the demo music kept by the nodes, once; what its listener publishes is theirs to pin."""
    if not unpinned.exists():
        return
    roots = unpinned.read_text().split()
    if roots and await pin.run("--replicas", str(replicas), *roots) != 0:
        log.warning("demo_not_pinned", log=str(pin.log_path))
        return
    unpinned.unlink()


async def _settle_in(off_chain: Path, home: HomeChain) -> Mapping[str, Any] | None:
    """Accounts and stakes, and the demo music, once: what its listener publishes is theirs to order."""
    found = await home.settle_in(off_chain.read_text().split() if off_chain.exists() else [])
    if found is not None:
        off_chain.unlink(missing_ok=True)
    return found


async def _wait_for(
    session: aiohttp.ClientSession, path: str, within_s: float, artist_ready_url: str = ""
) -> None:
    """Ask until the answer is 200, or until it is clear that it never will be.

    Raises:
        Unavailable: `not_ready`; the sentence says what is missing.
    """
    reasons, hopeless_count = {"hub": "the hub does not answer"}, 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while hopeless_count < HOPELESS_AFTER:
                # In this order: a link that the artist knows of is one that the hub knew of before.
                is_linked = bool(artist_ready_url) and await _is_ready(session, artist_ready_url)
                try:
                    async with session.get(path) as answer:
                        if answer.status == 200:
                            return
                        reasons = (await answer.json())["reasons"]
                except (TimeoutError, aiohttp.ClientError):
                    pass
                is_hopeless = is_linked and set(reasons) == {"vault_connected"}
                hopeless_count = hopeless_count + 1 if is_hopeless else 0
                await asyncio.sleep(POLL_S)
    raise Unavailable(
        "not_ready", f"DIGM did not become ready: {'; '.join(reasons.values())}. The logs say more."
    )


async def _is_ready(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as answer:
            return answer.status == 200
    except (TimeoutError, aiohttp.ClientError):
        return False
