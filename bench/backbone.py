"""The backbone beside js-libp2p: gossip, lookups of providers, chunks; and how soon a track has its replicas.

python -m bench.backbone [--nodes 5,30] [--messages 60] [--chunks 64] [--megabytes 60] [--json]

Every node is a process. Our nodes and those of js-libp2p (tests/stranger, written from docs/backbone.md) do the
same work in the same arrangement, one kind after the other: everybody calls four others; announcements of 600
bytes, signed, are checked by each before they are passed on; a lookup ends when nobody is left to ask, for us
when those it found have answered a call, too. Chunks of 512 KiB, from memory, four asked for at a
time, are hashed when they have come; plain TCP (asyncio) does that without libp2p.

The aim: within twice js-libp2p on every line, and better on delivery.
"""

import asyncio
import hashlib
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from bench.backbone_peer import CHUNK_BYTES, chunk_of
from bench.backbone_replicas import KILLED, measure_replicas
from bench.report import Report, arguments, quantile
from tests.hub.backbone.nodes import NodeProcess, obeying, until
from tests.stranger.strangers import install

PEER_JS = Path(__file__).with_name("backbone_peer.mjs")
STRIDES = (1, 2, 5, 11)  # whom a node calls, counted from itself
STARTING = 4  # at once
DELIVERIES_PER_S = 40  # of all nodes: they share the machine, and it must not be what is measured
LOOKUPS = 20
ARRIVES_WITHIN_S = 15.0
SETTLED_S = 10.0  # until the mesh of GossipSub stands, and everybody knows who the others are
ROUNDS = 3
KINDS = ("digm", "js-libp2p")
PAIRS = (
    ("plain TCP", "tcp", "tcp"), ("js-libp2p", "js-libp2p", "js-libp2p"), ("digm", "digm", "digm"),
    ("js-libp2p from digm", "digm", "js-libp2p"), ("digm from js-libp2p", "js-libp2p", "digm"),
)  # fmt: skip
AIM = 2.0


@asynccontextmanager
async def peer(kind: str, logs: Path) -> AsyncIterator[NodeProcess]:
    """A node of one kind in a process of its own."""
    node = shutil.which("node") or "node"
    command = (
        [node, str(PEER_JS)] if kind == "js-libp2p" else [sys.executable, "-m", "bench.backbone_peer", kind]
    )
    async with obeying(command, logs / f"{kind}.log") as process:
        yield process


@asynccontextmanager
async def network(kind: str, count: int, logs: Path) -> AsyncIterator[Sequence[NodeProcess]]:
    """So many nodes that each called four others and have a mesh."""
    async with AsyncExitStack() as stack:
        places = asyncio.Semaphore(STARTING)

        async def start() -> NodeProcess:
            async with places:
                return await stack.enter_async_context(peer(kind, logs))

        peers = await asyncio.gather(*(start() for _ in range(count)))
        for number, one in enumerate(peers):
            for stride in {stride % count for stride in STRIDES} - {0}:
                await one.ask("connect", peers[(number + stride) % count].tcp)

        async def all_met() -> bool:
            met = await asyncio.gather(*(one.ask("neighbours") for one in peers))
            return min(met) >= min(len(STRIDES), count - 1)

        await until(all_met)
        await asyncio.sleep(SETTLED_S)
        yield peers


