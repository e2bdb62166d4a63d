"""Events of a real devnet: read once, resumed, taken back by forks; and servers that lie, lag or refuse."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from digm.chain_scan import Pace
from digm.errors import PeerFault, Unavailable
from hub.chain.events import EventReader
from hub.chain.journal import Journal
from tests.hub.chain.conftest import House
from tests.hub.chain.counter import counter

COUNTER = counter()


class Reading:
    """A counter, and readers of its events that share a file, as if one process followed another."""

    def __init__(self, house: House, folder: Path, address: str, first_block: int) -> None:
        self._house, self._path, self._address, self._first = (
            house,
            folder / "events.sqlite",
            address,
            first_block,
        )
        self._sent = 0

    async def add(self, *amounts: int) -> None:
        for amount in amounts:
            self._sent += 1
            client = await self._house.client()
            await client.transact(f"add {self._sent}", COUNTER, self._address, "add", amount)

    async def reader(self, confirmations: int = 1, url: str = "", **options: Any) -> EventReader:
        journal = Journal(self._path, self._address)
        self._house._stack.callback(journal.close)
        rpc = await self._house.rpc(*((url,) if url else ()))
        return EventReader(rpc, journal, {self._address: COUNTER}, self._first, confirmations, **options)

    async def told(self, confirmations: int = 1) -> list[int]:
        """Amounts of all steps so far, negative where one was undone."""
        reader = await self.reader(confirmations)
        await reader.catch_up()
        return [(-1 if step.is_undone else 1) * event.arguments["amount"] for step, event in reader.events()]


@pytest.fixture
async def reading(house: House, tmp_path: Path) -> Reading:
    address = await house.deploy_counter()
    return Reading(house, tmp_path, address, await (await house.client()).head())


async def test_events_are_told_once_in_order_and_a_new_process_goes_on_from_there(reading: Reading) -> None:
    await reading.add(1, 2)
    assert await reading.told() == [1, 2]
    await reading.add(3)
    assert await reading.told() == [1, 2, 3]
    assert await reading.told() == [1, 2, 3]


async def test_an_event_counts_only_when_it_is_deep_enough(reading: Reading, house: House) -> None:
    await reading.add(1)
    assert await reading.told(3) == []
    house.devnet.ask("evm_mine")
    assert await reading.told(3) == []
    house.devnet.ask("evm_mine")
    assert await reading.told(3) == [1]


async def test_a_fork_above_what_counts_is_never_seen(reading: Reading, house: House) -> None:
    await reading.add(1, 2)
    assert await reading.told(2) == [1]
    house.devnet.ask("anvil_rollback", 1)
    await reading.add(4)
    house.devnet.ask("anvil_mine", "0x2")
    # Its sender sends again what the chain took back, before it sends more.
    assert await reading.told(2) == [1, 2, 4]


async def test_what_counted_and_was_taken_back_is_told_as_undone_newest_first(
    reading: Reading, house: House
) -> None:
    await reading.add(1, 2, 3)
    assert await reading.told() == [1, 2, 3]
    house.devnet.ask("anvil_reorg", 2, [])
    assert await reading.told() == [1, 2, 3, -3, -2]
    await reading.add(7)
    assert await reading.told() == [1, 2, 3, -3, -2, 2, 3, 7]


async def test_what_is_in_the_new_blocks_as_it_was_is_not_told_again(reading: Reading, house: House) -> None:
    await reading.add(1, 2)
    reader = await reading.reader()
    await reader.catch_up()
    # Everything is read again, as after a fork below all anchors.
    reader._journal.rewind(None)
    assert await reading.told() == [1, 2]


async def test_what_a_process_read_before_another_found_a_fork_is_not_written_over_it(
    reading: Reading, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await reading.add(1, 2)
    slow, quick = await reading.reader(), await reading.reader()
    ask = slow._rpc.ask_together

    async def late(questions: Any) -> Any:
        answers = await ask(questions)
        if not any(method == "eth_getLogs" for method, _ in questions):
            return answers
        monkeypatch.undo()
        house.devnet.ask("anvil_reorg", 1, [])
        await reading.add(7)  # its sender sends again what the chain took back
        await quick.catch_up()
        return answers

    monkeypatch.setattr(slow._rpc, "ask_together", late)
    await slow.catch_up()
    assert await reading.told() == [1, 2, 7]


async def test_readers_keep_their_place(reading: Reading) -> None:
    await reading.add(1, 2)
    reader = await reading.reader()
    await reader.catch_up()
    journal = reader._journal
    first, second = journal.steps()
    journal.set_position("catalogue", first.sequence)
    assert [step.sequence for step in journal.steps(journal.position("catalogue"))] == [second.sequence]
    assert journal.position("another") == 0


async def test_another_deployment_begins_the_file_anew(reading: Reading, tmp_path: Path) -> None:
    await reading.add(1)
    assert await reading.told() == [1]
    journal = Journal(tmp_path / "events.sqlite", "another")
    assert journal.steps() == [] and journal.anchors() == []
    journal.close()


async def test_a_server_that_finds_a_range_too_long_is_asked_for_shorter_ones(
    reading: Reading, house: House
) -> None:
    await reading.add(1, 2, 3)
    proxy, sizes = await house.proxy(), Counter[int]()

    def at_most_two(method: str, parameters: list[Any]) -> Any:
        if method != "eth_getLogs":
            return None
        size = int(parameters[0]["toBlock"], 16) - int(parameters[0]["fromBlock"], 16) + 1
        sizes[size] += 1
        return {"refuse": "query exceeds max block range 2"} if size > 2 else None

    proxy.before = at_most_two
    reader = await reading.reader(url=proxy.url, pace=Pace(blocks=64))
    await reader.catch_up()
    assert [event.arguments["amount"] for _, event in reader.events()] == [1, 2, 3]
    assert max(sizes) > 2


def with_first(**changes: Any) -> Callable[[list[dict[str, Any]]], Any]:
    return lambda logs: [{**logs[0], **changes}, *logs[1:]]


@pytest.mark.parametrize(
    "lie",
    [
        lambda logs: None,
        lambda logs: {},
        lambda logs: [5],
        lambda logs: logs[::-1],
        lambda logs: [logs[0], *logs],
        with_first(blockNumber="0xffffff"),
        with_first(blockNumber="0x0"),
        with_first(blockNumber=None),
        with_first(address="0x" + "11" * 20),
        with_first(topics=["0x" + "11" * 32] * 5),
        with_first(topics="0x"),
        with_first(data="0x123"),
        with_first(data="0x" + "00" * (1 << 21)),
        with_first(logIndex="-0x1"),
        lambda logs: [*logs[:-1], {**logs[-1], "blockHash": "0x" + "11" * 32}],
    ],
)
async def test_a_server_that_lies_about_logs_is_found_out_and_nothing_is_written(
    reading: Reading, house: House, lie: Callable[[Any], Any]
) -> None:
    await reading.add(1, 2)
    proxy = await house.proxy()
    proxy.after = lambda method, _, result: lie(result) if method == "eth_getLogs" else result
    reader = await reading.reader(url=proxy.url)
    with pytest.raises(PeerFault) as caught:
        await reader.catch_up()
    assert caught.value.code == "rpc_lies"
    assert reader.events() == [] and reader._journal.newest_anchor() is None
    assert await reading.told() == [1, 2]


async def test_a_server_that_is_behind_is_no_fork(reading: Reading, house: House) -> None:
    await reading.add(1, 2)
    assert await reading.told() == [1, 2]
    proxy = await house.proxy()
    proxy.after = lambda method, _, result: hex(int(result, 16) - 1) if method == "eth_blockNumber" else result
    reader = await reading.reader(url=proxy.url)
    with pytest.raises(Unavailable) as caught:
        await reader.catch_up()
    assert caught.value.code == "chain_behind"
    assert await reading.told() == [1, 2]


async def test_a_chain_that_changes_while_it_is_read_is_read_again(reading: Reading, house: House) -> None:
    await reading.add(1, 2)
    proxy, moved = await house.proxy(), False

    def fork(method: str, _: list[Any], result: Any) -> Any:
        nonlocal moved
        if method == "eth_getLogs" and not moved:
            moved = True
            house.devnet.ask("anvil_reorg", 1, [])
        return result

    proxy.after = fork
    reader = await reading.reader(url=proxy.url, poll_s=0.01)
    await reader.catch_up_patiently()
    assert [event.arguments["amount"] for _, event in reader.events()] == [1]
