"""A page buys through its hub: the offer, play money, a transaction sent on, and the key that comes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from eth_account import Account
from eth_account.signers.local import LocalAccount

from digm.chain_sales import COIN
from hub.bridge.chain import CHAIN
from hub.chain.deployment import contract
from tests.hub.chain.devnet import DevnetProcess
from tests.hub.chain.publisher import Publisher, contracts_on, publisher
from tests.hub.house import hub_over, publish_track

PATIENCE_S = 90
LISTENING, WRAPPED, UNIT = b"k" * 32, b"w" * 81, 10**18
PRICE = 5 * UNIT // 2


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevnetProcess]:
    process = DevnetProcess(tmp_path_factory.mktemp("chain"), with_contracts=True)
    contracts_on(process)
    yield process
    process.kill()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.chain.following.DEVNET_POLL_S", 0.05)
    monkeypatch.setattr("hub.chain.follower.LOOKED_AT_S", 0.05)


@dataclass
class Page:
    """What a page can do at its hub, with a key that is nobody else's."""

    hub: TestServer
    session: aiohttp.ClientSession
    account: LocalAccount = field(default_factory=Account.create)

    @property
    def address(self) -> str:
        return str(self.account.address)

    async def get(self, path: str) -> tuple[int, Any]:
        async with self.session.get(self.hub.make_url(path)) as answer:
            return answer.status, await answer.json()

    async def post(self, path: str, body: object) -> tuple[int, Any]:
        async with self.session.post(self.hub.make_url(path), json=body) as answer:
            return answer.status, await answer.json()

    async def refusal(self, path: str, body: object) -> str:
        status, said = await self.post(path, body)
        assert status >= 400, said
        return str(said["error"]["code"])

    async def until(self, path: str, is_so: Any) -> Any:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                status, said = await self.get(path)
                if status == 200 and is_so(said):
                    return said
                await asyncio.sleep(0.05)

    async def signed(self, to: str, part: str, function: str, *arguments: Any, **changed: Any) -> str:
        _, mine = await self.get(f"/api/chain/account/{self.address}")
        fields = {
            "type": 2, "chainId": mine["chain_id"], "nonce": mine["nonce"], "gas": 400_000, "to": to,
            "maxFeePerGas": 2 * int(mine["gas_price"]), "maxPriorityFeePerGas": 1, "value": 0,
            "data": contract(part).call_data(function, arguments),
        }  # fmt: skip
        signed = self.account.sign_transaction(fields | changed)
        return "0x" + signed.raw_transaction.hex()

    async def tell(self, to: str, part: str, function: str, *arguments: Any, **changed: Any) -> Any:
        raw = await self.signed(to, part, function, *arguments, **changed)
        status, said = await self.post("/api/chain/send", {"raw": raw})
        assert status == 202, said
        return said


@contextlib.asynccontextmanager
async def shop(chain: DevnetProcess, data: Path, **tracks: int | None) -> AsyncIterator[Any]:
    """A hub, an artist's account, a page, and the roots and items of tracks with these previews."""
    published = {
        title: publish_track(data, title, preview_s=preview_s, seed=number)
        for number, (title, preview_s) in enumerate(tracks.items())
    }
    async with (
        publisher(chain, data) as artist,
        hub_over(data, gateway_port=4711, chain_rpc=(chain.url,)) as hub,
    ):
        await artist.bind()
        items = {title: await artist.publish(one.root) for title, one in published.items()}
        async with aiohttp.ClientSession() as session:
            yield hub, artist, Page(hub, session), {name: one.root for name, one in published.items()}, items


async def sell(artist: Publisher, function: str, *arguments: Any) -> None:
    where = artist.deployed.addresses["sales"]
    purpose = artist.client.sender.purpose(function)
    await artist.client.transact(purpose, contract("sales"), where, function, *arguments)


