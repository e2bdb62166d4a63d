"""Asking contracts and telling them: typed by their ABI, with the contract's own reasons where it refuses."""

from typing import Any

from digm.errors import CallerFault, PeerFault, Unavailable
from hub.chain import words
from hub.chain.contract import Contract, reason_of
from hub.chain.model import Receipt
from hub.chain.rpc import Rpc
from hub.chain.sender import Sender, Wish


class ChainClient:
    """One account, or none, on one chain.

    Args:
        sender: None: it can only ask.
    """

    def __init__(self, rpc: Rpc, sender: Sender | None = None) -> None:
        self.rpc, self._sender = rpc, sender

    @property
    def sender(self) -> Sender:
        """What its transactions go through. Raises CallerFault `read_only`."""
        if self._sender is None:
            raise CallerFault("read_only", "This needs the chain's key: digm chain key makes one.")
        return self._sender

    async def head(self) -> int:
        """Number of the newest block. Raises as `Rpc.ask`."""
        return words.number(await self.rpc.ask("eth_blockNumber"), "the newest block")

    async def genesis(self) -> str:
        """Hash of the chain's first block. Raises as `Rpc.ask`."""
        block = words.fields(await self.rpc.ask("eth_getBlockByNumber", "0x0", False), "the first block")
        return words.hash_of(block.get("hash"), "the first block's hash")

    async def time(self, number: int | None = None) -> int:
        """Of a block, in seconds since 1970; of the newest: what contracts go by. Raises as `Rpc.ask`."""
        name = "latest" if number is None else hex(number)
        block = words.fields(await self.rpc.ask("eth_getBlockByNumber", name, False), f"the block {name}")
        return words.number(block.get("timestamp"), "a block's time")

    async def balance(self, address: str) -> int:
        """Wei. Raises as `Rpc.ask`."""
        return words.number(await self.rpc.ask("eth_getBalance", address, "latest"), "a balance")

    async def has_code(self, address: str) -> bool:
        """Whether a contract is there. Raises as `Rpc.ask`."""
        return bool(await self.code(address))

    async def code(self, address: str) -> bytes:
        """What is deployed there. Raises as `Rpc.ask`."""
        return words.content(await self.rpc.ask("eth_getCode", address, "latest"), "a contract")

    async def call(
        self, contract: Contract, address: str, function: str, *arguments: Any, block: int | None = None
    ) -> Any:
        """What a function returns, decoded.

        Args:
            block: as it was then; None: now.
        Raises:
            CallerFault: `reverted`, with the contract's `reason`; as `Contract.call_data`. PeerFault:
                `rpc_lies`. Unavailable: as `Rpc.ask`; `no_contract`: nothing is deployed there.
        """
        call = {"to": address, "data": words.data(contract.call_data(function, arguments))}
        if self._sender is not None:
            call["from"] = self._sender.address
        try:
            said = await self.rpc.ask("eth_call", call, "latest" if block is None else hex(block))
        except CallerFault as fault:
            raise with_reason(contract, fault) from fault
        answer = words.content(said, "an answer")
        try:
            return contract.answer(function, len(arguments), answer)
        except PeerFault as fault:
            if answer:
                raise
            raise Unavailable("no_contract", f"There is no {contract.name} at {address}.") from fault

    async def transact(
        self,
        purpose: str,
        contract: Contract,
        address: str,
        function: str,
        *arguments: Any,
        value_wei: int = 0,
        before_s: int | None = None,
    ) -> Receipt:
        """Call a function in a transaction, once for each purpose. Raises as `call`, `Sender.send`.

        Args:
            before_s: from this time of the chain on it is not sent to anybody, whatever was signed.
        """
        data = contract.call_data(function, arguments)
        return await self._send(Wish(purpose, address, data, value_wei, before_s), contract)

    async def deploy(self, purpose: str, contract: Contract, *arguments: Any) -> Receipt:
        """Make a contract; the receipt's `contract_address` says where. Raises as `transact`."""
        return await self._send(Wish(purpose, None, contract.deployment(arguments)), contract)

    async def pay(self, purpose: str, to: str, wei: int) -> Receipt:
        """Send coins, once for each purpose. Raises as `Sender.send`."""
        return await self.sender.send(Wish(purpose, to, b"", wei))

    async def _send(self, wish: Wish, contract: Contract) -> Receipt:
        try:
            return await self.sender.send(wish)
        except CallerFault as fault:
            raise with_reason(contract, fault) from fault


def with_reason(contract: Contract | None, fault: CallerFault) -> CallerFault:
    """A revert's fault with what the contract said, in its sentence and in `reason`; others as they are."""
    said = fault.data.get("data")
    if fault.code != "reverted" or not isinstance(said, bytes):
        return fault
    reason = contract.reason(said) if contract is not None else reason_of(said)
    name = contract.name if contract is not None else "the contract"
    sentence = f"The contract {name} refuses: {reason}." if reason else f"The contract {name} refuses."
    return CallerFault("reverted", sentence, reason=reason, data=said)
