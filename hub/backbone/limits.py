"""The bounds that the library itself keeps for a host (trio side); most are kept in hub.backbone.hardening."""

from libp2p.network.config import ConnectionConfig
from libp2p.rcmgr.manager import ResourceLimits, ResourceManager

from hub.backbone.settings import BackboneSettings

UNBOUNDED = 1 << 30


def connections(settings: BackboneSettings) -> ConnectionConfig:
    """How many, and how long each may take to begin."""
    return ConnectionConfig(
        max_connections=settings.most_connections,
        high_watermark=settings.most_connections - 16,
        low_watermark=0,
        min_connections=0,
        max_connections_per_peer=settings.most_connections_per_peer,
        inbound_upgrade_timeout=settings.handshake_timeout_s,
        inbound_stream_protocol_negotiation_timeout=settings.negotiate_timeout_s,
        outbound_stream_protocol_negotiation_timeout=settings.negotiate_timeout_s,
        dial_timeout=settings.connect_timeout_s,
    )


def resources() -> ResourceManager:
    """A manager that refuses nothing."""
    # It only counts, and miscounts handshakes that are cancelled; Admission and Yamux have the bounds.
    # Circuit breaker off: five failures that a stranger causes would shut everybody out for a minute.
    return ResourceManager(
        limits=ResourceLimits(max_connections=UNBOUNDED, max_streams=UNBOUNDED),
        enable_circuit_breaker=False,
        enable_graceful_degradation=False,
        enable_memory_limits=False,
        enable_metrics=False,
        enable_rate_limiting=False,
    )
