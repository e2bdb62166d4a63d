"""Reads contracts' events into a `Journal`: from where it stopped, in stretches, and again after a fork."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import structlog

from digm.chain_scan import Anchor, ForkSearch, Pace, next_stretch
from digm.errors import Unavailable
from hub.chain import words
from hub.chain.contract import Contract
from hub.chain.journal import Journal, Step
from hub.chain.model import Event, Log
from hub.chain.rpc import Question, Rpc

log = structlog.get_logger()
MOST_LOGS = 100_000
# Of servers that find a range too long: they say it in many ways, and all of them are refusals.
_TOO_MUCH = ("chain_refused", "chain_unreachable")
PASSING = ("chain_refused", "chain_unreachable", "chain_behind", "chain_moved")


class EventReader:
    """Follows the events of some contracts.

    Args:
        contracts: by address, as `hub.chain.words.address` writes it.
        first_block: where the contracts were deployed; nothing of theirs is before.
        confirmations: in how many blocks, its own among them, an event has to be before it counts.
        poll_s: how often it is worth asking again.
    """

    def __init__(
        self,
        rpc: Rpc,
        journal: Journal,
        contracts: Mapping[str, Contract],
        first_block: int,
        confirmations: int,
        pace: Pace | None = None,
        poll_s: float = 4.0,
    ) -> None:
        self._rpc, self._journal, self._contracts = rpc, journal, contracts
        self._first_block, self.confirmations = first_block, max(1, confirmations)
        self._pace = pace or Pace()
        self.poll_s = poll_s

    async def catch_up(self) -> int:
        """Read until there is nothing new.

        Returns:
            the chain's newest block, as it was known then.
        Raises:
            Unavailable: as `Rpc.ask`; `chain_behind`: the server knows less of the chain than we do;
                `chain_moved`: it changed while it was read: again, later. PeerFault: `rpc_lies`. What the
                journal raises.
        """
        while True:
            head, is_done = await self._step()
            if is_done:
                return head

    async def catch_up_patiently(self, forever: bool = False, tries: int = 5) -> None:
        """`catch_up`, again where waiting may help: a server that is away, behind, or just reorganises itself.

        Args:
            forever: not only so many times. Raises as `catch_up`.
        """
        while True:
            try:
                await self.catch_up()
            except Unavailable as fault:
                tries -= 1
                if fault.code not in PASSING or (tries <= 0 and not forever):
                    raise
                await asyncio.sleep(self.poll_s)
            else:
                return

    def events(self, after: int = 0, most: int = 1_000) -> list[tuple[Step, Event]]:
        """Steps of the journal with their events; what no ABI knows is left out."""
        return list(self._decoded(self._journal.steps(after, most)))

    def _decoded(self, steps: Sequence[Step]) -> Iterator[tuple[Step, Event]]:
        for step in steps:
            contract = self._contracts.get(step.log.address)
            event = contract.event(step.log) if contract is not None else None
            if event is not None:
                yield step, event

    def all_events(self, after: int = 0) -> Iterator[tuple[Step, Event]]:
        """All steps behind one, to the last."""
        while steps := self._journal.steps(after):
            yield from self._decoded(steps)
            after = steps[-1].sequence

    async def _step(self) -> tuple[int, bool]:
        head = words.number(await self._rpc.ask("eth_blockNumber"), "the newest block")
        anchor = self._journal.newest_anchor()
        if anchor is not None and anchor.number > head:
            await self._check_below(head)
            return head, False
        first = self._first_block if anchor is None else anchor.number + 1
        stretch = next_stretch(first, head, self.confirmations, self._pace.blocks)
        if stretch is None:
            if anchor is not None and await self._block_hash(anchor.number) != anchor.hash:
                await self._find_fork()
                return head, False
        elif not await self._read(anchor, *stretch):
            return head, False
        self._journal.tell(head - self.confirmations + 1)
        return head, stretch is None or stretch[1] == head

    async def _read(self, anchor: Anchor | None, first: int, last: int) -> bool:
        """Whether the stretch was read."""
        wanted = {
            "fromBlock": hex(first),
            "toBlock": hex(last),
            "address": list(self._contracts),
        }
        block: Question = ("eth_getBlockByNumber", [hex(last), False])
        # The last block before and after the logs: if it is the same, they are of one chain.
        questions: list[Question] = [block, ("eth_getLogs", [wanted]), block]
        if anchor is not None:
            questions.append(("eth_getBlockByNumber", [hex(anchor.number), False]))
        try:
            before, found, after, *below = await self._rpc.ask_together(questions)
        except Unavailable as fault:
            if last > first and fault.code in _TOO_MUCH and self._pace.was_too_much():
                return False
            raise
        if anchor is not None and _hash(below[0]) != anchor.hash:
            await self._find_fork()
            return False
        last_hash = _hash(before)
        if last_hash is None or _hash(after) != last_hash:
            raise Unavailable("chain_moved", "The chain changed while it was read: again, later.")
        logs = self._checked(found, first, last, last_hash)
        self._pace.was_fine()
        return self._journal.extend(anchor, first, Anchor(last, last_hash), logs)

    def _checked(self, found: Any, first: int, last: int, last_hash: str) -> Sequence[Log]:
        if not isinstance(found, list) or len(found) > MOST_LOGS:
            raise words.lie("logs are no list, or too many")
        logs = [words.log_of(one) for one in found]
        hashes = {last: last_hash}
        for one in logs:
            if not first <= one.block <= last or one.address not in self._contracts:
                raise words.lie("a log that was not asked for")
            if hashes.setdefault(one.block, one.block_hash) != one.block_hash:
                raise words.lie("logs of two blocks with one number")
            self._contracts[one.address].event(one)  # what cannot be decoded never gets into the journal
        if any((one.block, one.index) >= (other.block, other.index) for one, other in pairwise(logs)):
            raise words.lie("logs that are not in order")
        return logs

    async def _check_below(self, head: int) -> None:
        """The server's chain is shorter than what was read: is it behind, or has it forked off below?

        Raises:
            Unavailable: `chain_behind`, if it is only behind.
        """
        known = [anchor for anchor in self._journal.anchors() if anchor.number <= head]
        if known and await self._block_hash(known[-1].number) != known[-1].hash:
            await self._find_fork()
            return
        raise Unavailable("chain_behind", f"The chain's server is behind: its newest block is {head}.")

    async def _find_fork(self) -> None:
        search = ForkSearch(self._journal.anchors())
        while (anchor := search.question) is not None:
            search.answer(await self._block_hash(anchor.number) == anchor.hash)
        newest = search.newest
        log.warning("chain_reorganised", read_again_from=0 if newest is None else newest.number + 1)
        self._journal.rewind(newest)

    async def _block_hash(self, number: int) -> str | None:
        return _hash(await self._rpc.ask("eth_getBlockByNumber", hex(number), False))


def _hash(block: Any) -> str | None:
    if block is None:
        return None
    return words.hash_of(words.fields(block, "a block").get("hash"), "a block's hash")
