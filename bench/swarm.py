"""Listeners feed listeners: DIGM beside p2p-media-loader with hls.js, same audio, same pages, same run.

    .venv/bin/python bench/swarm.py [--json] [--n 2,4,6,10] [--stagger 0,3,10] [--delay 0,50,200]
                                    [--seconds 120] [--runs 1] [--only digm|peer] [--explain]

N real Chromium pages with a profile each arrive `stagger` seconds after one another and play from navigation
on; every answer of a server and every WebSocket handshake comes `delay` milliseconds late
(bench/delaying_proxy.py). DIGM runs without its seeding peer, so every byte that no listener gave came from
the gateway. A case ends when every page holds the whole track and has played 20 seconds of it (or all of it);
pages stay until all are done. Server bytes are bytes of audio that were written to pages, as ciphertext here
and as segments there; offload is 1 - server bytes / (N x track), its ideal (N - 1) / N. A stall is a
`waiting` after the first sound; gaps are the times when the clock of the media element stood still for more
than 250 ms, whatever the reason. With `--explain` each page's pieces and what the server gave to whom are
printed on standard error.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from playwright.async_api import Playwright, async_playwright

from bench import first_sound, ingest, stack, swarm_peer
from bench.delaying_proxy import DelayingProxy, Transfer
from bench.report import Report, quantile
from bench.swarm_pages import Listener, System, arrive, listeners

PLAYED_S = 20
PATIENCE_S = 60
POLL_S = 0.25
PROCESSES = ("hub", "gateway", "artist")
CHUNK = re.compile(r"/[0-9a-f]{64}")
PIECE = re.compile(r"/song/.*\.m4s")
DIGM_FETCHED = """(() => {
  const {stats, duration} = document.querySelector('digm-player') ?? {};
  const ranges = stats?.buffer ?? stats?.origins ?? [];
  return ranges.reduce((sum, [start, end]) => sum + end - start, 0) / (duration || Infinity);
})()"""
DIGM_ORIGINS = """() => {
  const {stats} = document.querySelector('digm-player');
  return (stats.buffer ?? stats.origins).map(([start, end, origin]) => [`${start.toFixed(1)} s`, origin]);
}"""


@dataclass
class Measured:
    """One case of one system, once or several times.

    Attributes:
        stalls: `waiting` events after the first sound, of all pages.
        unfinished: pages that did not come to the end of the case.
    """

    server_bytes: list[int] = field(default_factory=list)
    peer_bytes: list[int] = field(default_factory=list)
    first_sound_ms: list[float] = field(default_factory=list)
    stalls: int = 0
    gaps_ms: list[int] = field(default_factory=list)
    unfinished: int = 0
    took_s: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Contender:
    """A system and what stands for it on the server's side."""

    system: System
    proxy: DelayingProxy
    track_bytes: int
    names: dict[str, str]


# -- the two systems


@contextlib.contextmanager
def digm_processes(song: Path, ports: int, **settings: str) -> Iterator[tuple[str, Path]]:
    """Hub, gateway and artist on `ports` and the two behind it; the track's root and the data folder."""
    with tempfile.TemporaryDirectory(prefix="digm-bench-") as folder:
        data = Path(folder)
        (root,) = stack.publish(data, song)
        running = [stack.digm(data, name, DIGM_PORT=str(ports), **settings) for name in PROCESSES]
        try:
            yield root, data
        finally:
            for process in running:
                process.terminate()
            for process in running:
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    process.kill()


@contextlib.asynccontextmanager
async def digm(song: Path) -> AsyncIterator[Contender]:
    ports, hub, gateway = (stack.free_ports(count) for count in (4, 1, 1))
    settings = {
        "DIGM_PUBLIC_URL": f"http://localhost:{hub}",
        "DIGM_GATEWAY_URL": f"http://localhost:{gateway}",
        "DIGM_SEED_PORT": str(ports + 3),
        "DIGM_ARTIST_PORT": str(ports + 2),
        "DIGM_GRANTS_PER_MINUTE": "10000",
        "DIGM_LOG_LEVEL": "warning",
    }
    with digm_processes(song, ports, **settings) as (root, data):
        await _until_ready(f"http://localhost:{ports}/readyz")
        async with DelayingProxy(lambda path: CHUNK.fullmatch(path) is not None) as proxy:
            await proxy.stand_before(ports, hub)
            await proxy.stand_before(ports + 1, gateway)
            rendition = json.loads((data / "manifests" / f"{root}.json").read_bytes())["renditions"][0]
            hashes = rendition["chunk_hashes"]
            sizes = [(data / "chunks" / name[:2] / name).stat().st_size for name in hashes]
            system = System(
                "digm",
                f"http://localhost:{hub}/tracks/{root}",
                first_sound.PLAY_AT_ONCE,
                DIGM_FETCHED,
                DIGM_ORIGINS,
            )
            yield Contender(system, proxy, sum(sizes), {name: f"chunk {i}" for i, name in enumerate(hashes)})


