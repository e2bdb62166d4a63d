"""How soon an ordered track has its copies, and has them again: real `digm hub`, `digm node` and `digm pin`.

The nodes wait less than they do by default: the figure is about the work and not about patience. A node counts
as lost `presence_s` after its last word, and is replaced `loss_s` later.
"""

import random
import tempfile
import time
import wave
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.stack import digm, free_ports, publish
from hub.backbone.identity import NodeIdentity
from tests.hub.node.processes import QUICK, NodeProcess, hub_process, nodes

RATE, FRAME_BYTES = 44_100, 4
MOST_REPLICAS, KILLED = 7, 2
PATIENCE_S = 180.0
LOOKED_EVERY_S = 0.2
STARTING = 4  # at once
LOSS_S = int(QUICK["DIGM_NODE_LOSS_SECONDS"])
PRESENCE_S_A_NODE = 2  # each says three times in that time that it is there, to all, on one machine


def measure_replicas(count: int, megabytes: int) -> dict[str, Any]:
    """Order copies of a track of so many MB on all nodes but two, kill two that hold it, and wait again."""
    replicas = min(MOST_REPLICAS, count - KILLED)
    presence_s = max(int(QUICK["DIGM_NODE_PRESENCE_SECONDS"]), PRESENCE_S_A_NODE * count)
    with tempfile.TemporaryDirectory(prefix="digm-bench-") as folder:
        data, port = Path(folder) / "hub", free_ports(8)
        (root,) = publish(data, _noise(Path(folder) / "noise.wav", megabytes))
        listen = f"/ip4/127.0.0.1/tcp/{port + 6}"
        known = f"{listen}/p2p/{NodeIdentity.load(data).peer_id}"
        made = [
            NodeProcess(
                Path(folder) / f"node-{number}",
                (known,),
                {
                    "DIGM_OPERATOR": f"operator {number}",
                    "DIGM_NETWORK": f"AS {64_496 + number}",
                    "DIGM_NODE_PRESENCE_SECONDS": str(presence_s),
                },
            )
            for number in range(count)
        ]
        with hub_process(data, port, DIGM_BACKBONE_LISTEN=listen) as url, ExitStack() as stack:
            for first in range(0, count, STARTING):
                stack.enter_context(nodes(*made[first : first + STARTING]))
            _until(lambda: all(_knows(node, count) for node in made))
            first_s = _seconds_until(
                lambda: _holding(made, root) >= replicas, lambda: _order(data, root, replicas, url)
            )
            holders = [node for node in made if node.share_of(root) == 1]
            for node in holders[:KILLED]:
                node.kill()
            left = [node for node in made if node not in holders[:KILLED]]
            again_s = _seconds_until(lambda: _holding(left, root) >= replicas)
    return {
        "replicas": replicas, "megabytes": megabytes, "seconds": round(first_s, 1),
        "mb_per_s": round(replicas * megabytes / first_s, 1), "repaired_after_s": round(again_s, 1),
        "presence_s": presence_s, "loss_s": LOSS_S,
    }  # fmt: skip


def _order(data: Path, root: str, replicas: int, url: str) -> None:
    process = digm(data, "pin", root, "--replicas", str(replicas), "--hub", url)
    said, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"the order was not taken: {said}")


def _knows(node: NodeProcess, count: int) -> bool:
    """Whether it heard of all other nodes, as placement needs."""
    return sum(peer["operator"] is not None for peer in node.state["peers"]) >= count - 1


def _holding(some: list[NodeProcess], root: str) -> int:
    return sum(node.share_of(root) == 1 for node in some)


def _seconds_until(is_so: Callable[[], bool], begin: Callable[[], None] = lambda: None) -> float:
    began = time.monotonic()
    begin()
    _until(is_so)
    return time.monotonic() - began


def _until(is_so: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not is_so():
        if time.monotonic() > give_up:
            raise SystemExit(f"It did not come to it within {PATIENCE_S:g} s.")
        time.sleep(LOOKED_EVERY_S)


def _noise(path: Path, megabytes: int) -> Path:
    """White noise: what FLAC cannot make smaller."""
    frames = megabytes * 1_000_000 // FRAME_BYTES
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, RATE, frames, "NONE", ""))
        file.writeframes(random.Random(1).randbytes(frames * FRAME_BYTES))
    return path
