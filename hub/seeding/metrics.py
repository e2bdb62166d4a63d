"""What the seeding peer counts."""

from prometheus_client import Counter, Gauge

TRACKS = Gauge("digm_seed_tracks", "Tracks whose swarms the seeding peer is in.")
CONNECTIONS = Gauge("digm_seed_connections", "Peer connections, open or opening.")
OFFERS = Counter("digm_seed_offers", "Offers, by what came of them.", ["result"])
UPLOADED = Counter("digm_seed_uploaded_bytes", "Bytes of chunks given to peers.")
REQUESTS = Counter("digm_seed_requests", "Requests of peers that got a slot, by what came of them.", ["result"])
FAULTS = Counter("digm_seed_peer_faults", "Sessions ended because the peer broke a rule, by code.", ["code"])
