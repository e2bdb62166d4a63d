"""What JSON-RPC servers answer, read with suspicion: hex to numbers, bytes, logs, receipts."""

from collections.abc import Mapping
from typing import Any

from digm.errors import PeerFault
from hub.chain.model import Log, Receipt

MAX_WORD = 2**256 - 1
HASH_BYTES, ADDRESS_BYTES = 32, 20
MAX_LOG_BYTES = 1 << 20
MOST_TOPICS = 4


def lie(what: str) -> PeerFault:
    """The fault for an answer that cannot be true."""
    return PeerFault("rpc_lies", f"The chain's server answers what cannot be: {what}.")


def number(value: Any, name: str) -> int:
    """A quantity."""
    try:
        found = int(value, 16)
    except (TypeError, ValueError) as error:
        raise lie(f"{name} is {value!r:.40}") from error
    if not 0 <= found <= MAX_WORD:
        raise lie(f"{name} is {value!r:.80}")
    return found


def content(value: Any, name: str, size: int | None = None) -> bytes:
    """Bytes."""
    try:
        found = bytes.fromhex(value[2:]) if value[:2] == "0x" else None
    except (TypeError, ValueError) as error:
        raise lie(f"{name} is {value!r:.40}") from error
    if found is None or (size is not None and len(found) != size):
        raise lie(f"{name} is {value!r:.80}")
    return found


def data(content: bytes) -> str:
    """Bytes as they are sent."""
    return "0x" + content.hex()


def hash_of(value: Any, name: str) -> str:
    """A hash in lower-case hex."""
    return "0x" + content(value, name, HASH_BYTES).hex()


def address(value: Any, name: str) -> str:
    """An address with its checksum (EIP-55)."""
    return checksummed(content(value, name, ADDRESS_BYTES))


def checksummed(canonical: bytes) -> str:
    """The address that people read, of 20 bytes (EIP-55)."""
    from eth_utils.address import to_checksum_address

    return str(to_checksum_address(canonical))


def fields(value: Any, name: str) -> Mapping[str, Any]:
    """An object."""
    if not isinstance(value, Mapping):
        raise lie(f"{name} is {value!r:.40}")
    return value


def log_of(value: Any) -> Log:
    """A log as `eth_getLogs` and receipts have it."""
    said = fields(value, "a log")
    topics, written = said.get("topics"), said.get("data")
    if not isinstance(topics, list) or len(topics) > MOST_TOPICS:
        raise lie("a log has no topics, or too many")
    if not isinstance(written, str) or len(written) > 2 * MAX_LOG_BYTES:
        raise lie("a log has no data, or too much")
    return Log(
        address=address(said.get("address"), "a log's address"),
        topics=tuple(content(topic, "a topic", HASH_BYTES) for topic in topics),
        data=content(written, "a log's data"),
        block=number(said.get("blockNumber"), "a log's block"),
        block_hash=hash_of(said.get("blockHash"), "a log's block hash"),
        transaction_hash=hash_of(said.get("transactionHash"), "a log's transaction"),
        index=number(said.get("logIndex"), "a log's index"),
    )


def receipt_of(value: Any) -> tuple[Receipt, bool]:
    """A receipt, and whether the transaction did what it should."""
    said = fields(value, "a receipt")
    made, logs = said.get("contractAddress"), said.get("logs")
    if not isinstance(logs, list):
        raise lie("a receipt has no logs")
    receipt = Receipt(
        transaction_hash=hash_of(said.get("transactionHash"), "a receipt's transaction"),
        block=number(said.get("blockNumber"), "a receipt's block"),
        block_hash=hash_of(said.get("blockHash"), "a receipt's block hash"),
        gas_used=number(said.get("gasUsed"), "a receipt's gas"),
        price_wei=number(said.get("effectiveGasPrice") or "0x0", "a receipt's gas price"),
        contract_address=address(made, "a contract's address") if made else None,
        logs=tuple(log_of(log) for log in logs),
    )
    return receipt, number(said.get("status"), "a receipt's status") == 1