async def _until_ready(url: str) -> None:
    give_up = time.monotonic() + stack.READY_S
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < give_up:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(url) as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.1)
    raise SystemExit("DIGM did not become ready")


@contextlib.asynccontextmanager
async def peer(song: Path, folder: Path) -> AsyncIterator[Contender]:
    first_sound.segment(song, folder)
    segments = sorted(folder.glob("*.m4s"))
    async with (
        swarm_peer.tracker() as tracker_port,
        DelayingProxy(lambda path: PIECE.fullmatch(path) is not None) as proxy,
    ):
        announce = f"ws://localhost:{await proxy.stand_before(tracker_port)}"
        async with swarm_peer.server(folder, announce) as port:
            url = f"http://localhost:{await proxy.stand_before(port)}/"
            system = System("peer", url, "", swarm_peer.FETCHED % len(segments), swarm_peer.ORIGINS)
            size = sum(segment.stat().st_size for segment in segments)
            yield Contender(system, proxy, size, {path.name: path.stem for path in segments})


# -- a case


async def measure(
    playwright: Playwright, contender: Contender, n: int, stagger_s: float, limit_s: float, into: Measured
) -> list[str]:
    """Run a case once and add its figures. Returns what there is to explain, a line each."""
    contender.proxy.transfers.clear()
    began = time.monotonic()
    async with listeners(playwright, contender.system, n) as pages:
        coming = asyncio.ensure_future(arrive(pages, stagger_s))
        while True:
            await asyncio.sleep(POLL_S)
            facts = [await listener.facts() for listener in pages]
            is_late = time.monotonic() - began > limit_s
            if is_late or (coming.done() and all(map(_is_done, facts))):
                break
        coming.cancel()
        story = await _story(pages, contender, facts)
    into.took_s.append(time.monotonic() - began)
    into.server_bytes.append(sum(transfer.taken_bytes for transfer in contender.proxy.transfers))
    into.peer_bytes.append(sum(fact.get("peer_bytes", 0) for fact in facts))
    into.first_sound_ms += [fact["first_sound_ms"] for fact in facts if fact["first_sound_ms"] is not None]
    into.stalls += sum(fact.get("waiting", 0) for fact in facts)
    into.gaps_ms += [gap for fact in facts for gap in fact.get("gaps_ms", [])]
    into.unfinished += sum(not _is_done(fact) for fact in facts)
    return story


def _is_done(fact: dict[str, Any]) -> bool:
    return bool(fact["fetched"] > 0.999 and (fact["position_s"] >= PLAYED_S or fact["is_over"]))


async def _story(pages: list[Listener], contender: Contender, facts: list[dict[str, Any]]) -> list[str]:
    """Which page got what from where, and what the server gave to whom."""
    lines = []
    for listener, fact in zip(pages, facts, strict=True):
        origins = await listener.origins() if fact["first_sound_ms"] is not None else []
        groups = itertools.groupby(origins, key=lambda item: item[1])
        told = ", ".join(f"{where} {_span([what for what, _ in items])}" for where, items in groups)
        sound = "no sound" if fact["first_sound_ms"] is None else f"sound after {fact['first_sound_ms']:.0f} ms"
        lines.append(
            f"page {listener.number}: {sound}, {fact.get('channels', 0)} channels, "
            f"{fact.get('peer_bytes', 0):,} bytes of peers, gaps {fact.get('gaps_ms')}; {told}"
        )
    first = min((transfer.at_s for transfer in contender.proxy.transfers), default=0.0)
    return lines + [_told(transfer, first, contender.names) for transfer in contender.proxy.transfers]


