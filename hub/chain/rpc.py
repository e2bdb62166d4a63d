"""JSON-RPC over HTTP to one of several servers of the same chain: time-outs, bounds, fall-over.

A server that does not answer, or not in JSON-RPC, or for another chain, is left alone for a pause that grows,
and the next is asked. What a server *says* (a revert, a bad nonce) is an answer, and is raised as such.
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
import msgspec
import structlog

from digm.errors import CallerFault, DigmError, Unavailable
from hub.chain.words import number

log = structlog.get_logger()
ANSWER_WITHIN_S = 10.0
MAX_ANSWER_BYTES = 32 << 20
MOST_SERVERS = 16
PAUSE_FIRST_S, PAUSE_MOST_S = 1.0, 60.0
_SILENT = (aiohttp.ClientError, TimeoutError, OSError)
# What nodes write differs; these parts are common to geth, Anvil, Nethermind, Erigon, Reth and our devnet.
_REFUSALS = (
    ("nonce too low", "nonce_too_low"),
    ("nonce too high", "nonce_too_high"),
    ("already known", "already_known"),
    ("already imported", "already_known"),
    ("insufficient funds", "no_funds"),
    ("underpriced", "underpriced"),
    ("less than block base fee", "underpriced"),
    ("revert", "reverted"),
)
REVERTED = 3  # geth's code
Question = tuple[str, list[Any]]
"""A method and its parameters."""


@dataclass
class _Server:
    url: str
    is_checked: bool = False
    silent_until: float = 0.0
    pause_s: float = PAUSE_FIRST_S
    why: str = ""
    is_of_another_chain: bool = False


class Rpc:
    """Servers of one chain; used with `async with`.

    Args:
        urls: http(s) URLs, the preferred one first.
        chain_id: what every server has to be of; None: what the first says.
        now: a clock for pauses, in seconds.
    """

    def __init__(
        self,
        urls: Sequence[str],
        chain_id: int | None = None,
        *,
        answer_within_s: float = ANSWER_WITHIN_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 0 < len(urls) <= MOST_SERVERS:
            raise CallerFault("bad_setting", f"DIGM_CHAIN_RPC names 1 to {MOST_SERVERS} URLs.")
        self._servers = [_Server(url) for url in urls]
        self._chain_id, self._within_s, self._now = chain_id, answer_within_s, now
        self._numbers = itertools.count(1)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self._within_s))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def chain_id(self) -> int:
        """Which chain it is (EIP-155). Raises as `ask`."""
        if self._chain_id is None:
            await self.ask("eth_chainId")
        assert self._chain_id is not None
        return self._chain_id

    async def ask(self, method: str, *parameters: Any) -> Any:
        """One answer.

        Raises:
            CallerFault: `reverted` (with `data`, bytes), `nonce_too_low`, `nonce_too_high`, `no_funds`,
                `underpriced`, `already_known`, `wrong_chain`: no server is of the chain that is wanted.
            Unavailable: `chain_unreachable`: no server answers; `chain_refused`: with the server's words.
        """
        return (await self.ask_together([(method, list(parameters))]))[0]

    async def ask_together(self, questions: Sequence[Question]) -> list[Any]:
        """Answers of one and the same server, in order. Raises as `ask`."""
        asked_at = self._now()
        servers = [server for server in self._servers if server.silent_until <= asked_at] or self._servers
        for server in servers:
            try:
                answers = await self._ask_one(server, questions)
            except _Silent as silent:
                self._let_rest(server, silent)
                continue
            server.pause_s = PAUSE_FIRST_S
            return [_result(answer) for answer in answers]
        raise self._nobody()

    async def _ask_one(self, server: _Server, questions: Sequence[Question]) -> list[Any]:
        if not server.is_checked:
            said = number(_result((await self._post(server, [("eth_chainId", [])]))[0]), "the chain's id")
            if self._chain_id is None:
                self._chain_id = said
            if said != self._chain_id:
                raise _Silent(f"it is of chain {said}, not {self._chain_id}", is_of_another_chain=True)
            server.is_checked = True
        return await self._post(server, questions)

    async def _post(self, server: _Server, questions: Sequence[Question]) -> list[Any]:
        wanted = {next(self._numbers): question for question in questions}
        bodies = [
            {"jsonrpc": "2.0", "id": key, "method": method, "params": parameters}
            for key, (method, parameters) in wanted.items()
        ]
        body = msgspec.json.encode(bodies if len(bodies) > 1 else bodies[0])
        answer = await self._exchange(server.url, body)
        answers = answer if isinstance(answer, list) else [answer]
        by_id = {one.get("id"): one for one in answers if isinstance(one, dict)}
        if set(by_id) != set(wanted):
            # One error without an id, in place of all answers, is what is said to a request that is not liked.
            if len(answers) == 1 and isinstance(answers[0], dict) and "error" in answers[0]:
                return [answers[0]] * len(wanted)
            raise _Silent("it does not answer what it was asked")
        return [by_id[key] for key in wanted]

    async def _exchange(self, url: str, body: bytes) -> Any:
        headers = {"Content-Type": "application/json"}
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                found = bytearray()
                async for part in response.content.iter_chunked(1 << 16):
                    found += part
                    if len(found) > MAX_ANSWER_BYTES:
                        raise _Silent("its answer is too large")
                if response.status in (429, 502, 503, 504):
                    raise _Silent(f"it says {response.status}")
        except _SILENT as error:
            raise _Silent(str(error) or type(error).__name__) from error
        try:
            return msgspec.json.decode(found)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _Silent(f"it does not speak JSON-RPC (status {response.status})") from error

    def _let_rest(self, server: _Server, silent: "_Silent") -> None:
        server.is_checked, server.why = False, silent.why
        server.is_of_another_chain = silent.is_of_another_chain
        server.silent_until = self._now() + server.pause_s
        server.pause_s = min(2 * server.pause_s, PAUSE_MOST_S)
        log.warning("chain_server_left", server=_host(server.url), why=silent.why)

    def _nobody(self) -> DigmError:
        whys = "; ".join(f"{_host(server.url)}: {server.why}" for server in self._servers)
        if all(server.is_of_another_chain for server in self._servers):
            return CallerFault("wrong_chain", f"DIGM_CHAIN_RPC names servers of another chain ({whys}).")
        return Unavailable("chain_unreachable", f"No server of the chain answers ({whys}). See DIGM_CHAIN_RPC.")


class _Silent(Exception):
    def __init__(self, why: str, is_of_another_chain: bool = False) -> None:
        super().__init__(why)
        self.why, self.is_of_another_chain = why, is_of_another_chain


def _host(url: str) -> str:
    """Without its path: that often holds a key."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


def _result(answer: Any) -> Any:
    if "error" not in answer or answer["error"] is None:
        return answer.get("result")
    error = answer["error"] if isinstance(answer["error"], dict) else {}
    message, data = str(error.get("message", ""))[:500], error.get("data")
    if isinstance(data, dict):  # some nodes wrap it
        data = data.get("data")
    code = next((code for part, code in _REFUSALS if part in message.lower()), None)
    if code is None and error.get("code") == REVERTED:
        code = "reverted"
    if code is None:
        raise Unavailable("chain_refused", f"The chain's server refuses: {message}.")
    raise CallerFault(code, message or code, data=_revert_data(data))


def _revert_data(data: Any) -> bytes:
    try:
        return bytes.fromhex(data[2:]) if isinstance(data, str) and data.startswith("0x") else b""
    except ValueError:
        return b""


async def wait_until_reachable(rpc: Rpc, within_s: float) -> None:
    """Until a server answers. Raises as `Rpc.ask`, when none does in time."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            await rpc.chain_id()
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)
        else:
            return
