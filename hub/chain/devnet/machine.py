"""The devnet's chain: py-evm on a `DevnetStore`. A block for each transaction, and whenever one is asked for.

One thread at a time; what it is asked over the network, and in which words, is `methods`' business. Importing
this imports py-evm (about a second).
"""

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import rlp  # type: ignore[import-untyped]
from eth.abc import AtomicWriteBatchAPI, BlockHeaderAPI, SignedTransactionAPI, StateAPI
from eth.chains.base import MiningChain
from eth.consensus.noproof import NoProofConsensus
from eth.constants import BLANK_ROOT_HASH, POST_MERGE_DIFFICULTY, POST_MERGE_MIX_HASH, POST_MERGE_NONCE
from eth.db.atomic import AtomicDBWriteBatch
from eth.db.backends.base import BaseAtomicDB
from eth.db.schema import SchemaV1
from eth.exceptions import Revert, VMError
from eth.rlp.sedes import chain_gaps
from eth.typing import AccountDetails, HeaderParams
from eth.vm.forks.prague import PragueVM
from eth.vm.spoof import SpoofTransaction
from eth_keys.exceptions import BadSignature
from eth_typing import Address, BlockNumber, Hash32
from eth_utils.exceptions import ValidationError

from digm.errors import CallerFault
from hub.chain.devnet.store import DevnetStore, MinedTransaction
from hub.chain.devnet.wording import block_json, receipt_json, transaction_json

GAS_LIMIT = 30_000_000
GAS_OF_A_TRANSFER = 21_000
CHAIN_ID_FACT, OFFSET_FACT = "chain_id", "offset_s"
MOST_MINED_AT_ONCE = 1_000
_TIP = 10**9


@dataclass(frozen=True)
class Call:
    """What `eth_call` and `eth_estimateGas` run. `to` is None where a contract is made."""

    sender: bytes
    to: bytes | None
    data: bytes = b""
    value: int = 0
    gas: int | None = None


