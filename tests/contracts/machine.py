"""Two machines that run contracts: py-evm in this process, without blocks or JSON, and anvil in another.

Both have the same face, so that a scenario runs on either. `Contract` calls by name, reads reasons and events.
"""

import hashlib
import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import eth_abi
from eth.chains.base import MiningChain
from eth.consensus import NoProofConsensus
from eth.constants import BLANK_ROOT_HASH, POST_MERGE_DIFFICULTY, POST_MERGE_MIX_HASH, POST_MERGE_NONCE
from eth.db.atomic import AtomicDB
from eth.vm.forks.prague import PragueVM
from eth.vm.spoof import SpoofTransaction
from eth_typing import Address, BlockNumber, Hash32
from eth_utils.crypto import keccak

GAS_LIMIT = 30_000_000
FIRST_TIMESTAMP = 1_800_000_000
_ERROR_STRING = keccak(text="Error(string)")[:4]
_PANIC = keccak(text="Panic(uint256)")[:4]
ZERO = bytes(20)


class Reverted(Exception):
    """A call that did nothing; `reason` is what the contract said, empty where it said nothing."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        if data[:4] == _ERROR_STRING:
            self.reason = str(eth_abi.decode(["string"], data[4:])[0])
        elif data[:4] == _PANIC:
            self.reason = f"panic {eth_abi.decode(['uint256'], data[4:])[0]}"
        else:
            self.reason = ""
        super().__init__(self.reason or data.hex())


@dataclass
class Outcome:
    """What a transaction left behind.

    Attributes:
        gas_used: what its sender pays for, with the call data and after refunds.
        logs: (address, topics, data) each.
    """

    output: bytes
    gas_used: int
    logs: list[tuple[bytes, list[bytes], bytes]]
    made: bytes = b""


def account(number: int) -> bytes:
    """An address that is nobody's but ours."""
    return hashlib.sha256(b"account %d" % number).digest()[:20]


class _BlockHashes(Sequence[bytes]):
    """Hashes of the blocks before `of`, newest first, as py-evm wants them; made up, but each its own."""

    def __init__(self, of: "PyEvm") -> None:
        self._of = of

    def __len__(self) -> int:
        return min(256, self._of.block)

    def __getitem__(self, depth: Any) -> bytes:
        return block_hash(self._of.block - 1 - int(depth))


def block_hash(number: int) -> bytes:
    return hashlib.sha256(b"block %d" % number).digest()


