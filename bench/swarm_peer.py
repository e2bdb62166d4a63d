"""What the swarm is measured beside: p2p-media-loader with hls.js, its tracker, and a server for its page.

Set up as its documentation says, with everything else left at its defaults: the engine mixed into hls.js, and a
tracker of our own instead of the public ones and their STUN servers. The page preloads its modules.
"""

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from bench import stack

SEGMENT = "/song/"
TRACKER_READY_S = 20
# Its command would also load its client, which wants a compiled WebRTC that a browser's tracker has no use for.
TRACKER = """
import Server from '%s'
new Server({http: false, udp: false, ws: true, stats: false}).listen(%d, {http: '127.0.0.1'})
"""
MODULES = {
    "hls.js": "hls.js/dist/hls.min.mjs",
    "p2p-media-loader-core": "p2p-media-loader-core/dist/p2p-media-loader-core.es.min.js",
    "p2p-media-loader-hlsjs": "p2p-media-loader-hlsjs/dist/p2p-media-loader-hlsjs.es.min.js",
}

PAGE = """<!doctype html><meta charset="utf-8"><title>p2p-media-loader</title>
{preloads}
<script type="importmap">{imports}</script>
<audio></audio>
<script type="module">
import Hls from 'hls.js'
import {{HlsJsP2PEngine}} from 'p2p-media-loader-hlsjs'
const audio = document.querySelector('audio')
const loaded = globalThis.loaded = new Map()
const HlsWithP2P = HlsJsP2PEngine.injectMixin(Hls)
const hls = new HlsWithP2P({{
  p2p: {{
    core: {{announceTrackers: ['{tracker}'], rtcConfig: {{iceServers: []}}}},
    onHlsJsCreated(hls) {{
      hls.p2pEngine.addEventListener('onSegmentLoaded', ({{segmentUrl, downloadSource}}) => {{
        loaded.set(segmentUrl.split('/').at(-1), downloadSource)
      }})
    }},
  }},
}})
hls.loadSource('/song/index.m3u8')
hls.attachMedia(audio)
audio.play()
</script>"""
FETCHED = "(globalThis.loaded?.size ?? 0) / %d"
ORIGINS = "() => [...loaded]"


@asynccontextmanager
async def tracker() -> AsyncIterator[int]:
    """bittorrent-tracker's WebSocket server; its port."""
    port = stack.free_ports(1)
    program = TRACKER % (stack.npm_package("bittorrent-tracker") / "server.js", port)
    process = await asyncio.create_subprocess_exec("node", "--input-type=module", "--eval", program)
    try:
        give_up = time.monotonic() + TRACKER_READY_S
        while not _answers(port):
            if process.returncode is not None or time.monotonic() > give_up:
                raise SystemExit("bittorrent-tracker did not start")
            await asyncio.sleep(0.1)
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@asynccontextmanager
async def server(song: Path, tracker_url: str) -> AsyncIterator[int]:
    """The page, its modules and the segments in the folder `song`; its port."""
    paths = {name: f"/modules/{path}" for name, path in MODULES.items()}
    text = PAGE.format(
        preloads="\n".join(f'<link rel="modulepreload" href="{path}">' for path in paths.values()),
        imports=json.dumps({"imports": paths}),
        tracker=tracker_url,
    )

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=text, content_type="text/html")

    application = web.Application()
    application.router.add_get("/", page)
    for path in MODULES.values():
        package, _, rest = path.partition("/")
        application.router.add_get(f"/modules/{path}", _module(stack.npm_package(package) / rest))
    application.router.add_static(SEGMENT, song)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    port = stack.free_ports(1)
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield port
    finally:
        await runner.cleanup()


def _module(path: Path) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def give(_: web.Request) -> web.StreamResponse:
        return web.FileResponse(path, headers={"Content-Type": "text/javascript"})

    return give
