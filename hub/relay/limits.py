"""The limits of the embedded relay: those that operators set, and those that they do not."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RelayLimits:
    """Each number with where it comes from."""

    allocations: int = 2_000  # in all: about 10 KB and one socket each
    allocations_per_session: int = 60  # ten peers, each over UDP, TCP and TLS, and again after an ICE restart
    allocations_per_address: int = 300  # several listeners behind one address
    allocation_bytes_per_s: int = 1_250_000  # 10 Mbit/s: two lossless streams; both directions together
    bytes_per_s: int = 12_500_000  # in all, 100 Mbit/s; both directions together
    burst_s: float = 0.25  # what a rested connection may take at once
    lifetime_s: int = 600  # RFC 8656 §3.2: the default; never beyond the credentials' expiry
    permission_s: int = 300  # RFC 8656 §9
    channel_s: int = 600  # RFC 8656 §12
    permissions: int = 64  # peers of one allocation
    channels: int = 64
    max_payload_bytes: int = 2_048  # DTLS records of a data channel stay below 1,300
    max_request_bytes: int = 2_560  # a Send indication with the largest payload fits
    nonce_s: int = 600  # RFC 8656 §7.2: at least once an hour
    challenges_per_minute: int = (
        600  # answers to an address that has proven nothing: no amplifier for forged ones
    )
    connections: int = 4_000  # TCP and TLS in all
    connections_per_address: int = 300
    idle_connection_s: float = 30.0  # a TCP connection without an allocation
    max_unsent_bytes: int = (
        262_144  # for a TCP client that reads slowly: then its data is dropped, as UDP would
    )


DEFAULT_LIMITS = RelayLimits()
