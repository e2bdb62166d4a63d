"""Every line of the threats over QUIC, attacked from another process: the node lives on and does not grow."""

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from digm.backbone_messages import PIN
from tests.hub.backbone.hostile import GROWTH_BYTES, attack, attacker
from tests.hub.backbone.nodes import ROOT, NodeProcess, backbone, node_process, until
from tests.hub.backbone.quic.attacker import ATTACKS
from tests.hub.house import publish_track

LISTEN = "/ip4/127.0.0.1/udp/0/quic-v1"
MODULE = "tests.hub.backbone.quic.attacker"
FLOODED_BYTES = 8 * 1024 * 1024  # 2 with the bounds, 26 without


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def victim(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[NodeProcess, str]]:
    """A node that holds a track; all attacks are on the same one."""
    data = tmp_path_factory.mktemp("victim")
    root = publish_track(data).root
    async with node_process(data, f"--listen={LISTEN}") as node:
        yield node, root


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", ATTACKS)
async def test_a_node_attacked_over_quic_lives_on_and_answers_an_honest_peer(
    victim: tuple[NodeProcess, str], name: str
) -> None:
    node, root = victim
    async with attacker(MODULE, name, node.multiaddrs[0], root) as process:
        first = await node.ask("status")
        await attack(process)
        before = await node.ask("status")
        await attack(process)
        async with backbone(node.multiaddrs[0], listen=(LISTEN,)) as honest:  # the attacker still holds on
            await until(honest.peers)
            answer = await honest.request(node.peer_id, PIN.name, b"well?", timeout_s=20.0, most_bytes=99)
            assert answer == b"?llew"
        after = await node.ask("status")
        assert node.is_alive
        assert after["restarts"] == 0
        assert after["resident_bytes"] - before["resident_bytes"] < GROWTH_BYTES
        if name == "forged_initials":
            assert after["resident_bytes"] - first["resident_bytes"] < FLOODED_BYTES


def test_there_is_an_attack_for_every_line_of_the_threats_over_quic() -> None:
    text = (ROOT / "docs" / "threats.md").read_text()
    names = re.findall(r"^\| Q\d+ \|.*\| `(\w+)` \|$", text, re.MULTILINE)
    assert sorted(names) == sorted(ATTACKS)
