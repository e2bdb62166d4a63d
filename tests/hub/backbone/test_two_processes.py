"""Nodes in processes of their own: they find each other, gossip, answer, and give chunks."""

import asyncio
import gc
import hashlib
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from digm.backbone_messages import PIN
from digm.errors import PeerFault, Unavailable
from hub.backbone.backbone import Backbone
from hub.backbone.identity import NodeIdentity
from hub.backbone.model import PeerAddress
from hub.backbone.settings import BackboneSettings
from tests.hub.backbone.node_process import reversed_answer
from tests.hub.backbone.nodes import NodeProcess, backbone, node_process, until
from tests.hub.house import Published, publish_track
from tests.ports import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")
KEY = hashlib.sha256(b"a track").digest()


@pytest.fixture(scope="module")
def track(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Published]:
    """A data folder with a track in it."""
    data = tmp_path_factory.mktemp("holder")
    return data, publish_track(data)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def other(track: tuple[Path, Published]) -> AsyncIterator[NodeProcess]:
    """A node that holds a track, for the tests that leave it as it is."""
    async with node_process(track[0]) as node:
        yield node


async def ask(node: Backbone, peer: str, request: bytes) -> bytes:
    return await node.request(peer, PIN.name, request, timeout_s=10.0, most_bytes=1_024)


@pytest.mark.parametrize("transport", [0, 1], ids=["tcp", "websocket"])
async def test_a_node_asks_another_over_either_transport(other: NodeProcess, transport: int) -> None:
    async with backbone(other.multiaddrs[transport]) as node:
        await until(node.peers)
        assert node.peers()[0].peer_id == other.peer_id
        assert await ask(node, other.peer_id, b"hello") == b"olleh"


async def test_one_that_was_called_before_it_was_there_is_joined_soon_after_it_has_come() -> None:
    late, address = NodeIdentity(secrets.token_bytes(32)), f"/ip4/127.0.0.1/tcp/{free_port()}"
    name = f"{address}/p2p/{late.peer_id}"
    async with backbone(name, bootstrap_every_s=0.2) as node:
        with pytest.raises(Unavailable):
            await node.connect(name)
        other = Backbone(late, BackboneSettings(listen=(address,)))
        await other.start()
        try:
            await until(node.peers)  # the library would refuse to call for longer than this waits
        finally:
            await other.stop()


async def test_one_that_was_asked_before_it_was_there_is_asked_again_soon_after_it_has_come() -> None:
    late, address = NodeIdentity(secrets.token_bytes(32)), f"/ip4/127.0.0.1/tcp/{free_port()}"
    async with backbone() as node:
        await node.introduce(PeerAddress(late.peer_id, (address,)))
        with pytest.raises(Unavailable) as away:
            await ask(node, late.peer_id, b"hello")
        with pytest.raises(Unavailable, match="called again in") as paused:
            await ask(node, late.peer_id, b"hello")
        assert {away.value.code, paused.value.code} == {"peer_unreachable"}
        other = Backbone(late, BackboneSettings(listen=(address,)))
        other.serve(PIN.name, reversed_answer, most_bytes=16, timeout_s=5.0, parallel=1)
        await other.start()
        try:

            async def is_answering() -> bool:
                with suppress(Unavailable):
                    return await ask(node, late.peer_id, b"hello") == b"olleh"
                return False

            await until(is_answering)  # the library would refuse to call for longer than this waits
        finally:
            await other.stop()


@pytest.mark.parametrize("transport", [0, 1], ids=["tcp", "websocket"])
async def test_who_has_stopped_leaves_no_connection_open_although_its_process_lives_on(
    other: NodeProcess, transport: int
) -> None:
    gc.collect()
    before, node = open_sockets(), Backbone(NodeIdentity(secrets.token_bytes(32)))
    await node.start()
    caller = Backbone(NodeIdentity(secrets.token_bytes(32)))
    await caller.start()
    gc.disable()  # it would close some of them by and by
    try:
        await node.connect(other.multiaddrs[transport])
        await caller.connect(node.multiaddrs[transport])
        await until(lambda: len(node.peers()) == 2)
        await node.stop()
        await until(lambda: not caller.peers())
        await caller.stop()
        assert open_sockets() == before
    finally:
        gc.enable()

    async def is_gone() -> bool:
        return node.peer_id not in (await other.ask("status"))["peers"]

    await until(is_gone)


