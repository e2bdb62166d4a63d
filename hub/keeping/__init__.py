"""A node's part in the contract: it takes places of orders, proves its copies, is paid (docs/chain.md)."""