class PyEvm:
    """One state of py-evm, in which transactions run without being signed, mined or written anywhere."""

    name = "py-evm"

    def __init__(self) -> None:
        kind = MiningChain.configure(
            __name__="TestChain",
            vm_configuration=((BlockNumber(0), PragueVM.configure(consensus_class=NoProofConsensus)),),
            chain_id=31337,  # as anvil's
        )
        parameters = {
            "coinbase": Address(ZERO),
            "difficulty": POST_MERGE_DIFFICULTY,
            "extra_data": b"",
            "gas_limit": GAS_LIMIT,
            "mix_hash": POST_MERGE_MIX_HASH,
            "nonce": POST_MERGE_NONCE,
            "receipt_root": BLANK_ROOT_HASH,
            "timestamp": FIRST_TIMESTAMP,
            "transaction_root": BLANK_ROOT_HASH,
        }
        rich = {"balance": 10**24, "nonce": 0, "code": b"", "storage": {}}
        self._chain = kind.from_genesis(
            AtomicDB(), parameters, {Address(one): dict(rich) for one in self.accounts}
        )
        self.block, self.now = 1, FIRST_TIMESTAMP
        self._begin(self._chain.header.state_root)
        self.calls = 0

    def _begin(self, state_root: bytes) -> None:
        header = self._chain.header.copy(base_fee_per_gas=0, state_root=Hash32(state_root))
        self._vm = self._chain.get_vm(header)
        self._state = self._vm.state
        self._context = self._state.execution_context
        self._context._prev_hashes = _BlockHashes(self)

    accounts = [account(n) for n in range(12)]

    def mine(self, blocks: int = 1, seconds: int | None = None) -> None:
        """Empty blocks, `seconds` later altogether (one each, where it is not said)."""
        self.block += blocks
        self.now += blocks if seconds is None else seconds

    def send(self, sender: bytes, to: bytes, data: bytes, value: int = 0) -> Outcome:
        """A transaction in a block of its own. Raises Reverted."""
        self.mine()
        outcome = self._run(sender, to, data, value)
        self._state.lock_changes()
        return outcome

    def balance(self, who: bytes) -> int:
        """Of the chain's own coin."""
        return int(self._state.get_balance(Address(who)))

    def call(self, sender: bytes, to: bytes, data: bytes, value: int = 0) -> bytes:
        """As if in the next block. Raises Reverted."""
        self.mine()
        snapshot = self._state.snapshot()
        try:
            return self._run(sender, to, data, value).output
        finally:
            self._state.revert(snapshot)
            self._state.lock_changes()  # what was read here is not warm for who comes next
            self.block, self.now = self.block - 1, self.now - 1

    def snapshot(self) -> Any:
        """Writes the state to the database. What comes behind it is in memory only, and gone with `revert`."""
        root = self._state.make_state_root()
        self._state.persist()
        return root, self.block, self.now

    def revert(self, snapshot: Any) -> None:
        root, self.block, self.now = snapshot
        self._begin(root)

    def _run(self, sender: bytes, to: bytes, data: bytes, value: int = 0) -> Outcome:
        self.calls += 1
        self._context._block_number, self._context._timestamp = self.block, self.now
        unsigned = self._vm.create_unsigned_transaction(
            nonce=self._state.get_nonce(Address(sender)),
            gas_price=0,
            gas=GAS_LIMIT,
            to=Address(to),
            value=value,
            data=data,
        )
        spoofed = SpoofTransaction(unsigned, from_=Address(sender))
        computation = self._state.apply_transaction(spoofed)
        if computation.is_error:
            raise Reverted(bytes(computation.output))
        return Outcome(
            output=bytes(computation.output),
            gas_used=self._gas_used(spoofed, computation),
            logs=[
                (bytes(where), [topic.to_bytes(32, "big") for topic in topics], bytes(content))
                for where, topics, content in computation.get_log_entries()
            ],
            made=bytes(computation.msg.storage_address) if not to else b"",
        )

    def _gas_used(self, transaction: Any, computation: Any) -> int:
        used = GAS_LIMIT - int(computation.get_gas_remaining())
        return used - min(int(computation.get_gas_refund()), used // 5)


class Anvil:
    """Foundry's anvil, started here, on a free port of this machine."""

    name = "anvil"

    def __init__(self, executable: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._url = f"http://127.0.0.1:{port}"
        command = [executable, "--port", str(port), "--silent", "--hardfork", "prague", "--accounts", "12"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            try:
                self.accounts = [bytes.fromhex(one[2:]) for one in self._ask("eth_accounts", [])]
                break
            except OSError:
                if time.monotonic() > deadline:
                    self.stop()
                    raise
                time.sleep(0.05)
        self.calls = 0

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def block(self) -> int:
        return int(self._ask("eth_blockNumber", []), 16)

    @property
    def now(self) -> int:
        return int(self._ask("eth_getBlockByNumber", ["latest", False])["timestamp"], 16)

    def mine(self, blocks: int = 1, seconds: int | None = None) -> None:
        """As `PyEvm.mine`, but time without a block is not to be had here: it takes one."""
        blocks = max(blocks, 1 if seconds else 0)
        if blocks > 1:
            self._ask("anvil_mine", [hex(blocks - 1), "0x0" if seconds == 0 else "0x1"])
        if blocks > 0:
            rest = 1 if seconds is None else max(1, seconds - (blocks - 1))
            self._ask("evm_setNextBlockTimestamp", [hex(self.now + rest)])
            self._ask("evm_mine", [])

    def send(self, sender: bytes, to: bytes, data: bytes, value: int = 0) -> Outcome:
        """A transaction in a block of its own. Raises Reverted."""
        self.calls += 1
        asked = self._asked(sender, to, data) | {"value": hex(value)}
        self._ask("evm_setNextBlockTimestamp", [hex(self.now + 1)])
        name = self._ask("eth_sendTransaction", [asked])
        deadline = time.monotonic() + 20
        while (receipt := self._ask("eth_getTransactionReceipt", [name])) is None:
            if time.monotonic() > deadline:
                raise TimeoutError("anvil mines nothing")
        if int(receipt["status"], 16) == 0:
            raise Reverted(b"")
        made = receipt.get("contractAddress")
        return Outcome(
            output=b"",
            gas_used=int(receipt["gasUsed"], 16),
            logs=[
                (
                    bytes.fromhex(log["address"][2:]),
                    [bytes.fromhex(topic[2:]) for topic in log["topics"]],
                    bytes.fromhex(log["data"][2:]),
                )
                for log in receipt["logs"]
            ],
            made=bytes.fromhex(made[2:]) if made else b"",
        )

    def balance(self, who: bytes) -> int:
        """Of the chain's own coin."""
        return int(self._ask("eth_getBalance", ["0x" + who.hex(), "latest"]), 16)

    def call(self, sender: bytes, to: bytes, data: bytes, value: int = 0) -> bytes:
        """As if in the next block. Raises Reverted."""
        self.calls += 1
        asked = self._asked(sender, to, data) | {"value": hex(value)}
        return bytes.fromhex(self._ask("eth_call", [asked, "pending"])[2:])

    def snapshot(self) -> Any:
        return self._ask("evm_snapshot", [])

    def revert(self, snapshot: Any) -> None:
        self._ask("evm_revert", [snapshot])

    def _asked(self, sender: bytes, to: bytes, data: bytes) -> dict[str, str]:
        asked = {"from": "0x" + sender.hex(), "data": "0x" + data.hex(), "gas": hex(GAS_LIMIT // 2)}
        return asked | ({"to": "0x" + to.hex()} if to else {})

    def _ask(self, method: str, parameters: list[Any]) -> Any:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).encode()
        request = urllib.request.Request(self._url, body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            said = json.loads(answer.read())
        if "error" in said:
            data = said["error"].get("data")
            raise Reverted(
                bytes.fromhex(data[2:]) if isinstance(data, str) else said["error"]["message"].encode()
            )
        return said["result"]


Machine = PyEvm | Anvil


@dataclass(frozen=True)
class Event:
    name: str
    fields: dict[str, Any]


def _type(entry: dict[str, Any]) -> str:
    kind = str(entry["type"])
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(_type(one) for one in entry['components'])}){kind[5:]}"


def _named(entry: dict[str, Any], value: Any) -> Any:
    """Tuples as dictionaries by their fields' names; addresses as bytes."""
    kind = str(entry["type"])
    if kind.endswith("]"):
        inner = entry | {"type": kind[: kind.rindex("[")]}
        return [_named(inner, one) for one in value]
    if kind == "tuple":
        return {one["name"]: _named(one, part) for one, part in zip(entry["components"], value, strict=True)}
    return bytes.fromhex(value[2:]) if kind == "address" else value


@dataclass
class _Function:
    selector: bytes
    types: list[str]
    outputs: list[dict[str, Any]]
    output_types: list[str] = field(default_factory=list)


class Contract:
    """A deployed contract. `contract.send(who, "name", ...)` changes, `contract.ask("name", ...)` reads."""

    def __init__(self, machine: Machine, abi: list[dict[str, Any]], address: bytes) -> None:
        self.machine, self.address, self.abi = machine, address, abi
        self.functions: dict[str, _Function] = {}
        self._events: dict[bytes, dict[str, Any]] = {}
        for entry in abi:
            if entry["type"] in ("function", "event"):
                types = [_type(one) for one in entry["inputs"]]
                whole = keccak(text=f"{entry['name']}({','.join(types)})")
                if entry["type"] == "event":
                    self._events[whole] = entry
                else:
                    outputs = entry["outputs"]
                    self.functions[entry["name"]] = _Function(
                        whole[:4], types, outputs, [_type(one) for one in outputs]
                    )

    @classmethod
    def deploy(cls, machine: Machine, compiled: dict[str, Any], sender: bytes, *arguments: Any) -> "Contract":
        abi = compiled["abi"]
        inputs = next((entry["inputs"] for entry in abi if entry["type"] == "constructor"), [])
        code = bytes.fromhex(compiled["bytecode"][2:])
        message = code + eth_abi.encode([_type(one) for one in inputs], arguments)
        if isinstance(machine, Anvil):
            machine.call(sender, b"", message)  # as in `transact`
        outcome = machine.send(sender, b"", message)
        return cls(machine, abi, outcome.made)

    def message(self, name: str, *arguments: Any) -> bytes:
        function = self.functions[name]
        return function.selector + eth_abi.encode(function.types, arguments)

    def ask(self, name: str, *arguments: Any, sender: bytes = ZERO) -> Any:
        return self.read(name, self.machine.call(sender, self.address, self.message(name, *arguments)))

    def send(self, sender: bytes, name: str, *arguments: Any, value: int = 0) -> "list[Event]":
        """Returns the events that this contract wrote."""
        return self.events(self.transact(sender, name, *arguments, value=value))

    def transact(self, sender: bytes, name: str, *arguments: Any, value: int = 0) -> Outcome:
        message = self.message(name, *arguments)
        if isinstance(self.machine, Anvil):
            # A receipt has no reason; asking first has.
            self.machine.call(sender, self.address, message, value)
        return self.machine.send(sender, self.address, message, value)

    def read(self, name: str, output: bytes) -> Any:
        function = self.functions[name]
        values = eth_abi.decode(function.output_types, output)
        named = [_named(entry, value) for entry, value in zip(function.outputs, values, strict=True)]
        return named[0] if len(named) == 1 else named

    def events(self, outcome: Outcome) -> list[Event]:
        found = []
        for where, topics, data in outcome.logs:
            entry = self._events.get(topics[0]) if topics and where == self.address else None
            if entry is None:
                continue
            indexed = [one for one in entry["inputs"] if one["indexed"]]
            rest = [one for one in entry["inputs"] if not one["indexed"]]
            fields = {}
            for one, topic in zip(indexed, topics[1:], strict=True):
                fields[one["name"]] = _named(one, eth_abi.decode([_type(one)], topic)[0])
            values = eth_abi.decode([_type(one) for one in rest], data)
            fields |= {one["name"]: _named(one, value) for one, value in zip(rest, values, strict=True)}
            found.append(Event(entry["name"], fields))
        return found
