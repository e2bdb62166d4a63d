"""What is on its way to clients is counted, and too much of it is refused with a time to come back."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from digm.chunks import FRAME_BYTES
from digm.errors import Unavailable
from hub.gateway.asgi import application
from hub.gateway.budget import SendingBudget
from tests.hub.house import publish_track

ELSEWHERE, OTHER = "192.0.2.1", "192.0.2.2"


def test_one_address_gets_no_more_than_its_share() -> None:
    budget = SendingBudget(most_bytes=1_000, most_of_address=300)
    with budget.take(ELSEWHERE, 200), budget.take(OTHER, 300):
        with pytest.raises(Unavailable) as refused, budget.take(ELSEWHERE, 101):
            pass
        assert refused.value.code == "gateway_busy"
        with budget.take(ELSEWHERE, 100):
            assert budget.sending_bytes == 600
    assert budget.sending_bytes == 0
    with budget.take(ELSEWHERE, 300):
        pass


def test_a_proxy_on_this_machine_has_no_share_but_the_whole_is_bounded() -> None:
    budget = SendingBudget(most_bytes=1_000, most_of_address=300)
    for address in ("127.0.0.1", "::1", ""):
        with budget.take(address, 1_000), pytest.raises(Unavailable), budget.take(address, 1):
            pass


async def ask(app: Any, path: str, send: Any, client: str = ELSEWHERE) -> None:
    scope = {
        "type": "http", "http_version": "1.1", "scheme": "http", "method": "GET", "path": path, "headers": [],
        "query_string": b"", "client": (client, 1),
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    await app(scope, receive, send)


async def test_an_answer_is_counted_until_its_last_byte_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    track = publish_track(tmp_path)
    monkeypatch.setenv("DIGM_DATA", str(tmp_path))
    app = application()
    monkeypatch.setattr(app, "_budget", SendingBudget(most_bytes=FRAME_BYTES))
    may_take, is_sending, seen = asyncio.Event(), asyncio.Event(), []

    async def slowly(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            is_sending.set()
            await may_take.wait()

    async def note(message: dict[str, Any]) -> None:
        seen.append(message)

    path = f"/{track.chunk(0, 0)}"
    slow = asyncio.create_task(ask(app, path, slowly))
    await is_sending.wait()
    await ask(app, path, note, OTHER)
    assert seen[0]["status"] == 503
    assert (b"retry-after", b"1") in seen[0]["headers"]
    may_take.set()
    await slow
    seen.clear()
    await ask(app, path, note, OTHER)
    assert (seen[0]["status"], sum(len(piece["body"]) for piece in seen[1:])) == (200, FRAME_BYTES)
