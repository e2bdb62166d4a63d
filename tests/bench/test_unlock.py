"""bench/unlock.py: what its last line holds, and how what the gate sends a second time is counted."""

import json
from typing import Any

import pytest

from bench.report import Report
from bench.unlock import summary
from bench.unlock_gate import Gate, Received

SONG, PREVIEW = "/song.mp4", "/preview.mp4"


def row(player: str, ms: float, twice: int) -> dict[str, Any]:
    return {"player": player, "ended_ms": ms, "playing_ms": 1.0, "buy_to_sound_ms": 10 * ms, "twice": twice}


def test_the_last_line_has_the_figures_that_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row("digm", 40, 0), row("digm", 60, 0), row("digm", 50, 7), row("gate", 25, 1_000)]
    Report("unlock", as_json=True).summary(**summary(rows))
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["bytes_fetched_twice"], last["unlock_ms"], last["buy_to_sound_ms"]) == (7, 50, 500)
    assert (last["gate_bytes_fetched_twice"], last["gate_unlock_ms"], last["unlock_ratio"]) == (1_000, 25, 2)


@pytest.fixture
def received() -> Received:
    """Of a gate whose song has 100 bytes of sound, and whose preview has the first 20 of them."""
    gate = Gate.__new__(Gate)
    gate.files = {SONG: b"index of allmdat" + bytes(100), PREVIEW: b"indexmdat" + bytes(20)}
    return Received(gate)


def fetch(received: Received, request: str, path: str, *sizes: int, start: int = 0, **facts: bool) -> None:
    headers = {"Content-Range": f"bytes {start}-99/116"} if start else {}
    response = {"url": f"https://localhost:1{path}", "headers": headers, **facts}
    received.response({"requestId": request, "response": response})
    for size in sizes:
        received.data({"requestId": request, "dataLength": size})


def test_the_sound_of_the_preview_comes_once_more_with_the_song(received: Received) -> None:
    fetch(received, "1", PREVIEW, 15, 14)
    assert received.twice == 0
    fetch(received, "2", SONG, 60, 56)
    assert received.twice == 20


def test_a_range_that_comes_again_is_counted_and_one_from_the_cache_is_not(received: Received) -> None:
    fetch(received, "1", SONG, 116)
    fetch(received, "2", SONG, 30, start=36)
    fetch(received, "3", SONG, 50, start=66, fromDiskCache=True)
    fetch(received, "4", "/", 999)
    assert received.twice == 30
