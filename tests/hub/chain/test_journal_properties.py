"""However a chain grows and forks, and whenever the reader stops: what is told is what is in the chain."""

import hashlib
import tempfile
from pathlib import Path
from typing import Any

from eth_utils.crypto import keccak
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from digm.chain_scan import Pace
from digm.errors import Unavailable
from hub.chain.contract import Contract
from hub.chain.events import EventReader
from hub.chain.journal import Journal

ADDRESS = "0x0000000000000000000000000000000000000011"
ABI = [{"type": "event", "name": "Said", "inputs": [{"name": "what", "type": "uint256", "indexed": False}]}]
TOPIC = "0x" + keccak(text="Said(uint256)").hex()


class Chain:
    """What a server of a chain answers: blocks with logs, each hash over all that is below it."""

    def __init__(self) -> None:
        self.blocks: list[tuple[str, list[int]]] = [("0x" + "00" * 32, [])]
        self._forks = 0

    def grow(self, said: list[int]) -> None:
        text = f"{self.blocks[-1][0]} {self._forks} {said}"
        self.blocks.append(("0x" + hashlib.sha256(text.encode()).hexdigest(), said))

    def fork(self, depth: int) -> None:
        self._forks += 1
        del self.blocks[max(1, len(self.blocks) - depth) :]

    async def ask(self, method: str, *parameters: Any) -> Any:
        if method == "eth_blockNumber":
            return hex(len(self.blocks) - 1)
        if method == "eth_getBlockByNumber":
            number = int(parameters[0], 16)
            return {"hash": self.blocks[number][0]} if number < len(self.blocks) else None
        assert method == "eth_getLogs"
        first, last = (int(parameters[0][name], 16) for name in ("fromBlock", "toBlock"))
        return [
            {
                "address": ADDRESS, "topics": [TOPIC], "data": f"0x{what:064x}", "blockNumber": hex(number),
                "blockHash": block_hash, "transactionHash": block_hash, "logIndex": hex(index),
            }
            for number, (block_hash, said) in enumerate(self.blocks)
            if first <= number <= last
            for index, what in enumerate(said)
        ]  # fmt: skip

    async def ask_together(self, questions: list[tuple[str, list[Any]]]) -> list[Any]:
        return [await self.ask(method, *parameters) for method, parameters in questions]


def finished(work: Any) -> Any:
    """Nothing waits here: it is done at its first step."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("It waited.")


class Following(RuleBasedStateMachine):
    @initialize(confirmations=st.integers(1, 4), blocks=st.integers(1, 8))
    def begin(self, confirmations: int, blocks: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.chain, self.confirmations, self.blocks, self.next = Chain(), confirmations, blocks, 1
        self.open()

    def open(self) -> None:
        self.journal = Journal(Path(self.folder.name) / "events.sqlite", "it")
        contracts = {ADDRESS: Contract("it", ABI)}
        pace = Pace(self.blocks, self.blocks)
        self.reader = EventReader(self.chain, self.journal, contracts, 0, self.confirmations, pace)  # type: ignore[arg-type]

    @rule(counts=st.lists(st.integers(0, 2), min_size=1, max_size=5))
    def grow(self, counts: list[int]) -> None:
        for count in counts:
            self.chain.grow(list(range(self.next, self.next + count)))
            self.next += count

    @rule(depth=st.integers(1, 8))
    def fork(self, depth: int) -> None:
        self.chain.fork(depth)

    @rule()
    def read(self) -> None:
        try:
            finished(self.reader.catch_up())
        except Unavailable as fault:
            assert fault.code == "chain_behind"
            return
        self.check(len(self.chain.blocks) - 1)

    @rule()
    def restart(self) -> None:
        self.journal.close()
        self.open()

    def check(self, head: int) -> None:
        in_chain = {
            (number, block_hash, index)
            for number, (block_hash, said) in enumerate(self.chain.blocks)
            for index in range(len(said))
        }
        deep = {key for key in in_chain if key[0] <= head - self.confirmations + 1}
        told = {key for key, count in self.standing().items() if count}
        assert deep <= told
        # What was told from blocks that are above the head now is judged when there are such blocks again.
        assert {key for key in told if key[0] <= head} <= in_chain

    def standing(self) -> dict[tuple[int, str, int], int]:
        found: dict[tuple[int, str, int], int] = {}
        for step in self.journal.steps(most=100_000):
            key = (step.log.block, step.log.block_hash, step.log.index)
            found[key] = found.get(key, 0) + (-1 if step.is_undone else 1)
        return found

    @invariant()
    def nothing_is_told_twice(self) -> None:
        if hasattr(self, "journal"):
            assert set(self.standing().values()) <= {0, 1}

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            self.journal.close()
            self.folder.cleanup()


Following.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestFollowing = Following.TestCase
