"""What the client says of a chain. Hashes are lower-case hex with 0x, addresses have EIP-55 checksums."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Log:
    """What a contract wrote in a transaction, not yet decoded.

    Attributes:
        index: the log's place in its block.
    """

    address: str
    topics: tuple[bytes, ...]
    data: bytes
    block: int
    block_hash: str
    transaction_hash: str
    index: int


@dataclass(frozen=True)
class Event:
    """A log of which the ABI is known.

    Attributes:
        contract: the contract's name in the deployment.
        arguments: by name; bytes as bytes, addresses with checksum, numbers as int. An indexed argument of
            dynamic size is its hash.
    """

    contract: str
    name: str
    arguments: Mapping[str, Any]
    log: Log


@dataclass(frozen=True)
class Receipt:
    """A transaction that is in a block, and did what it should."""

    transaction_hash: str
    block: int
    block_hash: str
    gas_used: int
    price_wei: int
    contract_address: str | None
    logs: tuple[Log, ...]
