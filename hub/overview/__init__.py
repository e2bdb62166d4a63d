"""What the hub's operator sees of the network: who is there, who holds what, how they do."""
