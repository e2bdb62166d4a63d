"""Whole tracks for a while, for accounts that hold a token or a pass: a real hub, vault link and devnet."""

import asyncio
import contextlib
import os
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from eth_account import Account
from eth_account.messages import encode_defunct

from digm.keys import chunk_key
from digm.sign_in import SignIn
from hub.chain.devnet.accounts import demo_accounts
from hub.chain.follower import ChainFollower
from hub.granting.issue import GrantIssuer
from hub.granting.vault_link import VaultLink
from hub.publishing.vault import FILE_NAME, Vault
from hub.storage.chunk_store import ChunkStore
from hub.vault.premium import LONGEST_S, Hold, Pass, Policy, Premium, save_policy
from tests.hub.backbone.nodes import until
from tests.hub.granting.test_carried_grants import hub_in_backbone, tell_of
from tests.hub.granting.test_grants_end_to_end import GRANT_SECONDS, Page, linked
from tests.hub.house import Published, hub_over, publish_track
from tests.hub.vault.market import COIN, PRICE, Market

HOLDER, OTHER = demo_accounts()[4], demo_accounts()[2]


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    found = Market(tmp_path_factory.mktemp("chain"))
    yield found
    found.close()


@pytest.fixture
def track(market: Market, tmp_path: Path) -> Published:
    market.settle_in(tmp_path)
    return publish_track(tmp_path, preview_s=4)


@asynccontextmanager
async def artist_at(hub: TestServer, market: Market, data: Path) -> AsyncIterator[ChainFollower]:
    """The artist's side of the vault link, connected, following the chain."""
    settings = market.settings(data)
    chain = ChainFollower(settings)
    with Vault.open(data / FILE_NAME) as vault:
        issuer = GrantIssuer(vault, ChunkStore(data), GRANT_SECONDS)
        url = str(hub.make_url("")).rstrip("/")
        link = VaultLink(vault, issuer, url, Premium(settings, chain))
        tasks = [asyncio.create_task(link.run()), asyncio.create_task(chain.run())]
        await linked(hub, vault.artist_key.hex())
        async with asyncio.timeout(60):
            while not chain.is_current:
                await chain.changed(chain.version)
        try:
            yield chain
        finally:
            for task in tasks:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task


@dataclass
class Visit:
    """A page, and who sits before it."""

    page: Page
    account: Any = HOLDER

    def message(self, **changes: Any) -> SignIn:
        now = int(time.time())
        said: dict[str, Any] = {
            "domain": "hub.example", "uri": "https://hub.example/", "chain_id": 31_337,
            "address": self.account.address,
            "nonce": secrets.token_hex(8), "issued_at": now, "expires_at": now + 3_600,
            "player_key": self.page.public,
        }  # fmt: skip
        return SignIn(**{**said, **changes})

    def proof(self, **changes: Any) -> dict[str, str]:
        text = self.message(**changes).encode()
        signature = Account.sign_message(encode_defunct(text=text), self.account.key).signature
        return {"message": text, "signature": "0x" + bytes(signature).hex()}

    async def ask(self, hub: TestServer, track: Published, proof: dict[str, str] | None) -> tuple[int, Any]:
        return await self.page.ask(hub, track, **({"proof": proof} if proof else {}))

    async def refusal(self, hub: TestServer, track: Published, proof: dict[str, str]) -> tuple[int, str]:
        status, body = await self.ask(hub, track, proof)
        return status, body["error"]["code"]


def reach(page: Page, body: Any, track: Published) -> list[int]:
    """How many chunks of each rendition a grant opens. The track's own key is never in it."""
    grant = page.open(body, track)
    assert grant.track_key is None and not grant.check(track.manifest, page.public, time.time())
    for run in grant.chunk_keys:
        assert list(run.keys) == [chunk_key(track.track_key, run.rendition, i) for i in range(len(run.keys))]
    return [len(run.keys) for run in grant.chunk_keys]


async def test_who_holds_the_token_hears_all_for_ten_minutes_and_who_does_not_hears_the_preview(
    market: Market, track: Published, tmp_path: Path
) -> None:
    para = market.deployed.addresses["para"]
    save_policy(tmp_path, Policy((Hold(para, str(100 * PRICE)),)))
    chunks = [len(one.chunk_hashes) for one in track.manifest.renditions]
    async with hub_over(tmp_path) as hub, artist_at(hub, market, tmp_path):
        holder, other = Visit(Page()), Visit(Page(), OTHER)
        status, body = await holder.ask(hub, track, holder.proof())
        assert status == 200, body
        assert reach(holder.page, body, track) == chunks
        assert time.time() < body["not_after"] <= time.time() + LONGEST_S
        short = int(time.time()) + 30
        _, body = await holder.ask(hub, track, holder.proof(expires_at=short))
        assert body["not_after"] <= short
        assert await other.refusal(hub, track, other.proof()) == (403, "premium_not_enough")
        _, body = await other.ask(hub, track, None)
        assert reach(other.page, body, track) < chunks
        market.tell(HOLDER.address, "para", "transfer", market.accounts[5], 950 * PRICE)  # sold
        assert await holder.refusal(hub, track, holder.proof()) == (403, "premium_not_enough")
        market.tell(market.accounts[5], "para", "transfer", HOLDER.address, 950 * PRICE)