def _span(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{items[0]} to {items[-1]} ({len(items)})"


def _told(transfer: Transfer, first_s: float, names: dict[str, str]) -> str:
    name = names.get(transfer.name, transfer.name)
    at_s = transfer.at_s - first_s
    return f"  {at_s:6.2f} s  page {transfer.page}  {name}  {transfer.asked}  {transfer.taken_bytes:,}"


# -- figures


def offload(measured: Measured, n: int, track_bytes: int) -> float:
    """1 - what the server gave / what the pages have together."""
    return 1 - statistics.mean(measured.server_bytes) / (n * track_bytes)


def figures(measured: Measured, n: int, track_bytes: int) -> dict[str, Any]:
    """What a case came to; `copies`: server bytes in lengths of the track (ideal: 1)."""
    sounds = measured.first_sound_ms or [float("nan")]
    return {
        "offload": round(offload(measured, n, track_bytes), 3),
        "offload_of_ideal": round(offload(measured, n, track_bytes) / ((n - 1) / n), 3) if n > 1 else None,
        "server_bytes": round(statistics.mean(measured.server_bytes)),
        "server_copies": round(statistics.mean(measured.server_bytes) / track_bytes, 2),
        "from_peers_bytes": round(statistics.mean(measured.peer_bytes)),
        "first_sound_p50_ms": round(statistics.median(sounds)),
        "first_sound_p90_ms": round(quantile(sounds, 0.9)),
        "stalls": measured.stalls,
        "gaps": len(measured.gaps_ms),
        "longest_gap_ms": max(measured.gaps_ms, default=0),
        "unfinished": measured.unfinished,
        "took_s": round(statistics.mean(measured.took_s), 1),
    }


def case_line(
    case: dict[str, Any], results: dict[str, Measured], contenders: dict[str, Contender]
) -> dict[str, Any]:
    """DIGM's figures under their names, the peer's with `peer_` in front."""
    line = dict(case)
    told = {
        name: figures(measured, case["n"], contenders[name].track_bytes) for name, measured in results.items()
    }
    line |= told.get("digm", {})
    line |= {f"peer_{key}": value for key, value in told.get("peer", {}).items()}
    if len(told) == 2:
        ratio = told["digm"]["first_sound_p50_ms"] / told["peer"]["first_sound_p50_ms"]
        line["first_sound_ratio"] = round(ratio, 2)
    return line


async def run(options: argparse.Namespace, song: Path, folder: Path, report: Report) -> list[dict[str, Any]]:
    lines = []
    async with contextlib.AsyncExitStack() as open_until_done:
        playwright = await open_until_done.enter_async_context(async_playwright())
        systems = {"digm": digm(song), "peer": peer(song, folder)}
        contenders = {
            name: await open_until_done.enter_async_context(system)
            for name, system in systems.items()
            if options.only in ("", name)
        }
        for n, stagger_s, delay_ms in itertools.product(options.n, options.stagger, options.delay):
            case = {"n": n, "stagger_s": stagger_s, "delay_ms": delay_ms}
            results = {name: Measured() for name in contenders}
            limit_s = n * stagger_s + options.seconds + PATIENCE_S
            for turn in range(options.runs):
                order = list(contenders) if turn % 2 == 0 else list(reversed(contenders))
                for name in order:
                    contenders[name].proxy.delay_s = delay_ms / 1000
                    story = await measure(playwright, contenders[name], n, stagger_s, limit_s, results[name])
                    if options.explain:
                        print(f"{name} {case}", *story, sep="\n", file=sys.stderr)
            lines.append(case_line(case, results, contenders))
            report.row(**lines[-1])
    return lines


def _numbers(text: str) -> list[int]:
    return [int(item) for item in text.split(",")]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object a line, the summary last")
    parser.add_argument("--n", type=_numbers, default=[2, 4, 6, 10], help="pages")
    parser.add_argument("--stagger", type=_numbers, default=[0, 3, 10], help="seconds between arrivals")
    parser.add_argument("--delay", type=_numbers, default=[0, 50, 200], help="milliseconds")
    parser.add_argument("--seconds", type=float, default=120, help="length of the track")
    parser.add_argument("--runs", type=int, default=1, help="how often each case is run")
    parser.add_argument("--only", choices=("digm", "peer"), default="", help="one system alone")
    parser.add_argument("--explain", action="store_true", help="who took what from where, on standard error")
    return parser.parse_args()


def main() -> None:
    options = _options()
    report = Report("swarm", options.json)
    with tempfile.TemporaryDirectory(prefix="digm-bench-") as temporary:
        folder = Path(temporary)
        song, segments = ingest.render(folder, options.seconds / 60, "song.flac"), folder / "hls"
        segments.mkdir()
        lines = asyncio.run(run(options, song, segments, report))
    report.summary(**_summary(lines))


def _summary(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """The worst of all cases, as a chain is as strong as its weakest link, and how many cases met the aim."""
    facts: dict[str, Any] = {"cases": len(lines)}
    for prefix in ("", "peer_"):
        offloads = [line[f"{prefix}offload_of_ideal"] for line in lines if f"{prefix}offload_of_ideal" in line]
        if offloads:
            facts[f"{prefix}offload_of_ideal_min"] = min(offloads)
            facts[f"{prefix}offload_of_ideal_median"] = round(statistics.median(offloads), 3)
            facts[f"{prefix}stalls"] = sum(line[f"{prefix}stalls"] for line in lines)
    ratios = [line["first_sound_ratio"] for line in lines if "first_sound_ratio" in line]
    if ratios:
        facts["first_sound_ratio_median"] = round(statistics.median(ratios), 2)
        facts["first_sound_ratio_max"] = max(ratios)
    facts["cases_at_95_percent"] = sum(line.get("offload_of_ideal", 0) >= 0.95 for line in lines)
    facts["aim"] = "offload at least 95 % of the ideal in every case, no stall, first sound not slower"
    return facts


if __name__ == "__main__":
    main()
