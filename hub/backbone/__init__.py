"""The backbone: nodes find each other, gossip and exchange chunks. The only room that knows py-libp2p."""
