"""What hub.backbone takes from inside py-libp2p 0.8.1: a newer library without it fails here."""

import inspect
from importlib.metadata import version
from types import ModuleType
from typing import Any

import libp2p.pubsub.gossipsub as gossipsub_module
import libp2p.pubsub.pubsub as pubsub_module
import pytest
import trio
from libp2p.kad_dht.provider_store import ProviderStore
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.swarm import Swarm
from libp2p.peer.envelope import consume_envelope
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.rpc_queue import RpcQueue
from libp2p.security.noise.transport import Transport
from libp2p.tools.anyio_service.trio_manager import TrioManager

from digm.backbone_messages import TOPIC
from hub.backbone.hardening import FairGossip
from hub.backbone.host import BackboneHost
from hub.backbone.noise import NoiseTransport
from hub.backbone.sender_records import SenderRecords
from hub.backbone.settings import BackboneSettings
from hub.backbone.yamux import Yamux


async def valid(_author: str, _payload: bytes) -> bool:
    return True


@pytest.fixture
def host() -> BackboneHost:
    made: list[BackboneHost] = []

    async def build() -> None:
        made.append(BackboneHost(bytes(range(32)), BackboneSettings(), valid))

    trio.run(build)
    return made[0]


def test_the_version_is_the_one_that_was_looked_into() -> None:
    assert version("libp2p") == "0.8.1"


def test_noise_and_yamux_are_all_that_is_on_offer(host: BackboneHost) -> None:
    upgrader: Any = host.network.upgrader
    assert list(upgrader.security_multistream.transports) == ["/noise"]
    assert list(upgrader.muxer_multistream.transports) == ["/yamux/1.0.0"]
    assert upgrader.muxer_multistream.new_conn.__qualname__ == "use_yamux.<locals>.new_connection"
    assert "self.muxer_multistream.new_conn(" in inspect.getsource(type(upgrader))
    assert callable(upgrader.muxer_multistream._selector.select)


def test_inbound_connections_come_through_our_admission(host: BackboneHost) -> None:
    assert host.network._handle_inbound_connection == host._admission.handle
    source = inspect.getsource(Swarm.listen)
    assert "self._handle_inbound_connection(" in source
    assert list(inspect.signature(Swarm.upgrade_inbound_raw_conn).parameters) == ["self", "raw_conn", "maddr"]


def test_connections_get_our_noise_session_and_our_muxer(host: BackboneHost) -> None:
    upgrader: Any = host.network.upgrader
    noise = upgrader.security_multistream.transports["/noise"]
    assert isinstance(noise, NoiseTransport) and issubclass(NoiseTransport, Transport)
    assert list(inspect.signature(Transport.secure_inbound).parameters) == ["self", "conn"]
    assert list(inspect.signature(Transport.secure_outbound).parameters) == ["self", "conn", "peer_id"]
    assert upgrader.muxer_multistream.transports["/yamux/1.0.0"] is Yamux
    assert "self.muxed_conn.accept_stream()" in inspect.getsource(SwarmConn._handle_new_streams)
    assert 'setattr(muxed_conn, "on_close"' in inspect.getsource(SwarmConn.__init__)


def test_gossip_comes_through_our_guard(host: BackboneHost) -> None:
    pubsub: Any = host.pubsub
    assert pubsub.push_msg == host._gossip_guard.push
    assert pubsub.continuously_read_stream == host._gossip_guard.read
    source = inspect.getsource(pubsub_module.Pubsub)
    assert "self.push_msg, peer_id, msg" in source and "self.continuously_read_stream(stream)" in source
    assert callable(pubsub._handle_dead_peer)
    assert host.router.scorer is not None and callable(host.router.scorer.penalize_behavior)


def test_two_processes_with_one_key_never_give_two_messages_one_number(host: BackboneHost) -> None:
    first = host.pubsub._next_seqno()
    second = BackboneHost(bytes(range(32)), BackboneSettings(), valid)
    ahead = int.from_bytes(second.pubsub._next_seqno()) - int.from_bytes(first)
    assert ahead > 10_000  # nanoseconds; a node says ten things a second at the most


