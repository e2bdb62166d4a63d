"""Transactions on a real devnet: once each, through lost answers, forks, stolen nonces and high fees."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from digm.errors import CallerFault, Unavailable
from hub.chain import words
from hub.chain.client import ChainClient
from hub.chain.rpc import Rpc
from tests.hub.chain.conftest import QUICK, House
from tests.hub.chain.counter import REASON, counter
from tests.hub.chain.proxy import LOSE

COUNTER = counter()


async def total(client: ChainClient, address: str) -> int:
    return int(await client.call(COUNTER, address, "total"))


async def test_a_contract_is_deployed_told_and_asked_and_its_event_is_in_the_receipt(house: House) -> None:
    client, address = await house.client(), await house.deploy_counter()
    receipt = await client.transact("add", COUNTER, address, "add", 42)
    event = COUNTER.event(receipt.logs[0])
    assert event is not None
    assert event.arguments == {"who": house.account.address, "amount": 42, "total": 42}
    assert await total(client, address) == 42
    assert await client.call(COUNTER, address, "total", block=receipt.block - 1) == 0


async def test_the_same_purpose_is_done_once_also_by_two_at_the_same_time(house: House) -> None:
    address = await house.deploy_counter()
    one, other = await house.client(), await house.client()
    receipts = await asyncio.gather(
        *(client.transact("add", COUNTER, address, "add", 7) for client in (one, other, one))
    )
    assert len({receipt.transaction_hash for receipt in receipts}) == 1
    assert await total(one, address) == 7


async def test_many_purposes_at_the_same_time_each_get_a_nonce_of_their_own(house: House) -> None:
    address = await house.deploy_counter()
    clients = [await house.client() for _ in range(2)]
    await asyncio.gather(*(clients[n % 2].transact(f"add {n}", COUNTER, address, "add", 1) for n in range(6)))
    assert await total(clients[0], address) == 6


async def test_what_was_signed_and_never_sent_is_sent_by_the_next_process_and_not_signed_anew(
    house: House,
) -> None:
    address, proxy = await house.deploy_counter(), await house.proxy()
    proxy.before = lambda method, _: LOSE if method == "eth_sendRawTransaction" else None
    first = await house.client(proxy.url)
    with pytest.raises(Unavailable) as caught:
        await first.transact("add", COUNTER, address, "add", 5)
    assert caught.value.code == "chain_unreachable"
    assert await total(await house.client(), address) == 0
    next_one = await house.client()
    assert await next_one.sender.resume() == ["add"]
    async with asyncio.timeout(60):
        while await total(next_one, address) != 5:  # Anvil mines a moment after it has answered
            await asyncio.sleep(0.02)
    await next_one.transact("add", COUNTER, address, "add", 5)
    assert await total(next_one, address) == 5 and await next_one.sender.resume() == []


async def test_an_answer_that_got_lost_does_not_do_it_twice(house: House) -> None:
    address, proxy = await house.deploy_counter(), await house.proxy()
    proxy.after = lambda method, _, result: LOSE if method == "eth_sendRawTransaction" else result
    with pytest.raises(Unavailable):
        await (await house.client(proxy.url)).transact("add", COUNTER, address, "add", 5)
    client = await house.client()
    await client.transact("add", COUNTER, address, "add", 5)
    assert await total(client, address) == 5


async def test_what_the_chain_takes_back_is_sent_again(house: House) -> None:
    address, proxy = await house.deploy_counter(), await house.proxy()
    is_taken_back = False

    def take_back(method: str, _: list[Any], result: Any) -> Any:
        nonlocal is_taken_back
        if method == "eth_getTransactionReceipt" and result is not None and not is_taken_back:
            is_taken_back = True
            house.devnet.ask("anvil_reorg", 1, [])
        elif is_taken_back and method == "eth_blockNumber":
            house.devnet.ask("evm_mine")
        return result

    proxy.after = take_back
    client = await house.client(proxy.url, patience=replace(QUICK, confirmations=3))
    receipt = await client.transact("add", COUNTER, address, "add", 5)
    assert is_taken_back
    found = house.devnet.ask("eth_getTransactionReceipt", receipt.transaction_hash)["result"]
    assert found["blockHash"] == receipt.block_hash
    assert await total(client, address) == 5


async def test_a_nonce_that_somebody_else_used_is_given_up_for_another(house: House) -> None:
    address, proxy = await house.deploy_counter(), await house.proxy()

    def steal(method: str, _: list[Any]) -> Any:
        if method == "eth_sendRawTransaction":
            proxy.before = lambda _method, _parameters: None
            taken = {
                "type": 2, "chainId": 31_337, "nonce": 1, "to": house.account.address, "value": 0,
                "gas": 21_000, "data": b"", "maxFeePerGas": 10**11, "maxPriorityFeePerGas": 1,
            }  # fmt: skip
            raw = house.account.sign_transaction(taken).raw_transaction
            assert "result" in house.devnet.ask("eth_sendRawTransaction", "0x" + bytes(raw).hex())
        return None

    proxy.before = steal
    client = await house.client(proxy.url)
    await client.transact("add", COUNTER, address, "add", 5)
    assert await total(client, address) == 5
    assert house.devnet.ask("eth_getTransactionCount", house.account.address, "latest")["result"] == "0x3"


async def test_what_stays_unheard_of_is_sent_with_a_higher_fee_and_the_same_nonce(house: House) -> None:
    address, proxy = await house.deploy_counter(), await house.proxy()
    swallowed: set[str] = set()

    def swallow(method: str, parameters: list[Any]) -> Any:
        if method != "eth_sendRawTransaction" or (len(swallowed) > 2 and parameters[0] not in swallowed):
            return None
        swallowed.add(parameters[0])
        return "0x" + "00" * 32

    proxy.before = swallow
    client = await house.client(proxy.url, patience=replace(QUICK, dearer_after_s=0))
    receipt = await client.transact("add", COUNTER, address, "add", 5)
    assert len(swallowed) >= 3
    sent = house.devnet.ask("eth_getTransactionByHash", receipt.transaction_hash)["result"]
    assert sent["nonce"] == "0x1" and await total(client, address) == 5


async def test_what_nobody_waits_for_any_more_is_sent_dearer_where_it_holds_up_what_follows(
    house: House,
) -> None:
    address, proxy = await house.deploy_counter(), await house.proxy()
    swallowed: set[str] = set()

    def swallow(method: str, parameters: list[Any]) -> Any:
        if method != "eth_sendRawTransaction" or (swallowed and parameters[0] not in swallowed):
            return None
        swallowed.add(parameters[0])
        return "0x" + "00" * 32

    proxy.before = swallow
    client = await house.client(proxy.url, patience=replace(QUICK, dearer_after_s=0.1))
    left = asyncio.create_task(client.transact("left", COUNTER, address, "add", 5))
    async with asyncio.timeout(30):
        while not swallowed:
            await asyncio.sleep(0.01)
    left.cancel()
    await asyncio.gather(left, return_exceptions=True)
    await client.transact("next", COUNTER, address, "add", 7)
    assert len(swallowed) == 1 and await total(client, address) == 12


async def test_what_was_signed_and_is_too_late_is_shown_to_nobody_and_what_follows_it_is_sent(
    house: House,
) -> None:
    address, proxy = await house.deploy_counter(), await house.proxy()
    proxy.before = lambda method, _: LOSE if method == "eth_sendRawTransaction" else None
    now = int(house.devnet.ask("eth_getBlockByNumber", "latest", False)["result"]["timestamp"], 16)
    killed = await house.client(proxy.url)
    with pytest.raises(Unavailable):
        await killed.transact("late", COUNTER, address, "add", 100, before_s=now + 1_000)
    with pytest.raises(Unavailable):
        await killed.transact("whenever", COUNTER, address, "add", 5)
    house.devnet.ask("evm_setNextBlockTimestamp", hex(now + 1_000))
    house.devnet.ask("evm_mine")
    shown: list[str] = []
    proxy.before = lambda method, parameters: shown.append(parameters[0]) if "sendRaw" in method else None
    client = await house.client(proxy.url)
    await client.transact("whenever", COUNTER, address, "add", 5)
    assert await total(client, address) == 5
    late = words.data(COUNTER.call_data("add", (100,)))[2:]
    assert shown and not any(late in raw for raw in shown)
    with pytest.raises(CallerFault) as refused:
        await client.transact("late", COUNTER, address, "add", 100, before_s=now + 1_000)
        await client.transact("late", COUNTER, address, "add", 100, before_s=now + 1_000)
    assert refused.value.code == "too_late"


async def test_what_is_in_time_is_sent_by_the_next_process_like_everything_else(house: House) -> None:
    address, proxy = await house.deploy_counter(), await house.proxy()
    proxy.before = lambda method, _: LOSE if method == "eth_sendRawTransaction" else None
    now = int(house.devnet.ask("eth_getBlockByNumber", "latest", False)["result"]["timestamp"], 16)
    with pytest.raises(Unavailable):
        await (await house.client(proxy.url)).transact("add", COUNTER, address, "add", 5, before_s=now + 10_000)
    client = await house.client()
    await client.transact("add", COUNTER, address, "add", 5, before_s=now + 10_000)
    assert await total(client, address) == 5


async def test_a_refusal_has_the_contracts_reason_and_costs_nothing(house: House) -> None:
    address = await house.deploy_counter()
    client = await house.client()
    before = await client.balance(house.account.address)
    for work in (client.transact("x", COUNTER, address, "add", 101), client.call(COUNTER, address, "add", 101)):
        with pytest.raises(CallerFault, match=REASON) as caught:
            await work
        assert caught.value.code == "reverted" and caught.value.data["reason"] == REASON
    assert await client.balance(house.account.address) == before
    await client.transact("x", COUNTER, address, "add", 100)  # the purpose is free again
    assert await total(client, address) == 100


async def test_one_that_fails_in_its_block_is_said_so_and_may_be_begun_anew(house: House) -> None:
    address, proxy = await house.deploy_counter(), await house.proxy()
    proxy.before = lambda method, _: hex(100_000) if method == "eth_estimateGas" else None  # it would not fail
    client = await house.client(proxy.url)
    with pytest.raises(CallerFault, match="failed in its block") as caught:
        await client.transact("add", COUNTER, address, "add", 101)
    assert caught.value.code == "reverted"
    await client.transact("add", COUNTER, address, "add", 100)
    assert await total(client, address) == 100


async def test_servers_that_are_away_while_it_is_waited_do_not_end_the_wait(house: House) -> None:
    address, proxy = await house.deploy_counter(), await house.proxy()
    lost = 0

    def lose(method: str, _: list[Any]) -> Any:
        nonlocal lost
        if method != "eth_getTransactionReceipt" or lost == 3:
            return None
        lost += 1
        return LOSE

    proxy.before = lose
    client = await house.client(proxy.url)
    await client.transact("add", COUNTER, address, "add", 5)
    assert lost == 3 and await total(client, address) == 5


async def test_what_is_done_more_than_once_on_purpose_has_a_new_purpose_only_when_it_was_done(
    house: House,
) -> None:
    address = await house.deploy_counter()
    client = await house.client()
    first = client.sender.purpose("add 1")
    proxy = await house.proxy()
    proxy.before = lambda method, _: LOSE if method == "eth_sendRawTransaction" else None
    with pytest.raises(Unavailable):
        await (await house.client(proxy.url)).transact(first, COUNTER, address, "add", 1)
    assert client.sender.purpose("add 1") == first
    await client.transact(client.sender.purpose("add 1"), COUNTER, address, "add", 1)
    second = client.sender.purpose("add 1")
    assert second != first
    await client.transact(second, COUNTER, address, "add", 1)
    assert await total(client, address) == 2


async def test_no_money_too_high_fees_no_contract_and_no_key_have_names(house: House) -> None:
    address = await house.deploy_counter()
    miser = await house.client(patience=replace(QUICK, highest_fee_wei=1_000))
    with pytest.raises(CallerFault) as caught:
        await miser.transact("add", COUNTER, address, "add", 1)
    assert caught.value.code == "too_expensive"
    with pytest.raises(Unavailable) as missing:
        await miser.call(COUNTER, house.account.address, "total")
    assert missing.value.code == "no_contract"
    reader = ChainClient(miser.rpc)
    assert await total(reader, address) == 0
    with pytest.raises(CallerFault) as caught:
        await reader.transact("add", COUNTER, address, "add", 1)
    assert caught.value.code == "read_only"


# -- servers that fail


async def test_a_server_that_is_dead_slow_or_talks_nonsense_is_left_for_the_next(house: House) -> None:
    bad = await house.proxy()
    for raw, delay_s in ((b"<html>", 0), (b"", 0), (b"[]", 0), (b'{"id": 0}', 0), (b"5", 0), (None, 1.5)):
        bad.raw, bad.delay_s = raw, delay_s
        rpc = await house.rpc("http://127.0.0.1:9", bad.url, house.devnet.url, answer_within_s=0.4)
        assert await rpc.chain_id() == 31_337
    bad.delay_s = 0


async def test_a_server_that_was_left_is_asked_again_after_its_pause(house: House) -> None:
    proxy, time = await house.proxy(), 0.0
    rpc = Rpc([proxy.url, house.devnet.url], now=lambda: time)
    async with rpc:
        proxy.raw = b"nonsense"
        await rpc.ask("eth_blockNumber")
        proxy.raw = None
        await rpc.ask("eth_blockNumber")
        assert proxy.asked == []
        time = 1.5
        await rpc.ask("eth_blockNumber")
        assert proxy.asked == ["eth_chainId", "eth_blockNumber"]


async def test_a_server_of_another_chain_is_never_believed(house: House) -> None:
    other = await house.proxy()
    other.before = lambda method, _: "0x1" if method == "eth_chainId" else None
    async with Rpc([other.url, house.devnet.url], 31_337) as rpc:
        await rpc.ask("eth_blockNumber")
        assert set(other.asked) == {"eth_chainId"}
    async with Rpc([other.url], 31_337) as rpc:
        with pytest.raises(CallerFault) as caught:
            await rpc.ask("eth_blockNumber")
        assert caught.value.code == "wrong_chain"


async def test_when_no_server_answers_the_sentence_says_why_of_each_and_no_secret_path(house: House) -> None:
    rpc = await house.rpc("http://127.0.0.1:9/secret-key")
    with pytest.raises(Unavailable) as caught:
        await rpc.ask("eth_blockNumber")
    assert caught.value.code == "chain_unreachable"
    assert "127.0.0.1:9" in caught.value.message and "secret-key" not in caught.value.message
