"""Every line of the backbone's threats, attacked from another process: the node lives on and does not grow."""

import asyncio
import hashlib
import re
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest
import pytest_asyncio

from digm.backbone_messages import PIN
from tests.hub.backbone.attacks.attacker import ATTACKS
from tests.hub.backbone.nodes import ROOT, NodeProcess, backbone, node_process, until
from tests.hub.house import publish_track

PATIENCE_S = 60.0
LIES = hashlib.sha256(b"lies").digest()
# The allocator's own steps; what each of these attacks would cost a node without bounds is far above.
GROWTH_BYTES = 24 * 1024 * 1024


@dataclass(frozen=True)
class Attacker:
    """A running tests.hub.backbone.attacks.attacker."""

    process: asyncio.subprocess.Process

    async def attack(self, name: str) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(name.encode() + b"\n")
        async with asyncio.timeout(PATIENCE_S):
            while line := await self.process.stdout.readline():
                if line == b"done\n":
                    return
        raise AssertionError("the attacker succeeded, or gave up")

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


class Ring:
    """A node that is attacked once after the other, until an attack does harm; each time by somebody else."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self._folders = folders
        self._processes = AsyncExitStack()
        self._node: NodeProcess | None = None
        self._root = ""
        self._next: Attacker | None = None

    @asynccontextmanager
    async def round(self) -> AsyncIterator[tuple[NodeProcess, Attacker]]:
        """One attack; afterwards nobody is connected with the node."""
        if self._node is None:
            data = self._folders.mktemp("victim")
            self._root = publish_track(data).root
            self._node = await self._processes.enter_async_context(node_process(data))
        node, hostile = self._node, self._next or await self._attacker(self._node)
        self._next = await self._attacker(node)  # it takes seconds to begin; meanwhile this one attacks
        try:
            yield node, hostile
            await hostile.kill()
            await until(lambda: is_alone(node))
        except BaseException:
            await self.close()
            raise

    async def _attacker(self, node: NodeProcess) -> Attacker:
        process = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-m",
                "tests.hub.backbone.attacks.attacker",
                node.tcp,
                node.websocket,
                self._root,
            ),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        attacker = Attacker(process)
        self._processes.push_async_callback(attacker.kill)
        return attacker

    async def close(self) -> None:
        self._node = self._next = None
        await self._processes.aclose()


async def is_alone(node: NodeProcess) -> bool:
    return not (await node.ask("status"))["peers"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ring(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ring]:
    ring = Ring(tmp_path_factory)
    yield ring
    await ring.close()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", ATTACKS)
async def test_a_node_that_is_attacked_lives_on_and_answers_an_honest_peer(ring: Ring, name: str) -> None:
    async with ring.round() as (node, hostile):
        await hostile.attack(name)
        before = await node.ask("status")
        for _ in range(2):
            await hostile.attack(name)
        key, word = hashlib.sha256(name.encode()).digest(), f"honest word after {name}"
        await node.ask("provide", key.hex())  # before anybody else could keep the record
        async with backbone(node.tcp) as honest:  # a new one: the door is open, too
            await until(honest.peers)
            answer = await honest.request(node.peer_id, PIN.name, b"well?", timeout_s=20.0, most_bytes=99)
            assert answer == b"?llew"
            assert node.peer_id in {provider.peer_id for provider in await honest.find_providers(key)}
            assert await honest.find_providers(LIES) == []  # what lying_providers says of it
            await honest.publish(word.encode())

            async def is_heard() -> bool:
                return word in (await node.ask("status"))["heard"]

            await until(is_heard)
        after = await node.ask("status")
        assert node.is_alive
        assert after["restarts"] == 0
        assert not [text for text in after["heard"] if text.startswith(("forged", "lie"))]
        assert name != "replayed_gossip" or [text for text in after["heard"] if text.startswith("said once")]
        said = [text for text in after["heard"] if text.startswith("said once")]
        assert len(said) == len(set(said))
        assert after["resident_bytes"] - before["resident_bytes"] < GROWTH_BYTES


def test_there_is_an_attack_for_every_line_of_the_threats() -> None:
    lines = re.findall(
        r"^\| (\d+) \|.*\| `(\w+)` \|$", (ROOT / "docs" / "threats.md").read_text(), re.MULTILINE
    )
    assert [int(number) for number, _ in lines] == list(range(1, 25))
    assert sorted(name for _, name in lines) == sorted(ATTACKS)
