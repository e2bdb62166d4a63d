"""The story of the contract, with real processes: five nodes, one loses its data, and listeners never notice.

A devnet, an artist's hub without a gateway, five `digm node` with a stake, somebody who listens all the time,
and a Chromium that shows the operator what happens.
"""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
from playwright.async_api import BrowserContext, expect

from tests.browser.music import encode, plucked, write_wav
from tests.browser.player_page import PlayerPage
from tests.browser.stack import Stack
from tests.hub.keeping.story import NAMES, Listener, Town
from tests.hub.keeping.village import UNIT, wait

PATIENCE_MS = 60_000
COPIES = 3
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
    done: Any = subprocess.run(
        [sys.executable, "-m", "hub.cli", "chain", "events"],
        env=town.stack.environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return str(done.stdout)
