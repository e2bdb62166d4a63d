"""The way of a release over a chain, and what is done with it then: price, gift, income."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from hub.publishing.identity import open_vault
from hub.studio.app import create_app
from hub.studio.door import Door
from hub.studio.room import Room
from tests.hub.publishing.conftest import write_wav
from tests.hub.studio.conftest import Studio
from tests.hub.vault.market import PRICE, Buyer, Market


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    market = Market(tmp_path_factory.mktemp("market"))
    yield market
    market.close()


@asynccontextmanager
async def studio_at(market: Market, data: Path) -> AsyncIterator[Studio]:
    data.mkdir()
    market.settle_in(data)
    settings = market.settings(data, port=1)  # no hub answers there
    vault, door = open_vault(settings), Door()
    with vault:
        room = Room(settings, vault)
        async with room.open(), TestServer(create_app(room, door), host="127.0.0.1") as server:
            door.port = server.port or 0
            async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
                studio = Studio(room, door, f"http://127.0.0.1:{server.port}", session)
                await studio.enter()
                yield studio


async def music_when(studio: Studio, holds: Any) -> Any:
    """What the page shows of the music, as soon as something holds of it."""
    version = 0
    while True:
        status, music = await studio.ask("GET", "/api/music")
        assert status == 200, music
        if holds(music):
            return music
        version = await studio.room.chain.changed(version)


async def test_from_the_desk_to_a_price_shares_a_gift_and_income(market: Market, tmp_path: Path) -> None:
    async with studio_at(market, tmp_path / "data") as studio:
        for number, title in enumerate(("One", "Two"), start=1):
            wav = write_wav(tmp_path / f"{title}.wav", 3.0, seed=number).read_bytes()
            assert (await studio.ask("PUT", f"/api/desk/files?name={title}.wav", wav))[0] == 200
        state = await studio.until(lambda state: all(one["state"] == "ready" for one in state["tracks"]))
        for number, track in enumerate(reversed(state["tracks"]), start=1):
            await studio.ask("PATCH", f"/api/desk/{track['id']}", {"album": "Both", "track_number": number})
        friend = market.accounts[9]
        shares = [{"account": market.artist, "percent": "75"}, {"account": friend, "percent": "25"}]
        terms = {"price": "1", "album_price": "1.5", "preview_s": 2, "shares": shares}
        assert (await studio.ask("POST", "/api/publish", terms))[0] == 200
        state = await studio.until(lambda state: state["journey"] and state["journey"]["state"] != "running")
        journey = state["journey"]
        assert journey["state"] == "done", journey
        steps = {step["name"]: step["state"] for step in journey["steps"]}
        assert {name for name, state in steps.items() if state == "done"} == {
            "read", "encrypt", "store", "chain", "split", "price",
        }  # fmt: skip
        music = await music_when(studio, lambda music: all(one["album_price"] for one in music["tracks"]))
        assert {one["price"] for one in music["tracks"]} == {"1 PARA"}
        assert music["chain"]["sells"] and music["chain"]["account"] == market.artist
        two = next(one for one in music["tracks"] if one["title"] == "Two")
        root, item = two["track_root"], bytes.fromhex(two["item"][2:])
        (album,) = studio.room.chain.state.sales.albums.values()
        assert album.tracks[0] == item, "an album is sold in the order of its numbers"

        await it_is_given(market, studio, root, item)
        await it_is_sold_and_pays(market, studio, item)
        assert market.credit(friend) == PRICE // 4

        where = f"/api/tracks/{root}/price"
        assert (await studio.ask("POST", where, {"price": "2.25", "is_at_least": True}))[0] == 200
        await music_when(studio, lambda music: any(one["price"] == "from 2.25 PARA" for one in music["tracks"]))
        assert (await studio.ask("POST", where, {}))[0] == 200
        await music_when(studio, lambda music: [one["price"] for one in music["tracks"]].count(None) == 1)


async def it_is_given(market: Market, studio: Studio, root: str, item: bytes) -> None:
    listener = Buyer(market.accounts[4])
    for code in ("", "0x12", f"{listener.address} key", "a b c"):
        status, said = await studio.ask("POST", f"/api/tracks/{root}/give", {"code": code})
        assert status == 400, said
    code = f"{listener.address} {listener.public_key.hex()}"
    assert (await studio.ask("POST", f"/api/tracks/{root}/give", {"code": f" {code}\n"}))[0] == 200
    music = await music_when(studio, lambda music: music["sales"])
    assert [(one["state"], one["paid"], one["buyer"]) for one in music["sales"]] == [
        ("given", None, listener.address)
    ]


async def it_is_sold_and_pays(market: Market, studio: Studio, item: bytes) -> None:
    """To somebody who bought it on the chain; the vault delivers, here by hand."""
    buyer = Buyer(market.accounts[5])
    market.buy(buyer, item)
    music = await music_when(studio, lambda music: music["sales"][0]["state"] == "waiting")
    assert sum(one["waiting"] for one in music["tracks"]) == 1 and music["income"] == []
    market.tell(market.artist, "sales", "deliver", item, buyer.address, b"wrapped")
    music = await music_when(studio, lambda music: music["income"])
    assert music["income"] == ["1 PARA"] and music["sales"][0]["paid"] == "1 PARA"
    status, said = await studio.ask("POST", "/api/income")
    assert status == 200 and said["fetched"] == {"para": "0.75"}
    assert (await studio.ask("POST", "/api/income"))[1]["fetched"] == {}


async def test_what_did_not_get_further_goes_on_from_there(market: Market, tmp_path: Path) -> None:
    async with studio_at(market, tmp_path / "data") as studio:
        wav = write_wav(tmp_path / "one.wav", 3.0, seed=9).read_bytes()
        assert (await studio.ask("PUT", "/api/desk/files?name=one.wav", wav))[0] == 200
        await studio.until(lambda state: all(one["state"] == "ready" for one in state["tracks"]))
        assert (await studio.ask("POST", "/api/publish/again"))[0] == 400
        # More copies than the account has PARA for: it has none, and is told so behind the chain's step.
        terms = {"price": "1", "preview_s": 2, "copies": 3}
        assert (await studio.ask("POST", "/api/publish", terms))[0] == 200
        state = await studio.until(lambda state: state["journey"] and state["journey"]["state"] != "running")
        journey = state["journey"]
        assert (journey["state"], journey["can_go_on"]) == ("failed", True) and "PARA" in journey["sentence"]
        steps = {step["name"]: step["state"] for step in journey["steps"]}
        assert steps["price"] == "done" and steps["order"] == "failed" and state["tracks"] == []
        market.tell(market.accounts[0], "para", "transfer", market.artist, 10**24)
        sent = market.sent_by(market.artist)
        assert (await studio.ask("POST", "/api/publish/again"))[0] == 200
        await studio.until(lambda state: any(
            (step["name"], step["state"]) == ("order", "done") for step in state["journey"]["steps"]
        ))  # fmt: skip
        assert market.sent_by(market.artist) == sent + 2, "an approval and an order, and nothing twice"
