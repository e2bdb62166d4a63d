"""From navigation, and from a click, to sound: the DIGM page beside hls.js, same audio, same browser, same run.

    .venv/bin/python bench/first_sound.py [--json] [--runs 10]

Sound is `currentTime > 0` of the media element. cold: a fresh browser profile, navigation with play() called as
soon as the page's script can. warm: the same again in that profile, with a filled HTTP cache. click: the page
is loaded and still, then play() is called. The peer is hls.js on fragmented-MP4 FLAC segments of 4 s, not
encrypted, from an aiohttp server of its own; its page has nothing else on it.
"""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web
from playwright.async_api import BrowserContext, Page, async_playwright

from bench import ingest, stack
from bench.report import Report, arguments, spread

HLS_PAGE = """<!doctype html><meta charset="utf-8"><title>hls.js</title><audio></audio>
<script src="/hls.min.js"></script>
<script>
const hls = new Hls(), audio = document.querySelector('audio')
hls.loadSource('/song/index.m3u8')
hls.attachMedia(audio)
window.ready = new Promise(resolve => hls.once(Hls.Events.FRAG_BUFFERED, resolve))
</script>"""

WATCH = """
window.heard = new Promise(resolve => {
  const look = setInterval(() => {
    const player = document.querySelector('digm-player, audio')
    if (player && player.currentTime > 0) { clearInterval(look); resolve(performance.now()) }
  }, 1)
})
"""
PLAY_AT_ONCE = """
new MutationObserver((_, observer) => {
  const player = document.querySelector('digm-player, audio')
  if (!player) return
  observer.disconnect()
  if (player.localName === 'audio') player.play()
  else customElements.whenDefined('digm-player').then(() => player.play())
}).observe(document, { childList: true, subtree: true })
"""
CLICK = """async () => {
  const player = document.querySelector('digm-player, audio')
  const start = performance.now()
  player.play()
  return await window.heard - start
}"""
READY = """() => {
  const player = document.querySelector('digm-player, audio')
  return player.buffered.length > 0
}"""


def segment(song: Path, folder: Path) -> None:
    """Cut the same FLAC into what hls.js plays."""
    ingest.ffmpeg(
        "-i", song, "-c:a", "copy", "-strict", "-2", "-f", "hls", "-hls_time", "4",
        "-hls_segment_type", "fmp4", "-hls_playlist_type", "vod", folder / "index.m3u8",
    )  # fmt: skip


def hls_page(application: web.Application, folder: Path) -> None:
    """The peer's page, its script and its segments."""
    script = stack.npm_package("hls.js") / "dist/hls.min.js"

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=HLS_PAGE, content_type="text/html")

    async def hls_js(_: web.Request) -> web.FileResponse:
        return web.FileResponse(script)

    application.add_routes([web.get("/", page), web.get("/hls.min.js", hls_js), web.static("/song", folder)])


@contextlib.asynccontextmanager
async def hls_server(folder: Path) -> AsyncIterator[str]:
    """They on an aiohttp server."""
    application = web.Application()
    hls_page(application, folder)
    runner = web.AppRunner(application)
    await runner.setup()
    port = stack.free_ports(1)
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://localhost:{port}/"
    finally:
        await runner.cleanup()


async def to_sound(context: BrowserContext, url: str) -> float:
    """Milliseconds from navigation to sound."""
    page = await context.new_page()
    await page.add_init_script(WATCH + PLAY_AT_ONCE)
    await page.goto(url, wait_until="commit")
    heard = await _within(page.evaluate("() => window.heard"), url)
    await page.close()
    return heard


async def click_to_sound(context: BrowserContext, url: str) -> float:
    """Milliseconds from play() to sound on a page that had time to prepare."""
    page = await context.new_page()
    await page.add_init_script(WATCH)
    await page.goto(url)
    async with asyncio.timeout(20):
        while not await _is_ready(page):
            await asyncio.sleep(0.1)
    heard = await _within(page.evaluate(CLICK), url)
    await page.close()
    return heard


async def _is_ready(page: Page) -> bool:
    return bool(await page.evaluate(READY))


async def _within(awaitable: object, url: str) -> float:
    try:
        return float(await asyncio.wait_for(awaitable, 30))  # type: ignore[arg-type]
    except TimeoutError:
        raise SystemExit(f"no sound within 30 s at {url}") from None


async def measure(runs: int, urls: dict[str, str], report: Report) -> dict[str, dict[str, list[float]]]:
    times: dict[str, dict[str, list[float]]] = {name: {"cold": [], "warm": [], "click": []} for name in urls}
    async with async_playwright() as playwright:
        for run in range(runs):
            for name, url in urls.items():
                with tempfile.TemporaryDirectory(prefix="digm-profile-") as profile:
                    context = await playwright.chromium.launch_persistent_context(
                        profile, executable_path=stack.CHROMIUM, args=stack.CHROMIUM_FLAGS
                    )
                    row = {
                        "cold": await to_sound(context, url),
                        "warm": await to_sound(context, url),
                        "click": await click_to_sound(context, url),
                    }
                    await context.close()
                for case, value in row.items():
                    times[name][case].append(value)
                report.row(
                    player=name, run=run + 1, **{f"{case}_ms": round(value) for case, value in row.items()}
                )
    return times


def main() -> None:
    options = arguments(__doc__ or "", runs=10)
    report = Report("first_sound", options.json)
    with tempfile.TemporaryDirectory(prefix="digm-bench-") as folder:
        song, segments = ingest.render(Path(folder), 2, "song.flac"), Path(folder) / "hls"
        segments.mkdir()
        segment(song, segments)

        async def both(digm_url: str) -> dict[str, dict[str, list[float]]]:
            async with hls_server(segments) as hls_url:
                return await measure(options.runs, {"digm": digm_url, "hls.js": hls_url}, report)

        with stack.running(song) as digm:
            times = asyncio.run(both(digm.track_url()))
    figures = {
        name: {case: spread(values, 0) for case, values in cases.items()} for name, cases in times.items()
    }
    ratio = {
        case: round(figures["digm"][case]["p50"] / figures["hls.js"][case]["p50"], 2)
        for case in figures["digm"]
    }
    report.summary(
        **{f"{name}_{case}_ms": spread for name, cases in figures.items() for case, spread in cases.items()},
        cold_ratio=ratio["cold"],
        warm_ratio=ratio["warm"],
        click_ratio=ratio["click"],
        aim="cold at most 4x hls.js, warm click at most 300 ms",
    )


if __name__ == "__main__":
    main()
