"""Bad lines: first sound, stalls and offload of a DIGM listener beside hls.js alone, in network namespaces.

    sudo .venv/bin/python -m bench.impaired [--json] [--seconds 20] [--cases 1%,300ms,1mbit]

A listener at home `a` has a line that loses packets (in each direction), takes its time (round trip, added), or
carries 1 Mbit/s. It opens a cold page and plays at once. At home `b`, on a good line, another listener has the
track already: that is who a DIGM page can take it from, besides the hub. hls.js gets the same audio from a
server in the same place over the same line, in the same run, with a fresh browser profile each.

Needs root, ip, nft, Chromium; the line itself is bench/impaired_line.py.
"""

import asyncio
import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web
from playwright.async_api import BrowserContext, Page, Playwright, async_playwright

from bench import ingest, stack
from bench.first_sound import PLAY_AT_ONCE, WATCH, hls_page, segment
from bench.report import Report, arguments
from tests.net.lab import HUB, Lab, missing

PORT, HLS_PORT = 8080, 8090
STARTS_S = 60.0
GIVES_UP_S = 60.0
LISTENER_S = 30.0
CHROMIUM_FLAGS = [*stack.CHROMIUM_FLAGS, f"--unsafely-treat-insecure-origin-as-secure=http://{HUB}:{PORT}"]


@dataclass(frozen=True)
class Case:
    """One kind of line."""

    name: str
    loss: float = 0.0
    delay_ms: int = 50
    bytes_per_s: int = 0


CASES = (
    Case("good", delay_ms=0),
    Case("50ms"),
    Case("150ms", delay_ms=150),
    Case("300ms", delay_ms=300),
    Case("1%", loss=0.01),
    Case("5%", loss=0.05),
    Case("20%", loss=0.2),
    Case("1mbit", bytes_per_s=125_000),
)

# The element that plays is in the page or in the player's shadow root; it stalls when it waits once begun.
COUNT_STALLS = """
window.stalled = 0
addEventListener('DOMContentLoaded', () => {
  const look = setInterval(() => {
    const player = document.querySelector('digm-player')
    const audio = player ? player.shadowRoot?.querySelector('audio') : document.querySelector('audio')
    if (!audio) return
    clearInterval(look)
    audio.addEventListener('waiting', () => { if (audio.currentTime > 0.05) window.stalled += 1 })
  }, 5)
})
"""
BUFFERED = """() => {
  const buffered = document.querySelector('digm-player')?.buffered
  return buffered?.length ? buffered.end(0) : 0
}"""
STATE = """() => {
  const player = document.querySelector('digm-player, audio')
  return {time: player.currentTime, stalls: window.stalled, stats: player.stats ?? null}
}"""


def serve_hls(folder: Path) -> None:
    """The peer's server; runs in the hub's namespace."""
    application = web.Application()
    hls_page(application, folder)
    web.run_app(application, host=HUB, port=HLS_PORT, print=None)


@contextlib.contextmanager
def servers(lab: Lab, folder: Path) -> Iterator[str]:
    """The hub with one track, and hls.js's server. Yields the track's page."""
    song, segments, data = ingest.render(folder, 1, "song.flac"), folder / "hls", folder / "data"
    segments.mkdir()
    segment(song, segments)
    (root,) = stack.publish(data, song)
    environment = os.environ | {
        "DIGM_DATA": str(data),
        "DIGM_HOST": "0.0.0.0",
        "DIGM_PORT": str(PORT),
        "DIGM_TURN_HOST": HUB,
        "DIGM_TURN_URLS": f"turn:{HUB}:3478,turn:{HUB}:3478?transport=tcp",
        "DIGM_TURN_ALLOW": "203.0.113.0/24",
    }
    for process in ("hub", "gateway", "artist", "relay"):
        lab.start("hub", [sys.executable, "-m", "hub.cli", process], environment, folder / f"{process}.log")
    serve = [sys.executable, "-m", "bench.impaired", "--serve", str(segments)]
    lab.start("hub", serve, dict(os.environ), folder / "hls.log")
    give_up = time.monotonic() + STARTS_S
    for url in (f"http://{HUB}:{PORT}/readyz", f"http://{HUB}:{HLS_PORT}/"):
        while not lab.answers(url):
            if time.monotonic() > give_up:
                raise SystemExit(f"{url} does not answer; the logs are in {folder}")
            time.sleep(0.1)
    yield f"http://{HUB}:{PORT}/tracks/{root}"


