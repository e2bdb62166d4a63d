"""The stranger in a network as it is run: `digm hub`, `digm node`, an order, and a program of somebody else."""

import asyncio
import json
from pathlib import Path

from bench.stack import digm
from hub.backbone.identity import NodeIdentity
from tests.hub.backbone.nodes import until
from tests.hub.house import publish_track
from tests.hub.node.processes import NodeProcess, get, hub_process, nodes
from tests.ports import free_ports
from tests.stranger.strangers import install, stranger


async def test_a_stranger_fetches_from_a_node_and_is_a_source_at_the_hub(tmp_path: Path) -> None:
    install()
    data, port = tmp_path / "hub", free_ports(8)[0]
    track = publish_track(data, chunk_count=9)
    listen = f"/ip4/127.0.0.1/tcp/{port + 6}"
    known = f"{listen}/p2p/{NodeIdentity.load(data).peer_id}"
    node = NodeProcess(tmp_path / "node", (known,))
    with hub_process(data, port, DIGM_BACKBONE_LISTEN=listen) as url, nodes(node):
        async with stranger(tmp_path / "stranger", node.multiaddrs[1]) as guest:

            async def has_met() -> bool:
                return node.peer_id in await guest.ask("listening")

            await until(has_met)
            order = digm(data, "pin", track.root, "--replicas", "1", "--hub", url)
            assert await asyncio.to_thread(order.wait) == 0
            order.communicate()
            await until(lambda: node.share_of(track.root) == 1)
            assert await guest.ask("chunk", node.peer_id, track.root, 1, 8) == track.chunk(1, 8)

            async def has_heard() -> bool:
                said = await guest.ask("said")
                return (node.peer_id, track.root) in {(one["author"], one["track_root"]) for one in said}

            await until(has_heard)
            await guest.ask("keep", node.peer_id, track.root)

            async def is_named() -> bool:
                await guest.ask("announce", track.root)
                _, body = await asyncio.to_thread(get, f"{url}/api/tracks/{track.root}/sources")
                return guest.peer_id in [source["peer_id"] for source in json.loads(body)["nodes"]]

            await until(is_named)
