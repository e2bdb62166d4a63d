"""`digm node` as a process beside a stack, and one that has no voice: it never speaks on the topic.

python -m tests.browser.elder_node     # the silent one; configured as `digm node` is
"""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from tests.browser.stack import READY_TIMEOUT_S, STOP_TIMEOUT_S

UP = re.compile(
    r"^Node (?P<peer>\S+) is up: (?P<addresses>[^;]+); gateway (?P<gateway>\S+); health (?P<health>\S+)$", re.M
)


class ElderNode:
    """A running node.

    Attributes:
        multiaddrs: where others dial it.
    """

    def __init__(self, data: Path, *bootstrap: str, is_silent: bool = False, **settings: str) -> None:
        data.mkdir(parents=True, exist_ok=True)
        self._output = data / "output"
        command = ["tests.browser.elder_node"] if is_silent else ["hub.cli", "node"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DIGM_")}
        environment |= {
            "DIGM_DATA": str(data), "DIGM_BACKBONE_BOOTSTRAP": ",".join(bootstrap),
            "DIGM_NODE_SETTLE_SECONDS": "0.5", "DIGM_NODE_PRESENCE_SECONDS": "6", **settings,
        }  # fmt: skip
        with self._output.open("ab") as output, (data / "node.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command], env=environment, stdout=output, stderr=log
            )
        self._read_line(data)

    def _read_line(self, data: Path) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not (said := UP.search(self._output.read_text())):
            log = (data / "node.log").read_text()[-3000:]
            assert self._process.poll() is None, log
            assert time.monotonic() < deadline, log
            time.sleep(0.1)
        self.peer_id, self.gateway, self.health = said["peer"], said["gateway"], said["health"]
        self.multiaddrs = [f"{one}/p2p/{self.peer_id}" for one in said["addresses"].split()]

    @property
    def sent_bytes(self) -> float:
        """What its gateway gave."""
        with urllib.request.urlopen(self.gateway + "/metrics", timeout=5) as answer:
            text = answer.read().decode()
        found = re.search(r"^digm_gateway_bytes_total (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main() -> None:
    from hub.backbone.backbone import Backbone
    from hub.cli.node import node

    async def say_nothing(_backbone: Backbone, _topic_payload: bytes) -> None:
        await asyncio.sleep(0)

    Backbone.publish = say_nothing  # type: ignore[method-assign]
    node()


if __name__ == "__main__":
    main()
