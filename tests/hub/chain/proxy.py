"""A JSON-RPC server between client and devnet that loses, delays, changes or makes up answers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

LOSE = object()
"""The connection is closed without an answer."""
Change = Callable[[str, list[Any], Any], Any]


class Proxy:
    """Passes questions on.

    Attributes:
        before: sees each question; what it returns, unless None, is answered instead of passing it on.
        after: sees each question with its result, and says what to answer.
        raw: if set, what every request gets, byte by byte.
        asked: every method, in order.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self.before: Callable[[str, list[Any]], Any] = lambda method, parameters: None
        self.after: Change = lambda method, parameters, result: result
        self.raw: bytes | None = None
        self.delay_s = 0.0
        self.asked: list[str] = []
        self.url = ""

    async def post(self, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(self.delay_s)
        if self.raw is not None:
            return web.Response(body=self.raw)
        asked = await request.json()
        answers = []
        for one in asked if isinstance(asked, list) else [asked]:
            answer = await self._one(one)
            if answer is LOSE:
                assert request.transport is not None
                request.transport.close()
                return web.Response()
            answers.append(answer)
        return web.json_response(answers if isinstance(asked, list) else answers[0])

    async def _one(self, asked: dict[str, Any]) -> Any:
        method, parameters = asked["method"], asked["params"]
        self.asked.append(method)
        instead = self.before(method, parameters)
        if instead is LOSE:
            return LOSE
        if instead is None:
            async with self._session.post(self._target, json=asked) as answer:
                said = await answer.json(content_type=None)
            if "error" in said:
                return said
            instead = self.after(method, parameters, said["result"])
        if instead is LOSE:
            return LOSE
        if isinstance(instead, dict) and "refuse" in instead:
            return {
                "jsonrpc": "2.0",
                "id": asked["id"],
                "error": {"code": -32000, "message": instead["refuse"]},
            }
        return {"jsonrpc": "2.0", "id": asked["id"], "result": instead}

    @asynccontextmanager
    async def running(self) -> "AsyncIterator[Proxy]":
        app = web.Application()
        app.add_routes([web.post("/", self.post)])
        runner = web.AppRunner(app)
        async with aiohttp.ClientSession() as self._session:
            await runner.setup()
            try:
                site = web.TCPSite(runner, "127.0.0.1", 0)
                await site.start()
                self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
                yield self
            finally:
                await runner.cleanup()
