"""Filters that clients poll (`eth_newFilter`): what is new in the chain since they last asked."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from digm.errors import CallerFault
from hub.chain.devnet import parameters as read

MOST_FILTERS = 1_000


@dataclass
class _Filter:
    """`wanted` is None for one of blocks."""

    wanted: Mapping[str, Any] | None
    next_block: int


class Filters:
    """All filters, in memory; the oldest goes when there are too many.

    Args:
        head: number of the newest block.
        block_hash: of a block by its number.
        logs: what `eth_getLogs` answers.
    """

    def __init__(
        self, head: Callable[[], int], block_hash: Callable[[int], str], logs: Callable[[Sequence[Any]], Any]
    ) -> None:
        self._head, self._block_hash, self._logs = head, block_hash, logs
        self._filters: dict[str, _Filter] = {}
        self._names = itertools.count(1)

    def new(self, parameters: Sequence[Any]) -> str:
        """For logs."""
        wanted = read.at(parameters, 0, {})
        read.read_filter(wanted)
        return self._add(wanted)

    def new_for_blocks(self, _parameters: Sequence[Any]) -> str:
        """For blocks."""
        return self._add(None)

    def changes(self, parameters: Sequence[Any]) -> Any:
        """What is new since the last time; a fork's blocks from where the last ones ended."""
        name = read.at(parameters, 0)
        one = self._filters.get(name) if isinstance(name, str) else None
        if one is None:
            raise CallerFault("unknown_filter", "filter not found")
        first, head = one.next_block, self._head()
        one.next_block = head + 1
        if one.wanted is None:
            return [self._block_hash(number) for number in range(first, head + 1)]
        if first > head:
            return []
        return self._logs([{**one.wanted, "fromBlock": hex(first), "toBlock": hex(head)}])

    def remove(self, parameters: Sequence[Any]) -> bool:
        """Whether it was there."""
        name = read.at(parameters, 0)
        return isinstance(name, str) and self._filters.pop(name, None) is not None

    def _add(self, wanted: Mapping[str, Any] | None) -> str:
        if len(self._filters) >= MOST_FILTERS:
            del self._filters[next(iter(self._filters))]
        name = hex(next(self._names))
        self._filters[name] = _Filter(wanted, self._head() + 1)
        return name