def open_sockets() -> set[str]:
    """Those of this process, by the kernel's names."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.add(os.readlink(entry))  # noqa: PTH115 - what it names is no path
    return {name for name in found if name.startswith("socket:")}


async def test_a_round_trip_is_measured(other: NodeProcess) -> None:
    async with backbone(other.tcp) as node:
        await until(lambda: [peer for peer in node.peers() if peer.latency_ms])
        assert 0 < (node.peers()[0].latency_ms or 0) < 10_000


async def test_a_bootstrap_node_that_was_away_is_called_again_although_others_are_there() -> None:
    async with backbone() as other, backbone() as first:
        addresses = (*first.multiaddrs, other.multiaddrs[0])
        async with backbone(*addresses, bootstrap_every_s=0.1, bootstrap_again_s=0.2) as node:

            def names() -> set[str]:
                return {peer.peer_id for peer in node.peers()}

            await until(lambda: names() == {first.peer_id, other.peer_id})
            with capture_logs() as logs:
                await first.stop()
                await until(lambda: names() == {other.peer_id})
                # The DHT would call it too, by and by: here are the calls themselves.
                await until(lambda: "bootstrap_unreachable" in [line["event"] for line in logs])
            await first.start()
            await until(lambda: names() == {first.peer_id, other.peer_id})


async def test_what_a_handler_raises_comes_back_as_a_refusal_with_its_code(other: NodeProcess) -> None:
    async with backbone(other.tcp) as node:
        await until(node.peers)
        with pytest.raises(Unavailable) as failed:
            await ask(node, other.peer_id, b"fail")
        with pytest.raises(Unavailable) as empty:
            await ask(node, other.peer_id, b"nothing")
        assert (failed.value.data["status"], failed.value.data["reason"]) == ("failed", "internal_error")
        assert (empty.value.data["status"], empty.value.data["reason"]) == ("not_here", "nothing_here")
        assert await ask(node, other.peer_id, b"still there?") == b"?ereht llits"


async def test_an_answer_that_is_too_long_is_refused_by_its_length(other: NodeProcess) -> None:
    async with backbone(other.tcp) as node:
        await until(node.peers)
        with pytest.raises(PeerFault) as fault:
            await node.request(other.peer_id, PIN.name, bytes(100), timeout_s=10.0, most_bytes=99)
        assert fault.value.code == "frame_too_large"


async def test_every_gossip_message_of_a_burst_arrives_and_lies_do_not(other: NodeProcess) -> None:
    async with backbone(other.tcp) as node:
        await until(node.peers)
        await node.publish(b"first")
        await until(lambda: heard(other, "first"))
        burst = [f"message {number}" for number in range(100)]
        for message in burst:
            await node.publish(message.encode())
        await node.publish(b"lie")
        await node.publish(b"last")
        await until(lambda: heard(other, "last"))
        status = await other.ask("status")
        assert sorted(status["heard"]) == sorted(["first", *burst, "last"])


async def test_who_brings_what_is_only_old_is_listened_to_as_before(other: NodeProcess) -> None:
    async with backbone(other.tcp) as node:
        await until(node.peers)
        await node.publish(b"before the old")
        await until(lambda: heard(other, "before the old"))
        for number in range(10):  # as lies, these would be too many
            await node.publish(b"old %d" % number)
        await node.publish(b"after the old")
        await until(lambda: heard(other, "after the old"))
        assert not any(message.startswith("old") for message in (await other.ask("status"))["heard"])


async def heard(node: NodeProcess, message: str) -> bool:
    return message in (await node.ask("status"))["heard"]


async def test_gossip_reaches_a_node_that_knows_only_the_one_in_the_middle(tmp_path: Path) -> None:
    heard_here: list[bytes] = []

    def listen(node: Backbone) -> None:
        node.on_gossip = lambda _author, payload: heard_here.append(payload) or True  # type: ignore[func-returns-value]

    async with (
        node_process(tmp_path / "middle") as middle,
        node_process(tmp_path / "far", middle.tcp) as far,
        backbone(middle.websocket, before=listen) as node,
    ):
        await until(node.peers)

        async def spoke() -> bool:
            await far.ask("publish", f"hello {len(heard_here)}")
            return bool(heard_here)

        await until(spoke)


async def test_a_provider_is_found_once_alive_and_never_oneself(tmp_path: Path) -> None:
    async with (
        node_process(tmp_path / "middle") as middle,
        node_process(tmp_path / "holder", middle.tcp) as holder,
        backbone(middle.tcp) as node,
    ):
        await until(node.peers)
        await until(lambda: holder.ask("provide", KEY.hex()))
        await until(lambda: node.provide(KEY))
        told: list[PeerAddress] = []
        found = await node.find_providers(KEY, on_found=told.append)
        assert [provider.peer_id for provider in found] == [holder.peer_id]
        assert told == found
        holder.process.kill()
        await holder.process.wait()
        await until(lambda: holder.peer_id not in {peer.peer_id for peer in node.peers()})
        assert await node.find_providers(KEY) == []


async def test_a_chunk_comes_from_another_process_byte_for_byte(
    other: NodeProcess, track: tuple[Path, Published]
) -> None:
    manifest = track[1].manifest
    rendition = manifest.renditions[0]
    async with backbone(other.tcp) as node:
        await until(node.peers)
        for number, name in enumerate(rendition.chunk_hashes):
            size = rendition.chunk_bytes(number)
            chunk = await node.fetch_chunk(other.peer_id, manifest.track_root, rendition.id, number, size)
            assert hashlib.sha256(chunk).digest() == name


async def test_who_does_not_hold_a_track_says_so(other: NodeProcess) -> None:
    async with backbone(other.tcp) as node:
        await until(node.peers)
        with pytest.raises(Unavailable) as refusal:
            await node.fetch_chunk(other.peer_id, KEY, 0, 0, 65_536)
        assert refusal.value.data["reason"] == "track_not_held"


async def test_a_node_whose_libp2p_crashes_is_back_under_the_same_name_and_port(tmp_path: Path) -> None:
    async with node_process(tmp_path) as other, backbone(other.tcp) as node:
        await until(node.peers)
        await other.ask("crash")

        async def is_back() -> bool:
            if not (await other.ask("status"))["restarts"]:
                return False
            await node.connect(other.tcp)
            return True

        await until(is_back)
        assert await ask(node, other.peer_id, b"hello") == b"olleh"


async def test_a_call_that_is_cancelled_is_cancelled_on_the_other_side_too(tmp_path: Path) -> None:
    async with backbone() as node:
        reached, ended = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        async def sleep_there() -> None:
            import trio

            try:
                loop.call_soon_threadsafe(reached.set)
                await trio.sleep_forever()
            finally:
                loop.call_soon_threadsafe(ended.set)

        call = asyncio.create_task(node._call(sleep_there))
        await reached.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        async with asyncio.timeout(10):
            await ended.wait()
