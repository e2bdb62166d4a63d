"""libp2p over QUIC, on aioquic: used where a node listens on `/udp/.../quic-v1` (docs/decisions/0019)."""
