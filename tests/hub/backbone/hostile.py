"""An attacker in a process of its own: it attacks each time it is told to, and says when it is through."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.hub.backbone.nodes import ROOT

PATIENCE_S = 60.0
# What a node may grow by: steps of the allocator; what each attack would cost it without bounds is far above.
GROWTH_BYTES = 24 * 1024 * 1024


@asynccontextmanager
async def attacker(*command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A module and its arguments."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *command),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def attack(process: asyncio.subprocess.Process) -> None:
    """Let it attack once, to the end."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(b"go\n")
    async with asyncio.timeout(PATIENCE_S):
        while line := await process.stdout.readline():
            if line == b"done\n":
                return
    raise AssertionError("the attacker succeeded, or gave up")
