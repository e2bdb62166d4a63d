"""What hub.backbone.quic takes from inside aioquic 1.7 and py-libp2p 0.8.1: newer ones without it fail here."""

import inspect
from importlib.metadata import version

import trio
from aioquic.quic import connection as quic_connection
from aioquic.quic.connection import QuicConnection
from aioquic.quic.recovery import QuicPacketRecovery
from aioquic.quic.stream import QuicStreamReceiver, QuicStreamSender
from aioquic.tls import Context
from libp2p.network.swarm import Swarm

from hub.backbone.host import BackboneHost
from hub.backbone.quic.connection import QuicMuxer
from hub.backbone.quic.transport import QuicTransport
from hub.backbone.settings import BackboneSettings


def test_the_versions_are_those_that_were_looked_into() -> None:
    assert version("aioquic") == "1.7.2"
    assert version("libp2p") == "0.8.1"


def test_aioquic_raises_windows_only_where_we_stand_in_its_way() -> None:
    source = inspect.getsource(quic_connection)
    assert source.count("max_stream_data_local *= 2") == source.count("max_data.value *= 2") == 1
    assert "max_stream_data_local *= 2" in inspect.getsource(QuicConnection._write_stream_limits)
    assert "max_data.used * 2 > max_data.value" in inspect.getsource(QuicConnection._write_connection_limits)
    assert "receiver.highest_offset * 2 >" in inspect.getsource(QuicConnection._write_stream_limits)


def test_aioquic_has_the_names_that_are_read() -> None:
    receiver = QuicStreamReceiver(stream_id=0, readable=True)
    sender = QuicStreamSender(stream_id=0, writable=True)
    assert (receiver.highest_offset, receiver.starting_offset(), receiver.is_finished) == (0, 0, False)
    assert (sender._buffer_start, sender._buffer_stop) == (0, 0)
    made = inspect.getsource(QuicConnection.__init__)
    for name in (
        "_local_max_streams_bidi",
        "_local_max_streams_uni",
        "_local_max_data",
        "_close_event",
        "_streams",
    ):
        assert f"self.{name}" in made
    assert "self._rtt_smoothed" in inspect.getsource(QuicPacketRecovery.__init__)
    assert "self._rtt_initialized" in inspect.getsource(QuicPacketRecovery.__init__)


def test_a_server_of_aioquic_can_be_made_to_ask_for_a_certificate_and_checks_its_key() -> None:
    made = inspect.getsource(Context.__init__)
    for name in ("_request_client_certificate = False", "_peer_certificate:", "_peer_certificate_chain:"):
        assert f"self.{name}" in made
    assert "_check_certificate_verify_signature" in inspect.getsource(Context._server_handle_certificate_verify)
    assert "_check_certificate_verify_signature" in inspect.getsource(Context._client_handle_certificate_verify)


def test_quic_is_a_transport_of_ours_and_only_where_it_is_listened_on() -> None:
    async def valid(_author: str, _payload: bytes) -> bool:
        return True

    async def transports(*more: str) -> list[type]:
        settings = BackboneSettings(listen=(*BackboneSettings.listen, *more))
        host = BackboneHost(bytes(range(32)), settings, valid)
        return [type(transport) for transport in host.network.transport_manager.get_transports()]

    assert QuicTransport not in trio.run(transports)
    made = trio.run(transports, "/ip4/127.0.0.1/udp/0/quic-v1")
    assert QuicTransport in made
    assert [kind.__name__ for kind in made].count("QUICTransport") == 0  # the library's own


def test_the_swarm_takes_our_connections_as_they_are() -> None:
    assert "isinstance(raw_conn, IMuxedConn)" in inspect.getsource(Swarm._dial_addr_single_attempt)
    assert "self._best_connection(" in inspect.getsource(Swarm)
    for name in ("_connected_event", "set_resource_scope"):  # the library would treat it as one of its own
        assert not hasattr(QuicMuxer, name)
