"""Listening receipts at the hub: kept, batched by Merkle root. Off unless DIGM_LISTENING_PROOF is set."""
