"""What the relay counts."""

from prometheus_client import Counter, Gauge

ALLOCATIONS = Gauge("digm_relay_allocations", "Allocations that are alive.")
CONNECTIONS = Gauge("digm_relay_connections", "TCP and TLS connections of clients.")
REQUESTS = Counter(
    "digm_relay_requests", "STUN requests, by method and what came of them.", ["method", "result"]
)
RELAYED = Counter("digm_relay_bytes", "Bytes relayed, by direction.", ["direction"])
DROPPED = Counter("digm_relay_dropped_packets", "Packets that were not relayed, by reason.", ["reason"])