async def test_a_page_with_nothing_but_its_hub_buys_and_hears_of_its_key_when_it_comes(
    chain: DevnetProcess, tmp_path: Path
) -> None:
    async with shop(chain, tmp_path, Song=8) as (_, artist, page, roots, items):
        where, item, path = artist.deployed.addresses, items["Song"], f"/api/tracks/{roots['Song']}/offer"
        before = await page.until(path, lambda said: said["item"])
        assert (before["state"], before["price"], before["preview_s"]) == ("not_for_sale", None, 8)
        await sell(artist, "set_offer", item, where["para"], PRICE, True)
        offer = await page.until(path, lambda said: said["state"] == "for_sale")
        assert (offer["item"], offer["account"], offer["price"]) == (
            "0x" + item.hex(),
            artist.account,
            str(PRICE),
        )
        assert offer["coin_or_token"]["symbol"] == "PARA" and offer["is_at_least"] and offer["faucet"]
        assert (offer["chain_id"], offer["sales"], offer["deliver_within_s"]) == (31_337, where["sales"], 7_200)
        assert (await page.post("/api/chain/faucet", {"address": page.address}))[0] == 202
        assert await page.refusal("/api/chain/faucet", {"address": page.address}) == "has_enough"
        await page.tell(where["para"], "para", "approve", where["sales"], PRICE)
        keys = f"/api/keys/{page.address}"
        _, nothing = await page.get(keys)
        assert nothing["keys"] == []
        poll, bought = f"{keys}?after={nothing['block']}&wait=25", lambda said: said["keys"]
        waiting = asyncio.create_task(page.until(poll, bought))
        sent = await page.tell(where["sales"], "sales", "buy", item, where["para"], PRICE, LISTENING)
        said = await waiting
        (key,) = said["keys"]
        assert (key["state"], key["wrapped"], key["amount"]) == ("waiting", None, str(PRICE))
        assert key["tracks"] == [roots["Song"]] and key["title"] == "Song" and key["suite"] == 1
        _, receipt = await page.get(f"/api/chain/transaction/{sent['transaction']}")
        assert receipt["state"] == "done"
        poll = f"{keys}?after={said['block']}&wait=25"
        waiting = asyncio.create_task(page.until(poll, lambda said: said["keys"][0]["wrapped"]))
        await sell(artist, "deliver", item, page.address, WRAPPED)
        (key,) = (await waiting)["keys"]
        assert (key["state"], key["wrapped"]) == ("delivered", WRAPPED.hex())
        _, mine = await page.get(f"/api/chain/account/{artist.account}")
        assert mine["credits"] == [{"contract": "sales", "token": where["para"], "amount": str(PRICE)}]


async def test_albums_passes_and_gifts_are_told_as_well_and_what_is_free_costs_nothing(
    chain: DevnetProcess, tmp_path: Path
) -> None:
    async with shop(chain, tmp_path, One=8, Two=8, Free=None) as (_, artist, page, roots, items):
        both = [items["One"], items["Two"]]
        payees = [{"account": artist.account, "share_bps": 10_000}]
        await sell(artist, "set_album", both, payees, COIN, UNIT, False)
        await sell(artist, "set_offer", items["Free"], COIN, UNIT, False)
        where = artist.deployed.addresses["passes"]
        await artist.client.transact("pass", contract("passes"), where, "set_pass", COIN, 7, 3_600)
        offer = await page.until(f"/api/tracks/{roots['Two']}/offer", lambda said: said["passes"])
        assert offer["state"] == "for_sale" and offer["price"] is None
        (album,) = offer["albums"]
        assert album["tracks"] == [roots["One"], roots["Two"]] and album["price"] == str(UNIT)
        assert album["coin_or_token"]["kind"] == "coin" and album["title"] == "2 tracks"
        assert offer["passes"][0]["issuer"] == artist.account and offer["passes"][0]["seconds"] == 3_600
        _, free = await page.get(f"/api/tracks/{roots['Free']}/offer")
        assert (free["state"], free["price"], free["albums"]) == ("free", None, [])
        await sell(artist, "give", bytes.fromhex(album["item"][2:]), page.address, WRAPPED)
        said = await page.until(f"/api/keys/{page.address}", lambda said: said["keys"])
        (key,) = said["keys"]
        assert key["is_given"] and key["state"] == "delivered" and key["tracks"] == album["tracks"]
        await artist.withdraw(items["One"])
        gone = await page.until(f"/api/tracks/{roots['One']}/offer", lambda said: said["state"] == "withdrawn")
        assert gone["price"] is None


async def test_a_key_is_told_before_it_is_deep_enough_for_others_to_count(
    chain: DevnetProcess, tmp_path: Path
) -> None:
    async with shop(chain, tmp_path, Song=8) as (_, artist, _page, _, items):
        await sell(artist, "set_offer", items["Song"], COIN, UNIT, False)
        async with (
            hub_over(tmp_path / "deep", chain_rpc=(chain.url,), chain_confirmations=50) as deep,
            aiohttp.ClientSession() as session,
        ):
            page = Page(deep, session)
            await page.until(f"/api/chain/account/{page.address}", lambda said: said["chain_id"])
            before = await page.until(f"/api/keys/{page.address}", lambda said: said["is_current"])
            await page.post("/api/chain/faucet", {"address": page.address})
            poll = f"/api/keys/{page.address}?after={before['block']}&wait=25"
            waiting = asyncio.create_task(page.until(poll, lambda said: said["keys"]))
            where = artist.deployed.addresses["sales"]
            await page.tell(where, "sales", "buy", items["Song"], COIN, UNIT, LISTENING, value=UNIT)
            said = await waiting
            assert (
                said["keys"][0]["state"] == "waiting"
                and deep.app[CHAIN].state.counted < said["keys"][0]["block"]
            )
            poll = f"/api/keys/{page.address}?after={said['block']}&wait=25"
            await sell(artist, "deliver", items["Song"], page.address, WRAPPED)
            key = (await page.until(poll, lambda said: said["keys"][0]["wrapped"]))["keys"][0]
            assert key["wrapped"] == WRAPPED.hex()
            assert deep.app[CHAIN].sales.purchases_of(page.address) == []  # nothing else goes by it


