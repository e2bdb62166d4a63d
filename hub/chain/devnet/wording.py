"""The EVM's objects as JSON-RPC words them (Ethereum execution API): quantities and data in hex."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eth.abc import BlockAPI, ComputationAPI, ReceiptAPI, SignedTransactionAPI

Json = dict[str, Any]
BLOOM_BYTES = 256


def quantity(number: int) -> str:
    """A number: hex without leading zeros."""
    return hex(number)


def data(content: bytes) -> str:
    """Bytes: two digits each."""
    return "0x" + bytes(content).hex()


def block_json(block: "BlockAPI") -> Json:
    """A block with the hashes of its transactions."""
    header = block.header
    said: Json = {
        "number": quantity(header.block_number),
        "hash": data(block.hash),
        "parentHash": data(header.parent_hash),
        "nonce": data(header.nonce),
        "mixHash": data(header.mix_hash),
        "sha3Uncles": data(header.uncles_hash),
        "logsBloom": data(header.bloom.to_bytes(BLOOM_BYTES, "big")),
        "transactionsRoot": data(header.transaction_root),
        "stateRoot": data(header.state_root),
        "receiptsRoot": data(header.receipt_root),
        "miner": data(header.coinbase),
        "difficulty": quantity(header.difficulty),
        "extraData": data(header.extra_data),
        "size": quantity(1024),  # of its RLP; nobody reads it
        "gasLimit": quantity(header.gas_limit),
        "gasUsed": quantity(header.gas_used),
        "timestamp": quantity(header.timestamp),
        "transactions": [data(transaction.hash) for transaction in block.transactions],
        "uncles": [],
        "withdrawals": [],
        "baseFeePerGas": quantity(header.base_fee_per_gas or 0),
    }
    for ours, theirs in (
        ("withdrawals_root", "withdrawalsRoot"),
        ("parent_beacon_block_root", "parentBeaconBlockRoot"),
        ("requests_hash", "requestsHash"),
    ):
        if getattr(header, ours, None) is not None:
            said[theirs] = data(getattr(header, ours))
    for ours, theirs in (("blob_gas_used", "blobGasUsed"), ("excess_blob_gas", "excessBlobGas")):
        if getattr(header, ours, None) is not None:
            said[theirs] = quantity(getattr(header, ours))
    return said


def transaction_json(transaction: "SignedTransactionAPI", block: Json, position: int) -> Json:
    """A transaction in its block."""
    kind = getattr(transaction, "type_id", None) or 0
    said: Json = {
        "hash": data(transaction.hash),
        "type": quantity(kind),
        "nonce": quantity(transaction.nonce),
        "blockHash": block["hash"],
        "blockNumber": block["number"],
        "transactionIndex": quantity(position),
        "from": data(transaction.sender),
        "to": data(transaction.to) if transaction.to else None,
        "value": quantity(transaction.value),
        "gas": quantity(transaction.gas),
        "gasPrice": quantity(price_paid(transaction, int(block["baseFeePerGas"], 16))),
        "input": data(transaction.data),
        "r": quantity(transaction.r),
        "s": quantity(transaction.s),
    }
    if kind:
        parity = transaction.y_parity
        said |= {
            "chainId": quantity(transaction.chain_id or 0),
            "v": quantity(parity),
            "yParity": quantity(parity),
        }
        said["accessList"] = [
            {"address": data(address), "storageKeys": [data(slot.to_bytes(32, "big")) for slot in slots]}
            for address, slots in transaction.access_list
        ]
    else:
        said["v"] = quantity(transaction.v)  # type: ignore[attr-defined]
    if kind >= 2:
        said["maxFeePerGas"] = quantity(transaction.max_fee_per_gas)
        said["maxPriorityFeePerGas"] = quantity(transaction.max_priority_fee_per_gas)
    return said


def price_paid(transaction: "SignedTransactionAPI", base_fee: int) -> int:
    """Wei for each unit of gas (EIP-1559)."""
    if (getattr(transaction, "type_id", None) or 0) < 2:
        return int(transaction.gas_price)
    tip = min(transaction.max_priority_fee_per_gas, transaction.max_fee_per_gas - base_fee)
    return base_fee + int(tip)


def receipt_json(
    receipt: "ReceiptAPI", computation: "ComputationAPI", said: Json, block: Json, gas_used: int, first_log: int
) -> Json:
    """A receipt with its logs.

    Args:
        said: the transaction, as `transaction_json` has it.
        gas_used: by this transaction alone.
        first_log: how many logs the block's earlier transactions wrote.
    """
    where = {
        "transactionHash": said["hash"],
        "transactionIndex": said["transactionIndex"],
        "blockHash": block["hash"],
        "blockNumber": block["number"],
    }
    logs = [
        {
            **where,
            "address": data(log.address),
            "topics": [data(topic.to_bytes(32, "big")) for topic in log.topics],
            "data": data(log.data),
            "logIndex": quantity(first_log + number),
            "blockTimestamp": block["timestamp"],
            "removed": False,
        }
        for number, log in enumerate(receipt.logs)
    ]
    return {
        **where,
        "type": said["type"],
        "from": said["from"],
        "to": said["to"],
        "contractAddress": None if said["to"] else data(computation.msg.storage_address),
        "status": quantity(0 if computation.is_error else 1),
        "gasUsed": quantity(gas_used),
        "cumulativeGasUsed": quantity(receipt.gas_used),
        "effectiveGasPrice": said["gasPrice"],
        "logsBloom": data(receipt.bloom.to_bytes(BLOOM_BYTES, "big")),
        "logs": logs,
    }
