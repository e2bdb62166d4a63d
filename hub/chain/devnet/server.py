"""The devnet as a process: JSON-RPC over HTTP on loopback, one request after the other, in a thread of its own.

Its accounts' keys are known to everybody, so it answers this machine alone: no other address is bound, requests
in another host's name are refused (DNS rebinding), and so are pages that were not loaded from this machine.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import structlog
from aiohttp import hdrs, web

from digm.errors import CallerFault, DigmError, Unavailable
from hub.chain.devnet.store import DevnetStore
from hub.chain.handing_on import FILE_NAME
from hub.chain.opening import PORT_FILE
from hub.config import Settings
from hub.lifecycle import health_server
from hub.storage.durable import disk_faults_named, write_durably

log = structlog.get_logger()
FOLDER = "chain"
CHAIN_ID = 31_337
"""As Anvil and Hardhat have it."""
LOOPBACK = "127.0.0.1"
MAX_REQUEST_BYTES = 1 << 20
MOST_IN_A_BATCH = 100
# JSON-RPC 2.0 §5.1, and geth's for a revert.
NO_METHOD, BAD_PARAMETER, BAD_REQUEST, BAD_JSON, FAILED, REVERTED = -32601, -32602, -32600, -32700, -32000, 3
_CODES = {"unknown_method": NO_METHOD, "bad_parameter": BAD_PARAMETER, "reverted": REVERTED}

Answer = Callable[[str, Sequence[Any]], Any]


async def serve(
    settings: Settings, stop: asyncio.Event, block_s: float = 0, with_contracts: bool = False
) -> None:
    """Run the devnet until `stop` is set.

    Args:
        with_contracts: DIGM's are deployed, if they are not.
        block_s: an empty block this often, so that epochs go by; 0: blocks only for transactions.
    Raises:
        CallerFault: `port_in_use`, `cannot_listen`, and what the store refuses. Unavailable: as the store.
    """
    began = time.monotonic()
    with ThreadPoolExecutor(1, "devnet") as thread:
        loop = asyncio.get_running_loop()

        async def in_thread(job: Callable[..., Any], *arguments: Any) -> Any:
            return await loop.run_in_executor(thread, job, *arguments)

        store, answer = await in_thread(_open, settings.data / FOLDER)
        try:
            server = _Server(lambda method, parameters: in_thread(answer, method, parameters))
            local = msgspec.structs.replace(settings, host=LOOPBACK)
            routes = [web.post("/", server.post), web.options("/", server.preflight)]
            async with health_server(local, settings.chain_port, _ready, routes) as port:
                _tell_port(settings.data / FOLDER, port)
                log.info("devnet_started", port=port, in_s=round(time.monotonic() - began, 2))
                async with _mining(lambda: in_thread(answer, "evm_mine", []), block_s):
                    if with_contracts:
                        from hub.chain.devnet.demo import put_contracts

                        deployed = await put_contracts(f"http://{LOOPBACK}:{port}", settings.data / FOLDER)
                        log.info("contracts_there", **deployed.addresses)
                    await stop.wait()
        finally:
            await in_thread(store.close)


def _tell_port(folder: Path, port: int) -> None:
    """For commands on this folder: the usual port may have been taken."""
    with disk_faults_named(folder):
        write_durably(folder / PORT_FILE, str(port).encode(), folder / "incoming")


def _open(folder: Path) -> tuple[DevnetStore, Answer]:
    from hub.chain.devnet.accounts import BALANCE_WEI, demo_accounts
    from hub.chain.devnet.machine import Machine
    from hub.chain.devnet.methods import Methods

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = DevnetStore(folder)
    try:
        balances = {bytes.fromhex(account.address[2:]): BALANCE_WEI for account in demo_accounts()}
        machine = Machine(store, CHAIN_ID, balances, time.time)
        return store, Methods(machine, store, partial(_deployment, folder)).answer
    except BaseException:
        store.close()
        raise


def _deployment(folder: Path) -> Any:
    """For a hub that knows nothing but this server's URL."""
    try:
        return msgspec.json.decode((folder / FILE_NAME).read_bytes())
    except (OSError, msgspec.DecodeError):
        return None


async def _ready() -> dict[str, bool]:
    return {"chain": True}  # it listens only once the chain is there


@contextlib.asynccontextmanager
async def _mining(mine: Callable[[], Any], every_s: float) -> AsyncIterator[None]:
    async def go_on() -> None:
        while True:
            await asyncio.sleep(every_s)
            try:
                await mine()
            except Unavailable as fault:  # a full disk: later, perhaps
                log.warning("block_not_mined", code=fault.code)

    if not every_s:
        yield
        return
    task = asyncio.create_task(go_on(), name="mine")
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class _Server:
    def __init__(self, answer: Callable[[str, Sequence[Any]], Any]) -> None:
        self._answer = answer

    async def preflight(self, request: web.Request) -> web.Response:
        return web.Response(status=204, headers=_checked_origin(request))

    async def post(self, request: web.Request) -> web.Response:
        headers = _checked_origin(request)
        if (request.content_length or 0) > MAX_REQUEST_BYTES:
            raise CallerFault("too_large", f"A request has at most {MAX_REQUEST_BYTES} bytes.")
        try:
            asked = msgspec.json.decode(await request.read())
        except (msgspec.DecodeError, UnicodeDecodeError):
            return _json(_error(None, BAD_JSON, "This is no JSON."), headers)
        if not isinstance(asked, list):
            return _json(await self._one(asked), headers)
        if not 0 < len(asked) <= MOST_IN_A_BATCH:
            return _json(_error(None, BAD_REQUEST, f"A batch has 1 to {MOST_IN_A_BATCH} requests."), headers)
        return _json([await self._one(one) for one in asked], headers)

    async def _one(self, asked: Any) -> dict[str, Any]:
        if not isinstance(asked, dict) or not isinstance(asked.get("method"), str):
            return _error(None, BAD_REQUEST, "A request is an object with a method.")
        name, parameters = asked.get("id"), asked.get("params") or []
        if not isinstance(parameters, list):
            return _error(name, BAD_PARAMETER, "Parameters are a list.")
        try:
            return {"jsonrpc": "2.0", "id": name, "result": await self._answer(asked["method"], parameters)}
        except DigmError as fault:
            data = fault.data.get("data")
            said = None if data is None else "0x" + bytes(data).hex()  # type: ignore[call-overload]
            return _error(name, _CODES.get(fault.code, FAILED), fault.message, said)


def _error(name: Any, code: int, message: str, data: str | None = None) -> dict[str, Any]:
    error = {"code": code, "message": message} | ({} if data is None else {"data": data})
    return {"jsonrpc": "2.0", "id": name, "error": error}


def _json(body: Any, headers: dict[str, str]) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), content_type="application/json", headers=headers)


def _checked_origin(request: web.Request) -> dict[str, str]:
    """What lets a page of this machine read the answer.

    Raises:
        CallerFault: `not_local`.
    """
    origin = request.headers.get(hdrs.ORIGIN)
    if not _is_local(f"http://{request.host}") or (origin is not None and not _is_local(origin)):
        raise CallerFault("not_local", "The devnet answers programs and pages of this machine alone.")
    if origin is None:
        return {}
    return {
        hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: origin,
        hdrs.ACCESS_CONTROL_ALLOW_HEADERS: "content-type",
        hdrs.ACCESS_CONTROL_ALLOW_METHODS: "POST",
        hdrs.VARY: "Origin",
    }


def _is_local(url: str) -> bool:
    try:
        return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
    except ValueError:
        return False
