"""js-libp2p's QUIC (quinn, by @chainsafe/libp2p-quic) and ours meet: requests and chunks, both ways."""

import hashlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.hub.backbone.nodes import NodeProcess, backbone, node_process, obeying, until
from tests.hub.house import Published, publish_track
from tests.stranger.strangers import FOLDER, install

pytestmark = pytest.mark.asyncio(loop_scope="module")
QUIC = "/ip4/127.0.0.1/udp/0/quic-v1"


@pytest.fixture(scope="module")
def track(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Published]:
    data = tmp_path_factory.mktemp("holder")
    return data, publish_track(data)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def holder(track: tuple[Path, Published]) -> AsyncIterator[NodeProcess]:
    async with node_process(track[0], f"--listen={QUIC}") as node:
        yield node


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stranger(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NodeProcess]:
    install()
    node = shutil.which("node")
    assert node, "Node.js is needed: make test installs it"
    command = [node, str(FOLDER / "quic.mjs")]
    async with obeying(command, tmp_path_factory.mktemp("stranger") / "stranger.log") as process:
        yield process


async def test_a_stranger_calls_a_node_over_quic_and_is_answered(
    holder: NodeProcess, stranger: NodeProcess
) -> None:
    assert await stranger.ask("meet", holder.multiaddrs[0], "hello") == "olleh"
    assert all("quic-v1" in address for address in await stranger.ask("transports"))
    assert stranger.peer_id in (await holder.ask("status"))["peers"]


async def test_a_stranger_has_a_nodes_chunks_over_quic(
    holder: NodeProcess, stranger: NodeProcess, track: tuple[Path, Published]
) -> None:
    rendition = track[1].manifest.renditions[0]
    wanted = [
        {"rendition": 0, "chunk": number, "size": rendition.chunk_bytes(number), "hash": name.hex()}
        for number, name in enumerate(rendition.chunk_hashes)
    ]
    assert await stranger.ask("fetch", holder.multiaddrs[0], track[1].root, wanted) == len(wanted)


async def test_a_node_calls_a_stranger_over_quic_and_has_its_chunks(stranger: NodeProcess) -> None:
    root = hashlib.sha256(b"theirs").digest()
    hashes = await stranger.ask("hold", root.hex(), 4)
    async with backbone(stranger.multiaddrs[0], listen=(QUIC,)) as node:
        await until(node.peers)
        for number, name in enumerate(hashes):
            chunk = await node.fetch_chunk(stranger.peer_id, root, 0, number, 524_288)
            assert hashlib.sha256(chunk).hexdigest() == name
