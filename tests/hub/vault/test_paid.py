"""A purchase counts only if every server of the chain that answers knows of it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from digm.chain_sales import PurchaseOnChain, PurchaseState
from digm.errors import DigmError
from hub.config import Settings
from hub.vault.paid import check_paid
from tests.hub.chain.proxy import LOSE, Proxy
from tests.hub.vault.market import PRICE, Buyer, Market


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    found = Market(tmp_path_factory.mktemp("chain"))
    yield found
    found.close()


async def test_one_server_that_makes_up_a_purchase_is_not_enough(market: Market, tmp_path: Path) -> None:
    sold, para = market.sell(tmp_path), market.deployed.addresses["para"]
    item, buyer, friend = sold.item, Buyer(market.accounts[4]), Buyer(market.accounts[5])
    market.buy(buyer, item)
    block, log = market.latest_log("Purchased")
    told = PurchaseOnChain(
        item=item, buyer=buyer.address, state=PurchaseState.WAITING, buyer_key=buyer.public_key, suite=1,
        token=para, amount=PRICE, deliver_before=market.purchase(item, buyer)["deliver_before"], block=block,
    )  # fmt: skip
    for_friend = replace(told, buyer=friend.address)
    with_other_key = replace(told, buyer_key=friend.public_key)

    async def outcome(*urls: str, of: PurchaseOnChain) -> str:
        try:
            await check_paid(Settings(data=tmp_path, chain_rpc=urls), market.deployed, of)
        except DigmError as fault:
            return fault.code
        return "paid"

    honest = market.devnet.url
    async with Proxy(honest).running() as liar, Proxy(honest).running() as dead:
        dead.before = lambda _method, _parameters: LOSE
        assert await outcome(honest, dead.url, of=told) == "paid"
        assert await outcome(dead.url, of=told) == "chain_unreachable"
        liar.after = lambda method, _, result: {
            "eth_call": words_of(PRICE, told.deliver_before, int(para, 16), 0),
            "eth_getLogs": [log | {"topics": [*log["topics"][:2], words_of(int(friend.address, 16))]}],
        }.get(method, result)
        assert await outcome(liar.url, of=for_friend) == "paid"  # it alone is believed
        assert await outcome(liar.url, dead.url, of=for_friend) == "paid"
        assert await outcome(liar.url, honest, of=for_friend) == "servers_differ"
        assert await outcome(honest, of=with_other_key) == "servers_differ"
        assert (
            await outcome(honest, of=replace(told, deliver_before=told.deliver_before + 1)) == "servers_differ"
        )


def words_of(*numbers: int) -> str:
    return "0x" + "".join(f"{one:064x}" for one in numbers)
