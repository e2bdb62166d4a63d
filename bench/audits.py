"""What audits take: how many a node can answer in a second, and what an epoch costs a network.

    python -m bench.audits [--json] [--seconds 2]

Off chain an answer is SHA-256(nonce || 64 KiB) of a chunk that was read and hashed just now; on chain it is a
leaf with two Merkle paths. Beside them stands what no answer can do without: reading the chunk and hashing it
once. An epoch: what one node computes to know whom it audits, and what all proofs together cost.
"""

import hashlib
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.economics_model import CALLS, GWEI, L1, L2
from bench.report import Report, arguments
from digm.audits import (
    AUDITORS_PER_NODE,
    CHALLENGES_PER_EPOCH,
    ChunkPlace,
    audit_targets,
    draw_challenge,
)
from digm.ids import to_hex
from digm.merkle import audit_leaves, chunk_audit_root, inclusion_proof
from hub.storage.chunk_store import ChunkStore

CHUNK_BYTES = 512 * 1024
CHUNKS = 128  # a track of 64 MiB
TRACKS_PER_NODE, REPLICAS = 100, 7


def per_second(act: Callable[[], object], seconds: float) -> float:
    """How often a second of one core's own time it can be done: others on this machine do not count."""
    act()
    count, began = 0, time.process_time()
    while time.process_time() < began + seconds:
        act()
        count += 1
    return count / (time.process_time() - began)


def answers(report: Report, seconds: float) -> None:
    """One node, one core, chunks that the kernel has in memory."""
    rng = random.Random(1)
    with tempfile.TemporaryDirectory(prefix="digm-audits-") as folder:
        store = ChunkStore(Path(folder))
        chunks = [rng.randbytes(CHUNK_BYTES) for _ in range(8)]
        names = [hashlib.sha256(chunk).digest() for chunk in chunks]
        for chunk in chunks:
            store.put(chunk)
        places = [ChunkPlace(name, CHUNK_BYTES) for name in names]
        roots = [rng.randbytes(32) for _ in range(CHUNKS)]

        def read() -> bytes:
            return store.path(to_hex(rng.choice(names))).read_bytes()

        def off_chain() -> bytes:
            challenge = draw_challenge(bytes(32), bytes(32), places, rng.randbytes(32), 15)
            return challenge.proof(store.read_verified(to_hex(challenge.chunk_hash)))

        def on_chain() -> tuple[list[bytes], list[bytes]]:
            """The roots of the other chunks are kept."""
            leaves = audit_leaves(store.read_verified(to_hex(rng.choice(names))))
            place = rng.randrange(CHUNKS)
            return inclusion_proof(leaves, rng.randrange(len(leaves))), inclusion_proof(roots, place)

        raw = per_second(lambda: hashlib.sha256(read()).digest(), seconds)
        report.row(what="read and hash a chunk", per_second=round(raw))
        for what, act in (("answer off chain", off_chain), ("proof on chain", on_chain)):
            rate = per_second(act, seconds)
            report.row(what=what, per_second=round(rate), of_raw=round(rate / raw, 3))
        whole = per_second(lambda: chunk_audit_root(chunks[0]), seconds)
        report.row(what="roots of a track, where they are not kept", seconds_a_track=round(CHUNKS / whole, 2))


def epoch(report: Report, nodes: int) -> None:
    """Nodes that keep a hundred tracks each, seven copies of each."""
    rng = random.Random(nodes)
    names = [rng.randbytes(32) for _ in range(nodes)]
    claims: dict[bytes, list[bytes]] = {name: [] for name in names}
    for _ in range(nodes * TRACKS_PER_NODE // REPLICAS):
        root = rng.randbytes(32)
        for name in rng.sample(names, min(REPLICAS, nodes)):
            claims[name].append(root)
    began = time.process_time()
    targets = audit_targets(names[0], 1, claims)
    planned_s = time.process_time() - began
    gas = nodes * CALLS["audit proof"].gas + CALLS["seal"].gas
    report.row(
        nodes=nodes,
        plan_ms=round(planned_s * 1000, 1),
        audits_by_one_node=len(targets) * CHALLENGES_PER_EPOCH,
        audits_off_chain=nodes * AUDITORS_PER_NODE * CHALLENGES_PER_EPOCH,
        gas_on_chain=gas,
        l1_usd=round(gas * L1.gwei * GWEI * L1.eth_usd, 2),
        l2_usd=round(L2.usd(CALLS["audit proof"], nodes) + L2.usd(CALLS["seal"]), 4),
    )


def main() -> None:
    options = arguments(__doc__.partition("\n")[0] if __doc__ else "", seconds=2.0)
    report = Report("audits", options.json)
    answers(report, options.seconds)
    for nodes in (10, 100, 1_000):
        epoch(report, nodes)
    report.summary(chunk_bytes=CHUNK_BYTES, tracks_per_node=TRACKS_PER_NODE)


if __name__ == "__main__":
    main()
