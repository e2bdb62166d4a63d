"""Nodes that speak QUIC: they meet, ask, gossip and give chunks over it, and prefer TCP where there is both."""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from digm.backbone_messages import PIN
from digm.errors import Unavailable
from digm.node_ids import peer_id
from hub.backbone.backbone import Backbone
from hub.backbone.identity import NodeIdentity
from hub.backbone.model import PeerAddress
from hub.backbone.quic.connection import QuicMuxer
from hub.backbone.settings import BackboneSettings
from tests.hub.backbone.nodes import NodeProcess, backbone, node_process, until
from tests.hub.house import Published, publish_track

pytestmark = pytest.mark.asyncio(loop_scope="module")
QUIC = "/ip4/127.0.0.1/udp/0/quic-v1"
TCP = "/ip4/127.0.0.1/tcp/0"


@pytest.fixture(scope="module")
def track(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Published]:
    """A data folder with a track in it."""
    data = tmp_path_factory.mktemp("holder")
    return data, publish_track(data)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def other(track: tuple[Path, Published]) -> AsyncIterator[NodeProcess]:
    """A node that holds a track and listens on QUIC alone."""
    async with node_process(track[0], f"--listen={QUIC}") as node:
        yield node


async def ask(node: Backbone, peer: str, request: bytes) -> bytes:
    return await node.request(peer, PIN.name, request, timeout_s=10.0, most_bytes=1_024)


async def test_nodes_meet_ask_and_gossip_over_quic(other: NodeProcess) -> None:
    assert other.multiaddrs[0].split("/")[5] == "quic-v1"
    async with backbone(other.multiaddrs[0], listen=(QUIC,)) as node:
        await until(lambda: [peer for peer in node.peers() if peer.latency_ms])
        assert [peer.peer_id for peer in node.peers()] == [other.peer_id]
        assert await ask(node, other.peer_id, b"hello") == b"olleh"
        with pytest.raises(Unavailable) as failed:
            await ask(node, other.peer_id, b"fail")
        assert failed.value.data["reason"] == "internal_error"
        await node.publish(b"over quic")

        async def is_heard() -> bool:
            return "over quic" in (await other.ask("status"))["heard"]

        await until(is_heard)


async def test_chunks_come_over_quic_byte_for_byte(other: NodeProcess, track: tuple[Path, Published]) -> None:
    manifest = track[1].manifest
    async with backbone(other.multiaddrs[0], listen=(QUIC,)) as node:
        await until(node.peers)
        for rendition in manifest.renditions:
            chunks = await asyncio.gather(
                *(
                    node.fetch_chunk(
                        other.peer_id, manifest.track_root, rendition.id, number, rendition.chunk_bytes(number)
                    )
                    for number in range(len(rendition.chunk_hashes))
                )
            )
            assert [hashlib.sha256(chunk).digest() for chunk in chunks] == list(rendition.chunk_hashes)


async def test_more_streams_than_a_peer_may_open_at_once_are_served_one_after_the_other(
    other: NodeProcess,
) -> None:
    async with backbone(other.multiaddrs[0], listen=(QUIC,)) as node:
        await until(node.peers)
        answers = await asyncio.gather(
            *(retried(node, other.peer_id, str(number).encode()) for number in range(150))
        )
        assert answers == [str(number).encode()[::-1] for number in range(150)]


async def retried(node: Backbone, peer: str, request: bytes) -> bytes:
    """PIN serves so many at once and resets the others, on any transport."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await ask(node, peer, request)
            except Unavailable as error:
                assert error.code in ("stream_ended", "peer_unreachable")


async def test_who_calls_a_node_by_anothers_name_does_not_reach_it(other: NodeProcess) -> None:
    somebody_else = peer_id(secrets.token_bytes(32))
    async with backbone(listen=(QUIC,)) as node:
        with pytest.raises(Unavailable):
            await node.connect(other.multiaddrs[0].replace(other.peer_id, somebody_else))
        assert node.peers() == []
        assert await node.connect(other.multiaddrs[0]) == other.peer_id


async def test_streams_go_over_tcp_where_there_is_both() -> None:
    async with backbone(listen=(TCP, QUIC), before=answering) as one, backbone(listen=(TCP, QUIC)) as node:
        addresses = tuple(address.split("/p2p/")[0] for address in one.multiaddrs)
        await node.introduce(PeerAddress(one.peer_id, addresses))
        assert await ask(node, one.peer_id, b"hello") == b"hello"
        host: Any = node._host
        connections = host.network.get_connections()
        assert sorted(isinstance(one.muxed_conn, QuicMuxer) for one in connections) == [False, True]
        assert not isinstance(host.network._best_connection(connections).muxed_conn, QuicMuxer)


def answering(node: Backbone) -> None:
    async def echo(_peer: str, request: bytes) -> bytes:
        return request

    node.serve(PIN.name, echo, most_bytes=PIN.most_request_bytes, timeout_s=5.0, parallel=8)


async def test_a_node_that_stops_is_missed_at_once_and_found_again_at_the_same_port(tmp_path: Path) -> None:
    identity = NodeIdentity(secrets.token_bytes(32))
    first = Backbone(identity, BackboneSettings(listen=(QUIC,)))
    await first.start()
    address = first.multiaddrs[0]
    async with backbone(address, listen=(QUIC,), bootstrap_every_s=0.2) as node:
        await until(node.peers)
        await first.stop()
        await until(lambda: not node.peers())  # it said good-bye
        again = Backbone(identity, BackboneSettings(listen=(address.split("/p2p/")[0],)))
        await again.start()
        try:
            await until(node.peers)
        finally:
            await again.stop()


async def test_a_port_that_is_taken_is_named() -> None:
    async with backbone(listen=(QUIC,)) as one:
        other = Backbone(
            NodeIdentity(secrets.token_bytes(32)),
            BackboneSettings(listen=(one.multiaddrs[0].split("/p2p/")[0],)),
        )
        with pytest.raises(Unavailable) as error:
            await other.start()
        assert error.value.code == "address_in_use"