class Machine:
    """The chain with its newest block.

    Args:
        chain_id: of a chain that is made now; one that is there already keeps its own.
        balances: wei of the accounts that a new chain starts with.
        now: the time, in seconds since 1970.
    Raises (all methods):
        CallerFault: `bad_transaction`, `nonce_too_low`, `nonce_too_high`, `no_funds`, `underpriced`, `reverted`
            (with `data`), `unknown_block`, `bad_devnet_option`. Unavailable: as the store.
    """

    def __init__(
        self, store: DevnetStore, chain_id: int, balances: Mapping[bytes, int], now: Callable[[], float]
    ) -> None:
        self._store, self._now = store, now
        self._db = _Pairs(store)
        known = store.fact(CHAIN_ID_FACT)
        self.chain_id = int(known) if known is not None else chain_id
        self._offset_s = int(store.fact(OFFSET_FACT) or 0)
        self._next_timestamp: int | None = None
        self._kind = MiningChain.configure(
            __name__="Devnet",
            vm_configuration=((BlockNumber(0), PragueVM.configure(consensus_class=NoProofConsensus)),),
            chain_id=self.chain_id,
        )
        if known is None:
            self._begin(balances)
        self._chain = self._kind(self._db)

    def _begin(self, balances: Mapping[bytes, int]) -> None:
        state: dict[Address, AccountDetails] = {
            Address(address): {"balance": wei, "nonce": 0, "code": b"", "storage": {}}
            for address, wei in balances.items()
        }
        parameters: dict[str, HeaderParams] = {
            "coinbase": Address(bytes(20)),
            "difficulty": POST_MERGE_DIFFICULTY,
            "extra_data": b"digm devnet",
            "gas_limit": GAS_LIMIT,
            "mix_hash": POST_MERGE_MIX_HASH,
            "nonce": POST_MERGE_NONCE,
            "receipt_root": BLANK_ROOT_HASH,
            "timestamp": int(self._now()),
            "transaction_root": BLANK_ROOT_HASH,
        }
        with self._store.writing():
            chain = self._kind.from_genesis(self._db, parameters, state)
            genesis = chain.get_canonical_block_by_number(BlockNumber(0))
            self._store.add_block(0, block_json(genesis), [])
            self._store.set_fact(CHAIN_ID_FACT, str(self.chain_id))

    # -- what there is

    @property
    def head(self) -> int:
        """Number of the newest block."""
        return int(self._chain.get_canonical_head().block_number)

    @property
    def base_fee(self) -> int:
        """Of the next block, in wei."""
        return int(self._chain.header.base_fee_per_gas or 0)

    def balance(self, address: bytes, block: int | None = None) -> int:
        return int(self._state(block).get_balance(Address(address)))

    def nonce(self, address: bytes, block: int | None = None) -> int:
        return int(self._state(block).get_nonce(Address(address)))

    def code(self, address: bytes, block: int | None = None) -> bytes:
        return bytes(self._state(block).get_code(Address(address)))

    def storage(self, address: bytes, slot: int, block: int | None = None) -> int:
        return int(self._state(block).get_storage(Address(address), slot))

    # -- what is done

    def send(self, raw: bytes) -> str:
        """Put a signed transaction into a block of its own, also one that reverts.

        Returns:
            its hash.
        """
        transaction = self._decoded(raw)
        self._check(transaction)
        self._mine([transaction])
        return "0x" + transaction.hash.hex()

    def mine(self, count: int = 1, timestamp: int | None = None) -> None:
        """Empty blocks.

        Args:
            timestamp: of the first of them.
        """
        if not 0 < count <= MOST_MINED_AT_ONCE:
            raise _bad(f"{count} blocks cannot be mined at once: 1 to {MOST_MINED_AT_ONCE} can")
        if timestamp is not None:
            self.set_next_timestamp(timestamp)
        for _ in range(count):
            self._mine([])

    def advance(self, seconds: int) -> int:
        """Move the clock on, for good.

        Returns:
            by how much it is ahead now.
        """
        if seconds < 0:
            raise _bad("time only moves on")
        with self._store.writing():
            self._store.set_fact(OFFSET_FACT, str(self._offset_s + seconds))
        self._offset_s += seconds
        return self._offset_s

    def set_next_timestamp(self, timestamp: int) -> None:
        """When the next block is; the clock goes on from there."""
        if timestamp <= self._chain.get_canonical_head().timestamp:
            raise _bad(f"{timestamp} is not after the newest block")
        self.advance(max(0, timestamp - self._time()))
        self._next_timestamp = timestamp

    def roll_back(self, depth: int) -> None:
        """Forget the newest blocks, as a chain that reorganises itself does; the next have other hashes."""
        head = self.head
        if not 0 < depth <= head:
            raise _bad(f"{depth} blocks cannot be dropped: there are {head}")
        with self._store.writing():
            for number in range(head - depth + 1, head + 1):
                del self._db[SchemaV1.make_block_number_to_hash_lookup_key(BlockNumber(number))]
            for transaction in self._store.drop_above(head - depth):
                key = Hash32(bytes.fromhex(transaction[2:]))
                del self._db[SchemaV1.make_transaction_hash_to_block_lookup_key(key)]
            newest = self._chain.get_canonical_block_header_by_number(BlockNumber(head - depth))
            self._db[SchemaV1.make_canonical_head_hash_lookup_key()] = newest.hash
            # py-evm keeps which blocks are missing: none below, all from here on.
            gaps = rlp.encode(((), head - depth + 1), sedes=chain_gaps)
            self._db[SchemaV1.make_chain_gaps_lookup_key()] = gaps
            self._db[SchemaV1.make_header_chain_gaps_lookup_key()] = gaps
        self._chain = self._kind(self._db)

    # -- what would be

    def call(self, call: Call, block: int | None = None) -> bytes:
        """Run without keeping anything, as if in the next block."""
        computation, _ = self._run(call, call.gas or GAS_LIMIT, block)
        return bytes(computation.output)

    def estimate(self, call: Call) -> int:
        """Gas with which it does not fail: what it used, or a little more where it hands gas on (EIP-150)."""
        _, used = self._run(call, GAS_LIMIT, None)
        for gas in (used, used * 64 // 63 + 2_300, used * 3 // 2):
            if self._is_enough(call, gas):
                return gas
        low, high = used, GAS_LIMIT
        while high - low > GAS_OF_A_TRANSFER // 10:
            middle = (low + high) // 2
            low, high = (low, middle) if self._is_enough(call, middle) else (middle, high)
        return high

    def _is_enough(self, call: Call, gas: int) -> bool:
        try:
            self._run(call, gas, None)
        except CallerFault:
            return False
        return True

    def _run(self, call: Call, gas: int, block: int | None) -> tuple[Any, int]:
        """A computation that did not fail, and the gas it took before refunds."""
        header = self._coming_header() if block is None else self._header(block)
        # Free gas: who only asks need not have any.
        virtual = self._chain.get_vm(header.copy(base_fee_per_gas=0))
        state = virtual.state
        sender = Address(call.sender)
        unsigned = virtual.create_unsigned_transaction(
            nonce=state.get_nonce(sender),
            gas_price=0,
            gas=min(gas, GAS_LIMIT),
            to=Address(call.to or b""),
            value=call.value,
            data=call.data,
        )
        try:
            computation = state.apply_transaction(SpoofTransaction(unsigned, from_=sender))  # type: ignore[arg-type]
        except (ValidationError, VMError) as error:
            raise _refused(str(error)) from error
        if computation.is_error:
            raise _failed(computation.error)
        return computation, min(gas, GAS_LIMIT) - int(computation.get_gas_remaining())

    # -- inside

    def _state(self, block: int | None) -> StateAPI:
        header = self._chain.get_canonical_head() if block is None else self._header(block)
        return self._chain.get_vm(header).state

    def _header(self, block: int) -> BlockHeaderAPI:
        if not 0 <= block <= self.head:
            raise CallerFault("unknown_block", f"There is no block {block}.")
        return self._chain.get_canonical_block_header_by_number(BlockNumber(block))

    def _time(self) -> int:
        return int(self._now()) + self._offset_s

    def _coming_header(self) -> BlockHeaderAPI:
        earliest = self._chain.get_canonical_head().timestamp + 1
        timestamp = self._next_timestamp if self._next_timestamp is not None else self._time()
        return self._chain.header.copy(
            timestamp=max(timestamp, earliest), gas_limit=GAS_LIMIT, mix_hash=Hash32(secrets.token_bytes(32))
        )

    def _decoded(self, raw: bytes) -> SignedTransactionAPI:
        try:
            transaction = self._chain.get_vm().get_transaction_builder().decode(raw)
            transaction.validate()
            transaction.check_signature_validity()
        except (rlp.RLPException, ValidationError, BadSignature, ValueError, TypeError, KeyError) as error:
            raise CallerFault("bad_transaction", f"The transaction cannot be read: {error}.") from error
        if transaction.chain_id not in (None, self.chain_id):
            raise CallerFault("bad_transaction", f"The transaction is for another chain than {self.chain_id}.")
        if getattr(transaction, "type_id", 0) == 3:
            raise CallerFault("bad_transaction", "Blobs are not carried here.")
        return transaction

    def _check(self, transaction: SignedTransactionAPI) -> None:
        """What is refused before it is in a block; in the words of geth, which wallets know."""
        sender = transaction.sender
        due = self.nonce(sender)
        if transaction.nonce != due:
            way = "low" if transaction.nonce < due else "high"
            raise CallerFault(
                f"nonce_too_{way}",
                f"nonce too {way}: address {sender.hex()}, tx: {transaction.nonce} state: {due}",
            )
        price = transaction.max_fee_per_gas
        if price < self.base_fee:
            raise CallerFault(
                "underpriced", f"max fee per gas less than block base fee: {price} below {self.base_fee}"
            )
        if self.balance(sender) < transaction.value + transaction.gas * price:
            raise CallerFault("no_funds", "insufficient funds for gas * price + value")

    def _mine(self, transactions: list[SignedTransactionAPI]) -> None:
        header = self._coming_header()
        try:
            with self._store.writing():
                # Where it runs and where it is written must be one header: the time and the random number too.
                self._chain.header = header
                result, receipts, computations = self._chain.mine_all(
                    transactions, timestamp=header.timestamp, mix_hash=header.mix_hash, gas_limit=GAS_LIMIT
                )
                block = result.imported_block
                said = block_json(block)
                mined, used, logs = [], 0, 0
                for n, (transaction, receipt) in enumerate(zip(block.transactions, receipts, strict=True)):
                    worded = transaction_json(transaction, said, n)
                    gas = int(receipt.gas_used) - used
                    its = receipt_json(receipt, computations[n], worded, said, gas, logs)
                    mined.append(MinedTransaction(worded, its))
                    used, logs = int(receipt.gas_used), logs + len(receipt.logs)
                self._store.add_block(int(block.number), said, mined)
        except BaseException as error:
            self._chain = self._kind(self._db)  # as it is on disk
            if isinstance(error, ValidationError):
                raise _refused(str(error)) from error
            raise
        self._next_timestamp = None


class _Pairs(BaseAtomicDB):
    """The store's pairs, as py-evm wants them. Atomic is what `DevnetStore.writing` makes of a whole block."""

    def __init__(self, store: DevnetStore) -> None:
        self._store = store

    def __getitem__(self, key: bytes) -> bytes:
        value = self._store.pair(bytes(key))
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._store.set_pair(bytes(key), bytes(value))

    def __delitem__(self, key: bytes) -> None:
        if not self._store.remove_pair(bytes(key)):
            raise KeyError(key)

    def _exists(self, key: bytes) -> bool:
        return self._store.pair(bytes(key)) is not None

    @contextmanager
    def atomic_batch(self) -> Iterator[AtomicWriteBatchAPI]:
        with AtomicDBWriteBatch._commit_unless_raises(self) as batch:
            yield batch


def _bad(why: str) -> CallerFault:
    return CallerFault("bad_devnet_option", f"{why[0].upper()}{why[1:]}.")


def _refused(why: str) -> CallerFault:
    return CallerFault("bad_transaction", f"The transaction is not valid: {why.rstrip('.')}.")


def _failed(error: VMError) -> CallerFault:
    """What a node says of a call that reverts; `data` is what the contract said, for who knows its ABI."""
    said = bytes(error.args[0]) if isinstance(error, Revert) and error.args else b""
    if isinstance(error, Revert):
        return CallerFault("reverted", "execution reverted", data=said)
    return CallerFault("reverted", f"execution reverted: {type(error).__name__}: {error}", data=b"")
