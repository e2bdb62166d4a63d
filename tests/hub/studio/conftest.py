"""A studio behind its door, on a free port, and a browser's part of it."""

import io
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from yarl import URL

from hub.config import Settings
from hub.publishing.identity import open_vault
from hub.studio.app import create_app
from hub.studio.door import KEY_HEADER, Door
from hub.studio.room import Room


@dataclass
class Studio:
    """An open studio, and who may use it."""

    room: Room
    door: Door
    url: str
    session: aiohttp.ClientSession
    page_key: str = ""

    async def enter(self) -> None:
        """As a browser does with the address that was printed."""
        async with self.session.get(URL(self.door.url, encoded=True), allow_redirects=False) as answer:
            assert answer.status == 303
            self.page_key = URL(answer.headers["Location"]).fragment

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """What the page asks. Bytes are a file."""
        sent = {KEY_HEADER: self.page_key} | headers
        about = (
            {"data": io.BytesIO(body)}
            if isinstance(body, bytes)
            else {"json": body}
            if body is not None
            else {}
        )
        async with self.session.request(method, self.url + path, headers=sent, **about) as answer:
            is_json = answer.content_type == "application/json"
            return answer.status, await (answer.json() if is_json else answer.read())

    async def until(self, holds: Any) -> Any:
        """The desk, as soon as something holds of it."""
        version = 0
        while True:
            status, state = await self.ask("GET", f"/api/desk?after={version}")
            assert status == 200, state
            if holds(state):
                return state
            version = state["version"]


@pytest.fixture
async def studio(tmp_path: Path) -> AsyncIterator[Studio]:
    settings = Settings(data=tmp_path / "data", port=1)  # no hub answers there
    vault, door = open_vault(settings), Door()
    with vault:
        room = Room(settings, vault)
        async with room.open(), TestServer(create_app(room, door), host="127.0.0.1") as server:
            door.port = server.port or 0
            async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
                yield Studio(room, door, f"http://127.0.0.1:{server.port}", session)


def cookie_of(studio: Studio) -> str:
    """The cookie, as a program of this machine could have seen it on another port."""
    return re.sub(r"^Set-Cookie: ", "", str(studio.session.cookie_jar.filter_cookies(URL(studio.url))))
