"""What py-libp2p 0.8.1's own QUIC and WebRTC direct do; when this fails, they are worth another look
(docs/decisions/0019)."""

from types import SimpleNamespace
from typing import Any

import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from libp2p.transport.quic.config import QUICTransportConfig
from libp2p.transport.quic.security import PeerAuthenticator
from libp2p.transport.quic.stream import QUICStream, StreamDirection
from libp2p.transport.webrtc.pb.webrtc_pb2 import Message
from libp2p.transport.webrtc.stream import WebRTCStream, _frame

from tests.hub.backbone.quic.test_certificates import NODE, OTHER, certificate


def test_its_quic_takes_a_certificate_in_anybodys_name() -> None:
    forged = certificate(signer=OTHER, named=NODE)
    assert PeerAuthenticator().verify_peer_certificate(forged) == ID.from_pubkey(NODE.public_key)
    # The reason: a key's `verify` says no by its result, and nobody looks at that.
    assert create_new_key_pair().public_key.verify(b"said", bytes(64)) is False


def test_its_quic_loses_what_comes_faster_than_it_is_read_and_says_nothing() -> None:
    async def receive() -> bytes:
        connection: Any = SimpleNamespace(
            _transport=SimpleNamespace(_config=QUICTransportConfig()), remote_peer_id=lambda: None
        )
        stream = QUICStream(connection, 0, StreamDirection.INBOUND, ("192.0.2.1", 4001))
        for megabyte in range(4):
            await stream.handle_data_received(bytes([megabyte]) * 1024 * 1024, end_stream=megabyte == 3)
        return await stream.read()

    assert len(trio.run(receive)) == 2 * 1024 * 1024  # of 4; the reader is told that this is all


def test_its_webrtc_loses_what_comes_faster_than_it_is_read_and_says_nothing() -> None:
    async def receive() -> int:
        connection: Any = SimpleNamespace()
        stream = WebRTCStream(connection, 1, is_initiator=False)
        for _ in range(100):
            stream.on_data(_frame(Message(message=b"x")))
        count = 0
        with trio.move_on_after(0.1):
            while await stream.read():
                count += 1
        return count

    assert trio.run(receive) == 64  # of 100: SCTP has told the sender that all of it arrived
