"""From the key's arrival to unbroken sound, and from the click on "buy": DIGM beside a gate on a server.

    .venv/bin/python -m bench.unlock [--json] [--runs 5]

One song, ten seconds of it free, in fresh profiles of one Chromium. What the page fetches in the background is
there when the key comes. `ended`: the preview is over then. `playing`: it still plays. `buy`: from the click to
sound behind the preview, on the devnet of `digm up` (a block every 2 s), and all that happens on the way. The
gate is a file over HTTPS that a cookie opens, in an `<audio>`; its till takes no time (bench/unlock_gate.py).
Fetched twice is every byte of sound that comes after the key, as all of it was there before; `raced` came twice
before it, as the player asks a second source for what is late. At the gate, which has a file for the preview
and one for all, it is the sound of the preview that the browser received once more.
"""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, async_playwright

from bench import ingest, stack
from bench.report import Report, arguments, machine, spread
from bench.unlock_gate import Gate, serving
from bench.unlock_pages import DigmListening, GateListening, digm_listening, gate_listening

PREVIEW_S = 10
MINUTES = 1.0
WATCHED_S = 3.0  # of sound, behind the end of the preview
AIM = "sound within 300 ms of the key, nothing fetched twice"

Row = dict[str, float]


async def measure(
    browser: Browser, digm: stack.Stack, gate: Gate, runs: int, report: Report
) -> list[dict[str, Any]]:
    """Rows of each run and player."""
    rows: list[dict[str, Any]] = []
    for run in range(runs):
        for name in ("digm", "gate"):
            row = await (listen_to_digm(browser, digm) if name == "digm" else listen_to_gate(browser, gate))
            report.row(player=name, run=run + 1, **{key: round(value, 1) for key, value in row.items()})
            rows.append({"player": name, **row})
    return rows


async def listen_to_digm(browser: Browser, digm: stack.Stack) -> Row:
    """All cases, each in a profile of its own."""
    row: Row = {"twice": 0, "raced": 0, "stalls": 0}
    for case in ("ended", "playing", "buy"):
        context = await browser.new_context()
        listening = await digm_listening(context, PREVIEW_S, digm, digm.tracks[0])
        await listening.begin()
        if case == "buy":
            await listening.prepare_to_buy()
        if case != "playing":
            await listening.until_preview_ended()
        row["held_mb"] = await listening.until_all_is_here()
        fetched, raced = await listening.fetched(), await listening.twice()
        if case == "buy":
            row["buy_to_sound_ms"] = await listening.buy()
        else:
            row |= await _key_comes(case, listening)
        await listening.until_all_is_here()
        row["twice"] = max(row["twice"], await listening.fetched() - fetched, await listening.twice() - raced)
        row["raced"] = max(row["raced"], raced)
        row["stalls"] += await listening.stalls()
        await context.close()
    return row


async def listen_to_gate(browser: Browser, gate: Gate) -> Row:
    """The same at the gate."""
    row: Row = {"twice": 0}
    for case in ("ended", "playing", "buy"):
        context = await browser.new_context(ignore_https_errors=True)
        listening = await gate_listening(context, PREVIEW_S, gate)
        await listening.begin()
        await (listening.until_time(PREVIEW_S / 2) if case == "playing" else listening.until_preview_ended())
        if case == "buy":
            row["buy_to_sound_ms"] = await listening.buy()
        else:
            row |= await _key_comes(case, listening)
        row["twice"] = max(row["twice"], listening.received.twice)
        await context.close()
    return row


async def _key_comes(case: str, listening: DigmListening | GateListening) -> Row:
    """Watched until some seconds behind the end of the preview."""
    left_s = PREVIEW_S - float(await listening.ask("() => sound().currentTime"))
    found = await listening.bring_key(left_s + WATCHED_S)
    return {f"{case}_{key}": value for key, value in found.items()}


def figures(rows: list[dict[str, Any]], player: str) -> dict[str, Any]:
    """Spreads of what was measured for one of them."""
    of = [row for row in rows if row["player"] == player]
    found: dict[str, Any] = {
        key: spread([row[key] for row in of], 0)
        for key in of[0] if key.endswith("_ms")
    }  # fmt: skip
    found["bytes_fetched_twice"] = int(max(row["twice"] for row in of))
    if "raced" in of[0]:
        found["bytes_raced"] = int(max(row["raced"] for row in of))
        found["stalls"] = int(sum(row["stalls"] for row in of))
    return found


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The last line: the issue's three figures first, as medians; the rest with its spread."""
    digm, gate = (figures(rows, player) for player in ("digm", "gate"))
    pair = digm["ended_ms"], gate["ended_ms"]
    return {
        "bytes_fetched_twice": digm["bytes_fetched_twice"],
        "unlock_ms": pair[0]["p50"],
        "unlock_max_ms": pair[0]["max"],
        "buy_to_sound_ms": digm["buy_to_sound_ms"]["p50"],
        "buy_to_sound_max_ms": digm["buy_to_sound_ms"]["max"],
        "gate_buy_to_sound_ms": gate["buy_to_sound_ms"]["p50"],
        "gate_unlock_ms": pair[1]["p50"],
        "gate_bytes_fetched_twice": gate["bytes_fetched_twice"],
        "unlock_ratio": round(pair[0]["p50"] / max(1.0, pair[1]["p50"]), 2),
        "digm": digm,
        "gate": gate,
        "aim": AIM,
        "machine": machine(),
    }


def put_up_for_sale(digm: stack.Stack) -> None:
    """On the devnet, as an artist does it."""
    digm.until_chain()
    digm.run("chain", "publish", *digm.tracks)
    digm.run("sell", *digm.tracks, "--for", "2.50", "--token", "para")


async def run(runs: int, report: Report) -> None:
    with tempfile.TemporaryDirectory(prefix="digm-bench-") as folder:
        song = ingest.render(Path(folder), MINUTES, "song.flac")
        with stack.running(song, options=["--preview-seconds", str(PREVIEW_S)]) as digm:
            await asyncio.to_thread(put_up_for_sale, digm)
            async with serving(song, PREVIEW_S) as gate, async_playwright() as playwright:
                browser = await playwright.chromium.launch(
                    executable_path=stack.CHROMIUM, args=stack.CHROMIUM_FLAGS
                )
                rows = await measure(browser, digm, gate, runs, report)
                await browser.close()
    report.summary(**summary(rows))


def main() -> None:
    options = arguments(__doc__ or "", runs=5)
    asyncio.run(run(options.runs, Report("unlock", options.json)))


if __name__ == "__main__":
    main()
