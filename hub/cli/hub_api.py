"""A hub's API, for commands that ask it for something."""

import asyncio
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from digm.errors import CallerFault, DigmError, Unavailable

ANSWER_WITHIN_S = 15.0
MAX_ANSWER_BYTES = 16 << 20
LONGEST_WAIT_S = 60.0


class HubApi:
    """One hub; used with `async with`.

    Args:
        url: of the hub, without a path.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        if not self.url.startswith(("http://", "https://")):
            raise CallerFault("bad_option", f"{url!r} is no hub's URL: that starts with http:// or https://.")

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_WITHIN_S))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def get(self, path: str) -> Any:
        """What the hub answers, decoded.

        Raises:
            Unavailable: `hub_unreachable`, and what the hub says with its own code.
            CallerFault: what the hub says is wrong with the request.
        """
        return _decoded(await self._ask("GET", path), self.url)

    async def post(self, path: str, body: bytes) -> Any:
        """Send something; waits where the hub asks for it (`too_many_requests`). Raises as `get`."""
        while True:
            try:
                return _decoded(await self._ask("POST", path, body), self.url)
            except Unavailable as error:
                if error.code != "too_many_requests":
                    raise
                await asyncio.sleep(min(LONGEST_WAIT_S, float(str(error.data.get("retry_after_s", 1)))))

    async def bytes_of(self, url: str) -> bytes:
        """What lies at an absolute URL. Raises as `get`."""
        return await self._ask("GET", url)

    async def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        url = path if path.startswith(("http://", "https://")) else self.url + path
        try:
            async with self._session.request(method, url, data=body, allow_redirects=False) as answer:
                found = bytearray()
                async for part in answer.content.iter_chunked(1 << 16):
                    found += part
                    if len(found) > MAX_ANSWER_BYTES:
                        raise Unavailable("hub_answer", f"The answer of {url} is too large.")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if not url.startswith(self.url):
                raise Unavailable(
                    "gateway_unreachable", f"The hub's gateway at {url} does not answer."
                ) from error
            raise Unavailable(
                "hub_unreachable",
                f"The hub at {self.url} does not answer: is it running? Name another with --hub.",
            ) from error
        if answer.status >= 300:
            raise _refusal(answer.status, bytes(found), self.url)
        return bytes(found)


def _decoded(body: bytes, url: str) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise Unavailable("hub_answer", f"What answers at {url} is no hub.") from error


def _refusal(status: int, body: bytes, url: str) -> DigmError:
    try:
        said = msgspec.json.decode(body)["error"]
        code, message = str(said["code"]), str(said["message"])
    except (msgspec.MsgspecError, UnicodeError, KeyError, TypeError):
        return Unavailable("hub_answer", f"What answers at {url} is no hub (status {status}).")
    kind = Unavailable if status in (404, 429) or status >= 500 else CallerFault
    return kind(code, message, retry_after_s=said.get("retry_after_s", 1))