@contextlib.contextmanager
def line(lab: Lab, case: Case) -> Iterator[None]:
    """Home a's line, while the block runs."""
    with subprocess.Popen(
        [sys.executable, "-m", "bench.impaired_line", lab.name("homea"), lab.name("nata"), "192.168.1",
         str(case.delay_ms), str(case.loss), str(case.bytes_per_s)],
        stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            if not select.select([process.stdout], [], [], 10)[0] or process.stdout.readline() != b"laid\n":
                raise SystemExit("the line could not be laid")
            yield
        finally:
            process.kill()


@contextlib.asynccontextmanager
async def home(playwright: Playwright, lab: Lab, name: str, folder: Path) -> AsyncIterator[BrowserContext]:
    """A Chromium with a cold profile in a home."""
    wrapper = folder / f"chromium-{name}"
    wrapper.write_text(f'#!/bin/sh\nexec {" ".join(lab.inside(name))} {stack.CHROMIUM} "$@"\n')
    wrapper.chmod(0o755)
    with tempfile.TemporaryDirectory(prefix="digm-profile-") as profile:
        context = await playwright.chromium.launch_persistent_context(
            profile, executable_path=wrapper, args=CHROMIUM_FLAGS
        )
        try:
            yield context
        finally:
            await context.close()


async def play(context: BrowserContext, url: str, seconds: float) -> dict[str, Any]:
    """Open a page, play so long. Returns first sound, stalls and where the bytes came from."""
    page = await context.new_page()
    await page.add_init_script(WATCH + PLAY_AT_ONCE + COUNT_STALLS)
    await page.goto(url, wait_until="commit", timeout=GIVES_UP_S * 1000)
    first_sound_ms = None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GIVES_UP_S):
            first_sound_ms = round(await page.evaluate("() => window.heard"))
            while (await page.evaluate(STATE))["time"] < seconds:
                await asyncio.sleep(0.25)
    return {"first_sound_ms": first_sound_ms, **await _outcome(page)}


async def _outcome(page: Page) -> dict[str, Any]:
    state = await page.evaluate(STATE)
    outcome = {"played_s": round(state["time"], 1), "stalls": state["stalls"]}
    if state["stats"]:
        taken = state["stats"]["bytes"]
        total = taken["peer"] + taken["gateway"]
        outcome["offload"] = round(taken["peer"] / total, 3) if total else 0.0
    return outcome


async def measure(case: Case, digm_url: str, seconds: float, folder: Path, lab: Lab) -> dict[str, Any]:
    """Both players over one line."""
    outcomes = {}
    async with async_playwright() as playwright, home(playwright, lab, "homeb", folder) as neighbour:
        page = await neighbour.new_page()
        await page.add_init_script(PLAY_AT_ONCE)
        await page.goto(digm_url)
        async with asyncio.timeout(LISTENER_S):
            while await page.evaluate(BUFFERED) < 59:
                await asyncio.sleep(0.25)
        with line(lab, case):
            for name, url in (("hls.js", f"http://{HUB}:{HLS_PORT}/"), ("digm", digm_url)):
                async with home(playwright, lab, "homea", folder) as context:
                    outcomes[name] = await play(context, url, seconds)
    return outcomes


def ratio(mine: float | None, others: float | None) -> float | None:
    """One figure over another; None where one is missing."""
    return round(mine / others, 2) if mine is not None and others else None


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        serve_hls(Path(sys.argv[2]))
        return
    options = arguments(__doc__ or "", seconds=20.0, cases="")
    if why := missing():
        raise SystemExit(f"bench/impaired.py cannot run here: {why}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the namespaces go with us
    wanted = options.cases.split(",") if options.cases else [case.name for case in CASES]
    report = Report("impaired", options.json)
    rows = []
    for case in (case for case in CASES if case.name in wanted):
        with tempfile.TemporaryDirectory(prefix="digm-bench-") as folder, Lab() as lab:
            lab.set_nats("port_restricted", "port_restricted")
            with servers(lab, Path(folder)) as digm_url:
                outcomes = asyncio.run(measure(case, digm_url, options.seconds, Path(folder), lab))
        digm, hls = outcomes["digm"], outcomes["hls.js"]
        rows.append({
            "case": case.name, "loss": case.loss, "delay_ms": case.delay_ms, "bytes_per_s": case.bytes_per_s,
            "digm": digm, "hls.js": hls,
            "first_sound_ratio": ratio(digm["first_sound_ms"], hls["first_sound_ms"]),
            "stalls": digm["stalls"], "stalls_more_than_hls": digm["stalls"] - hls["stalls"],
            "offload": digm.get("offload"),
        })  # fmt: skip
        report.row(**rows[-1])
    report.summary(
        first_sound_ratio={row["case"]: row["first_sound_ratio"] for row in rows},
        stalls={row["case"]: row["stalls"] for row in rows},
        stalls_of_hls={row["case"]: row["hls.js"]["stalls"] for row in rows},
        offload={row["case"]: row["offload"] for row in rows},
        aim="no more stalls than hls.js, and most of the bytes from the other listener",
    )


if __name__ == "__main__":
    main()
