"""The chain: a client for contracts, keys, resumable events, and a devnet for when there is no chain."""