def test_addresses_that_are_signed_anew_have_a_higher_number_and_go_out_with_every_message(
    host: BackboneHost,
) -> None:
    def number() -> int:
        record = host.host.get_peerstore().get_local_record()
        assert record is not None
        return record.record().seq

    host.pubsub.get_hello_packet()
    before = number()
    trio.run(host.sign_anew)
    sent = host.pubsub.get_hello_packet().senderRecord
    assert number() > before
    assert consume_envelope(sent, "libp2p-peer-record")[1].seq == number()


def test_what_is_nobodys_fault_is_counted_by_the_library_once_and_can_be_uncounted(host: BackboneHost) -> None:
    assert callable(host.pubsub._mark_msg_seen)
    source = inspect.getsource(pubsub_module.Pubsub.push_msg)
    assert source.count("scorer.on_invalid_message(msg_forwarder, topic)") == 1
    assert "_is_msg_seen(msg)" in source
    stranger = ID(b"\0\x24\x08\x01\x12\x20" + bytes(32))
    assert host.router.scorer is not None
    host.router.scorer.on_invalid_message(stranger, TOPIC)
    assert host.router.scorer.invalid_messages[stranger][TOPIC] == 1


def test_who_pruned_us_is_told_what_there_is(host: BackboneHost) -> None:
    router: Any = host.router
    assert isinstance(router, FairGossip)
    stranger = ID(b"\0\x24\x08\x01\x12\x20" + bytes(32))
    router._add_back_off(stranger, TOPIC, False)
    assert router._check_back_off(stranger, TOPIC)
    asked = inspect.getsource(GossipSub._handle_topic_heartbeat), inspect.getsource(GossipSub.gossip_heartbeat)
    assert (
        "self._get_in_topic_gossipsub_peers_from_minus(" in asked[0]
        and "self._handle_topic_heartbeat(" in asked[1]
    )
    router.pubsub.peer_topics[TOPIC] = {stranger}
    router.peer_protocol[stranger] = "/meshsub/1.1.0"
    router.mesh[TOPIC] = set()
    router.mcache.window = lambda _topic: [b"an id"]
    assert router.gossip_heartbeat() == {stranger: {TOPIC: [b"an id"]}}


def test_queues_of_neighbours_are_long(host: BackboneHost) -> None:
    queue: Any = vars(pubsub_module)["RpcQueue"]()
    assert isinstance(queue, RpcQueue)
    assert queue._queue.max_size if hasattr(queue, "_queue") else queue.max_size
    assert "RpcQueue()" in inspect.getsource(pubsub_module.Pubsub._handle_new_peer)


def test_the_dht_is_bounded_and_strict(host: BackboneHost) -> None:
    dht: Any = host.dht
    assert dht.strict_validation is True
    assert dht._inbound_limiter.total_tokens == BackboneSettings().most_kad_streams
    assert dht._provider_rate_max == BackboneSettings().provides_per_10_s
    assert isinstance(dht.provider_store.providers, dict)
    assert isinstance(dht.provider_store.providing_keys, set)
    assert callable(ProviderStore._get_providers_from_peer_with_closers)
    assert callable(ProviderStore._send_add_provider)
    assert callable(dht.peer_routing._query_single_peer_for_closest)
    handlers = host.host.get_mux().handlers
    assert "KadGuard" in repr(handlers["/ipfs/kad/1.0.0"])


def test_tasks_of_a_service_can_be_guarded() -> None:
    assert callable(TrioManager.run_task)
    assert "self.manager.run_task(" in inspect.getsource(pubsub_module.Pubsub.continuously_read_stream)


def test_nobody_is_called_whom_we_did_not_choose(host: BackboneHost) -> None:
    assert host.network.auto_connector.maybe_connect.__name__ == "nothing"
    assert "self.auto_connector.run_background_task(" in inspect.getsource(Swarm.run)


def test_a_stream_handler_that_raises_is_caught(host: BackboneHost) -> None:
    assert host.network.common_stream_handler.__qualname__ == "guard_streams.<locals>.guarded"
    assert "self.swarm.common_stream_handler(" in inspect.getsource(SwarmConn._handle_muxed_stream)


@pytest.mark.parametrize("module", [pubsub_module, gossipsub_module])
def test_gossip_has_the_records_of_senders_checked_by_ours(host: BackboneHost, module: ModuleType) -> None:
    name = "maybe_consume_signed_record"
    assert vars(module)[name].__module__ == SenderRecords.__module__
    assert f"{name}(" in inspect.getsource(module)
