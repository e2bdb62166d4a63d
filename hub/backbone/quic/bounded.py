"""aioquic 1.7's connection with the bounds that it has no settings for. Uses private names of that version;
tests/hub/backbone/quic/test_library_contract.py fails when one of them is gone."""

import ssl
from typing import Any

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection, QuicConnectionState
from aioquic.quic.packet import QuicProtocolVersion
from cryptography import x509

from hub.backbone.quic.certificates import make_certificate

ALPN = "libp2p"
# A window is as large as what was read of the connection before, between these: who lets nothing be read has
# little of our memory, and 192 of them have 96 MiB.
FIRST_STREAM_BYTES, MOST_STREAM_BYTES = 256 * 1024, 1024 * 1024  # two chunks: 10 MB/s over 100 ms
FIRST_CONNECTION_BYTES, MOST_CONNECTION_BYTES = 512 * 1024, 4 * 1024 * 1024
GRANT_BYTES = 64 * 1024  # a window is raised in steps of this
IDLE_TIMEOUT_S = 30.0
KEEP_ALIVE_S = 5.0  # js-libp2p gives up after 10 s of silence


def configuration(node_key: Any, *, is_client: bool) -> QuicConfiguration:
    """TLS and windows for one side; the certificate is new each time."""
    certificate, key = make_certificate(node_key)
    made = QuicConfiguration(
        is_client=is_client,
        alpn_protocols=[ALPN],
        idle_timeout=IDLE_TIMEOUT_S,
        max_data=FIRST_CONNECTION_BYTES,
        max_stream_data=FIRST_STREAM_BYTES,
        supported_versions=[QuicProtocolVersion.VERSION_1],
    )
    made.certificate, made.private_key = certificate, key
    made.verify_mode = ssl.CERT_NONE  # there are no authorities: hub.backbone.quic.certificates looks at it
    return made


class BoundedQuic(QuicConnection):
    """Windows grow by what was read; both sides show a certificate; so many streams, and no one-way ones.

    aioquic doubles a window when half of it has come, read or not: who sends faster than we read fills the
    memory. Here `raise_windows` is the only one that raises them.

    Args:
        most_streams: that the peer may have open at once.
    """

    def __init__(self, *, most_streams: int, **options: Any) -> None:
        super().__init__(**options)
        self.most_streams = most_streams
        for limit, most in ((self._local_max_streams_bidi, most_streams), (self._local_max_streams_uni, 0)):
            limit.value = limit.sent = most

    @property
    def is_over(self) -> bool:
        """Closed by either side, timed out, or broken; nothing more will come."""
        return self._close_event is not None

    @property
    def why_over(self) -> str:
        """As the side that ended it says."""
        return self._close_event.reason_phrase if self._close_event is not None else ""

    @property
    def is_untouched(self) -> bool:
        """Called, but by nothing that could be read."""
        return self._state is QuicConnectionState.FIRSTFLIGHT

    @property
    def rtt_s(self) -> float:
        """0 before the first round trip."""
        return float(self._loss._rtt_smoothed) if self._loss._rtt_initialized else 0.0

    @property
    def may_open(self) -> bool:
        """The peer takes another stream. aioquic would number it all the same, and name it too soon."""
        return self._local_next_stream_id_bidi // 4 < self._remote_max_streams_bidi

    def peer_certificates(self) -> list[x509.Certificate]:
        """What the other side showed; TLS has seen that it has the key of the first."""
        first = self.tls._peer_certificate
        return [] if first is None else [first, *self.tls._peer_certificate_chain]

    def is_forgotten(self, stream_id: int) -> bool:
        """Over on both sides: no event will name it again."""
        return stream_id not in self._streams

    def is_received(self, stream_id: int) -> bool:
        """Nothing more will come on a stream."""
        stream = self._streams.get(stream_id)
        return stream is None or stream.receiver.is_finished

    def unacknowledged(self, stream_id: int) -> int:
        """Bytes of a stream that are kept until the peer has them."""
        stream = self._streams.get(stream_id)
        return 0 if stream is None else stream.sender._buffer_stop - stream.sender._buffer_start

    def raise_windows(self, unread: dict[int, int]) -> None:
        """Let the peer send as much as was read.

        Args:
            unread: bytes by stream that came in order and wait for a reader.
        """
        behind_gaps = sum(
            stream.receiver.highest_offset - stream.receiver.starting_offset()
            for stream in self._streams.values()
        )
        limit = self._local_max_data
        was_read = limit.used - behind_gaps - sum(unread.values())
        window = min(max(was_read, FIRST_CONNECTION_BYTES), MOST_CONNECTION_BYTES)
        if was_read + window - limit.value >= GRANT_BYTES:
            limit.value = was_read + window
        window = min(max(was_read, FIRST_STREAM_BYTES), MOST_STREAM_BYTES)
        for number, waiting in unread.items():
            stream = self._streams.get(number)
            if stream is not None and not stream.receiver.is_finished:
                end = stream.receiver.starting_offset() - waiting + window
                if end - stream.max_stream_data_local >= GRANT_BYTES:
                    stream.max_stream_data_local = end

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        if not self._is_client:
            self.tls._request_client_certificate = True

    def _write_stream_limits(self, builder: Any, space: Any, stream: Any) -> None:
        if stream.max_stream_data_local == stream.max_stream_data_local_sent:
            return
        came, stream.receiver.highest_offset = stream.receiver.highest_offset, 0
        try:
            super()._write_stream_limits(builder, space, stream)
        finally:
            stream.receiver.highest_offset = came

    def _write_connection_limits(self, builder: Any, space: Any) -> None:
        limit = self._local_max_data
        used, limit.used = limit.used, 0
        try:
            super()._write_connection_limits(builder, space)
        finally:
            limit.used = used
