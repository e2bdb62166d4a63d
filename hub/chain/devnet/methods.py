"""What the devnet answers: what wallets and libraries use of Ethereum's JSON-RPC, and Anvil's for tests."""

from collections.abc import Callable, Sequence
from typing import Any

from digm.errors import CallerFault
from hub.chain.devnet import parameters as read
from hub.chain.devnet.accounts import demo_accounts
from hub.chain.devnet.filters import Filters
from hub.chain.devnet.machine import Call, Machine
from hub.chain.devnet.signing import SIGNING, account_of
from hub.chain.devnet.store import DevnetStore, Json
from hub.chain.devnet.wording import data, quantity

MOST_LOGS = 10_000
TIP_WEI = 10**9
MOST_FEE_HISTORY = 1_024
Parameters = Sequence[Any]


class Methods:
    """Every method by its name.

    Args:
        deployment: where DIGM's contracts are, as JSON has it; None: nowhere yet.
        version: what `web3_clientVersion` says.
    """

    def __init__(
        self,
        machine: Machine,
        store: DevnetStore,
        deployment: Callable[[], Any] = lambda: None,
        version: str = "digm-devnet/1",
    ) -> None:
        self._machine, self._store, self._version = machine, store, version
        filters = Filters(lambda: machine.head, lambda n: (store.block(n) or {})["hash"], self._logs)
        self._known: dict[str, Callable[[Parameters], Any]] = {
            "web3_clientVersion": lambda _: self._version,
            "net_version": lambda _: str(machine.chain_id),
            "net_listening": lambda _: True,
            "eth_chainId": lambda _: quantity(machine.chain_id),
            "eth_syncing": lambda _: False,
            "eth_blockNumber": lambda _: quantity(machine.head),
            "eth_gasPrice": lambda _: quantity(machine.base_fee + TIP_WEI),
            "eth_maxPriorityFeePerGas": lambda _: quantity(TIP_WEI),
            "eth_accounts": self._accounts,
            "eth_requestAccounts": self._accounts,
            "eth_feeHistory": self._fee_history,
            "eth_getBalance": lambda p: quantity(machine.balance(*self._who(p, 1))),
            "eth_getTransactionCount": lambda p: quantity(machine.nonce(*self._who(p, 1))),
            "eth_getCode": lambda p: data(machine.code(*self._who(p, 1))),
            "eth_getStorageAt": self._storage,
            "eth_call": lambda p: data(machine.call(read.read_call(read.at(p, 0)), self._block(p, 1))),
            "eth_estimateGas": lambda p: quantity(machine.estimate(read.read_call(read.at(p, 0)))),
            "eth_sendRawTransaction": lambda p: machine.send(read.read_bytes(read.at(p, 0), "the transaction")),
            "eth_sendTransaction": self._send,
            "eth_getTransactionByHash": lambda p: store.transaction(read.read_hash(read.at(p, 0))),
            "eth_getTransactionReceipt": lambda p: store.receipt(read.read_hash(read.at(p, 0))),
            "eth_getBlockByNumber": self._block_by_number,
            "eth_getBlockByHash": self._block_by_hash,
            "eth_getBlockReceipts": lambda p: store.receipts_in(self._number(p, 0)),
            "eth_getLogs": self._logs,
            "eth_newFilter": filters.new,
            "eth_newBlockFilter": filters.new_for_blocks,
            "eth_getFilterChanges": filters.changes,
            "eth_uninstallFilter": filters.remove,
            "digm_deployment": lambda _: deployment(),
            "evm_mine": self._mine_one,
            "anvil_mine": self._mine_many,
            "evm_increaseTime": lambda p: machine.advance(read.read_number(read.at(p, 0), "seconds", 1 << 40)),
            "evm_setNextBlockTimestamp": self._set_timestamp,
            "anvil_rollback": lambda p: machine.roll_back(read.read_number(read.at(p, 0, 1), "depth")),
            "anvil_reorg": self._reorganise,
            **SIGNING,
        }

    @property
    def names(self) -> list[str]:
        return sorted(self._known)

    def answer(self, method: str, parameters: Parameters) -> Any:
        """What a method returns.

        Raises:
            CallerFault: `unknown_method`, `bad_parameter`, and what the machine refuses.
        """
        known = self._known.get(method)
        if known is None:
            raise CallerFault("unknown_method", f"the method {method:.80} does not exist/is not available")
        return known(parameters)

    # -- what they have in common

    def _block(self, parameters: Parameters, position: int) -> int | None:
        return read.read_block(read.at(parameters, position), self._machine.head)

    def _number(self, parameters: Parameters, position: int) -> int:
        block = self._block(parameters, position)
        return self._machine.head if block is None else block

    def _who(self, parameters: Parameters, position: int) -> tuple[bytes, int | None]:
        return read.read_address(read.at(parameters, 0)), self._block(parameters, position)

    # -- reading

    def _accounts(self, _parameters: Parameters) -> list[str]:
        return [account.address.lower() for account in demo_accounts()]

    def _storage(self, parameters: Parameters) -> str:
        slot = read.read_number(read.at(parameters, 1), "the slot")
        address, block = self._who(parameters, 2)
        return data(self._machine.storage(address, slot, block).to_bytes(32, "big"))

    def _block_by_number(self, parameters: Parameters) -> Json | None:
        try:
            number = self._number(parameters, 0)
        except CallerFault as fault:
            if fault.code != "unknown_block":
                raise
            return None
        return self._with_transactions(self._store.block(number), read.at(parameters, 1))

    def _block_by_hash(self, parameters: Parameters) -> Json | None:
        block = self._store.block_by_hash(read.read_hash(read.at(parameters, 0)))
        return self._with_transactions(block, read.at(parameters, 1))

    def _with_transactions(self, block: Json | None, is_whole: Any) -> Json | None:
        if block is not None and is_whole is True:
            block["transactions"] = self._store.transactions_in(int(block["number"], 16))
        return block

    def _logs(self, parameters: Parameters) -> list[Json]:
        wanted = read.at(parameters, 0, {})
        addresses, topics = read.read_filter(wanted)
        if wanted.get("blockHash"):
            block = self._store.block_by_hash(read.read_hash(wanted["blockHash"]))
            if block is None:
                raise CallerFault("unknown_block", "There is no block of this hash.")
            first = last = int(block["number"], 16)
        else:
            head = self._machine.head
            # A range may go past the head, as with other nodes.
            first, last = (self._bound(wanted.get(name), head) for name in ("fromBlock", "toBlock"))
        logs = self._store.logs(first, last, addresses, topics, MOST_LOGS)
        if len(logs) > MOST_LOGS:
            raise CallerFault("too_many_logs", f"query returned more than {MOST_LOGS} results: ask for less")
        return logs

    def _bound(self, value: Any, head: int) -> int:
        if isinstance(value, str) and value.startswith("0x"):
            return min(read.read_number(value, "the block"), head + 1)
        number = read.read_block(value, head)
        return head if number is None else number

    def _fee_history(self, parameters: Parameters) -> Json:
        count = read.read_number(read.at(parameters, 0), "the number of blocks", MOST_FEE_HISTORY)
        newest = self._number(parameters, 1)
        percentiles = read.at(parameters, 2) or []
        blocks = [self._store.block(n) or {} for n in range(max(0, newest - count + 1), newest + 1)]
        following = self._store.block(newest + 1)
        next_fee = following["baseFeePerGas"] if following else quantity(self._machine.base_fee)
        return {
            "oldestBlock": blocks[0]["number"] if blocks else quantity(newest),
            "baseFeePerGas": [*(block["baseFeePerGas"] for block in blocks), next_fee],
            "gasUsedRatio": [int(block["gasUsed"], 16) / int(block["gasLimit"], 16) for block in blocks],
            "reward": [[quantity(TIP_WEI)] * len(percentiles) for _ in blocks],
        }

    # -- changing

    def _send(self, parameters: Parameters) -> str:
        """Signed here, with a key that anybody knows."""
        wanted = read.at(parameters, 0)
        call = read.read_call(wanted)
        signed = account_of(call.sender).sign_transaction(self._filled(wanted, call))
        return self._machine.send(bytes(signed.raw_transaction))

    def _filled(self, wanted: Json, call: Call) -> Json:
        fee = wanted.get("maxFeePerGas") or wanted.get("gasPrice")
        price = read.read_number(fee, "the price") if fee else 2 * self._machine.base_fee + TIP_WEI
        tip = read.read_number(wanted.get("maxPriorityFeePerGas") or min(TIP_WEI, price), "the tip")
        nonce = wanted.get("nonce")
        return {
            "type": 2,
            "chainId": self._machine.chain_id,
            "nonce": self._machine.nonce(call.sender)
            if nonce is None
            else read.read_number(nonce, "the nonce"),
            "to": call.to or b"",
            "data": call.data,
            "value": call.value,
            "gas": call.gas or self._machine.estimate(call),
            "maxFeePerGas": price,
            "maxPriorityFeePerGas": tip,
        }

    def _mine_one(self, parameters: Parameters) -> str:
        given = read.at(parameters, 0)
        given = given.get("timestamp") if isinstance(given, dict) else given
        self._machine.mine(1, None if given is None else read.read_number(given, "the time"))
        return "0x0"

    def _mine_many(self, parameters: Parameters) -> None:
        self._machine.mine(read.read_number(read.at(parameters, 0, 1), "the number of blocks"))

    def _set_timestamp(self, parameters: Parameters) -> None:
        self._machine.set_next_timestamp(read.read_number(read.at(parameters, 0), "the time", 1 << 40))

    def _reorganise(self, parameters: Parameters) -> None:
        depth = read.read_number(read.at(parameters, 0), "depth")
        if read.at(parameters, 1):
            raise read.bad("transactions cannot be put into the new blocks here")
        self._machine.roll_back(depth)
        self._machine.mine(depth)
