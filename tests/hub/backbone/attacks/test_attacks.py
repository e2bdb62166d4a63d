"""Every line of the backbone's threats, attacked from another process: the node lives on and does not grow."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from digm.backbone_messages import PIN
from tests.hub.backbone.attacks.attacker import ATTACKS
from tests.hub.backbone.hostile import GROWTH_BYTES, attack, attacker
from tests.hub.backbone.nodes import ROOT, backbone, node_process, until
from tests.hub.house import publish_track

MODULE = "tests.hub.backbone.attacks.attacker"
AT_ONCE = 3  # they mostly wait: one after the other takes three times as long
KEY, LIES = hashlib.sha256(b"a track").digest(), hashlib.sha256(b"lies").digest()


Attacked = dict[str, asyncio.Task[None]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def attacked(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Attacked]:
    """Each attack whose test is to run, by its name: begun in the order of the tests, a few at a time."""
    places = asyncio.Semaphore(AT_ONCE)

    async def in_turn(name: str) -> None:
        async with places:
            await withstand(name, tmp_path_factory.mktemp(name))

    tests = [item for item in request.session.items if item.path == request.path]
    names = [test.callspec.params["name"] for test in tests if hasattr(test, "callspec")]
    attacks = {name: asyncio.create_task(in_turn(name), name=name) for name in names}
    yield attacks
    for each in attacks.values():
        each.cancel()
    await asyncio.gather(*attacks.values(), return_exceptions=True)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", ATTACKS)
async def test_a_node_that_is_attacked_lives_on_and_answers_an_honest_peer(
    attacked: Attacked, name: str
) -> None:
    await attacked[name]


async def withstand(name: str, data: Path) -> None:
    """A node of its own is attacked, three times, and asked by an honest peer how it is."""
    root = publish_track(data).root
    async with (
        node_process(data) as node,
        attacker(MODULE, name, node.tcp, node.websocket, root) as hostile,
    ):
        await attack(hostile)
        before = await node.ask("status")
        for _ in range(2):
            await attack(hostile)
        await node.ask("provide", KEY.hex())  # before anybody else could keep the record
        async with backbone(node.tcp) as honest:  # a new one: the door is open, too
            await until(honest.peers)
            answer = await honest.request(node.peer_id, PIN.name, b"well?", timeout_s=20.0, most_bytes=99)
            assert answer == b"?llew"
            assert node.peer_id in {provider.peer_id for provider in await honest.find_providers(KEY)}
            assert await honest.find_providers(LIES) == []  # what lying_providers says of it
            await honest.publish(b"honest word")

            async def is_heard() -> bool:
                return "honest word" in (await node.ask("status"))["heard"]

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
    assert [int(number) for number, _ in lines] == list(range(1, 26))
    assert sorted(name for _, name in lines) == sorted(ATTACKS)