async def test_a_pass_that_ends_while_it_plays_is_good_for_what_was_granted_and_for_nothing_more(
    market: Market, track: Published, tmp_path: Path
) -> None:
    save_policy(tmp_path, Policy((Pass(market.artist),)))
    market.tell(market.artist, "passes", "set_pass", COIN, PRICE, 120)
    async with hub_over(tmp_path) as hub, artist_at(hub, market, tmp_path):
        visit = Visit(Page())
        assert await visit.refusal(hub, track, visit.proof()) == (403, "pass_none")
        market.tell(HOLDER.address, "passes", "buy_pass", market.artist, COIN, PRICE, 120, value=PRICE)
        status, body = await visit.ask(hub, track, visit.proof())
        assert status == 200 and body["not_after"] <= time.time() + 121
        reach(visit.page, body, track)
        market.pass_time(120)
        assert await visit.refusal(hub, track, visit.proof()) == (403, "pass_expired")
        _, body = await visit.ask(hub, track, None)  # the preview is everybody's
        reach(visit.page, body, track)


async def test_nobody_is_taken_for_another_account_page_chain_or_time(
    market: Market, track: Published, tmp_path: Path
) -> None:
    save_policy(tmp_path, Policy((Hold(COIN, "1"),)))
    async with hub_over(tmp_path) as hub, artist_at(hub, market, tmp_path):
        visit, stranger, now = Visit(Page()), Visit(Page()), int(time.time())
        forged = visit.proof() | {"signature": Visit(visit.page, OTHER).proof()["signature"]}
        assert await visit.refusal(hub, track, forged) == (403, "sign_in_forged")
        assert await stranger.refusal(hub, track, visit.proof()) == (403, "sign_in_other_page")
        assert await visit.refusal(hub, track, visit.proof(chain_id=1)) == (403, "sign_in_other_chain")
        late = visit.proof(issued_at=now - 3_600, expires_at=now - 1)
        assert await visit.refusal(hub, track, late) == (403, "sign_in_expired")
        early = visit.proof(issued_at=now + 3_000, expires_at=now + 6_000)
        assert await visit.refusal(hub, track, early) == (403, "sign_in_early")
        long = visit.proof(expires_at=now + 90_000)
        assert await visit.refusal(hub, track, long) == (403, "sign_in_too_long")
        for bad in ({"message": "", "signature": "00"}, {"message": "x" * 3_000, "signature": "00" * 65}):
            assert (await visit.refusal(hub, track, bad))[1] == "bad_sign_in"
        ahead = visit.proof(issued_at=now + 200, expires_at=now + 400)  # a page whose clock is off a little
        assert (await visit.ask(hub, track, ahead))[0] == 200
        save_policy(tmp_path, Policy())
        assert await visit.refusal(hub, track, visit.proof()) == (403, "premium_none")


async def test_pages_are_told_what_an_account_has_to_hold_and_when_that_changes(
    market: Market, track: Published, tmp_path: Path
) -> None:
    save_policy(tmp_path, Policy((Hold(COIN, "5"), Pass(market.artist))))
    async with (
        hub_over(tmp_path) as hub,
        artist_at(hub, market, tmp_path),
        aiohttp.ClientSession() as session,
    ):
        address = hub.make_url(f"/api/tracks/{track.root}/offer")

        async def told() -> Any:
            async with session.get(address) as answer:
                return (await answer.json())["premium"]

        coin = {"address": COIN, "symbol": "ETH", "decimals": 18, "kind": "coin"}
        assert await told() == [
            {"kind": "hold", "coin_or_token": coin, "amount": "5"}, {"kind": "pass", "issuer": market.artist}
        ]  # fmt: skip
        save_policy(tmp_path, Policy())
        await Visit(Page()).ask(hub, track, None)
        assert await told() == []


async def test_an_account_is_shown_to_a_vault_that_is_linked_to_another_hub(
    market: Market, track: Published, tmp_path: Path
) -> None:
    save_policy(tmp_path, Policy((Hold(COIN, "1"), Pass(market.artist))))
    new = tmp_path / "new"
    tell_of(track, tmp_path, new)
    chunks = [len(one.chunk_hashes) for one in track.manifest.renditions]
    async with (
        hub_in_backbone(tmp_path) as (first, there),
        hub_in_backbone(new, there.multiaddrs[0]) as (hub, _),
        artist_at(first, market, tmp_path),
    ):
        visit = Visit(Page())
        proof = visit.proof()

        async def is_granted() -> bool:
            return (await visit.ask(hub, track, proof))[0] == 200

        await until(is_granted)
        _, body = await visit.ask(hub, track, proof)
        assert reach(visit.page, body, track) == chunks
        wrong = Visit(Page())
        assert await wrong.refusal(hub, track, proof) == (403, "sign_in_other_page")
        _, body = await visit.ask(hub, track, proof)  # and nobody was left alone for that
        assert reach(visit.page, body, track) == chunks


def test_the_policy_is_said_in_a_command(market: Market, tmp_path: Path) -> None:
    market.settle_in(tmp_path)

    def digm(*arguments: str) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, "DIGM_DATA": str(tmp_path)}
        command = [sys.executable, "-m", "hub.cli", "premium", *arguments]
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

    said = digm("--hold", "2.5", "--pass").stdout
    assert "hold 2.5 para" in said and f"pass of {market.artist}" in said
    assert digm().stdout == said
    assert digm("--hold", "0").returncode == 2
    assert "more than everybody" in digm("--off").stdout
