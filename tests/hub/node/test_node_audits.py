"""Real nodes audit each other: who deleted a part is found out, who is slow or starts again never fails."""

import signal
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from digm.ids import short, to_hex
from digm.node_ids import node_of
from hub.pinning.records import FILE_NAME
from tests.hub.node.processes import NodeProcess, nodes, origin_of_a_track, until

CHUNKS = 10  # of each of the two renditions
# Four questions a second of each auditor; what is not answered within the epoch is a time-out.
SOON = {"DIGM_AUDIT_EPOCH_SECONDS": "1"}
STOPPED_S, RUNNING_S = 2.0, 2.0
LIAR = ("-m", "tests.hub.node.liar")


def test_a_node_that_deleted_a_tenth_is_found_out_and_honest_ones_slow_or_restarted_never_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with origin_of_a_track(tmp_path, CHUNKS) as origin:
        liar = NodeProcess(tmp_path / "liar", (origin.multiaddr,), SOON, LIAR)
        slow = NodeProcess(tmp_path / "slow", (origin.multiaddr,), SOON)
        restarted = NodeProcess(tmp_path / "restarted", (origin.multiaddr,), SOON)
        with nodes(liar, slow, restarted):
            until(lambda: len(restarted.state["peers"]) == 3)
            origin.ask("order", 3, 1)
            until(lambda: all(node.share_of(origin.track_root) == 1.0 for node in (liar, slow, restarted)))
            for name in origin.hashes[3::10]:
                (liar.data / "chunks" / name[:2] / name).unlink()
            with stopped_again_and_again(slow):
                until(lambda: outcomes(slow, restarted)["pass"])
                restarted.kill()
                restarted.start()
                before = outcomes(slow, restarted)["pass"]
                until(lambda: was_failed(restarted, liar), 150)  # one in twenty takes more than 77 audits
                audits = outcomes(restarted, liar)
                until(lambda: outcomes(restarted, slow)["timed_out"])
                until(lambda: outcomes(slow, restarted)["pass"] > before)
            with capsys.disabled():
                print(f"\nfound out after {audits.total()} audits: {dict(audits)}")
            assert liar.share_of(origin.track_root) == 1.0  # by its own word
            until(lambda: liar.peer_id not in restarted.state["orders"][0]["held"])
            for judge, other in ((restarted, slow), (slow, restarted)):
                assert outcomes(judge, other)["fail"] == 0
                assert not was_failed(judge, other)


@contextmanager
def stopped_again_and_again(node: NodeProcess) -> Iterator[None]:
    """A machine that does nothing for longer than others wait for an answer, every other moment."""
    enough = threading.Event()

    def stop_and_go() -> None:
        while not enough.wait(RUNNING_S):
            node.process.send_signal(signal.SIGSTOP)
            enough.wait(STOPPED_S)
            node.process.send_signal(signal.SIGCONT)

    thread = threading.Thread(target=stop_and_go, name="stopper")
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


def outcomes(judge: NodeProcess, node: NodeProcess) -> Counter[str]:
    """What came of a node's audits of another one, as it wrote it down."""
    path = judge.data / FILE_NAME
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as records:
        rows = records.execute("SELECT outcome FROM results WHERE node = ?", (node_of(node.peer_id),))
        return Counter(row[0] for row in rows)


def was_failed(judge: NodeProcess, node: NodeProcess) -> bool:
    """Whether a node ever thought that another one has failed."""
    name = short(to_hex(node_of(node.peer_id)))
    changes = judge.events("node_health_changed")
    return any(change["node"] == name and change["now"] == "failed" for change in changes)
