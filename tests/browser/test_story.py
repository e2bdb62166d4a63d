"""The story of the contract, with real processes: five nodes, one loses its data, and listeners never notice.

A devnet, an artist's hub without a gateway, five `digm node` with a stake, somebody who listens all the time,
and a Chromium that shows the operator what happens.
"""

import asyncio
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
from playwright.async_api import BrowserContext, expect

from tests.browser.music import encode, plucked, write_wav
from tests.browser.player_page import PlayerPage
from tests.browser.stack import Stack
from tests.hub.keeping.story import NAMES, Listener, Town
from tests.hub.keeping.village import PASSPHRASE, UNIT, wait
from tests.hub.node.processes import PATIENCE_S

PATIENCE_MS = 60_000
COPIES = 3
SEED = int(os.environ.get("DIGM_TEST_SEED", "7"))
KEY = {"DIGM_CHAIN_PASSPHRASE": PASSPHRASE}
# Of these there is one for each.
ONCE = {
    "TrackPublished": ("artist", "track_root"),
    "PinOrdered": ("order_id",),
    "PinAccepted": ("order_id", "node"),
    "AuditPassed": ("node", "round"),
    "RoundOpened": ("round",),
    "NodeJoined": ("node",),
    "Slashed": ("node",),
}
T = TypeVar("T")


@dataclass
class Scene:
    town: Town
    root: str
    order: int


@pytest.fixture(scope="module")
def scene(built_player: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("story")
    (folder / "hub").mkdir()
    town = Town(folder, Stack(folder / "hub"))
    try:
        wav = write_wav(folder / "strings.wav", plucked(40, 44_100, 16, 1), 44_100, 16)
        root, track = town.publish(encode(wav, folder / "strings.flac", "flac"), "Night train")
        town.start()
        order = town.village.order(track, COPIES)
        town.until_taken(order, COPIES)
        yield Scene(town, root, order)
    finally:
        town.close()


async def in_thread(work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work)


async def test_five_nodes_one_loses_its_data_its_stake_is_cut_another_holds_its_place_and_nobody_notices(
    scene: Scene, context: BrowserContext
) -> None:
    town, order = scene.town, scene.order
    listener = Listener(town.stack, scene.root)
    wait(lambda: len(town.stack.ask(f"/api/tracks/{scene.root}/sources")["gateways"]) >= COPIES)
    player = await PlayerPage.open(context)
    await player.visit(town.stack.url, scene.root)
    await player.play()
    await player.until_sound()

    def play() -> str:
        with listener.listening():
            holders = town.holders(order)
            town.round(*holders)
            lost, *others = holders
            town.lose_data(lost)
            first, *_ = [town.round(*others) for _ in range(3)]
            town.village.mine_until(lambda: town.facts(lost)["jailed_until"])
            assert town.facts(lost)["stake"] == 1600 * UNIT
            town.village.mine_until(lambda: lost not in town.holders(order))
            now = town.until_taken(order, COPIES)
            (heir,) = set(now) - set(holders)
            number = town.round(*others, heir)
            assert {town.facts(name)["stake"] for name in NAMES if name != lost} == {2000 * UNIT}
            words = town.until_said(f"{heir} proved in round {number}")
            assert f"{heir} keeps “Night train” in the place of {lost}" in words
            assert f"{lost} missed round {first + 1}, 2 in a row" in words
            wait(lambda: ((town.index().get(lost) or {}).get("chain") or {}).get("jailed_until"))
            return lost

    lost = await in_thread(play)
    state = await player.until("the end", lambda state: state["ended"])
    assert (state["errors"], state["stats"]["stalls"], player.crashes) == ([], 0, [])
    assert listener.faults == []
    said = town.index()
    assert (said[lost]["chain"]["slashed"], said[lost]["chain"]["stake"]) == (
        str(400 * UNIT), str(1600 * UNIT)
    )  # fmt: skip
    page = await context.new_page()
    await page.goto(town.stack.url + "/operator")
    await expect(page.locator("#chain .summary")).to_contain_text(f"{lost} is in jail", timeout=PATIENCE_MS)
    await expect(page.locator("#chain .events li.bad").first).to_be_visible()
    sentence = f"{lost} lost 20 % of its stake: 3 rounds missed"
    await expect(page.locator("#chain .events")).to_contain_text(sentence)
    assert sentence in await in_thread(lambda: events(town))


def events(town: Town) -> str:
    """`digm chain events` in the hub's folder."""
    done = town.digm("chain", "events")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_devnet_hub_and_nodes_are_killed_and_nothing_acknowledged_is_lost_and_nothing_done_twice(
    scene: Scene, tmp_path: Path
) -> None:
    town, village, dice = scene.town, scene.town.village, random.Random(SEED)
    alive = [name for name in NAMES if not town.facts(name)["jailed_until"]]
    known = {number: village.block_hash(number) for number in range(0, village.block + 1, 7)}

    def know() -> None:
        number = village.block  # which may be another one in a moment
        known[number] = village.block_hash(number)

    artist = town.take_key()
    wav = write_wav(tmp_path / "river.wav", plucked(8, 44_100, 16, 2), 44_100, 16)
    (line,) = town.stack.publish(encode(wav, tmp_path / "river.flac", "flac"), "--title", "River")
    root = line["track_root"]

    with town.killing(dice, "devnet", "hub"):
        wait(lambda: town.digm("chain", "publish", root, **KEY).returncode == 0, 2 * PATIENCE_S)
    track = bytes(village.ask("registry", "track_id", artist, bytes.fromhex(root)))
    order = village.order(track, COPIES)
    know()
    with town.killing(dice, "devnet", dice.choice(alive)):
        town.step_until(lambda: village.ask("pinning", "order", order)["taken"] == COPIES)
    holders = town.holders(order)
    know()
    before = village.clock["round"]
    with town.killing(dice, "devnet", "hub", dice.choice(holders)):
        town.step_until(lambda: village.clock["round"] >= before + 2)
    number = village.clock["round"]
    town.step_until(lambda: all(town.facts(name)["last_round"] >= number for name in holders))

    assert {one: village.block_hash(one) for one in known} == known
    assert {town.facts(name)["stake"] for name in alive} == {2000 * UNIT}
    said = town.events()
    assert not any(one["is_undone"] for one in said)
    for event, names in ONCE.items():
        told = [tuple(str(one["arguments"][name]) for name in names) for one in said if one["event"] == event]
        assert len(told) == len(set(told)), (event, told)
    mine = [one["arguments"] for one in said if one["event"] == "TrackPublished"]
    assert [one["artist"] for one in mine if one["track_root"] == "0x" + root] == [artist]
    accepted = [one["arguments"] for one in said if one["event"] == "PinAccepted"]
    assert {one["node"] for one in accepted if one["order_id"] == order} == {
        town.accounts[name] for name in holders
    }
    rows = {row["order_id"]: row for row in wait(lambda: town.stack.ask("/api/chain")["orders"])}
    assert rows[order]["title"] == "River" and rows[order]["held"] == COPIES
