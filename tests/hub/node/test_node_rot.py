"""A chunk that rots on the disk of a running node: found by its scrubber, given to nobody, put back."""

import hashlib
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.hub.node.processes import NodeProcess, Origin, get, nodes, origin_of_a_track, until

# The scrubber reads everything once a second; nobody audits, so nobody else reads anything.
SETTINGS = {"DIGM_NODE_SCRUB_SECONDS": "1", "DIGM_AUDIT_EPOCH_SECONDS": "86400"}


def test_rot_is_found_by_the_scrubber_never_given_away_and_repaired_from_the_other_copy(tmp_path: Path) -> None:
    with origin_of_a_track(tmp_path, 2) as origin:
        node = NodeProcess(tmp_path / "node", (origin.multiaddr,), SETTINGS)
        with nodes(node):
            until(lambda: node.state["peers"])
            origin.ask("order", 1, 1)
            until(lambda: node.share_of(origin.track_root) == 1.0)
            name = origin.hashes[1]
            path = node.data / "chunks" / name[:2] / name
            with stopped(origin):
                rot(path)
                until(lambda: scrubbed(node, "chunk_damaged") == 1)
                assert node.state["traffic"]["given_bytes"]["http"] == 0  # no reader was there before it
                assert get(f"{node.gateway}/{name}")[0] == 404
                assert not path.exists()
                until(lambda: node.share_of(origin.track_root) == 0.75)
            until(lambda: node.share_of(origin.track_root) == 1.0)
            assert hashlib.sha256(path.read_bytes()).hexdigest() == name
            status, body = get(f"{node.gateway}/{name}")
            assert (status, hashlib.sha256(body).hexdigest()) == (200, name)
            assert origin.ask("fetch", node.peer_id, 0, 1) == name
            assert (node.state["lost"], scrubbed(node, "chunk_damaged")) == (0, 1)


@contextmanager
def stopped(origin: Origin) -> Iterator[None]:
    """The other copy cannot be reached meanwhile."""
    origin.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        origin.process.send_signal(signal.SIGCONT)


def rot(path: Path) -> None:
    """Flip a bit where it lies."""
    with path.open("r+b") as file:
        file.seek(20_000)
        [byte] = file.read(1)
        file.seek(20_000)
        file.write(bytes([byte ^ 8]))


def scrubbed(node: NodeProcess, result: str) -> int:
    """How many chunks the scrubber found so."""
    text = get(node.health + "/metrics")[1].decode()
    found = re.search(rf'^digm_scrubbed_chunks_total{{result="{result}"}} (\S+)$', text, re.M)
    return int(float(found[1])) if found else 0
