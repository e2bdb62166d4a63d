"""Real nodes for tests: one in a process of its own, one here."""

import asyncio
import json
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub.backbone.backbone import Backbone
from hub.backbone.identity import NodeIdentity
from hub.backbone.settings import BackboneSettings
from tests.conftest import sweep

ROOT = Path(__file__).parents[3]
PATIENCE_S = 30.0


@dataclass
class NodeProcess:
    """A node in a process of its own."""

    process: asyncio.subprocess.Process
    peer_id: str
    multiaddrs: list[str]

    async def ask(self, *command: str | int) -> Any:
        """Give it a command; returns its result."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        answer = await _line(self.process)
        assert "error" not in answer, answer
        return answer["result"]

    @property
    def is_alive(self) -> bool:
        return self.process.returncode is None

    @property
    def tcp(self) -> str:
        return self.multiaddrs[0]

    @property
    def websocket(self) -> str:
        return self.multiaddrs[1]


async def _line(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        line = await process.stdout.readline()
    assert line, "the node ended"
    message: dict[str, Any] = json.loads(line)
    return message


@asynccontextmanager
async def node_process(data: Path, *bootstrap: str) -> AsyncIterator[NodeProcess]:
    """A node in a process of its own; its log goes to DATA/node.log."""
    data.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "tests.hub.backbone.node_process", str(data), *bootstrap]
    async with obeying(command, data / "node.log") as node:
        yield node


@asynccontextmanager
async def obeying(command: Sequence[str], log_file: Path) -> AsyncIterator[NodeProcess]:
    """A program that says who it is and obeys lines of JSON, as tests.hub.backbone.node_process does."""
    with log_file.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            limit=1 << 20,
        )
    try:
        hello = await _line(process)
        yield NodeProcess(process, hello["peer_id"], hello["multiaddrs"])
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def backbone(
    *bootstrap: str, before: Callable[[Backbone], object] = lambda _: None, **settings: Any
) -> AsyncIterator[Backbone]:
    """A node here, whose gossip is all valid unless `before` says otherwise."""
    node = Backbone(NodeIdentity(secrets.token_bytes(32)), BackboneSettings(bootstrap=bootstrap, **settings))
    node.on_gossip = lambda _author, _payload: True
    before(node)
    await node.start()
    try:
        yield node
    finally:
        await node.stop()
        sweep()


async def until(is_so: Callable[[], Any]) -> None:
    """Wait for a condition, asked again and again; awaits it when it is a coroutine."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            answer = is_so()
            if asyncio.iscoroutine(answer):
                answer = await answer
            if answer:
                return
            await asyncio.sleep(0.05)