def cpu_s(*processes: NodeProcess) -> float:
    """Processor time of processes until now."""
    ticks = 0
    for one in processes:
        fields = Path(f"/proc/{one.process.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


async def measure_gossip(peers: Sequence[NodeProcess], messages: int) -> dict[str, Any]:
    """Announcements from everybody in turn: how many arrive at how many, and when."""
    senders: dict[int, int] = {}
    pause_s = (len(peers) - 1) / DELIVERIES_PER_S
    began_cpu = cpu_s(*peers)
    for number in range(messages):
        began = time.monotonic()
        senders[await peers[number % len(peers)].ask("shout")] = number % len(peers)
        await asyncio.sleep(max(0.0, pause_s - (time.monotonic() - began)))
    due, give_up = messages * (len(peers) - 1), time.monotonic() + ARRIVES_WITHIN_S
    while True:
        heard = await asyncio.gather(*(one.ask("heard") for one in peers))
        # Who speaks hears itself in one library and not in the other: not counted.
        late = [
            at - sequence
            for listener, entries in enumerate(heard)
            for _, sequence, at in entries
            if senders.get(sequence, listener) != listener
        ]
        if len(late) >= due or time.monotonic() > give_up:
            break
        await asyncio.sleep(0.2)
    return {
        "delivered": round(len(late) / due, 5),
        "p50_ms": round(statistics.median(late) / 1000, 2),
        "p95_ms": round(quantile(late, 0.95) / 1000, 2),
        "cpu_ms_per_delivery": round((cpu_s(*peers) - began_cpu) / due * 1000, 2),
    }


async def measure_lookups(peers: Sequence[NodeProcess]) -> dict[str, Any]:
    """One provides, another looks it up."""
    dice, took, provided = random.Random(1), [], []
    began_cpu = cpu_s(*peers)
    for number in range(LOOKUPS):
        key = hashlib.sha256(str(number).encode()).hexdigest()
        giver, asker = dice.sample(peers, 2)
        began = time.monotonic()
        await giver.ask("provide", key)
        provided.append(time.monotonic() - began)
        took.append(await asker.ask("find", key))
    found = [(first / 1000, whole / 1000) for first, whole in filter(None, took)] or [(0.0, 0.0)]
    return {
        "found": round(sum(map(bool, took)) / LOOKUPS, 3),
        "first_p50_ms": round(statistics.median(first for first, _ in found), 1),
        "p50_ms": round(statistics.median(whole for _, whole in found), 1),
        "p95_ms": round(quantile([whole for _, whole in found], 0.95), 1),
        "provide_p50_ms": round(statistics.median(provided) * 1000, 1),
        "cpu_ms_per_lookup": round((cpu_s(*peers) - began_cpu) / LOOKUPS * 1000, 1),
    }


async def measure_chunks(giver_kind: str, fetcher_kind: str, count: int, logs: Path) -> dict[str, Any]:
    """So many chunks of 512 KiB from one process to another, the best of some rounds."""
    root, hashes = "5a" * 32, [hashlib.sha256(chunk_of(number)).hexdigest() for number in range(count)]
    megabytes = count * CHUNK_BYTES / 1e6
    async with peer(giver_kind, logs) as giver, peer(fetcher_kind, logs) as fetcher:
        await giver.ask("hold", root, count)
        await fetcher.ask("connect", giver.tcp)
        rounds = []
        for _ in range(ROUNDS):
            began = cpu_s(giver), cpu_s(fetcher)
            took_us = await fetcher.ask("fetch", giver.tcp, root, hashes)
            spent = cpu_s(giver) - began[0], cpu_s(fetcher) - began[1]
            rounds.append((megabytes / (took_us / 1e6), *(seconds / megabytes * 1000 for seconds in spent)))
    best = max(rounds)
    return {
        "mb_per_s": round(best[0], 1),
        "giver_cpu_ms_per_mb": round(best[1], 2),
        "fetcher_cpu_ms_per_mb": round(best[2], 2),
    }


def beside(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Of each line what it costs us over what it costs js-libp2p; below 1 we are better."""
    ratios: dict[str, float] = {}
    by_kind = {(row["line"], row["nodes"], row["kind"]): row for row in rows}
    for (line, nodes, kind), ours in by_kind.items():
        theirs = by_kind.get((line, nodes, "js-libp2p"))
        if kind != "digm" or theirs is None:
            continue
        for figure in ("p50_ms", "p95_ms", "cpu_ms_per_delivery", "cpu_ms_per_lookup", "provide_p50_ms"):
            if ours.get(figure) and theirs.get(figure):
                ratios[f"{line}, {nodes} nodes, {figure}"] = round(ours[figure] / theirs[figure], 2)
        if "mb_per_s" in ours:
            ratios["chunks, seconds"] = round(theirs["mb_per_s"] / ours["mb_per_s"], 2)
            spent = [row["giver_cpu_ms_per_mb"] + row["fetcher_cpu_ms_per_mb"] for row in (ours, theirs)]
            ratios["chunks, CPU"] = round(spent[0] / spent[1], 2)
    return ratios


async def run(report: Report, counts: list[int], messages: int, chunks: int, megabytes: int) -> None:
    rows: list[dict[str, Any]] = []

    def row(**facts: Any) -> None:
        rows.append(facts)
        report.row(**facts)

    with tempfile.TemporaryDirectory(prefix="digm-bench-") as folder:
        logs = Path(folder)
        for name, giver, fetcher in PAIRS:
            figures = await measure_chunks(giver, fetcher, chunks, logs)
            row(line="chunks", kind=name, nodes=2, **figures)
        for count in counts:
            for kind in KINDS:
                async with network(kind, count, logs) as peers:
                    row(line="gossip", kind=kind, nodes=count, **await measure_gossip(peers, messages))
                    row(line="lookup", kind=kind, nodes=count, **await measure_lookups(peers))
            if count > KILLED:
                figures = await asyncio.to_thread(measure_replicas, count, megabytes)
                row(line="replicas", kind="digm", nodes=count, **figures)
    ratios = beside(rows)
    delivered = [entry["delivered"] for entry in rows if entry["line"] == "gossip" and entry["kind"] == "digm"]
    report.summary(
        **{"our cost over js-libp2p's": ratios},
        **{"within twice on every line": all(ratio <= AIM for ratio in ratios.values())},
        **{"every announcement arrived everywhere": all(share == 1 for share in delivered)},
    )


def main() -> None:
    options = arguments(__doc__ or "", nodes="5,30", messages=60, chunks=64, megabytes=60)
    install()
    report = Report("backbone", options.json)
    counts = [int(count) for count in options.nodes.split(",")]
    asyncio.run(run(report, counts, options.messages, options.chunks, options.megabytes))


if __name__ == "__main__":
    main()
