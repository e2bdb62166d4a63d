"""A chain on this machine alone, for trying things out: py-evm, SQLite, JSON-RPC on loopback."""
