"""What a provider record costs, and with it: a record for each track, beside one for each chunk.

python -m bench.dht_records [--nodes 8] [--keys 20] [--json]

Every node is a process with the real DHT. One of them provides keys, one after the other; counted is the
processor time of that node, and that of all others together. docs/decisions/0023-what-the-dht-holds.md
"""

import asyncio
import hashlib
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.backbone import cpu_s, network
from bench.report import Report, arguments

# A track of four minutes: FLAC fills 512 KiB in 4.6 s, Opus closes a chunk at 8 s (decision 1).
CHUNKS = 240 * 900_000 // 8 // 524_288 + 240 // 8
TRACKS = 1_000
REPUBLISHED_EVERY_S = 22 * 3_600  # py-libp2p's, and IPFS's
MOST_KEYS = 200_000  # that a node keeps for others


async def measure(nodes: int, keys: int, logs: Path) -> dict[str, Any]:
    async with network("digm", nodes, logs) as peers:
        giver, others = peers[0], peers[1:]
        await giver.ask("provide", hashlib.sha256(b"the first one").hexdigest())
        began, own, theirs = time.monotonic(), cpu_s(giver), cpu_s(*others)
        for number in range(keys):
            await giver.ask("provide", hashlib.sha256(str(number).encode()).hexdigest())
        took_s = time.monotonic() - began
        idle_own, idle_theirs, idle_began = cpu_s(giver), cpu_s(*others), time.monotonic()
        await asyncio.sleep(took_s)  # as long again without records: what heartbeats and the like cost
        share = took_s / (time.monotonic() - idle_began)
        own_s = idle_own - own - (cpu_s(giver) - idle_own) * share
        theirs_s = idle_theirs - theirs - (cpu_s(*others) - idle_theirs) * share
    own_ms, theirs_ms = own_s / keys * 1_000, theirs_s / keys * 1_000
    return {
        "wall_ms": round(took_s / keys * 1_000, 1),
        "giver_cpu_ms": round(own_ms, 1),
        "takers_cpu_ms": round(theirs_ms, 1),
        "chunks_a_track": CHUNKS,
        "giver_cpu_s_for_1000_tracks": round(own_ms * TRACKS / 1_000, 1),
        "giver_cpu_s_for_their_chunks": round(own_ms * TRACKS * CHUNKS / 1_000),
        "giver_cpu_share_for_their_chunks": round(own_ms * TRACKS * CHUNKS / 1_000 / REPUBLISHED_EVERY_S, 3),
        "tracks_whose_chunks_fill_a_taker": MOST_KEYS // CHUNKS,
    }


def main() -> None:
    options = arguments(__doc__, nodes=8, keys=20)
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(options.nodes, options.keys, Path(folder)))
    Report("dht_records", options.json).summary(**figures)


if __name__ == "__main__":
    main()