async def test_a_purchase_that_the_chain_takes_back_is_none_here_either(
    chain: DevnetProcess, tmp_path: Path
) -> None:
    async with shop(chain, tmp_path, Song=8) as (hub, artist, page, _, items):
        await sell(artist, "set_offer", items["Song"], COIN, UNIT, False)
        await page.until(f"/api/chain/account/{page.address}", lambda said: said["chain_id"])
        await page.post("/api/chain/faucet", {"address": page.address})
        await page.tell(
            artist.deployed.addresses["sales"], "sales", "buy", items["Song"], COIN, UNIT, LISTENING, value=UNIT
        )
        keys = f"/api/keys/{page.address}"
        await page.until(keys, lambda said: [one["state"] for one in said["keys"]] == ["waiting"])
        chain.ask("anvil_rollback", 1)
        for _ in range(2):
            chain.ask("evm_mine")
        await page.until(keys, lambda said: said["keys"] == [])
        assert hub.app[CHAIN].sales.purchases_of(page.address) == []


async def test_what_is_not_for_our_contracts_or_would_fail_is_not_sent_on(
    chain: DevnetProcess, tmp_path: Path
) -> None:
    async with shop(chain, tmp_path, Song=8) as (_, artist, page, _, items):
        where, path = artist.deployed.addresses, "/api/chain/send"
        await page.until(f"/api/chain/account/{page.address}", lambda said: said["chain_id"])
        buying = ("buy", items["Song"], COIN, UNIT, LISTENING)
        good = await page.signed(where["sales"], "sales", *buying)
        for raw in ("", "0x", "0x02", good[2:], good[:-2], "0x02" + "00" * 5_000, "0x02" + "zz" * 40):
            assert await page.refusal(path, {"raw": raw}) in ("bad_transaction", "body_too_large"), raw
        assert await page.refusal(path, {"raw": 5}) == "bad_body"
        elsewhere = await page.signed(artist.account, "sales", *buying)
        assert await page.refusal(path, {"raw": elsewhere}) == "not_ours"
        assert (
            await page.refusal(path, {"raw": await page.signed(where["pinning"], "sales", *buying)})
            == "not_ours"
        )
        other = await page.signed(where["sales"], "sales", *buying, chainId=1)
        assert await page.refusal(path, {"raw": other}) == "wrong_chain"
        status, said = await page.post(path, {"raw": good})
        assert (status, said["error"]["code"]) == (400, "reverted") and "not_for_sale" in said["error"][
            "message"
        ]
        for wrong in ("0x12", "0x" + "g" * 40):
            assert await page.refusal("/api/chain/faucet", {"address": wrong}) == "bad_address"
            assert (await page.get(f"/api/keys/{wrong}"))[0] == 400
        assert (await page.get(f"/api/keys/{page.address}?after=-1"))[0] == 400
        assert (await page.get("/api/tracks/0/offer"))[0] == 404


async def test_a_hub_without_a_chain_says_that_nothing_can_be_bought(tmp_path: Path) -> None:
    track = publish_track(tmp_path, preview_s=8)
    link = "https://artist.example/pay?for={track}"
    async with (
        hub_over(tmp_path, chain_rpc=("http://127.0.0.1:9",), payment_link=link) as hub,
        aiohttp.ClientSession() as session,
    ):
        page = Page(hub, session)
        _, offer = await page.get(f"/api/tracks/{track.root}/offer")
        assert (offer["state"], offer["chain_id"], offer["sales"]) == ("not_for_sale", None, None)
        assert offer["payment_link"] == f"https://artist.example/pay?for={track.root}"
        for path in (f"/api/keys/{page.address}", f"/api/chain/account/{page.address}"):
            status, said = await page.get(path)
            assert (status, said["error"]["code"]) == (503, "no_chain")
