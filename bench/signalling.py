"""Signalling: sockets, relayed messages, latency, memory, beside the servers of bittorrent-tracker and PeerJS.

    python -m bench.signalling [--json] [--sockets 1000,10000] [--seconds 8] [--servers digm,peerjs]

Every server gets the same load from the same generator, one after the other, on one machine: descriptions of
one size, each for one other client; then whole negotiations, a description with its four trickled candidates.
Per core means per second of processor time that the server's process used, so the rest of the machine matters
less; latency and rates by the clock depend on it, and on the generator, which needs about as much time as the
fastest server.

The aim: twice both others per core, p99 below 20 ms at 5,000 messages/s on 10,000 sockets, 14 KB a socket.
"""

import asyncio
import gc
import resource
import statistics
import time
from typing import Any

import uvloop

from bench.report import Report, arguments, quantile
from bench.signal_load import Load
from bench.signal_servers import Server, started

SERVERS = "digm,bittorrent-tracker,peerjs"
STEADY_PER_S = 5_000
AIM_RATIO, AIM_P99_MS, AIM_SOCKET_BYTES = 2.0, 20.0, 14 * 1024
SETTLE_S = 2.0


async def measure(server: Server, sockets: int, seconds: float) -> dict[str, Any]:
    """All figures of one server with so many sockets."""
    load = Load(server, sockets)
    await _answering(server)
    before_bytes, began, began_cpu = server.resident_bytes, time.perf_counter(), server.cpu_s
    await load.connect()
    opened_s, opened_cpu = time.perf_counter() - began, server.cpu_s - began_cpu
    gc.collect()
    gc.freeze()
    await asyncio.sleep(SETTLE_S)
    socket_bytes = (server.resident_bytes - before_bytes) / sockets
    began_cpu = server.cpu_s
    latencies = await load.steady(STEADY_PER_S, seconds)
    steady_cpu = server.cpu_s - began_cpu
    began_cpu = server.cpu_s
    relayed, took_s = await load.flood(seconds, with_candidates=False)
    flood_cpu = server.cpu_s - began_cpu
    began_cpu = server.cpu_s
    trickled, _ = await load.flood(seconds, with_candidates=True)
    trickle_cpu = server.cpu_s - began_cpu
    if load.lost:
        raise SystemExit(f"{server.name} closed {load.lost} sockets")
    after_bytes = (server.resident_bytes - before_bytes) / sockets
    load.close()
    return {
        "server": server.name, "version": server.version, "sockets": sockets,
        "relayed_per_s": round(relayed / took_s), "relayed_per_cpu_s": round(relayed / flood_cpu),
        "us_per_relay": round(flood_cpu / relayed * 1e6, 1),
        "negotiating_per_cpu_s": round(trickled / trickle_cpu),
        "p50_ms": round(statistics.median(latencies) * 1000, 2),
        "p99_ms": round(quantile(latencies, 0.99) * 1000, 2),
        "generator_late_p99_ms": round(quantile(load.late_s, 0.99) * 1000, 2),
        "steady_per_cpu_s": round(len(latencies) / steady_cpu), "steady_cores": round(steady_cpu / seconds, 3),
        "socket_bytes": round(socket_bytes), "socket_bytes_after_load": round(after_bytes),
        "opened_per_s": round(sockets / opened_s), "opened_per_cpu_s": round(sockets / max(opened_cpu, 0.01)),
    }  # fmt: skip


async def _answering(server: Server) -> None:
    """Until the port is open, and the process has settled."""
    for _ in range(600):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        writer.close()
        await asyncio.sleep(0.5)
        return
    raise SystemExit(f"{server.name} does not listen")


def ratios(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """DIGM's figures over the others' in the same run; above 1 is better for DIGM."""
    ours = {row["sockets"]: row for row in rows if row["server"] == "digm"}
    found: dict[str, Any] = {}
    for row in rows:
        own = ours.get(row["sockets"])
        if own is None or row is own:
            continue
        name = f"{row['server']} at {row['sockets']}"
        found[f"per core beside {name}"] = round(own["relayed_per_cpu_s"] / row["relayed_per_cpu_s"], 2)
        found[f"per core, negotiations, beside {name}"] = round(
            own["negotiating_per_cpu_s"] / row["negotiating_per_cpu_s"], 2
        )
        found[f"per core at {STEADY_PER_S}/s beside {name}"] = round(
            own["steady_per_cpu_s"] / row["steady_per_cpu_s"], 2
        )
        found[f"memory beside {name}"] = round(row["socket_bytes"] / own["socket_bytes"], 2)
    return found


def aims(rows: list[dict[str, Any]]) -> dict[str, bool]:
    """Whether the aims are met."""
    ours = [row for row in rows if row["server"] == "digm"]
    most = max(ours, key=lambda row: row["sockets"], default=None)
    if most is None:
        return {}
    beside = [
        own["relayed_per_cpu_s"] / row["relayed_per_cpu_s"]
        for own in ours
        for row in rows
        if row["server"] != "digm" and row["sockets"] == own["sockets"]
    ]
    return {
        "at least 2x per core": bool(beside) and min(beside) >= AIM_RATIO,
        f"p99 below {AIM_P99_MS:g} ms at {most['sockets']} sockets": most["p99_ms"] < AIM_P99_MS,
        "at most 14 KB a socket": all(row["socket_bytes"] <= AIM_SOCKET_BYTES for row in ours),
    }


def main() -> None:
    """Measure every server with every number of sockets."""
    options = arguments(__doc__ or "", sockets="1000,10000", seconds=8.0, servers=SERVERS)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    report = Report("signalling", options.json)
    rows = []
    for sockets in map(int, options.sockets.split(",")):
        for name in options.servers.split(","):
            with started(name, sockets) as server:
                row = uvloop.run(measure(server, sockets, options.seconds))
            report.row(**row)
            rows.append(row)
            gc.unfreeze()
            gc.collect()
    report.summary(**ratios(rows), aims=aims(rows))


if __name__ == "__main__":
    main()
